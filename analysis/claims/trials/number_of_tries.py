r"""Distinct draws as TensorFlow makes them: the correction by the number of tries.

Draws from q go on until m labels differ, at the T-th. What is taken off a label's score stands for
the expected number of its copies, c_y = 1 - (1 - q_y)^T; its mean over T is held against the chance
pi_y that y is among the m. (The code takes m q_y where T = m, as if draws were independent.) With
draws at the times of a Poisson process of rate 1, label y comes first at an exponential time of
rate q_y, independently of the others, so that with N(z) the number of labels seen by then, N_y(z)
those but y,

    pi_y      = int q_y e^{-q_y z} P(N_y(z) < m) dz,
    E[rho^T]  = 1 - a int e^{-a z} P(N(z) < m) dz,      a = (1 - rho) / rho,
    P(T = m)  = m! e_m(q),

the second as sum_n rho^n P(T > n), n at a time z being Poisson. Trapezoids in log z are enough.

**Where it is off.** Until y is seen, (1 - q_y)^{-n} makes a martingale: E[(1 - q_y)^{-T}; y not in
S] = 1. Hence 1 - pi_y is the harmonic mean of (1 - q_y)^T over the sets without y, and c_y takes
the arithmetic one over all sets: less than pi_y for uniform q, by the variance of T.
"""

import itertools
from math import lgamma

import numpy as np

from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 40, {"a tenth": 4, "half": 20, "nine tenths": 36}
#: Trapezoids in log z, and where they begin and end.
STEP, FIRST, LAST = 0.08, -36.0, 10.0
NEAR = 0.05
CLAIM = Claim(
    title="Tries stand for expected counts",
    paper="TensorFlow, candidate samplers with unique=True",
    year=2015,
    said=(
        "With distinct samples 1 - (1 - q)^tries approximates the expected count, which is taken "
        "off the scores."
    ),
    read="documentation and public code",
    measured=(
        "largest relative error, over labels, of the mean of what stands for the expected count; "
        "at most 0.05"
    ),
    prediction=(
        "Within it for uniform draws, always a little low. For log-uniform ones within it for a "
        "tenth and half of the labels; with nine tenths too low for the rarest. One number of "
        "tries is off by more than its mean."
    ),
    lesson=(
        "The formula is near enough at any size of the sample. The shortcut m q, which the code "
        "takes where no draw was in vain, is not: with few draws it counts the commonest label a "
        "fifth too often."
    ),
)


def proposals() -> dict[str, np.ndarray]:
    """Log-uniform by rank, TensorFlow's default, and uniform."""
    rank = np.arange(LABELS)
    log_uniform = np.log((rank + 2) / (rank + 1)) / np.log(LABELS + 1)
    return {"log-uniform": log_uniform, "uniform": np.full(LABELS, 1 / LABELS)}


def fewer(seen: np.ndarray, m: int) -> np.ndarray:
    """P(fewer than m of independent events), their chances in the last axis."""
    counts = np.zeros((*seen.shape[:-1], m))
    counts[..., 0] = 1.0
    for chance in np.moveaxis(seen, -1, 0):
        less = np.concatenate([np.zeros_like(counts[..., :1]), counts[..., :-1]], axis=-1)
        counts = (1 - chance)[..., None] * counts + chance[..., None] * less
    return counts.sum(axis=-1)


def times() -> tuple[np.ndarray, np.ndarray]:
    """Nodes z and weights."""
    z = np.exp(np.arange(FIRST, LAST, STEP))
    return z, STEP * z


def chance_among(q: np.ndarray, m: int) -> np.ndarray:
    """pi `[V]`."""
    z, weights = times()
    seen = -np.expm1(-q * z[:, None])
    found = []
    for y in range(len(q)):
        other = fewer(np.delete(seen, y, axis=1), m)
        found.append(weights @ (q[y] * np.exp(-q[y] * z) * other))
    return np.array(found)


def power_of_tries(rho: np.ndarray, q: np.ndarray, m: int) -> np.ndarray:
    """E[rho^T]."""
    z, weights = times()
    a = ((1 - rho) / rho)[:, None]
    return 1 - (a * np.exp(-a * z) * fewer(-np.expm1(-q * z[:, None]), m)) @ weights


def at_once(q: np.ndarray, m: int) -> float:
    """P(T = m): no try in vain."""
    sums = np.zeros(m + 1)
    sums[0] = 1.0
    for chance in q:
        sums[1:] += chance * sums[:-1]
    return float(np.exp(lgamma(m + 1)) * sums[m])


def counted(q: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of c over T, `[V]` each."""
    missed = power_of_tries(1 - q, q, m)
    square = power_of_tries((1 - q) ** 2, q, m)
    return 1 - missed, np.sqrt(np.maximum(square - missed**2, 0.0))


def as_in_the_code(q: np.ndarray, m: int) -> np.ndarray:
    """The mean with m q in place of c where T = m."""
    return counted(q, m)[0] + at_once(q, m) * (m * q - 1 + (1 - q) ** m)


def weigh(quick: bool = False) -> Evidence:
    """Largest errors of the mean; the spread over tries; the shortcut of the code."""
    readings, details = [], []
    for (name, q), (share, m) in itertools.product(proposals().items(), DRAWS.items()):
        chance, (mean, spread) = chance_among(q, m), counted(q, m)
        off = float(np.abs(mean / chance - 1).max())
        readings.append(Reading(f"{name}, {share} of the labels", off, "<=", NEAR))
        if name == "log-uniform":
            once = float((spread / chance).max())
            place = f"{name}, {share} of the labels"
            readings.append(Reading(f"{place}: one set's spread", once, "<=", NEAR, beyond=True))
            coded = as_in_the_code(q, m)
            off = float(np.abs(coded / chance - 1).max())
            readings.append(Reading(f"{place}: as the code", off, "<=", NEAR, beyond=True))
            lines = {f"{m} of {LABELS}": mean}
            if share == "a tenth":
                lines[f"{m} of {LABELS}, as the code"] = coded
            details += [
                {"line": line, "chance": a, "ratio": b / a}
                for line, values in lines.items()
                for a, b in zip(chance, values, strict=True)
            ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
