r"""The noise of least asymptotic variance for NCE, and what it gains.

theta's mean square error with n examples and k n draws of noise is tr of theta's block of I^{-1},
I = sum_y h F F^T, F = (f, 1), h = p k q / (p + k q) (`analysis.claims.asymptotics`). h is concave
in q, and the trace of a block of the inverse is convex and falls with I: the trace is convex in q,
with derivative -u_y, u_y = k p^2 / (p + k q)^2 |theta's part of I^{-1} F_y|^2. For any q

    trace - least <= max_y u_y - sum_y q_y u_y                               (Frank & Wolfe),

and q <- q sqrt(u), renormalised, goes down to where that is 0.

**Data as noise.** At q = p the first factor of u is the same for all labels and the second is not:
p is not best, but where the constant alone is unknown (no f: |I^{-1}|^2 is the same for all). As k
grows the best tends to p |J^{-1} (f - E f)|. The trace at q = p is (1 + 1/k) tr J^{-1}, and no
noise is below tr J^{-1}: the gain is at most 1 + 1/k. With twice as many draws of the data it would
be (1 + 1/k) / (1 + 1/2k), which is taken here for *modest*.
"""

from dataclasses import dataclass

import numpy as np

from analysis.claims.trial import Claim, Evidence, Reading, Trial
from analysis.claims.trials import nce_efficiency

RATIOS = (1, 16)
GRID = np.linspace(-4, 4, 61)
RARE = 1e-3
STEPS, GAP = 20_000, 1e-7
CLAIM = Claim(
    title="The best noise is not the data",
    paper="Chehab et al., the optimal noise",
    year=2022,
    said=(
        "The noise of least asymptotic variance is not the data's distribution, unless the "
        "constant alone is unknown; the gain over noise like the data can be modest."
    ),
    read="abstracts of 2022 and 2023",
    measured=(
        "total variation distance of the best noise from the data, at least 0.05, and 0 for the "
        "constant; variance with noise like the data over the least, at most what twice as much "
        "such noise would gain"
    ),
    prediction=(
        "Far from the data, a third for a Gaussian's mean. The gain is at most 1 + 1/k, a "
        "theorem: some 1.2 with one draw for each example, less than twice the draws bring. Not "
        "modest for a feature that few examples have."
    ),
    lesson=(
        "Noise like the data is at most 1 + 1/k from the best there is, and twice as much of it "
        "brings about what the best noise does. It is to be searched for where what is learnt "
        "lies in few, rare examples."
    ),
)


@dataclass(frozen=True)
class Best:
    """The best noise q, its trace, and the bound on what is left to gain."""

    q: np.ndarray
    trace: float
    gap: float


def models() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features `[V, d]` and p, of the claim's own conditions."""
    gauss = np.exp(-(GRID**2) / 2)
    gauss /= gauss.sum()
    return {
        "Gaussian, mean": (GRID[:, None], gauss),
        "Gaussian, variance": (GRID[:, None] ** 2, gauss),
        "random features": nce_efficiency.model(),
    }


def rare_feature() -> tuple[np.ndarray, np.ndarray]:
    """One label of p = `RARE` has a feature, forty have none."""
    p = np.append(np.full(40, (1 - RARE) / 40), RARE)
    return np.append(np.zeros(40), 1.0)[:, None], p


def trace_and_slope(
    features: np.ndarray, p: np.ndarray, q: np.ndarray, k: float
) -> tuple[float, np.ndarray]:
    """The trace and u; of the constant's variance, where there are no features."""
    both = np.column_stack([features, np.ones(len(p))])
    h = p * k * q / (p + k * q)
    inverse = np.linalg.inv(both.T @ (h[:, None] * both))
    wanted = inverse[: features.shape[1] or 1]
    slope = k * p**2 / (p + k * q) ** 2 * np.sum((both @ wanted.T) ** 2, axis=1)
    return float(np.trace(wanted[:, : len(wanted)])), slope


def best(features: np.ndarray, p: np.ndarray, k: float) -> Best:
    """The q of least trace.

    Raises RuntimeError where the gap does not close.
    """
    q = np.full(len(p), 1 / len(p))
    for _ in range(STEPS):
        trace, slope = trace_and_slope(features, p, q, k)
        gap = float(slope.max() - q @ slope) / trace
        if gap < GAP:
            return Best(q, trace, gap)
        q = q * np.sqrt(slope)
        q /= q.sum()
    raise RuntimeError(f"best noise: a gap of {gap:.1e} is left of {trace:.3g}; raise STEPS")


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation."""
    return float(np.abs(p - q).sum() / 2)


def weigh(quick: bool = False) -> Evidence:
    """How far the best is from the data, and what it gains."""
    readings, details = [], []
    for name, (features, p) in models().items():
        for k in RATIOS:
            found = best(features, p, k)
            gain = trace_and_slope(features, p, p, k)[0] / found.trace
            place = f"{name}, k = {k}"
            readings.append(Reading(f"{place}: distance", distance(p, found.q), ">=", 0.05))
            modest = (1 + 1 / k) / (1 + 1 / (2 * k))
            readings.append(Reading(f"{place}: gain", gain, "<=", modest))
    nothing = np.zeros((len(GRID), 0))
    p = models()["Gaussian, mean"][1]
    found = best(nothing, p, 1)
    place = "the constant alone, k = 1: distance"
    readings.append(Reading(place, distance(p, found.q), "=", 0.0, 1e-3))
    features, rare = rare_feature()
    gain = trace_and_slope(features, rare, rare, 1)[0] / best(features, rare, 1).trace
    place = "a rare label's feature, k = 1: gain"
    readings.append(Reading(place, gain, "<=", 4 / 3, beyond=True))
    lines = {"data": p}
    for name, k in (("mean", 1), ("mean", 16), ("variance", 1)):
        lines[f"best, {name}, k = {k}"] = best(models()[f"Gaussian, {name}"][0], p, k).q
    for line, q in lines.items():
        details += [
            {"line": line, "x": x, "noise": value} for x, value in zip(GRID, q, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
