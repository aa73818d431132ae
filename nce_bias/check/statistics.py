r"""P-values of counted draws against what a law says. NumPy and SciPy alone.

A family of comparisons keeps a level as small as 1e-6, so the tails matter: counts of single labels
are compared by the binomial law itself, not by a normal approximation, whose tail is wrong by
orders of magnitude where few copies are expected.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

#: Expected counts below this are pooled. With cells of 5, the usual choice, a chi-square at level
#: 1e-4 was measured to reject a right sampler up to 8 times too often; with 25 less than twice.
LEAST = 25.0
#: Chance with which an error of the size called detectable is found.
POWER = 0.9


def frequencies(observed: np.ndarray, chance: np.ndarray) -> tuple[float, float]:
    """Chi-square of counts `[C]` against probabilities `[C]`, and its p-value.

    An impossible outcome has p = 0, whatever else was counted.
    """
    if observed[chance <= 0].any():
        return np.inf, 0.0
    expected = chance / chance.sum() * observed.sum()
    rare = expected < LEAST
    if rare.any() and not rare.all():
        pooled = expected[rare].sum()
        if pooled < LEAST:
            rare |= expected == expected[~rare].min()
    seen, mean = (np.append(each[~rare], each[rare].sum()) for each in (observed, expected))
    seen, mean = seen[mean > 0], mean[mean > 0]
    if len(mean) < 2:
        return 0.0, 1.0
    found = stats.chisquare(seen, mean)
    return float(found.statistic), float(found.pvalue)


class Binomial(NamedTuple):
    """The law of counted copies: `mean` `[V]` expected of each label in `trials` trials.

    Where labels are distinct a set is one trial of each label. Otherwise a draw is: exact for iid
    draws, too wide and so conservative for a sum of independent parts (Hoeffding, 1956).
    """

    mean: np.ndarray
    trials: int


def copies(observed: np.ndarray, law: Binomial, eps: float) -> np.ndarray:
    """Two-sided p-values of the copies of each label `[V]`."""
    chance = np.clip(law.mean / law.trials, 0.0, 1.0 - eps)
    low = stats.binom.cdf(observed, law.trials, chance)
    high = stats.binom.sf(observed - 1, law.trials, chance)
    return np.minimum(1.0, 2 * np.minimum(low, high))


def coincidences(pairs: np.ndarray, mean: float) -> float:
    """Two-sided p-value of the pairs of equal labels in each set `[sets]`, `mean` expected.

    Poisson, in units of the dispersion that the sets show: right for few pairs, and normal with the
    variance of the sets for many.
    """
    total, expected = float(pairs.sum()), mean * len(pairs)
    if total == 0 and expected == 0:
        return 1.0
    if expected == 0:
        return 0.0
    unit = max(float(pairs.var() / pairs.mean()), 0.01) if total else 1.0
    low = special.gammaincc(total / unit + 1, expected / unit)
    high = special.gammainc(total / unit, expected / unit) if total else 1.0
    return min(1.0, 2 * float(min(low, high)))


def detectable(law: Binomial, level: float) -> float:
    """The relative error found with chance `POWER` in the label of most copies that is random.

    NaN where every label has all or none.
    """
    chance = law.mean / law.trials
    random = chance[(chance > 0) & (chance < 1 - 1e-6)]
    if not random.size:
        return np.nan
    distance = stats.norm.isf(level / 2) + stats.norm.isf(1 - POWER)
    return float(distance * np.sqrt((1 / random.max() - 1) / law.trials))
