"""The Monte Carlo estimate as one would write it in NumPy for the occasion, all sets at once.

Gold by inverse cdf; negatives by inverse cdf with the gold's interval jumped over (with
replacement) or by Gumbel top-m (without); candidate softmax; mean selection and loss. No checks, no
standard errors.
"""

import numpy as np
from scipy.special import logsumexp

#: Elements of the largest array of a block of candidate sets: 2^20 doubles are 8 MB.
BLOCK = 2**20


def estimate(
    scores: np.ndarray,
    population: np.ndarray,
    q: np.ndarray,
    m: int,
    *,
    replacement: bool,
    draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Mean selection `[V]` and mean InfoNCE loss over `draws` candidate sets."""
    labels = len(scores)
    draw = _with_replacement if replacement else _without_replacement
    selection, total = np.zeros(labels), 0.0
    block = max(1, BLOCK // (m + 1 if replacement else labels))
    for first in range(0, draws, block):
        sets = min(block, draws - first)
        cdf = np.cumsum(population)
        gold = np.searchsorted(cdf, rng.random(sets) * cdf[-1], side="right")
        negatives = draw(q, m, gold, rng)
        candidates = np.concatenate([gold[:, None], negatives], axis=1)  # [sets, K]
        weights = scores[candidates]
        log_total = np.asarray(logsumexp(weights, axis=1))
        picked = np.exp(weights - log_total[:, None])
        selection += np.bincount(candidates.ravel(), picked.ravel(), minlength=labels)
        total += np.sum(log_total - weights[:, 0])
    return selection / draws, float(total / draws)


def _with_replacement(q, m, gold, rng):
    cdf = np.cumsum(q)
    start, end = (cdf - q)[gold, None], cdf[gold, None]
    at = rng.random((len(gold), m)) * (cdf[-1] - (end - start))
    return np.minimum(
        np.searchsorted(cdf, np.where(at < start, at, at + (end - start)), side="right"),
        len(q) - 1,
    )


def _without_replacement(q, m, gold, rng):
    noisy = np.log(q) + rng.gumbel(size=(len(gold), len(q)))
    noisy[np.arange(len(gold)), gold] = -np.inf
    return np.argpartition(noisy, -m, axis=1)[:, -m:]
