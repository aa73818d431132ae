r"""Each wrong label by itself: a set of random size, m on average."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, check_distinct
from nce_bias.numerics.arrays import Array, each, namespace
from nce_bias.numerics.leave_one_out import log_without_each
from nce_bias.problem import Problem
from nce_bias.proposals import (
    Proposal,
    check_enough,
    check_proposal,
    describe,
    log_proposal,
    reads_scores,
)
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler


class PoissonLaw(Law):
    r"""Independent inclusions: log F_g = sum_y log(1 - pi_gy + pi_gy e^{-z_y}), pi_gg = 0.

    The inclusion probabilities depend on the gold, so log F of all golds costs O(V^2).
    """

    log_q: Float[Array, " V"]
    chances: Float[Array, "V V"]

    def __init__(self, log_q: Float[Array, " V"], m: int) -> None:
        xp, golds = namespace(log_q), np.arange(log_q.shape[-1])
        self.log_q = log_q
        self.chances = each(
            lambda gold: chances(xp.where(golds == gold, -xp.inf, log_q), m), xp.asarray(golds)
        )

    @property
    def labels(self) -> int:
        return self.log_q.shape[-1]

    @property
    def size(self) -> int:
        return self.labels**2

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        total, _ = self._logs(exposures)
        return namespace(total).sum(total, axis=-1)

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        """-dlog F_g / dz_y = pi_gy e^{-z_y} / (1 - pi_gy + pi_gy e^{-z_y})."""
        total, kept = self._logs(exposures)
        xp = namespace(total)
        chance = xp.exp(kept - total)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return xp.sum(share[..., None] * chance, axis=-2)

        return xp.sum(total, axis=-1), copies

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        total, kept = self._logs(exposures)
        return namespace(total).exp(kept - total)[..., golds, :]

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        (total, kept), xp = self._logs(exposures), namespace(exposures)
        return xp.sum(xp.exp(kept - total) * values[..., None, :], axis=-1)

    def _logs(
        self, exposures: Float[Array, "*N V"]
    ) -> tuple[Float[Array, "*N V V"], Float[Array, "*N V V"]]:
        """log(1 - pi_gy + pi_gy e^{-z_y}) and log(pi_gy e^{-z_y}) of golds g and labels y.

        The former by log1p where a label hardly matters, by logaddexp where it does.
        """
        z, pi = exposures[..., None, :], self.chances
        xp = namespace(exposures, pi)
        lost = pi * -xp.expm1(-z)
        little = xp.log1p(-xp.minimum(lost, 0.5))
        kept = xp.log(pi) - z
        much = xp.logaddexp(xp.log1p(-pi), kept)
        return xp.where(lost < 0.5, little, much), kept

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """Every label has a slot of its own; it is present or not."""
        return jnp.arange(self.labels), jax.random.bernoulli(key, self.chances[gold])

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.log_q, log_without_each(self.log_q)


def chances(log_q: Float[Array, " V"], m: int) -> Float[Array, " V"]:
    """min(1, c q_y), with the c for which they sum to m.

    In order of decreasing q, the first k are at 1 and the others share m - k in proportion to q,
    for the first k at which none of those exceeds 1.
    """
    xp = namespace(log_q)
    q = xp.exp(log_q - xp.max(log_q))
    ranked = -xp.sort(-q)
    tail = xp.cumsum(ranked[::-1])[::-1]
    left = m - xp.arange(q.shape[-1], dtype=q.dtype)
    at_one = xp.argmax(left * ranked <= tail)
    c = left[at_one] / xp.where(tail[at_one] > 0, tail[at_one], 1.0)
    return xp.where((q > 0) & (q > ranked[at_one]), 1.0, xp.minimum(1.0, c * q))


class Poisson(Sampler):
    """See `poisson`."""

    proposal: Proposal
    m: int = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> PoissonLaw:
        return PoissonLaw(log_proposal(self.proposal, scores, popularity), self.m)

    def slots(self, labels: int) -> int:
        return labels

    @property
    def may_be_empty(self) -> bool:
        return True

    @property
    def portable(self) -> bool:
        return True

    @property
    def reads_scores(self) -> bool:
        return reads_scores(self.proposal)

    def check(self, problem: Problem) -> None:
        check_distinct(repr(self), self.m, problem.labels)
        check_proposal(self.proposal, problem, removed=True)
        check_enough(repr(self), self.proposal, self.m, problem)

    def __repr__(self) -> str:
        return f"poisson({describe(self.proposal)}, m={self.m})"


def poisson(proposal: Proposal, m: int) -> Poisson:
    """Each wrong label y is a negative or not, independently, with chance min(1, c q_y).

    c is such that m are expected, for each gold. The set may be empty: losses without the gold in
    their denominator do not exist then. Corrections use the one-draw q, or the chances themselves
    by `with_inclusion`. Raises ValueError for m < 1 and, when used, for m > V - 1 or fewer than m
    labels with q > 0.

    Source: Poisson sampling, Hájek (1964).
    """
    return Poisson(proposal=proposal, m=check_count("m", m))
