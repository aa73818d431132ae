"""What every analysis writes: tidy tables, and beside them how they were made."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pandas as pd
from rich.console import Console
from rich.progress import track

import nce_bias as nb
from nce_bias.provenance import write_meta

T = TypeVar("T")

#: Fields of `Moments` that tables have.
FIELDS = ("loss", "bias_norm", "cosine", "variance", "coverage", "effective_sample_size", "error")


def progress(cells: Sequence[T], name: str) -> Iterable[T]:
    """The cells, with a bar that goes away."""
    return track(cells, name, console=Console(stderr=True), transient=True)


def scalars(found: nb.Moments) -> dict[str, Any]:
    """The fields of a result that tables have, as floats."""
    return {name: float(getattr(found, name)) for name in FIELDS} | {"status": found.status}


def write(out: pathlib.Path, tables: dict[str, list[dict[str, Any]]], **configuration: Any) -> None:
    """One CSV for each table and ``meta.json``."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(out / f"{name}.csv", index=False)
    write_meta(out, **configuration)
