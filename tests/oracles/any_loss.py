"""Moments of any loss on candidate sets, by listing all sets: derivatives by the complex step.

The loss is a plain NumPy function of the gold's score and of a row of negatives' scores that takes
complex numbers: df/dx = Im f(x + ih) / h is exact to rounding for h = 1e-30, without subtraction.
Shares nothing with the engines but the definition of a candidate set.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from tests.oracles.drawing import ABSENT, draws, long, softmax

STEP = 1e-30


def enumerate_any(
    scores, population, spec, loss: Callable[..., complex], jacobian=None
) -> SimpleNamespace:
    """Moments as in `enumeration`; ``loss(gold, negatives, log_counts)``.

    With `jacobian` J [V, d], ``variance`` is that of J^T times the gradient in scores.
    """
    scores, population = np.asarray(scores, float), np.asarray(population, float)
    size, p = len(scores), np.asarray(softmax(long(scores)), float)
    jacobian = np.eye(size) if jacobian is None else np.asarray(jacobian)
    chances, rows, values, coverage, within = [], [], [], 0.0, 0.0
    for gold in np.flatnonzero(population > 0):
        probability, labels = draws(spec, gold, long(scores))
        probability = np.asarray(probability, float)
        counts = np.array([(probability * (labels == y).sum(1)).sum() for y in range(size)])
        with np.errstate(divide="ignore"):
            log_counts = np.log(counts)
        own = [_gradient(loss, scores, gold, some, log_counts) for some in labels]
        value, gradient = np.array([one[0] for one in own]), np.array([one[1] for one in own])
        present = (labels[:, :, None] == np.arange(size)).any(axis=1)
        present[:, gold] = True
        coverage += population[gold] * probability @ (present @ p)
        moved = gradient @ jacobian
        within += population[gold] * probability @ ((moved - probability @ moved) ** 2).sum(-1)
        chances.append(population[gold] * probability)
        rows.append(gradient)
        values.append(value)
    chance, row, value = np.concatenate(chances), np.concatenate(rows), np.concatenate(values)
    mean = chance @ row
    variance = chance @ (((row - mean) @ jacobian) ** 2).sum(axis=-1)
    return SimpleNamespace(
        loss=chance @ value,
        gradient=mean,
        selection=mean + population,
        bias=p - population - mean,
        variance=variance,
        variance_negatives=within,
        variance_gold=variance - within,
        coverage=coverage,
    )


def _gradient(loss, scores, gold, labels, log_counts):
    """The value on one set, and its derivatives by all scores."""
    drawn = labels[labels != ABSENT]

    def value(s):
        return loss(s[gold], s[drawn], log_counts[drawn])

    steps = scores + 1j * STEP * np.eye(len(scores))
    return np.real(value(scores)), np.array([np.imag(value(s)) / STEP for s in steps])
