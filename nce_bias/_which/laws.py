"""Laws of samplers against recorded sets: one comparison for each gold that is frequent enough."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._reads import bind
from nce_bias._which.recorded import Recorded
from nce_bias.check import statistics
from nce_bias.check.drawing import Counts, count
from nce_bias.numerics.arrays import is_numpy, to_numpy
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Expected pairs of equal labels below this are rounding of laws of distinct labels.
ROUNDED = 1e-12
#: Pairs of an input and a gold that are looked at, the most frequent ones.
MOST_GOLDS = 16


class Expected(NamedTuple):
    """Of one input and gold: copies `[V]` in a set, pairs of equal labels; sets recorded."""

    copies: np.ndarray
    pairs: float
    sets: int


class LawVerdict(NamedTuple):
    """The least p-value over all comparisons, Bonferroni's factor in it, and what it was."""

    p_value: float
    rejected: bool
    reason: str


class Laws:
    """What is recorded, counted once; each sampler compared once."""

    def __init__(self, problem: Problem, seen: Recorded, level: float) -> None:
        self.problem, self.level = problem, level
        self._known: list[tuple[Sampler, tuple[Expected, ...] | str]] = []
        pairs = collections.Counter(zip(seen.inputs.tolist(), seen.golds.tolist(), strict=True))
        self.counted: dict[tuple[int, int], Counts] = {}
        for (row, gold), _ in pairs.most_common(MOST_GOLDS):
            here = (seen.inputs == row) & (seen.golds == gold)
            self.counted[row, gold] = count(seen.labels[here], problem.labels, ordered=False)

    def said(self, sampler: Sampler) -> tuple[Expected, ...] | str:
        """What the sampler expects of each input and gold, or why that is not known."""
        for known, said in self._known:  # compared by value: a repr may hide arrays
            if bool(eqx.tree_equal(known, sampler)):
                return said
        said = self._asked(sampler)
        self._known.append((sampler, said))
        return said

    def _asked(self, sampler: Sampler) -> tuple[Expected, ...] | str:
        try:
            return tuple(
                _expected(sampler, self.problem, at, counts.sets)
                for at, counts in self.counted.items()
            )
        except (NotImplementedError, ValueError) as error:  # NoExactMethod is one
            return str(error)

    def verdict(self, sampler: Sampler) -> LawVerdict:
        """Whether the recorded sets may come from the sampler."""
        said = self.said(sampler)
        if isinstance(said, str):
            return LawVerdict(np.nan, False, f"law not compared: {said}")
        least, reason = 1.0, ""
        for (at, counts), expected in zip(self.counted.items(), said, strict=True):
            for p_value, why in _compare(counts, expected):
                if p_value < least:
                    least, reason = p_value, f"input {at[0]}, gold {at[1]}: {why}"
        comparisons = 2 * len(self.counted)
        least = min(1.0, least * comparisons)
        return LawVerdict(least, least < self.level, reason if least < self.level else "")


def _compare(counts: Counts, expected: Expected) -> list[tuple[float, str]]:
    """Copies of each label, and pairs of equal ones."""
    eps = float(np.finfo(float).eps)
    trials = counts.sets * (1 if expected.pairs == 0 else counts.slots)
    law = statistics.Binomial(np.minimum(expected.copies * counts.sets, trials), trials)
    each = statistics.copies(counts.copies, law, eps)
    worst = int(np.argmin(each))
    copies = min(1.0, float(each[worst]) * len(each))
    pairs = statistics.coincidences(counts.equal_pairs, expected.pairs)
    return [
        (
            copies,
            f"label {worst} was drawn {counts.copies[worst]:.0f} times in {counts.sets} sets where "
            f"{law.mean[worst]:.4g} are expected",
        ),
        (
            pairs,
            f"{counts.equal_pairs.sum():.0f} pairs of equal labels in {counts.sets} sets where "
            f"{expected.pairs * counts.sets:.4g} are expected",
        ),
    ]


def _expected(sampler: Sampler, problem: Problem, at: tuple[int, int], sets: int) -> Expected:
    row, gold = at
    here: Any = to_numpy(problem) if sampler.portable else problem
    own = to_numpy(sampler) if sampler.portable else sampler
    scores = here.score_rows[row]
    seen = jax.tree.map(lambda leaf: leaf[row], here.seen_rows)
    with np.errstate(all="ignore"):
        sized = bind(own.sized(here, TOLERANCE), seen, gold)
        law = sized.law(scores, here.popularity).prepared()
        xp: Any = np if is_numpy(scores) else jnp
        alone = xp.where(xp.arange(len(scores)) == gold, 1.0, 0.0).astype(scores.dtype)
        zero = xp.zeros_like(scores)
        copies = np.asarray(law.counts(alone), float).clip(0.0)
        pairs = float(np.asarray(law.coincidences(zero, zero + 1))[gold]) / 2
    return Expected(copies, pairs if pairs > ROUNDED else 0.0, sets)
