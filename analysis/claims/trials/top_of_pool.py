r"""Dynamic negative sampling: how sharply the best M of N cut.

The one-way partial AUC at beta = M / N compares the gold with the best share beta of all negatives,
all alike. The best M of a pool of N draws instead take a negative at quantile u (0 the best) with a
weight proportional to P(Bin(N - 1, u) < M): smooth where a step at beta is wanted. The mass beyond
beta is

    (N / M) int_beta^1 P(Bin(N - 1, u) < M) du = (1 / M) sum_{k<M} P(Bin(N, beta) <= k),

about 1 / sqrt(N). A pool of N different labels out of V replaces the binomial by a hypergeometric
law; with N = V all are sorted, and nothing lies beyond.
"""

import numpy as np
from scipy.stats import binom, hypergeom

from analysis.claims.trial import Claim, Evidence, Reading, Trial

BETA, LABELS, SMALL = 0.25, 64, 0.01
POOLS = (4, 64, 256)
LARGE = 4**8
CLAIM = Claim(
    title="The best M of N is the partial AUC",
    paper="Shi et al., dynamic negative sampling DNS(M, N)",
    year=2023,
    said=(
        "BPR with the best M of N sampled negatives is an exact estimator of the one-way "
        "partial AUC at M / N."
    ),
    read="abstract",
    measured=(
        f"share of the weight on negatives beyond the best M / N, against 0 (within {SMALL:g})"
    ),
    prediction=(
        "About 1/sqrt(N): a third with 1 of 4, hundredths with hundreds; 0 only if all "
        "negatives are sorted."
    ),
    lesson=(
        "M and N are not two names of one ratio: 1 of 4 and 64 of 256 train on different "
        "negatives. Choose N large for a sharp cut."
    ),
)


def beyond(m: int, n: int) -> float:
    """The mass beyond m / n for n independent draws."""
    return float(binom.cdf(np.arange(m), n, m / n).mean())


def beyond_distinct(m: int, n: int, labels: int = LABELS) -> float:
    """The same for n different labels: one is kept if fewer than m better ones are in."""
    ranks = np.arange(1, labels + 1)
    kept = n / labels * hypergeom.cdf(m - 1, labels - 1, ranks - 1, n - 1)
    return float(kept[ranks > labels * m / n].sum() / m)


def weight(u: np.ndarray, m: int, n: int) -> np.ndarray:
    """Density of the quantile of a kept negative."""
    return n / m * binom.cdf(m - 1, n - 1, u)


def weigh(quick: bool = False) -> Evidence:
    """The mass beyond, and the weights along the quantile."""
    readings = [
        Reading(f"{int(BETA * n)} of {n} draws", beyond(int(BETA * n), n), "=", 0.0, SMALL)
        for n in POOLS
    ]
    m = int(BETA * LABELS)
    readings += [
        Reading(
            f"{int(BETA * LARGE)} of {LARGE}", beyond(LARGE // 4, LARGE), "=", 0.0, SMALL, True
        ),
        Reading("all negatives sorted", beyond_distinct(m, LABELS), "=", 0.0, SMALL, True),
    ]
    details = [
        {"line": f"{int(BETA * n)} of {n}", "quantile": u, "weight": w}
        for n in POOLS
        for u, w in zip(
            np.linspace(0, 1, 51), weight(np.linspace(0, 1, 51), n // 4, n), strict=True
        )
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
