"""Names beside the lines they name, and legends that never cover data."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from scipy.optimize import isotonic_regression

from nce_bias.plot.style import display_name, style

LINE_SPACING = 1.2  # of a label, in units of its font size
GAP = 10.0  # points between the axes and the labels


def direct_labels(
    lines: Mapping[str, Line2D],
    names: Mapping[str, str] | None = None,
    *,
    fontsize: float | int = 7.5,
) -> dict[str, Annotation]:
    """Write each line's name to the right of the axes, level with its last point.

    Labels keep a line's height apart and move as little as possible for it (least squares); a
    thin connector shows where each belongs. Call it last: later changes of the limits move the
    lines and not the labels.

    Parameters
    ----------
    lines
        Of one Axes, by name, as `Drawn.lines` has them. A line without a finite point is left out.
    names
        What to write, where it is not the name itself.
    fontsize
        In points.

    Returns
    -------
    dict
        The annotations by name.
    """
    lines = {name: line for name, line in lines.items() if _last_point(line) is not None}
    if not lines:
        return {}
    ax = cast(Axes, next(iter(lines.values())).axes)
    fig = ax.get_figure(root=True)
    assert fig is not None
    fig.draw_without_rendering()  # settles the layout, hence the height of the axes
    ends = np.array([_last_point(line) for line in lines.values()])
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    points_high = ax.get_window_extent().height * 72 / fig.dpi
    placed = spread_apart(heights, LINE_SPACING * fontsize / points_high)
    found = {}
    low, high = sorted(ax.get_ylim())
    width = ax.get_window_extent().width * 72 / fig.dpi
    with style():
        for (name, line), end, height in zip(lines.items(), ends, placed, strict=True):
            found[name] = ax.annotate(
                (names or {}).get(name, display_name(name)),
                xy=(end[0], min(max(end[1], low), high)),
                xytext=(1 + GAP / width, height),
                textcoords="axes fraction",
                color=line.get_color(),
                fontsize=fontsize,
                va="center",
                ha="left",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": line.get_color(),
                    "linewidth": 0.5,
                    "shrinkA": 1,
                    "shrinkB": 1,
                    "relpos": (0, 0.5),
                },
            )
    return found


def spread_apart(heights: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """The heights in [0, 1] nearest to `heights` that are at least `gap` apart, order kept.

    Without the i-th gap the constraint is that of isotonic regression, which is solved exactly.
    If they cannot all fit they are spaced evenly.

    Examples
    --------
    >>> spread_apart([0.5, 0.5], 0.25).tolist()
    [0.375, 0.625]
    """
    heights = np.asarray(heights, dtype=float)
    count = len(heights)
    if count > 1:
        gap = min(gap, 1 / (count - 1))
    order = np.argsort(heights, kind="stable")
    offsets = gap * np.arange(count)
    level = isotonic_regression(heights[order] - offsets).x
    placed = np.empty(count)
    placed[order] = np.clip(level, 0, max(0.0, 1 - gap * (count - 1))) + offsets
    return placed


def legend(
    where: Axes | Figure,
    handles: Mapping[str, Line2D] | None = None,
    *,
    columns: int | None = None,
) -> Legend:
    """Put a legend off the data: right of an Axes, or below all panels of a Figure.

    Parameters
    ----------
    where
        Axes or Figure.
    handles
        Text -> line; by default the labelled lines.
    columns
        By default one beside axes, and as many as there are entries below a figure.
    """
    lines = None if handles is None else list(handles.values())
    texts = None if handles is None else list(handles)
    entries = {} if lines is None else {"handles": lines, "labels": texts}
    with style():
        if isinstance(where, Figure):
            count = len(lines) if lines is not None else 4
            return where.legend(loc="outside lower center", ncols=columns or count, **entries)
        return where.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.0), ncols=columns or 1, **entries
        )


def _last_point(line: Line2D) -> tuple[float, float] | None:
    x = np.asarray(line.get_xdata(), dtype=float)
    y = np.asarray(line.get_ydata(), dtype=float)
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    return (float(x[finite[-1]]), float(y[finite[-1]])) if finite.size else None
