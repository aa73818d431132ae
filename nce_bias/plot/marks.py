"""Marks: lines with bands, published points, limits. They draw columns and compute nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from nce_bias.plot.canvas import axes_or_current
from nce_bias.plot.style import Look, display_name, looks, style

BAND_OPACITY = 0.2
LIMIT_DASHES = (0, (5, 2.5))


@dataclass(frozen=True)
class Drawn:
    """The artists of one call, by name of the group (the value of the `by` column)."""

    ax: Axes
    lines: dict[str, Line2D] = field(default_factory=dict)
    bands: dict[str, PolyCollection] = field(default_factory=dict)
    points: dict[str, Line2D] = field(default_factory=dict)
    limits: dict[str, Line2D] = field(default_factory=dict)


def curves(  # noqa: PLR0913 (keyword-only)
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    by: str = "negatives",
    spread: str | None = None,
    band: str | None = None,
    bold: object = None,
    markers: bool = False,
    look: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> Drawn:
    """Draw one line for each group: `y` against `x`, sorted by `x`.

    Parameters
    ----------
    table
        Tidy: one row for each point. Several `y` at one `x` of a group need `band`.
    x, y
        Columns of numbers. NaN leaves a gap.
    by
        Column that separates the lines; it chooses colour and marker (`looks`).
    spread
        Column of half-widths (a standard error, say): a band from y - spread to y + spread.
    band
        Column that numbers repetitions (seeds). One of them is the line; the band goes from
        the least to the greatest over all of them.
    bold
        Which repetition is the line; by default the first in the table.
    markers
        Mark every point.
    look
        Looks by group, where `looks` of this table's groups is not wanted.
    ax
        Axes to draw on; by default the current ones of pyplot.

    Returns
    -------
    Drawn
        With `lines` and `bands`.

    Raises
    ------
    ValueError
        A column that is not there, an empty table, repeated `x` without `band`, both kinds of band.

    Examples
    --------
    >>> import pandas as pd
    >>> from nce_bias import plot
    >>> runs = pd.DataFrame({"step": [1, 2, 1, 2], "loss": [3.0, 2.0, 3.5, 1.0],
    ...                      "seed": [0, 0, 1, 1], "negatives": "model"})
    >>> fig, ax = plot.figure()
    >>> plot.curves(runs, x="step", y="loss", band="seed", ax=ax).lines["model"].get_ydata()
    array([3., 2.])
    """
    if spread and band:
        raise ValueError(
            f"spread, band: got both {spread!r} and {band!r}; expected one of them. "
            "Draw two sets of curves for two kinds of band."
        )
    check_columns(table, x, y, by, *filter(None, (spread, band)))
    ax = axes_or_current(ax)
    drawn = Drawn(ax)
    groups = _groups(table, by)
    look = look or looks(groups)
    with style():
        for name, rows in groups.items():
            line_rows = rows if band is None else _repetition(rows, band, bold, name)
            line_rows = line_rows.sort_values(x)
            _refuse_repeated(line_rows, x, y, name)
            this = look[name]
            (drawn.lines[name],) = ax.plot(
                line_rows[x].to_numpy(),
                line_rows[y].to_numpy(),
                color=this.colour,
                linestyle=this.dashes,
                marker=this.marker if markers else "",
                label=display_name(name),
                zorder=3,
            )
            edges = _edges(rows, line_rows, x, y, spread, band)
            if edges is not None:
                drawn.bands[name] = ax.fill_between(
                    *edges, color=this.colour, alpha=BAND_OPACITY, linewidth=0, zorder=2
                )
    return drawn


def points(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    by: str = "negatives",
    look: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> dict[str, Line2D]:
    """Published values: hollow markers without a line, in the colours of `curves`.

    Parameters are those of `curves`; returns the markers by group. They carry no entry in a
    legend: `legend` and a caption say what hollow markers are.
    """
    check_columns(table, x, y, by)
    ax = axes_or_current(ax)
    groups = _groups(table, by)
    look = look or looks(groups)
    found = {}
    with style():
        for name, rows in groups.items():
            (found[name],) = ax.plot(
                rows[x].to_numpy(),
                rows[y].to_numpy(),
                linestyle="",
                marker=look[name].marker,
                markerfacecolor="white",
                markeredgecolor=look[name].colour,
                markeredgewidth=0.8,
                markersize=3.5,
                zorder=4,
            )
    return found


def limits(
    table: pd.DataFrame,
    *,
    y: str,
    by: str = "negatives",
    look: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> dict[str, Line2D]:
    """Values that curves tend to: dashed horizontal lines across the axes, one for each row.

    On a logarithmic axis a limit of 0 has no place and no line.
    """
    check_columns(table, y, by)
    ax = axes_or_current(ax)
    groups = _groups(table, by)
    look = look or looks(groups)
    found = {}
    with style():
        for name, rows in groups.items():
            _refuse_repeated(rows, by, y, name)
            value = float(rows[y].iloc[0])
            if ax.get_yscale() == "log" and not value > 0:
                continue
            found[name] = ax.axhline(
                value, color=look[name].colour, linestyle=LIMIT_DASHES, linewidth=0.8, zorder=1.5
            )
    return found


def check_columns(table: pd.DataFrame, *columns: str) -> None:
    """Refuse a table without rows or without one of the columns, by name."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(
            f"table: it has no column {', '.join(map(repr, missing))}, only "
            f"{', '.join(map(repr, table.columns))}. Rename a column or name another one."
        )
    if table.empty:
        raise ValueError("table: it has no rows. Check the filter that made it.")


def _groups(table: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in table.groupby(by, sort=False)}


def _repetition(rows: pd.DataFrame, band: str, bold: object, name: str) -> pd.DataFrame:
    wanted = rows[band].iloc[0] if bold is None else bold
    chosen: Any = rows[rows[band] == wanted]
    if chosen.empty:
        raise ValueError(
            f"bold: {name!r} has no row with {band} = {wanted!r}; expected one of "
            f"{sorted(rows[band].unique().tolist())}."
        )
    return chosen


def _refuse_repeated(rows: pd.DataFrame, x: str, y: str, name: str) -> None:
    repeated = rows[x].duplicated()
    if repeated.any():
        raise ValueError(
            f"table: {name!r} has more than one {y!r} at {x} = {rows[x][repeated].tolist()[0]!r}. "
            "Filter the table to one curve for each group, or name the repetitions by band=."
        )


def _edges(
    rows: pd.DataFrame,
    line_rows: pd.DataFrame,
    x: str,
    y: str,
    spread: str | None,
    band: str | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """x, lower and upper edge of the band, or None."""
    if spread is not None:
        at, half = line_rows[y].to_numpy(), line_rows[spread].to_numpy()
        if not np.isfinite(half).any():
            return None  # an exact curve in a table with Monte Carlo ones
        return line_rows[x].to_numpy(), at - half, at + half
    if band is not None:
        across: Any = rows.groupby(x)[y].agg(["min", "max"])  # sorted by x
        return across.index.to_numpy(), across["min"].to_numpy(), across["max"].to_numpy()
    return None
