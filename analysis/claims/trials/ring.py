r"""Negatives from a ring of middling similarity: bias and variance.

Negatives uniform over the labels of some ranks by score (a *ring*) instead of over all labels. Two
things have a variance: the bound, log Z - s_g, and its gradient. With m draws from a set of n
labels the bound takes n^m values given the gold, so for m = 2 its moments are plain sums. Both
variances here are the negatives' share, given the gold.
"""

import numpy as np

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS, WIDTH = 20, 2, 5
#: Ring -> its first rank by score, counted from 0.
RINGS = {"hardest labels": 0, "ring behind them": 5, "ring of easy labels": 15}
CLAIM = Claim(
    title="A ring: more bias, less variance",
    paper="Wu et al., conditional noise-contrastive estimation",
    year=2021,
    said=(
        "Negatives drawn from a ring around the example give a bound of higher bias and lower "
        "variance than those of noise-contrastive estimation."
    ),
    read="abstract",
    measured=(
        "ring divided by all labels: bias norm of the gradient at least 1, variances at most 1"
    ),
    prediction=(
        "Less variance of the bound for every ring, its values being closer together; of the "
        "gradient only where the ring is easy. More bias for every ring."
    ),
    lesson="The variance that slows training is the gradient's, and hard rings raise it.",
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def ring(given: nb.Problem, first: int, width: int = WIDTH) -> np.ndarray:
    """q, uniform over the labels of ranks first to first + width - 1 by score."""
    q = np.zeros(LABELS)
    q[np.argsort(-np.asarray(given.scores), kind="stable")[first : first + width]] = 1 / width
    return q


def variance_of_bound(given: nb.Problem, q: np.ndarray) -> float:
    """Of log(w_g + w_k + w_l) - s_g given the gold, two draws from q without the gold."""
    weights, total = np.exp(np.asarray(given.scores)), 0.0
    for gold, share in enumerate(np.asarray(given.population)):
        drawn = np.where(np.arange(LABELS) == gold, 0.0, q)
        drawn = drawn / drawn.sum()
        logs = np.log(weights[gold] + weights[:, None] + weights)
        mean = drawn @ logs @ drawn
        total += share * float(drawn @ (logs - mean) ** 2 @ drawn)
    return total


def measure(given: nb.Problem, q: np.ndarray) -> dict[str, float]:
    """Bias of the gradient, variance of the bound and of the gradient."""
    sampler = nb.iid(nb.from_probabilities(q), DRAWS)
    found = nb.exact(given, sampler, nb.infonce, split=True)
    return {
        "bias": float(found.bias_norm),
        "variance of the bound": variance_of_bound(given, q),
        "variance of the gradient": float(found.variance_negatives),
    }


def weigh(quick: bool = False) -> Evidence:
    """Ratios of each ring to all labels, and of the rings between."""
    given = problem()
    everywhere = measure(given, np.full(LABELS, 1 / LABELS))
    readings, details = [], []
    for name, first in RINGS.items():
        at = measure(given, ring(given, first))
        for key, value in at.items():
            relation = ">=" if key == "bias" else "<="
            beyond = key == "variance of the gradient"
            readings.append(
                Reading(f"{name}: {key}", value / everywhere[key], relation, 1.0, beyond=beyond)
            )
    for first in range(0, LABELS - WIDTH + 1, 5 if quick else 1):
        at = measure(given, ring(given, first))
        details += [
            {"line": key, "first": first, "ratio": value / everywhere[key]}
            for key, value in at.items()
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
