"""Mentions by the world whose entities they are linked to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class World(NamedTuple):
    """A world's entities, and the mentions of it.

    Attributes
    ----------
    first, end : int
        Its first entity and the one past its last.
    rows : int `[m]`
        Which of the n mentions, in their order.
    """

    first: int
    end: int
    rows: Int[np.ndarray, " m"]


def worlds_of(spans: Int[np.ndarray, "n 2"]) -> list[World]:
    """The worlds of n mentions, each with the entities `[first, end)`; worlds in order."""
    return [
        World(first, end, np.flatnonzero(spans[:, 0] == first))
        for first, end in np.unique(spans, axis=0).tolist()
    ]
