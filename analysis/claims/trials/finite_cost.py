r"""Unbiased estimates of log Z by a random number of draws: cost and variance.

L_n = log of the mean weight of n independent draws has a bias of the order 1/n. A sum of
differences, each divided by the chance that it is reached, has none:

    Russian roulette (SUMO)  sum_{n <= N} (L_{n+1} - L_n) / P(N >= n),
    multilevel (MLMC)        L_1 + D_l / P(l),  D_l = L_{2^l} - (L_a + L_b) / 2, a and b its halves.

Let the mean square of the n-th difference fall like n^-r (D_l's like n^-r in n = 2^l). Roulette
with P(N >= n) = n^-a has finite cost for a > 1, as sum_n P(N >= n) says, and finite variance for
a < r - 1, where sum_n n^-r / n^-a stops growing (and cross terms with it): some a does for r > 2.
One level l with P(l) = 2^{-a l} costs sum_l 2^l P(l), finite for a > 1, with a variance that is
finite for a < r: some a does for r > 1. Here L_{n+1} - L_n is about (w / mean - 1) / n, so r = 2;
the two halves of D_l take each other's first order away, r = 2; L_{2^l} - L_a keeps it, r = 1.

The mean squares are exact: with weights of two values what counts is how often the larger came, a
binomial number.
"""

import numpy as np
from scipy.stats import binom

from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

#: Weights and the chance of the larger: one of ten labels has e^3 times the weight of the others.
WEIGHTS, SHARE = (1.0, float(np.exp(3))), 0.1
#: What has to be above the number needed, for a rate that is read off at finite n.
CLEAR = 0.05
CLAIM = Claim(
    title="Unbiased at finite cost",
    paper="Luo et al., SUMO (also multilevel estimators)",
    year=2020,
    said=(
        "Russian roulette over the number of draws, or over levels of it, gives unbiased "
        "log-partition functions at a finite expected cost, and with a finite variance."
    ),
    read="abstract; the finite variance as it is usually taken",
    measured=(
        "power r with which the mean square of the n-th difference falls; above 2 (roulette) or 1 "
        "(one level) some weights have finite cost and finite variance"
    ),
    prediction=(
        "Roulette exactly 2, where there are none: its cost or its variance is infinite. "
        "Antithetic levels 2, which is enough; levels without that 1, which is not."
    ),
    lesson=(
        "Unbiased is to be had at finite cost and variance, by antithetic levels. A roulette of "
        "single draws has to be cut off, which is a bias again."
    ),
)


def log_mean(many: np.ndarray, n: int) -> np.ndarray:
    """L_n where the larger weight came so many times."""
    low, high = WEIGHTS
    return np.log(low + (high - low) * many / n)


def roulette(n: int) -> float:
    """E (L_{n+1} - L_n)^2."""
    many = np.arange(n + 1)
    more = [log_mean(many + new, n + 1) - log_mean(many, n) for new in (0, 1)]
    square = (1 - SHARE) * more[0] ** 2 + SHARE * more[1] ** 2
    return float(binom.pmf(many, n, SHARE) @ square)


def level(n: int, antithetic: bool) -> float:
    """E D^2 of n draws and their halves; or against one half alone."""
    half = np.arange(n // 2 + 1)
    chance = binom.pmf(half, n // 2, SHARE)
    part = log_mean(half, n // 2)
    coarse = (part[:, None] + part) / 2 if antithetic else part[:, None]
    fine = log_mean(half[:, None] + half, n)
    return float(chance @ (fine - coarse) ** 2 @ chance)


def weigh(quick: bool = False) -> Evidence:
    """Powers at the last doubling, and mean squares along n."""
    sizes = (256, 512) if quick else tuple(2**k for k in range(2, 12))
    lines = {
        "roulette of single draws": (roulette, 2.0, False),
        "antithetic levels": (lambda n: level(n, True), 1.0, False),
        "levels without that": (lambda n: level(n, False), 1.0, True),
    }
    readings, details = [], []
    for name, (square, needed, beyond) in lines.items():
        values = [square(n) for n in sizes]
        power = -slope(sizes, values)
        readings.append(Reading(name, power, ">=", needed + CLEAR, beyond=beyond))
        details += [
            {"line": name, "n": n, "square": value} for n, value in zip(sizes, values, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
