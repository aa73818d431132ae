r"""The m best of a pool that another sampler draws: hard negatives at the price of a pool.

Dynamic negative sampling draws M labels uniformly and trains on the best of them; DNS(M, N) on the
best few; two-tower libraries keep the hardest of an in-batch softmax. All are ``best_of(pool, m)``:
a set of the pool, sorted by a key, the first m of it. The key is the score unless `by` says
otherwise; it is not differentiated.

**Exact** where the pool is

- independent draws, `iid` with any policy for hits, or the independent rows of `in_batch`:
  `BestOfDrawsLaw`, one integral over a threshold;
- distinct labels that are all alike, ``without_replacement(uniform(), M)``, or rows of an epoch,
  ``in_batch(size, counts=...)``: `BestOfDistinctLaw`, sums of products over a prefix;
- distinct labels from any q, ``without_replacement(q, M)`` with any policy for hits:
  `BestOfClocksLaw`, the same sums within an integral over the last ring of a clock.

By `monte_carlo` with every pool.

**Ties.** Labels with equal keys are taken in the order of their index, exactly and when sampled;
copies of one label are alike. Code that breaks ties at random is another law where keys tie often.

**Hits.** Those of the pool. "exclude": the gold is not drawn. "keep": it may be drawn and chosen,
and the gold is then a candidate twice. "mask": a draw that equals the gold comes last, and takes a
place, where it weighs nothing, only if fewer than m others are there.

**Corrections** take off the pool's log q, since code that corrects does so before it selects: a
corrected score is the key there too (``by=lambda scores, popularity: ...``). It is no longer what
corrects the choice: that is expected copies, `with_inclusion`.

**Limits.** ``best_of(pool, M)`` is the pool, and is returned as such. A pool of the whole
vocabulary, distinct, is `top`.

Source: Zhang et al. (2013), dynamic negative sampling; Shi et al. (2023), DNS(M, N); TensorFlow
Recommenders, ``tasks.Retrieval(num_hard_negatives=...)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from nce_bias._checks import NoExactMethod, check_count, check_kind, is_traced, refuse
from nce_bias._reads import bind, reads_gold
from nce_bias.numerics.arrays import Array, each, namespace
from nce_bias.problem import Problem
from nce_bias.proposals import Uniform, describe
from nce_bias.samplers._best_of_clocks import BestOfClocksLaw, seconds_of_clocks
from nce_bias.samplers._best_of_distinct import BestOfDistinctLaw
from nce_bias.samplers._best_of_draws import BestOfDrawsLaw, gauss_nodes
from nce_bias.samplers._distinct_hits import DistinctHits, DistinctHitsLaw
from nce_bias.samplers._epoch import EpochLaw
from nce_bias.samplers._from_pool import FromPool, Message
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers._in_batch import InBatch, are_independent
from nce_bias.samplers._per_label import GoldItself, TheScore, function_of
from nce_bias.samplers._selected import SelectedLaw
from nce_bias.samplers._without_replacement import (
    MOST_SECONDS,
    WithoutReplacement,
    WithoutReplacementLaw,
)
from nce_bias.samplers.base import Law, Sampler, check_of_today

#: What the rule over the threshold may miss F by.
TOLERANCE = 1e-16


class BestOf(FromPool):
    """See `best_of`. `marks` is there where the gold has no place, or a place of its own."""

    message: ClassVar[Message] = Message(
        "by",
        "returned NaN for input {input}",
        "numbers, the largest the best; -inf for a label that comes last",
        "Guard its logarithms and divisions; nothing was computed.",
    )

    pool: Sampler
    m: int = eqx.field(static=True)
    by: Callable[..., Any]
    marks: Callable[..., Any] | None
    nodes: int = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        key, pool = self.numbers(scores, popularity), self.pool.law(scores, popularity)
        gold = None if self.marks is None else self.marks(scores, popularity)
        if isinstance(pool, IidLaw):
            return BestOfDrawsLaw(pool, key, self.m, gold, int(self.pool.m), self.nodes)
        if gold is not None and _alike(self.pool):
            members, count = _members(pool, gold)
            return BestOfDistinctLaw(pool, key, self.m, members, int(self.pool.m), count)
        if _clocked(self.pool):
            assert isinstance(pool, WithoutReplacementLaw)
            return BestOfClocksLaw(pool, key, self.m, gold, not isinstance(pool, DistinctHitsLaw))
        return SelectedLaw(pool, key, self.m)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        if not (_alike(self.pool) or are_independent(self.pool) or _clocked(self.pool)):
            raise NoExactMethod(
                f"{self!r} has no exact moments: the pool is neither independent draws (nb.iid, "
                "nb.in_batch of independent rows) nor distinct labels (nb.without_replacement, "
                "rows of an epoch that do not repeat). Use "
                "nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000)."
            )
        if _alike(self.pool):
            return self
        if _clocked(self.pool):
            return self._with_clocks(problem, tolerance)
        longest = _longest(self.pool, problem)
        nodes = gauss_nodes(int(self.pool.m), longest, max(TOLERANCE, tolerance * 1e-3))
        return dataclasses.replace(self, nodes=nodes)

    def _with_clocks(self, problem: Problem, tolerance: float) -> BestOf:
        """With as many nodes in tau as the widest input needs."""
        pool: Any = self.pool
        plain = WithoutReplacement(proposal=pool.proposal, m=pool.m).measured(problem, tolerance)
        pool = dataclasses.replace(pool, nodes=plain.nodes, tolerance=plain.tolerance)
        hours = seconds_of_clocks(problem.labels, self.m, plain.nodes) / 3600
        if not is_traced(problem, self) and hours > MOST_SECONDS / 3600:
            raise NoExactMethod(
                f"{self!r} with {problem.labels} labels would take at least {hours:.1f} hours per "
                "input and gold exactly. Use nb.monte_carlo(problem, sampler, loss, key=key, "
                "draws=100_000), a smaller m, or a pool of nb.iid."
            )
        return dataclasses.replace(self, pool=pool)

    @property
    def rows(self) -> int | None:
        return self.pool.rows

    @property
    def costly(self) -> bool:
        """An integral for each gold, where it has no place or one of its own; clocks anyway."""
        return self.pool.costly or self.marks is not None or _clocked(self.pool)

    @property
    def portable(self) -> bool:
        return are_independent(self.pool)

    def slots(self, labels: int) -> int:
        return self.m

    def wrong(self, rows: np.ndarray) -> np.ndarray:
        return np.isnan(rows)

    def __repr__(self) -> str:
        by = "" if isinstance(self.by, TheScore) else f", by={describe(self.by)}"
        return f"best_of({self.pool!r}, m={self.m}{by})"


def _alike(pool: Sampler) -> bool:
    """Whether the pool is distinct labels, every set of them with the same chance."""
    if isinstance(pool, InBatch):
        return pool.counts is not None and not pool.repeats and pool.views == 1
    if isinstance(pool, DistinctHits):  # the gold is one of the labels
        return False
    return isinstance(pool, WithoutReplacement) and isinstance(pool.proposal, Uniform)


def _clocked(pool: Sampler) -> bool:
    """Whether the pool is distinct labels that ring first; not those with corrections by tries."""
    return type(pool) in (WithoutReplacement, DistinctHits)


def _members(pool: Law, gold: Array) -> tuple[Array, int]:
    """Labels that may be in a pool of distinct ones, and how many there are."""
    if isinstance(pool, EpochLaw):
        return (pool.occurs > 0) & ~gold, pool.total - 1
    return ~gold, gold.shape[-1] - 1


def _longest(pool: Sampler, problem: Problem) -> float:
    """The longest interval of any input and gold; 1 where it is not known."""
    if is_traced(problem, pool) or reads_gold(pool, problem.sides):
        return 1.0

    def of_input(inputs):
        scores, seen = inputs
        law: Any = bind(pool, seen).law(scores, problem.popularity)
        xp, q = namespace(scores, law.q), law.q
        if law.rest is None:
            return xp.max(q)
        top = xp.max(q) / (1 - xp.max(xp.where(law.rest.top, 0.0, q)))
        return xp.maximum(xp.max(law.rest.q), top)

    return min(
        1.0, float(np.max(np.asarray(each(of_input, (problem.score_rows, problem.seen_rows)))))
    )


def best_of(pool: Any, m: int, by: Any = None) -> Sampler:
    """The m best of what `pool` draws.

    Parameters
    ----------
    pool : Sampler
        Draws M >= m labels.
    m : int
        How many of them are negatives.
    by : callable or str, optional
        The key: a function of what its parameters' names say (`scores`, `popularity`, `gold`,
        `input`, sides), one number for each label, the largest the best; or the name of a side.
        Default: the scores. Ties go to the lower index.

    Returns
    -------
    Sampler
        `pool` itself where M = m.

    Raises
    ------
    ValueError
        m < 1, a pool smaller than m; when used, a key that is NaN or of another shape.
    NoExactMethod
        By `exact`, of a pool that is neither independent draws nor distinct labels.

    Examples
    --------
    >>> problem = Problem([1.0, 0.5, 0.0, -1.0], [0.1, 0.2, 0.3, 0.4])
    >>> round(float(exact(problem, best_of(iid(uniform(), 8), 2)).loss), 6)
    1.982793
    >>> stale = Problem([1.0, 0.5, 0.0], [0.1, 0.2, 0.7], sides={"stale": [0.0, 0.3, 0.1]})
    >>> best_of(without_replacement(uniform(), 2), 1, by="stale")
    best_of(without_replacement(uniform, m=2), m=1, by=stale)
    >>> exact(stale, best_of(without_replacement(uniform(), 2), 1, by="stale")).status
    'ok'
    """
    check_kind("pool", pool, Sampler, "nb.best_of(nb.iid(nb.uniform(), m=32), 4)")
    check_of_today("pool", pool)
    m = check_count("m", m)
    if pool.m < m:
        raise refuse(
            "m",
            f"got {m} of a pool of {pool.m}",
            "m at most the size of the pool",
            "Draw a larger pool, or fewer of it.",
        )
    key = function_of(
        "by", by, "by='stale', or by=lambda scores, popularity: scores - jnp.log(popularity)"
    )
    if pool.m == m:
        return pool
    never_drawn = _alike(pool) or type(pool) is WithoutReplacement
    marks = GoldItself() if never_drawn or getattr(pool, "hits", "keep") != "keep" else None
    nodes = max(1, -(-int(pool.m) // 2))
    return BestOf(pool=pool, m=m, by=key, marks=marks, nodes=nodes)
