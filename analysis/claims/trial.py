"""A claim on trial: what was said, numbers under named conditions, and the rule of the verdict.

A claim is read as a relation between a number and what it should be: equal, at most, at least. The
relation is asked under several named conditions, and each `Reading` says whether it held. A
condition is the claim's *own*, one that it states or plainly covers, or lies *beyond* it: what
public code does, what a reader would take it to mean. Of its own conditions

    all held      confirmed
    none held     refuted
    some held     true under a condition,

and the table names every condition under which it held and failed, those beyond with them. Nothing
else decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VERDICTS = ("confirmed", "refuted", "true under a condition")


@dataclass(frozen=True)
class Claim:
    """What was said, by whom, and how far it was read; all in words."""

    #: A few words, over a panel.
    title: str
    paper: str
    year: int
    #: The claim, in words of ours.
    said: str
    #: How far the source was read.
    read: str
    #: What the number is, and what it is held against.
    measured: str
    #: Written before the numbers.
    prediction: str
    #: What somebody who trains a model should take from it.
    lesson: str


@dataclass(frozen=True)
class Reading:
    """One number under one condition, and what it should be.

    `slack` is how far a number may be off and still count, for what is computed to a tolerance;
    `beyond` that the condition is not the claim's own.
    """

    condition: str
    number: float
    relation: str
    expected: float
    slack: float = 0.0
    beyond: bool = False

    @property
    def holds(self) -> bool:
        """Whether the relation is met."""
        off = self.number - self.expected
        met = {"=": abs(off) <= self.slack, "<=": off <= self.slack, ">=": off >= -self.slack}
        return bool(met[self.relation])


@dataclass(frozen=True)
class Evidence:
    """Readings, and the rows of a table behind them that a panel draws."""

    readings: Sequence[Reading]
    details: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Trial:
    """A claim, and how it is weighed; `weigh(quick)` gives fewer points where `quick` is true.

    `slow` says that seconds go into compiling; quick runs leave it out.
    """

    claim: Claim
    weigh: Callable[[bool], Evidence]
    slow: bool = False


def verdict(readings: Sequence[Reading]) -> str:
    """By the rule above.

    >>> verdict([Reading("a", 1.0, "<=", 2.0), Reading("b", 3.0, "<=", 2.0)])
    'true under a condition'
    """
    held = [reading.holds for reading in readings if not reading.beyond]
    if not held:
        raise ValueError(
            "readings: got none of the claim's own; expected at least one. Leave beyond=True out "
            "where the claim states or covers the condition."
        )
    if all(held):
        return "confirmed"
    return "true under a condition" if any(held) else "refuted"


def telling(readings: Sequence[Reading]) -> Reading:
    """The first that fails, its own conditions before those beyond; the first if none does.

    Its number is what a table of verdicts shows.
    """
    ordered = sorted(readings, key=lambda reading: reading.beyond)
    return next((reading for reading in ordered if not reading.holds), ordered[0])


def row(name: str, claim: Claim, readings: Sequence[Reading]) -> dict[str, Any]:
    """The claim's row in the table of verdicts."""
    shown = telling(readings)
    return {
        "claim": name,
        "title": claim.title,
        "paper": claim.paper,
        "year": claim.year,
        "verdict": verdict(readings),
        "condition": "; ".join(r.condition for r in readings if r.holds),
        "fails": "; ".join(r.condition for r in readings if not r.holds),
        "shown": shown.condition,
        "number": shown.number,
        "relation": shown.relation,
        "expected": shown.expected,
    }


def reading_rows(name: str, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """All of a claim's readings, as rows."""
    return [
        {
            "claim": name,
            "condition": r.condition,
            "number": r.number,
            "relation": r.relation,
            "expected": r.expected,
            "holds": r.holds,
            "beyond": r.beyond,
        }
        for r in readings
    ]
