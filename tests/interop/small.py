"""A small model by hand, and the bias of its gradient the long way: every candidate set listed.

s(x, .) = U tanh(W x) with 4 labels; two negatives, each of its own from q without the gold. The
expected InfoNCE loss is then a sum of 9 terms an input, which each framework differentiates itself.
"""

import itertools
from typing import Any

import numpy as np

LABELS, M = 4, 2
INPUTS = np.array([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.8]])
W = np.array([[0.3, -0.8], [1.1, 0.4], [-0.5, 0.9]])
U = np.array([[0.7, -0.2, 0.4], [-1.0, 0.5, 0.3], [0.2, 0.9, -0.6], [0.1, -0.4, 1.2]])
GOLDS = np.array([2, 0, 3])
POPULARITY = np.array([0.4, 0.3, 0.2, 0.1])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def candidate_sets() -> tuple[np.ndarray, np.ndarray]:
    """Sets [X, N, 1 + M], gold first, and pop(x) times the chance of each [X, N]."""
    sets, chances = [], []
    for gold, weight in zip(GOLDS, WEIGHTS, strict=True):
        wrong = [label for label in range(LABELS) if label != gold]
        drawn = list(itertools.product(wrong, repeat=M))
        q = POPULARITY / (1 - POPULARITY[gold])
        sets.append([(gold, *labels) for labels in drawn])
        chances.append([weight * np.prod(q[list(labels)]) for labels in drawn])
    return np.array(sets), np.array(chances)


def tolerance(dtype: str) -> dict[str, Any]:
    """Of gradients of order 0.1: some hundred roundings in float32, the quadrature in float64."""
    return {"rtol": 0, "atol": {"float32": 1e-5, "float64": 1e-10}[dtype]}
