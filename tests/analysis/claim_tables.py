"""The committed tables of `analysis/claims`, and selections from all pairs of draws."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.claims import page

#: Both sides are exact to a few units of rounding.
ROUNDING: Any = {"rel": 1e-9, "abs": 1e-12}


def table(name: str) -> Any:
    return pd.read_csv(page.RESULTS / f"{name}.csv")


def at(name: str, column: str, **place: Any) -> np.ndarray:
    rows = table(name)
    for key, value in place.items():
        rows = rows[rows[key] == value]
    assert len(rows)
    return rows[column].to_numpy()


def number(claim: str, condition: str) -> float:
    rows = table("readings")
    (found,) = rows[(rows["claim"] == claim) & (rows["condition"] == condition)]["number"]
    return float(found)


def arrays(problem: nb.Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, population = np.asarray(problem.scores), np.asarray(problem.population)
    return scores, population, np.asarray(problem.popularity)


def of_two_draws(
    population: np.ndarray,
    q: np.ndarray,
    hits: str,
    own: np.ndarray,
    weights: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The selection of a candidate softmax, from all pairs of draws of every gold.

    `own` are the weights of golds, `weights(q)` those of negatives that are drawn from q.
    """
    labels = len(q)
    selection = np.zeros(labels)
    for gold in range(labels):
        here = np.arange(labels) == gold
        chance = np.where(here & (hits == "exclude"), 0.0, q)
        chance = chance / chance.sum()
        w = np.zeros(labels)
        w[chance > 0] = weights(chance)[chance > 0]
        w[here & (hits == "mask")] = 0.0
        pairs = chance[:, None] * chance / (own[gold] + w[:, None] + w)
        selection += population[gold] * 2 * w * pairs.sum(axis=1)
        selection[gold] += population[gold] * own[gold] * pairs.sum()
    return selection


def corrected(scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """e^s / (2 q)."""

    def weights(q):
        with np.errstate(divide="ignore"):
            return np.exp(scores) / (2 * q)

    return weights
