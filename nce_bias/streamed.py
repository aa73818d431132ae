"""Scores that are made or read for the inputs that are asked for, and never held together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias._gate import read
from nce_bias.numerics.arrays import Array

#: Scores of a memory map from which on it is read piece by piece.
LARGE = 2**26


class Streamed(eqx.Module):
    """Scores [X, V] that are there row by row."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(X, V)."""

    @abstractmethod
    def rows(self, inputs: Any) -> Float[Array, "*N V"]:
        """The scores of these inputs: a slice, numbers, or one number."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What they are, for a repr."""

    @property
    def ndim(self) -> int:
        """Always two axes."""
        return 2

    @property
    def dtype(self) -> Any:
        """The type of the scores: the working precision."""
        return jnp.result_type(float)

    @property
    def size(self) -> int:
        """X V."""
        return self.shape[0] * self.shape[1]


class OnDemand(Streamed):
    """Scores that a function gives for the numbers of inputs: rows(inputs) -> [N, V]."""

    function: Callable[[np.ndarray], Any] = eqx.field(static=True)
    given: tuple[int, int] = eqx.field(static=True)
    made: str = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """As golds and a first row tell."""
        return self.given

    @property
    def words(self) -> str:
        """How."""
        return self.made

    def rows(self, inputs: Any) -> Float[Array, "*N V"]:
        """What the function gives, read and of the right shape."""
        numbers = np.arange(self.given[0])[inputs]
        asked = np.atleast_1d(numbers)
        found = read("scores", self.function(asked))
        if found.shape != (len(asked), self.given[1]):
            raise refuse(
                "scores",
                f"the function gave shape {found.shape} for {len(asked)} inputs",
                f"({len(asked)}, {self.given[1]})",
                "Return one row for each number that it is called with.",
            )
        return found if numbers.ndim else found[0]


class _Rows:
    """Rows of a file that is mapped into memory."""

    def __init__(self, file: np.memmap) -> None:
        self._file = file

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self._file[inputs])


def on_demand(scores: Any, golds: Any) -> OnDemand | None:
    """For a function, of which golds tell the inputs, or a large memory map; None for the rest."""
    if isinstance(scores, np.memmap):
        if scores.ndim != 2 or scores.size <= LARGE:
            return None
        inputs, labels = scores.shape
        return OnDemand(_Rows(scores), (inputs, labels), "read from a file")
    if not callable(scores):
        return None
    inputs = len(golds) if hasattr(golds, "__len__") else 1
    first = read("scores", scores(np.arange(1)))
    if first.ndim != 2 or first.shape[0] != 1 or first.shape[1] < 2:
        raise refuse(
            "scores",
            f"the function gave shape {first.shape} for 1 input",
            "(1, V), at least two labels",
            "It is called with an array of inputs' numbers and returns one row for each.",
        )
    return OnDemand(scores, (inputs, first.shape[1]), "made by a function")
