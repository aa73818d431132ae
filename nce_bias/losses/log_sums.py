r"""Sums of log-sums: losses made of several Z.

    loss = h(s_g) + sum_i a_i log( w_i+(s_g) + sum_k w_i(s_g, s_{y_k}) )

with any log-weights and any factors: what reweights the negatives by themselves, clips them,
extrapolates in their number. Any log Z may be (Z^p - 1) / p with p < 1, whose limit at p = 0 it is:
generalised cross entropies. Each log-sum is an integral of the same Laplace functional at other
weights, so expected loss and gradient are exact with every sampler, and so are second moments, from
integrals over a plane (`nce_bias.integrals.log_sums`). A term may also be a mean over the negatives
by weights of their own (`nce_bias.losses.weighted_mean`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import refuse
from nce_bias.integrals import LogSumsMoments, Rule
from nce_bias.losses.additive import check_corrections
from nce_bias.losses.base import Corrected, check_gold, check_one_weight, correct
from nce_bias.losses.functions import Function, with_besides
from nce_bias.losses.log_sum import LogSum
from nce_bias.losses.weighted_mean import WeightedMean
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.samplers import Concatenation, Law, Sampler


class LogSums(eqx.Module):
    """h(s_g) plus a sum of log-sums; exact with every sampler.

    Its scale is its own: read its `cosine` beside its norm. `selection` is gradient + pop.

    Parameters
    ----------
    name : str
        What tables call it.
    terms : sequence of LogSum and WeightedMean
        What is added up.
    gold : callable, optional
        h, of the gold's corrected score.
    corrections : pair of {"none", "log_q", "log_mq"}
        What is taken off the gold's and a negative's score first.
    inclusion : bool
        Whether the negatives' is the expected number of copies, as `with_inclusion` has it.

    Raises
    ------
    ValueError
        No terms, a function that reads what there is not, an unknown correction; when used, a
        log-sum that may be empty, one of fewer draws with draws that are not independent.

    Notes
    -----
    Each gold is taken alone, O(V) for each node and gold. The variance of one log-sum costs as much
    again, that of several O(V) for each *pair* of nodes: by default where that is a matter of
    seconds, NaN elsewhere (`method` says so, ``split=True`` takes it). Where log-weights read the
    gold's score, second moments of draws that are neither independent nor fixed take derivatives by
    JAX, and V x V numbers at a node.

    Examples
    --------
    InfoNCE, written out:

    >>> nce = LogSums("nce", [LogSum(1.0, lambda s: s, gold=lambda s: s)], gold=lambda s: -s)
    >>> problem = Problem([1.0, 0.5, -1.0], [0.7, 0.2, 0.1])
    >>> ours, plain = (exact(problem, iid(uniform(), 2), loss) for loss in (nce, infonce))
    >>> bool(abs(ours.loss - plain.loss) < 1e-12)
    True
    """

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    terms: tuple[LogSum | WeightedMean, ...]
    gold: Function | None
    corrections: tuple[str, str] = eqx.field(static=True)
    inclusion: bool = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        terms: Any,
        gold: Callable[..., Any] | None = None,
        corrections: tuple[str, str] = ("none", "none"),
        inclusion: bool = False,
    ) -> None:
        kinds = LogSum, WeightedMean
        terms = (terms,) if isinstance(terms, kinds) else tuple(terms)
        if not terms or not all(isinstance(term, kinds) for term in terms):
            raise refuse(
                f"loss {name}",
                f"got the terms {terms!r}",
                "one nb.LogSum or several, or nb.WeightedMean",
                "For example [nb.LogSum(1.0, lambda s: s, gold=lambda s: s)].",
            )
        self.name, self.terms = name, terms
        self.gold = None if gold is None else Function.of(name, gold, "gold")
        self.corrections, self.inclusion = check_corrections(name, corrections), inclusion

    @property
    def corrects(self) -> bool:
        """Whether anything is taken off the negatives' scores."""
        return self.corrections[1] != "none"

    @property
    def _functions(self) -> list[Function]:
        found = [self.gold, *(part for term in self.terms for part in (term.gold, term.negative))]
        found += [term.weight for term in self.terms if isinstance(term, WeightedMean)]
        return [function for function in found if function is not None]

    def portable(self, sampler: Sampler) -> bool:
        """Whether NumPy has its second moments: not where they take a derivative by JAX."""
        pairwise = any("gold" in term.negative.names for term in self.terms)
        return not pairwise or sampler.separable

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """Corrected scores, and what the functions read besides; each gold is asked alone."""
        if any(term.partial for term in self.terms) and not law.independent:
            raise refuse(
                "loss",
                f"{self.name} has log-sums of fewer draws, and "
                f"{type(law).__name__.removesuffix('Law')} negatives are not independent draws",
                "nb.iid",
                "Draw by nb.iid, or take a loss without `draws` and `leaves_one_out`.",
            )
        found = correct(scores, law, m, *self.corrections, self.inclusion)
        return with_besides(found, law, m, self._functions, alone=True, by_part=self._by_part)

    @property
    def _by_part(self) -> bool:
        """Whether a log-sum is of some parts of `a + b` alone."""
        return any(term.part is not None for term in self.terms)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> LogSumsMoments:
        """The integrals of one input and gold."""
        check_one_weight(self.name, law)
        besides = corrected.besides
        assert besides is not None
        zero = namespace(share, corrected.gold).zeros_like(corrected.gold)
        rest = (zero, zero)
        if self.gold is not None:
            rest = self.gold.curve(corrected.gold, besides)[:2]
        terms = tuple(term.of(corrected, besides, law, share) for term in self.terms)
        return LogSumsMoments(share=share, law=law, terms=terms, rest=rest, rule=rule)

    def value(
        self,
        gold: Float[Array, ""],
        negatives: Float[Array, " m"],
        present: Bool[Array, " m"],
        **read: Any,
    ) -> Float[Array, ""]:
        """On one candidate set."""
        given = read | {"gold": gold, "negative": negatives}
        total = sum((term.value(given, present) for term in self.terms), jnp.zeros_like(gold))
        return total if self.gold is None else total + self.gold(given)

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0, and a log-sum that may be empty."""
        if self.corrections[0] != "none":
            check_gold(self.name, problem, sampler)
        for term in self.terms:
            drawn = self._drawn_by(sampler, term)
            if term.gold is None and drawn.may_be_empty:
                raise refuse(
                    "loss",
                    f"{self.name} has a log-sum of the negatives alone, and {drawn!r} may have "
                    "none",
                    "a sampler that always has a negative",
                    'Use hits="exclude" or nb.without_replacement.',
                )

    def _drawn_by(self, sampler: Sampler, term: LogSum | WeightedMean) -> Sampler:
        """What draws the negatives of a log-sum; ValueError where there is no such part."""
        if term.part is None:
            return sampler
        parts = sampler.parts if isinstance(sampler, Concatenation) else ()
        if term.part >= len(parts):
            has = f"{len(parts)} parts" if parts else "no parts"
            raise refuse(
                "loss",
                f"{self.name} has a log-sum of part {term.part}, and {sampler!r} has {has}",
                "a sum of samplers, parts numbered from 0",
                "For example nb.listed('positives', m=5) + nb.iid(nb.uniform(), 64).",
            )
        return parts[term.part]

    def __repr__(self) -> str:
        return self.name
