"""The table of a sweep, and what is said about it."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from nce_bias._sweep.cells import FAILED, Row
from nce_bias._sweep.store import Store
from nce_bias.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

#: The status of cells that an interrupt left out.
NOT_RUN = "not run: interrupted"
#: How rows were made; the columns at the end.
LAST = ("method", "status", "seconds", "dtype", "version", "commit", "jax", "backend")


def made_here() -> Row:
    """The columns that say what computes now."""
    found = provenance()
    return {name: found[name] for name in ("version", "commit", "jax", "backend")}


def table_of(rows: list[Row]) -> pd.DataFrame:
    """Scalars first, then how they were made; failed cells in `attrs`, and warned of."""
    import pandas as pd

    columns = dict.fromkeys(name for row in rows for name in row if name not in LAST)
    frame = pd.DataFrame([{"seconds": math.nan} | row for row in rows], columns=[*columns, *LAST])
    failed = [
        (row, status.removeprefix(FAILED))
        for row, status in enumerate(frame["status"])
        if status.startswith(FAILED)
    ]
    frame.attrs["failed"] = failed
    if failed:
        row, reason = failed[0]
        _warn(
            f"{len(failed)} of {len(frame)} cells failed; the others are complete. See the "
            f"column status. The first, in row {row}: {reason}"
        )
    return frame


def warn_of_interrupt(finished: int, cells: int) -> None:
    """After Ctrl-C."""
    _warn(
        f"interrupted after {finished} of {cells} cells, which are kept; the others have the "
        f"status {NOT_RUN!r}."
    )


def warn_of_deaths(deaths: int) -> None:
    """After workers died."""
    if deaths:
        times = "once" if deaths == 1 else f"{deaths} times"
        _warn(
            f"a worker process died, {times} (out of memory, or code that ends the process). What "
            "was finished is kept; what was under way was tried again in a fresh process."
        )


def warn_of_loss(store: Store | None) -> None:
    """After the disk refused."""
    if store is not None and store.lost:
        error = store.lost[0]
        _warn(
            f"{len(store.lost)} finished cells could not be written to {store.folder} "
            f"({type(error).__name__}: {error.strerror or error}). The table has them and the "
            "cells there are intact; these would be computed again. Free some space first."
        )


def _warn(what: str) -> None:
    warnings.warn(f"sweep: {what}", stacklevel=4)
