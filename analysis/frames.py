"""Tables as figures and pages read them; this knows pandas alone."""

import pathlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

#: A DataFrame or a part of one. pandas has no types of its own, and what a checker infers of a
#: column or of a chain of calls (Series, frame or array) is wrong as often as not.
Table = Any


def read(results: pathlib.Path, *names: str) -> list[Table]:
    """The tables ``NAME.csv`` of a folder, in the order asked."""
    return [pd.read_csv(results / f"{name}.csv") for name in names]


def where(table: Table, **values: Any) -> Table:
    """The rows whose columns have these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def stacked(tables: Sequence[Table]) -> Table:
    """The tables one below the other."""
    return pd.concat(tables, ignore_index=True)


def with_edges(table: Table, keys: Sequence[str], value: Any, low: Any, high: Any) -> Table:
    """Three rows for each: the estimate (NaN where it is not positive) and the band's edges.

    An edge of 0 has no place on a logarithmic axis; it is put far below it.
    """
    parts = [
        table[list(keys)].assign(
            edge=edge, value=values.where(values > 0) if edge == "estimate" else values.clip(1e-9)
        )
        for edge, values in {"estimate": value, "low": low, "high": high}.items()
    ]
    return stacked(parts)
