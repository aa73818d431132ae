r"""A moving average of the denominator in place of a large batch, as SogCLR has it.

Images are contrasted with all others: the loss is log sum_y q_y w_y - s_g, w = e^s, and the push on
label y should be p_y = q_y w_y / sum q w. A batch gives m draws, their mean weight z = (1/m) sum_k
w(y_k), and each input keeps u <- (1 - r) u + r z from visit to visit: the push is E[z_y / u], z_y
the part of y in z. At rest u = sum_l r (1 - r)^l z_l with an independent z for each age l, and by
1/u = int e^{-tu} dt, with phi_l(t) = sum_y q_y e^{-t w_y} of the weights that were there at age l,

    E[z_y / u] = q_y w_y int e^{-t c_0 w_y / m} phi_0(t c_0 / m)^{m-1}
                             prod_{l>0} phi_l(t c_l / m)^m dt,        c_l = r (1 - r)^l.

With scores at rest and small r the error is (r / m) p_y (1 + v / 2 - w_y / sum q w) to first order,
v the relative variance of a weight: a rate r is a batch about 1 / r times as large.

The authors' code stores u_1 + u_2 of the two views in place of their mean: u <- 2 (1 - r) u +
r (z + z'), so that the denominator (1 - r) u + r z has the mean r / (2 r - 1) of what it should,
and none for r <= 1/2, where u grows without end. The two views' draws are taken as independent.

The integral is a trapezoidal sum over log t, whose step costs e^{-pi^2 / h}.
"""

from collections.abc import Iterable

import numpy as np
from scipy.special import logsumexp

from analysis import problems
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS = 60
#: Scores that move: l visits ago they were e^(-DRIFT l) of the present ones.
DRIFT = 0.05
#: Of ImageNet in the authors' code; rows there, and rows without an average that are as good.
RATE, SMALL, LARGE = 0.9, 256, 8192
#: Older averages that weigh less than this, all together, count with their mean.
CUT, STEP = 1e-12, 0.2
CLAIM = Claim(
    title="Small batches do not harm",
    paper="Yuan et al., SogCLR",
    year=2022,
    said=(
        "With a moving average of each input's denominator the error of a small batch becomes "
        "negligible; 256 rows do what 8192 do without it."
    ),
    read="abstract and public code",
    measured=(
        "slope of log distance from the full gradient against log rate, at least 0.95; distance "
        "of 256 rows over that of 8192 without an average, at most 1; sum of all pushes, against 1"
    ),
    prediction=(
        "Slope 1 with scores at rest, whatever the batch; 0 with scores that move. A rate of 0.9 "
        "is hardly an average: some 30 times the error of 8192 rows. The code's push is 0.89."
    ),
    lesson=(
        "A rate r does what a batch 1 / r times as large does, while scores change little in "
        "1 / r visits. At 0.9 there is nothing to gain, and training is judged by other things."
    ),
)


def selection(
    weights: np.ndarray, q: np.ndarray, m: int, own: float, older: Iterable[tuple]
) -> np.ndarray:
    """E[z_y / u], u = own z + sum of c z' over pairs (c, weights of that age)."""
    older = [(c, w) for c, w in older if c > 0]
    floor = own * weights.min() + sum(c * w.min() for c, w in older)
    high = np.log(60 / floor)
    low = -40 - np.log(weights.max())
    t = np.exp(np.arange(low, high + STEP, STEP))
    rest = (m - 1) * _log_laplace(t * own / m, weights, q)
    for c, w in older:
        rest += m * _log_laplace(t * c / m, w, q)
    inside = np.exp(rest[:, None] - np.outer(t * own / m, weights))
    return q * weights * STEP * (t @ inside)


def _log_laplace(t: np.ndarray, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray(logsumexp(-np.outer(t, weights), b=q, axis=1))


def averaged(rate: float, drift: float = 0.0) -> tuple[float, list[tuple]]:
    """Coefficients of u at rest, with the weights of each age; what is cut off has the last's."""
    _, weights = problem()
    if rate == 1:
        return 1.0, []
    ages = range(1, int(np.ceil(np.log(CUT) / np.log1p(-rate))) + 1)
    older = [(rate * (1 - rate) ** age, weights ** np.exp(-drift * age)) for age in ages]
    return rate, older


def summed(rate: float) -> tuple[float, list[tuple]]:
    """Coefficients where the sum of two views' estimates is stored, rate > 1/2."""
    _, weights = problem()
    ages = range(int(np.ceil(np.log(CUT) / np.log(2 - 2 * rate))) + 1)
    coefficients = [(1 - rate) * rate * (2 - 2 * rate) ** age for age in ages]
    return rate, [(c, weights) for c in coefficients for _ in range(2)]


def problem() -> tuple[np.ndarray, np.ndarray]:
    """q, and the weights of a half-trained model."""
    given = problems.zipf(LABELS)
    return np.asarray(given.popularity), np.exp(np.asarray(given.scores))


def push(rows: int, rate: float, drift: float = 0.0) -> np.ndarray:
    """E[z_y / u] in a batch of so many rows."""
    q, weights = problem()
    return selection(weights, q, rows - 1, *averaged(rate, drift))


def distance(rows: int, rate: float, drift: float = 0.0) -> float:
    """From the full gradient."""
    q, weights = problem()
    return float(np.linalg.norm(push(rows, rate, drift) - q * weights / (q @ weights)))


def weigh(quick: bool = False) -> Evidence:
    """Distances along the rate, at rest and moving; one batch against a larger one; the code."""
    rates = (1 / 16, 1 / 32) if quick else tuple(2.0**-k for k in range(7))
    lines = {
        "2 rows, at rest": (2, 0.0),
        "16 rows, at rest": (16, 0.0),
        "256 rows, at rest": (256, 0.0),
        "16 rows, scores move": (16, DRIFT),
    }
    found = {name: [distance(rows, r, d) for r in rates] for name, (rows, d) in lines.items()}
    readings = [
        Reading(f"{name}: slope", slope(rates, found[name]), ">=", 0.95, beyond=drift > 0)
        for name, (_, drift) in lines.items()
    ]
    ratio = distance(SMALL, RATE) / distance(LARGE, 1.0)
    q, weights = problem()
    pushed = float(selection(weights, q, SMALL - 1, *summed(RATE)).sum())
    against = f"{SMALL} rows at a rate of {RATE}, against {LARGE} without"
    stored = f"as the authors' code stores it, rate {RATE}: push"
    readings += [
        Reading(against, ratio, "<=", 1.0, beyond=True),
        Reading(stored, pushed, "=", 1.0, 0.01, beyond=True),
    ]
    details = [
        {"line": name, "rate": rate, "distance": value}
        for name, values in found.items()
        for rate, value in zip(rates, values, strict=True)
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
