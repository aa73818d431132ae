"""The losses of the form log Z - log w_+; see the package's table."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import refuse
from nce_bias.integrals import AtomIntegrand, CrowdIntegrand, DistinctIntegrand, Integrand, Rule
from nce_bias.losses.additive import Additive
from nce_bias.losses.base import Corrected, check_gold, correct
from nce_bias.losses.log_sums import LogSums
from nce_bias.numerics.arrays import Array
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler

Correcting = TypeVar("Correcting", bound="CandidateSoftmax | Additive | LogSums")


class CandidateSoftmax(eqx.Module):
    """A softmax over the candidates after corrections; see the package's table.

    `competes` says whether the gold's own weight is part of Z; if not, the loss is log Z - s of the
    gold, and the set of negatives must never be empty.
    """

    normalized = True  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    gold: str = eqx.field(static=True)
    negatives: str = eqx.field(static=True)
    competes: bool = eqx.field(static=True, default=True)
    inclusion: bool = eqx.field(static=True, default=False)

    @property
    def corrects(self) -> bool:
        """Whether anything is taken off the negatives' scores."""
        return self.negatives != "none"

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """Corrected scores.

        A correction that depends on the gold alone, rest_g, is divided out of all weights: then the
        negatives' weights are shared by all golds and the gold's carries 1 / rest_g; the loss and
        pi are ratios. Without the gold in Z it moves the loss alone, by the same amount.
        """
        found = correct(scores, law, m, self.gold, self.negatives, self.inclusion)
        if found.by_gold is None or found.by_gold.shape[-1] > 1:
            return found
        if self.negatives == "none":
            return Corrected(found.gold, found.negatives)
        return Corrected(found.gold - found.by_gold[:, 0], found.negatives)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> Integrand:
        """The integral of one input, for golds that share the scores of their negatives."""
        scores = corrected.gold, corrected.negatives
        on_atoms = AtomIntegrand if rule.crowd is None else CrowdIntegrand
        if not law.independent:
            on_atoms = DistinctIntegrand
        kind = on_atoms if rule.atoms else Integrand
        return kind.of(law, scores, share, rule, competes=self.competes)

    def value(
        self, gold: Float[Array, ""], negatives: Float[Array, " m"], present: Bool[Array, " m"]
    ) -> Float[Array, ""]:
        """Log Z minus the gold's score."""
        candidates = jnp.where(present, negatives, -jnp.inf)
        if self.competes:
            candidates = jnp.concatenate([gold[None], candidates])
        return jax.nn.logsumexp(candidates) - gold

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0, and a Z that may be empty."""
        if self.gold != "none":
            check_gold(self.name, problem, sampler)
        if not self.competes and sampler.may_be_empty:
            raise refuse(
                "loss",
                f"{self.name} divides by the negatives alone, and {sampler!r} may have none",
                "a sampler that always has a negative",
                'Use hits="exclude" or nb.without_replacement, or add one that has: '
                "sampler + nb.top(1) with an uncorrected loss.",
            )

    def __repr__(self) -> str:
        return self.name


def with_inclusion(loss: Correcting) -> Correcting:
    """`loss` with E[copies of y among the negatives | gold] in place of m q_y.

    Published code corrects by the one-draw q whatever the draw. Where that is with replacement the
    two are the same. Without, a popular label is drawn less than m q_y times; for `poisson` and
    sums of samplers the expected number exists though no single q does.

    Exact results take an integral for each gold then, O(V) times as much where the population is
    not one-hot. A correction of the gold's own score stays the one-draw q, but for distinct draws
    that may be the gold (`without_replacement` with hits): there it is its chance to be drawn.

    >>> with_inclusion(sampled_softmax)
    sampled_softmax_inclusion

    Raises ValueError for a loss that corrects nothing.

    Source: Horvitz & Thompson (1952).
    """
    if not loss.corrects:
        raise refuse(
            "loss",
            f"{loss.name} corrects no score",
            "a loss with a correction, as nb.sampled_softmax",
            f"Use nb.{loss.name} as it is.",
        )
    return dataclasses.replace(loss, name=f"{loss.name}_inclusion", inclusion=True)


infonce = CandidateSoftmax("infonce", "none", "none")
sampled_softmax = CandidateSoftmax("sampled_softmax", "none", "log_mq")
sampled_softmax_both = CandidateSoftmax("sampled_softmax_both", "log_mq", "log_mq")
ranking_nce = CandidateSoftmax("ranking_nce", "log_q", "log_q")
self_normalized = CandidateSoftmax("self_normalized", "none", "log_mq", competes=False)
