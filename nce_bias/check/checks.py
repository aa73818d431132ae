"""The checks: what is claimed on one side, what was counted on the other.

One small class a check. `compare` gives a statistic and a p-value, which is judged when all are
known, or where nothing is random whether all is well; `remedy` says what to do where it is not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np

from nce_bias.check import statistics
from nce_bias.check.claims import Claims
from nce_bias.check.drawing import Counts
from nce_bias.check.report import NOT_COMPARED, Row


class Check(ABC):
    """A comparison for one gold of one input; `needs` names what has to be claimed for it."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    failure: ClassVar[str] = "failed"

    def __init__(self, said: Claims, seen: Counts) -> None:
        self.said, self.seen = said, seen

    @property
    def missing(self) -> str:
        """Why there is nothing to compare; empty where there is."""
        return self.said.missing.get(self.needs, "")

    @abstractmethod
    def compare(self) -> tuple[float, float | bool]: ...

    @abstractmethod
    def remedy(self) -> str: ...

    @cached_property
    def outcome(self) -> tuple[float, float | bool]:
        """`compare`, where there is something to compare."""
        return (math.nan, True) if self.missing else self.compare()

    @property
    def p_value(self) -> float:
        """NaN where nothing is random, or nothing was compared."""
        return math.nan if isinstance(self.outcome[1], bool) else self.outcome[1]

    def row(self, level: float) -> Row:
        """A line of the report; a p-value below `level` fails."""
        statistic, found = self.outcome
        fine = found if isinstance(found, bool) else found >= level
        verdict = NOT_COMPARED if self.missing else "ok" if fine else self.failure
        remedy = self.missing if fine else self.remedy()
        at = self.said.input, self.said.gold
        return Row(self.name, *at, statistic, self.p_value, verdict, remedy)

    def differs(self, label: int, observed: float, expected: float, what: str) -> str:
        """How one label's count is off."""
        return (
            f"label {label} was drawn {observed:.0f} times in {self.seen.sets} sets where {what} "
            f"gives {expected:.6g}."
        )


class Normalised(Check):
    """q sums to 1, and what the gold leaves of it to the mass that it is said to leave."""

    name, needs = "q", "q"

    @cached_property
    def sums(self) -> tuple[float, float]:
        """The sum of q, and that of what the gold leaves over `left`."""
        return self.said.q.sum(), np.delete(self.said.q, self.said.gold).sum() / self.said.left

    def compare(self) -> tuple[float, float | bool]:
        off = max(abs(self.sums[0] - 1), self.sums[1] - 1)
        return float(off), bool(off <= math.sqrt(self.said.eps))  # False for NaN

    def remedy(self) -> str:
        return (
            f"q sums to {self.sums[0]:.6g}, and to {self.sums[1]:.6g} of what the gold leaves. "
            "Normalise log_q by jax.nn.log_softmax: every correction by it is off."
        )


class Support(Check):
    """No label that competes with the gold has q = 0."""

    name, needs, failure = "support", "q", "hole"

    @cached_property
    def holes(self) -> np.ndarray:
        return np.flatnonzero(self.said.competes & (self.said.q == 0))

    def compare(self) -> tuple[float, float | bool]:
        return float(len(self.holes)), not len(self.holes)

    def remedy(self) -> str:
        listed = ", ".join(map(str, self.holes[:8])) + (", ..." if len(self.holes) > 8 else "")
        return (
            f"{len(self.holes)} labels that compete with the gold have q = 0: {listed}. No number "
            "of negatives makes up for them: mix in another proposal, "
            "nb.mixture(q, nb.uniform(), share=0.99)."
        )


class Frequencies(Check):
    """Single draws against q, by chi-square: all of a set where independent, else the first."""

    name, needs = "frequencies", "q"

    @property
    def missing(self) -> str:
        if self.said.selects:
            return "a set is chosen among draws from q, none of its slots is one"
        known = self.seen.ordered or self.said.independent
        return super().missing or ("" if known else "the order of a draw of your own is not known")

    @cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts and probabilities `[V]`; the gold and dropped draws share a cell."""
        said, seen, gold = self.said, self.seen, self.said.gold
        draws = seen.sets * seen.slots if said.independent else seen.sets
        observed = (seen.copies if said.independent else seen.first).copy()
        observed[gold] += draws - observed.sum()
        chance = said.q / said.left
        chance[gold] = 0.0
        rest = 1.0 - chance.sum()
        if rest > math.sqrt(said.eps):
            chance[gold] = rest
        elif said.left == 1.0:  # a small q is known better than 1 minus the others
            chance[gold] = said.q[gold]
        return observed, chance

    def compare(self) -> tuple[float, float | bool]:
        return statistics.frequencies(*self.cells)

    def remedy(self) -> str:
        observed, chance = self.cells
        expected = chance / chance.sum() * observed.sum()
        deviations = np.abs(observed - expected) / np.sqrt(np.maximum(expected, 1e-12))
        worst = int(np.argmax(deviations))
        return self.differs(worst, observed[worst], expected[worst], "q") + (
            " Compare the power, temperature and table behind q with those behind the draw."
        )


class Copies(Check):
    """How often each label was drawn in all sets, by the binomial law of its expected copies."""

    name, needs = "copies", "copies"

    @cached_property
    def law(self) -> statistics.Binomial:
        distinct = self.said.pairs == 0
        trials = self.seen.sets * (1 if distinct else self.seen.slots)
        return statistics.Binomial(self.said.copies * self.seen.sets, trials)

    @cached_property
    def p_values(self) -> np.ndarray:
        return statistics.copies(self.seen.copies, self.law, self.said.eps)

    def compare(self) -> tuple[float, float | bool]:
        worst = int(np.argmin(self.p_values))
        expected, observed = float(self.law.mean[worst]), float(self.seen.copies[worst])
        spread = math.sqrt(max(expected * (1 - expected / self.law.trials), self.said.eps))
        p_value = min(1.0, float(self.p_values[worst]) * len(self.p_values))
        return (observed - expected) / spread, p_value

    def remedy(self) -> str:
        worst = int(np.argmin(self.p_values))
        observed, expected = self.seen.copies[worst], self.law.mean[worst]
        return self.differs(worst, observed, expected, "its inclusion") + (
            " The law of the draw is not the sampler's: check q, m and what becomes of hits."
        )


class Coincidences(Check):
    """Pairs of equal labels in a set: they tell iid from distinct where frequencies agree."""

    name, needs = "coincidences", "copies"

    def compare(self) -> tuple[float, float | bool]:
        equal, expected = self.seen.equal_pairs, self.said.pairs
        return float(equal.mean() - expected), statistics.coincidences(equal, expected)

    def remedy(self) -> str:
        expected = self.said.pairs * self.seen.sets
        wrong = (
            "the draws of a set are not independent as claimed: if labels are drawn distinct, "
            "claim nb.without_replacement."
            if expected
            else "distinct labels are claimed: draw without replacement, or claim nb.iid."
        )
        equal = self.seen.equal_pairs.sum()
        return f"{equal:.0f} pairs of equal labels where {expected:.6g} are expected; {wrong}"


class NoGold(Check):
    """The gold is not among its negatives, unless hits are kept."""

    name = "gold"

    def compare(self) -> tuple[float, float | bool]:
        times = float(self.seen.copies[self.said.gold])
        return times, self.said.keeps or not times

    def remedy(self) -> str:
        return (
            f"the gold was drawn {self.outcome[0]:.0f} times: take it out before drawing, "
            "mark it not present, or claim hits='keep'."
        )


CHECKS: tuple[type[Check], ...] = (Normalised, Support, Frequencies, Copies, Coincidences, NoGold)


def detectable(checks: list[Check], level: float) -> float:
    """The largest over golds of the error found in the label drawn most; NaN if nothing is random.

    `level` is that of one comparison of `Copies` for one label.
    """
    laws = [check.law for check in checks if isinstance(check, Copies) and not check.missing]
    errors = [statistics.detectable(law, level) for law in laws]
    return max((error for error in errors if not math.isnan(error)), default=math.nan)
