"""Columns of one text by the formulae of `nce_bias.retrieval.tower`, and Adam; token by token."""

from typing import Any, NamedTuple

import numpy as np

from tests.oracles.scores import softmax


class Text(NamedTuple):
    """Real tokens alone: states `[T, H]`, ids `[T]`, roles `[T]`."""

    states: np.ndarray
    ids: np.ndarray
    roles: np.ndarray


def unit(vector):
    return vector / np.sqrt(vector @ vector)


def columns(tower: Any, text: Text) -> np.ndarray:
    """Columns `[n, d]`; `tower` has project, gates, queries, center and gated."""
    h = text.states.astype(np.float64) - tower.center
    g = np.array([tower.gates[r, word] for r, word in zip(text.roles, text.ids, strict=True)])
    projected = np.array([x @ tower.project[r] for r, x in zip(text.roles, h, strict=True)])
    if len(tower.queries):
        return np.array([unit(softmax(g + h @ query) @ projected) for query in tower.queries])
    weights = softmax(g) if tower.gated else np.ones(len(g))
    return np.array([w * unit(x) for w, x in zip(weights, projected, strict=True)])
