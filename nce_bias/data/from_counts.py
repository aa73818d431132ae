"""A label space from a table of counts."""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias._gate import read
from nce_bias.data.label_space import LabelSpace


def from_counts(
    counts: Any,
    names: Iterable[object] | None = None,
    inputs: Iterable[Hashable] | None = None,
    *,
    source: str = "counts given by the user",
    licence: str = "not stated",
) -> LabelSpace:
    """Label space whose joint distribution of inputs and labels is proportional to `counts`.

    The counts are copied, in float64, and nothing is added to them: a label that was never seen has
    probability 0.  For Laplace's rule pass ``counts + 1``.

    Parameters
    ----------
    counts : array-like [V] or [X, V]
        n(y), or n(x, y) with one row for each input: finite and not negative.  They need not be
        whole (weighted counts), V ≥ 2, and each row has a label that was seen.  `[V]` is one input.
        A SciPy matrix too, a Series of pandas (`value_counts`) or a table (`crosstab`).
    names : V labels, optional
        Written with `str`; by default what a Series' index or a table's columns are called, else
        "0", "1", ...
    inputs : X hashable values, optional
        What each row is the row of; by default a table's index, else 0, 1, ...
    source, licence
        For the card.

    Raises
    ------
    ValueError
        For counts that are no array of real numbers, of another shape, negative, NaN, infinite or
        with a sum beyond float64; a row of zeros; not as many names as labels, or inputs as rows.
        The message says what was given, what was expected and what to do.

    Examples
    --------
    >>> nb.data.from_counts([6, 3, 1], names=["a", "b", "c"])
    LabelSpace
      labels       3
      inputs       1
      examples     10
      conditional  0.898 nats (label given input)
      entropy      0.898 nats (popularity)
      top-1 share  60.00% ('a')
      source       counts given by the user
      licence      not stated
    >>> nb.data.from_counts([[6, 3, 1], [0, 0, 0]])
    Traceback (most recent call last):
        ...
    ValueError: counts: row 1 has no count above 0; expected at least one in each row. ...
    """
    table = np.atleast_2d(_real(counts))
    _check_values(table)
    index, columns = getattr(counts, "index", None), getattr(counts, "columns", None)
    if columns is not None:  # a table of pandas
        names, inputs = columns if names is None else names, index if inputs is None else inputs
    elif names is None and index is not None and not callable(index):
        names = index
    return labelled(table, names, inputs, source, licence)


def labelled(
    table: Float[np.ndarray, "X V"],
    names: Iterable[object] | None,
    inputs: Iterable[Hashable] | None,
    source: str,
    licence: str,
) -> LabelSpace:
    """A checked table, which becomes read-only, with its names."""
    rows, labels = table.shape
    called = map(str, range(labels) if names is None else names)
    table.flags.writeable = False
    return LabelSpace(
        _one_each("names", called, labels, "label"),
        _one_each("inputs", range(rows) if inputs is None else inputs, rows, "row of counts"),
        table,
        source,
        licence,
    )


def _real(counts: Any) -> np.ndarray:
    """`counts` as a new float64 array of a shape that can be one, [V] or [X, V]."""
    array = read("counts", counts, sparse=True)
    if array.ndim not in (1, 2) or array.size == 0 or array.shape[-1] < 2:
        raise refuse(
            "counts",
            f"got shape {array.shape}",
            "[V] or [X, V] with at least one input and two labels",
            "Give one row for each input and one column for each label.",
        )
    return np.array(array, np.float64)


def _check_values(table: Float[np.ndarray, "X V"]) -> None:
    for wrong, expected, remedy in (
        (~np.isfinite(table), "finite counts", "Remove or repair that entry."),
        (table < 0, "counts >= 0", "Pass counts, not logarithms or scores."),
    ):
        if wrong.any():
            row, label = (int(i) for i in np.argwhere(wrong)[0])
            raise refuse(
                "counts", f"row {row} has {table[row, label]:g} at label {label}", expected, remedy
            )
    empty = np.flatnonzero(~table.any(axis=1))
    if empty.size:
        raise refuse(
            "counts",
            f"row {int(empty[0])} has no count above 0",
            "at least one in each row",
            "Leave that input out, in `inputs` too: pop(y|x) does not exist for it.",
        )
    with np.errstate(over="ignore"):
        total = table.sum()
    if not np.isfinite(total):
        raise refuse(
            "counts",
            f"they sum to {total:g}",
            "a sum that float64 can hold",
            "Divide all counts by the largest.",
        )


def _one_each(
    argument: str, values: Iterable[Hashable], expected: int, what: str
) -> tuple[Any, ...]:
    found = tuple(values)
    if len(found) != expected:
        raise refuse(
            argument,
            f"got {len(found)}",
            f"{expected}, one for each {what}",
            f"Give {expected}, or leave {argument} out for numbers from 0.",
        )
    return found
