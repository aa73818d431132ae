"""The label spaces that are timed."""

import numpy as np
from scipy.special import softmax

import nce_bias as nb

LABELS = 1000


def half_trained(labels: int = LABELS, seed: int = 0) -> nb.Problem:
    """One input of Zipf popularity, seen through e^N(0,1), and a model half way to it.

    The scores are half of log pop(y|x) and N(0, 1/4) on top, a range of about 8 nats.
    """
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, labels + 1)
    popularity /= popularity.sum()
    population = softmax(np.log(popularity) + rng.normal(size=labels))
    scores = 0.5 * np.log(population) + 0.5 * rng.normal(size=labels)
    return nb.Problem(scores, population, popularity)
