"""Scores that are inner products of two sides, made for the inputs that are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import read
from nce_bias.numerics.arrays import Array
from nce_bias.streamed import Streamed


class InnerProducts(Streamed):
    """s(x, y) = <queries[x], labels[y]> / temperature, kept as the two sides.

    What `Problem.from_embeddings` holds: O((X + V) d) numbers in place of X V.
    """

    queries: Float[Array, "X d"]
    labels: Float[Array, "V d"]
    temperature: Float[Array, ""]

    @property
    def shape(self) -> tuple[int, int]:
        """(X, V)."""
        return self.queries.shape[0], self.labels.shape[0]

    @property
    def words(self) -> str:
        """Their width."""
        return f"inner products of width {self.queries.shape[-1]}"

    def rows(self, inputs: Any) -> Float[Array, "N V"]:
        """The scores of these inputs, a slice or numbers; sums are taken in working precision."""
        queries, labels, dtype = self.queries[inputs], self.labels, self.dtype
        with np.errstate(all="ignore"):  # what overflows is refused by name
            return queries.astype(dtype) @ labels.astype(dtype).T / self.temperature.astype(dtype)


def inner_products(queries: Any, labels: Any, temperature: Any) -> InnerProducts | Any:
    """Both sides read and checked; scores themselves where a value is traced or for one query."""
    queries, labels = (
        read(name, side) for name, side in (("queries", queries), ("labels", labels))
    )
    if labels.ndim != 2 or queries.ndim not in (1, 2) or queries.shape[-1] != labels.shape[-1]:
        raise refuse(
            "queries, labels",
            f"got shapes {queries.shape} and {labels.shape}",
            "[X, d] and [V, d] of one width d",
            "Give both sides as the two towers leave them, one row an input and a label.",
        )
    if is_traced(queries, labels, temperature):
        return queries @ labels.T / temperature
    if not temperature > 0:
        raise refuse("temperature", f"got {temperature!r}", "a number > 0", "Leave it out for 1.")
    for name, side in (("queries", queries), ("labels", labels)):
        bad = np.argwhere(~np.isfinite(np.atleast_2d(side)))
        if bad.size:
            row, column = (int(i) for i in bad[0])
            raise refuse(
                name,
                f"got {np.atleast_2d(side)[row, column]} in row {row}, column {column}",
                "finite numbers",
                "Find the overflow or the missing value upstream; nothing was computed.",
            )
    rows: Any = np.atleast_2d(queries)
    over: Any = np.asarray(temperature, float)
    products = InnerProducts(rows, labels, over)
    return products if queries.ndim == 2 else products.rows(0)
