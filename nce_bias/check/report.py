"""What `check_sampler` reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

NOT_COMPARED = "not compared"
#: Verdicts that leave nothing to do.
FINE = ("ok", NOT_COMPARED)


class Row(NamedTuple):
    """One check of one gold of one input."""

    name: str
    input: int
    gold: int
    statistic: float
    p_value: float
    verdict: str
    remedy: str


@dataclass(frozen=True, repr=False)
class SamplerCheck:
    """What a sampler says against what it draws.

    Attributes
    ----------
    sampler : str
        In words.
    rows : tuple
        One for each check; `to_frame` shows them.
    sets, slots : int
        Sets drawn for each gold, labels in a set at most.
    level : float
        The chance that a right sampler fails any of the statistical checks.
    detectable : float
        The relative error in the probability of the label drawn most that is found with a chance of
        90 %, for the gold of which that is largest; NaN where nothing is random.
    """

    sampler: str
    rows: tuple[Row, ...]
    sets: int
    slots: int
    level: float
    detectable: float

    @property
    def ok(self) -> bool:
        """Whether no check failed and no label is out of reach."""
        return not self._wrong()

    @property
    def status(self) -> str:
        """Either "ok" or the checks that failed, where and what to do."""
        wrong = self._wrong()
        if not wrong:
            return "ok"
        return f"{len(wrong)} of {len(self.rows)} checks failed: {'; '.join(wrong)}"

    def _wrong(self) -> list[str]:
        """Each failed check: where, and what to do."""
        return [
            f"{row.name} of input {row.input}, gold {row.gold}: {row.remedy}"
            for row in self.rows
            if row.verdict not in FINE
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row per check: name, input, gold, statistic, p_value, verdict, remedy."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def __repr__(self) -> str:
        inputs = len({row.input for row in self.rows})
        golds = len({(row.input, row.gold) for row in self.rows})
        lines = [
            f"SamplerCheck of {self.sampler}: {'ok' if self.ok else 'NOT OK'}",
            f"  {self.sets} sets of {self.slots} for each of {golds} golds of {inputs} inputs, "
            f"level {self.level:g} for all comparisons together",
        ]
        if not math.isnan(self.detectable):
            lines.append(
                f"  finds an error of {self.detectable:.2g} of its probability in the label drawn "
                "most, with a chance of 90 %"
            )
        for name in dict.fromkeys(row.name for row in self.rows):
            lines.append("  " + _summary(name, [row for row in self.rows if row.name == name]))
        return "\n".join([*lines, *(f"  {line}" for line in self._wrong())])


def _summary(name: str, rows: list[Row]) -> str:
    """How many of one kind came out how, and the least p-value."""
    verdicts = [row.verdict for row in rows]
    counted = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
    least = min((row.p_value for row in rows if not math.isnan(row.p_value)), default=math.nan)
    shown = "" if math.isnan(least) else f", least p {least:.2g}"
    return f"{name:<14}{counted}{shown}"
