"""What `which` finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from nce_bias._which.gradients import GradientVerdict
from nce_bias._which.laws import Expected, LawVerdict
from nce_bias._which.recorded import Recorded
from nce_bias.presets import Preset

if TYPE_CHECKING:
    import pandas as pd

#: The chance with which a law that differs is to be found.
POWER = 0.9
#: Expected copies that differ by less, relative to their number, are the same law.
SAME = 1e-9


@dataclass(frozen=True)
class Verdict:
    """One convention: whether it fits, and if not why.

    `p_value` is that of its law, `error` the relative error of its gradients up to `factor`; NaN
    where they were not compared, and `reason` says why.
    """

    name: str
    preset: Preset
    fits: bool
    p_value: float
    error: float
    factor: float
    reason: str

    @classmethod
    def of(
        cls,
        name: str,
        preset: Preset,
        law: LawVerdict,
        gradient: GradientVerdict,
        tolerance: float,
    ) -> Verdict:
        """Rejected by either."""
        wrong = not math.isnan(gradient.error) and gradient.error > tolerance
        compared = not (math.isnan(law.p_value) and math.isnan(gradient.error))
        reasons = [law.reason] if law.reason else []
        if wrong:
            reasons.append(f"its gradients are off by {gradient.error:.2g} of yours")
        elif gradient.reason:
            reasons.append(gradient.reason)
        return cls(
            name,
            preset,
            compared and not law.rejected and not wrong,
            law.p_value,
            gradient.error,
            gradient.factor,
            "; ".join(reasons),
        )


@dataclass(frozen=True, repr=False)
class Which:
    """The conventions that fit recorded sets, and those that do not.

    Attributes
    ----------
    verdicts : tuple of Verdict
        One for each convention asked about.
    sets, slots : int
        How many sets were recorded, with how many negatives at most.
    level, tolerance : float
        As asked.
    few : str
        Conventions that fit with different laws, and how many sets would tell them apart.
    with_gradients : bool
        Whether losses were compared.
    """

    verdicts: tuple[Verdict, ...]
    sets: int
    slots: int
    level: float
    tolerance: float
    few: str
    with_gradients: bool

    @property
    def fits(self) -> tuple[str, ...]:
        """Names of those that fit, the same loss and law under several names too."""
        return tuple(verdict.name for verdict in self.verdicts if verdict.fits)

    @property
    def rejected(self) -> dict[str, str]:
        """Name -> why."""
        return {verdict.name: verdict.reason for verdict in self.verdicts if not verdict.fits}

    @property
    def status(self) -> str:
        """What is found in a sentence, and what to do."""
        if not self.fits:
            return "none of them: describe your own as (sampler, loss) and pass it in presets=[...]"
        found = "ok" if len(self.fits) == 1 else f"{len(self.fits)} names fit"
        if not self.with_gradients:
            found += "; laws alone were compared: pass gradients or loss"
        return f"{found}; {self.few}" if self.few else found

    def to_frame(self) -> pd.DataFrame:
        """A row for each convention, those that fit first."""
        import pandas as pd

        rows = sorted(self.verdicts, key=lambda verdict: not verdict.fits)
        return pd.DataFrame(
            {
                "name": row.name,
                "fits": row.fits,
                "p_value": row.p_value,
                "error": row.error,
                "factor": row.factor,
                "sampler": repr(row.preset.sampler),
                "loss": row.preset.loss.name,
                "reason": row.reason,
            }
            for row in rows
        )

    def __repr__(self) -> str:
        lines = [
            f"Which: {len(self.fits)} of {len(self.verdicts)} conventions fit {self.sets} sets of "
            f"{self.slots} negatives ({self.status})"
        ]
        for row in self.verdicts:
            if row.fits:
                scale = (
                    "" if math.isnan(row.factor) else f", your gradient = {row.factor:.4g} of it"
                )
                lines.append(f"  {row.preset!r}{scale}")
        lines += [f"  not {name}: {why}" for name, why in list(self.rejected.items())[:8]]
        left = len(self.rejected) - 8
        return "\n".join([*lines, f"  and {left} more"] if left > 0 else lines)


def told_apart(laws: list[tuple[str, Any]], seen: Recorded, level: float) -> str:
    """Pairs that fit with laws that differ, and the sets that find it with a chance of 90 %."""
    known = [(name, said) for name, said in laws if not isinstance(said, str)]
    worst, pair = 0, ("", "")
    for place, (one, said) in enumerate(known):
        for other, theirs in known[place + 1 :]:
            needed = _sets_needed(said, theirs, seen.sets, level)
            if needed > worst:
                worst, pair = needed, (one, other)
    if not worst:
        return ""
    return f"{pair[0]} and {pair[1]} draw differently: some {worst:,} sets tell them apart"


def _sets_needed(
    ours: tuple[Expected, ...], theirs: tuple[Expected, ...], sets: int, level: float
) -> int:
    """0 where the laws are the same as far as copies go.

    One label of one gold is to be found at Bonferroni's share of the level.
    """
    comparisons = 2 * len(ours) * len(ours[0].copies)
    distance = stats.norm.isf(level / comparisons / 2) + stats.norm.isf(1 - POWER)
    best = math.inf
    for a, b in zip(ours, theirs, strict=True):
        apart = np.abs(a.copies - b.copies)
        mean = np.maximum((a.copies + b.copies) / 2, 1e-300)
        if not np.any(apart > SAME * mean):
            continue
        needed = np.min(distance**2 * mean[apart > 0] / apart[apart > 0] ** 2)
        best = min(best, needed * sets / a.sets)
    return 0 if math.isinf(best) else math.ceil(best)
