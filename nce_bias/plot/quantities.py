"""Figures of this library's quantities: which column on which axis, its name and its unit."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

from nce_bias.plot.canvas import axes_or_current
from nce_bias.plot.marks import Drawn, check_columns, curves, limits, points
from nce_bias.plot.style import DASHES, Look, display_name, looks, style

SCORE_SPACE = r"bias norm $\|\epsilon\|$ (scores)"
PARAMETER_SPACE = r"bias norm $\|b(\theta)\|$ (parameters)"
NEGATIVES = "negatives per example, $m$"


def loss_against_step(  # noqa: PLR0913 (keyword-only)
    table: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    entropy: float | int | None = None,
    title: str | None = None,
    by: str = "negatives",
    y: str = "loss",
    band: str | None = None,
    bold: object = None,
    log: bool = False,
    ax: Axes | None = None,
) -> Drawn:
    """Draw losses along training.

    Parameters
    ----------
    table
        Columns ``step``, `y` (nats) and `by`: "cross_entropy", or the negatives of a contrastive
        loss ("model", "uniform", ...).
    published
        The same columns; drawn as hollow markers.
    entropy
        Of the population, in nats: the least cross entropy there is, as a dashed line.
    title
        The finding, in words.
    band, bold
        As for `curves`: the column of seeds, and which seed is the line.
    log
        Logarithmic loss axis.
    """
    ax = _axes(ax, "training step", "loss (nats)", title, log_y=log)
    drawn = curves(table, x="step", y=y, by=by, band=band, bold=bold, ax=ax)
    if published is not None:
        look = looks([*drawn.lines, *published[by].astype(str)])
        drawn.points.update(points(published, x="step", y=y, by=by, look=look, ax=ax))
    if entropy is not None:
        floor = pd.DataFrame({by: ["entropy"], y: [entropy]})
        drawn.limits.update(limits(floor, y=y, by=by, ax=ax))
    return drawn


def bias_against_step(  # noqa: PLR0913 (keyword-only)
    table: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    title: str | None = None,
    by: str = "negatives",
    y: str = "bias_norm",
    ylabel: str = PARAMETER_SPACE,
    spread: str | None = None,
    band: str | None = None,
    bold: object = None,
    log: bool = True,
    ax: Axes | None = None,
) -> Drawn:
    """Draw the norm of the gradient bias along training.

    Parameters
    ----------
    table
        Columns ``step``, `y` and `by` (the negatives).
    published
        The same columns; drawn as hollow markers.
    title
        The finding, in words.
    ylabel
        `PARAMETER_SPACE` or `SCORE_SPACE` of this module, or a text.
    spread, band, bold
        As for `curves`.
    log
        Logarithmic bias axis; estimates that are not positive fall off it.
    """
    ax = _axes(ax, "training step", ylabel, title, log_y=log)
    drawn = curves(table, x="step", y=y, by=by, spread=spread, band=band, bold=bold, ax=ax)
    if published is not None:
        look = looks([*drawn.lines, *published[by].astype(str)])
        drawn.points.update(points(published, x="step", y=y, by=by, look=look, ax=ax))
    return drawn


def bias_against_m(  # noqa: PLR0913 (keyword-only)
    table: pd.DataFrame,
    *,
    limit: pd.DataFrame | None = None,
    title: str | None = None,
    by: str = "negatives",
    y: str = "bias_norm",
    ylabel: str = SCORE_SPACE,
    spread: str | None = None,
    markers: bool = False,
    look: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> Drawn:
    """Draw the norm of the gradient bias against the number of negatives, both logarithmic.

    Parameters
    ----------
    table
        Columns ``m``, `y` and `by` (the negatives).
    limit
        Columns `y` and `by`: what each curve tends to as m grows, as dashed lines. A limit of 0 has
        no line.
    title
        The finding, in words.
    spread, markers, look
        As for `curves`.
    """
    ax = _axes(ax, NEGATIVES, ylabel, title, log_x=True, log_y=True)
    drawn = curves(table, x="m", y=y, by=by, spread=spread, markers=markers, look=look, ax=ax)
    if limit is not None:
        look = look or looks([*drawn.lines, *limit[by].astype(str)])
        drawn.limits.update(limits(limit, y=y, by=by, look=look, ax=ax))
    return drawn


def compare(
    table: pd.DataFrame, *, y: str = "bias_norm", title: str | None = None, ax: Axes | None = None
) -> Drawn:
    """Draw a table of ``nce-bias compare``.

    With several m it is `bias_against_m`, marked at each m; with one it is one point in a row of
    its own for each kind of negatives. Several losses differ in dashes (or in height in the row).

    Parameters
    ----------
    table
        Columns ``negatives``, ``loss_name``, ``m``, `y` and, where estimated, `y` + "_se".

    Returns
    -------
    Drawn
        Named by negatives, and by "negatives, loss" where there is more than one loss.
    """
    check_columns(table, "negatives", "loss_name", "m", y)
    losses = list(dict.fromkeys(table["loss_name"]))
    several = len(losses) > 1
    table = table.assign(group=table["negatives"] + (", " + table["loss_name"] if several else ""))
    of_negatives = looks(table["negatives"])
    look = {}
    for group, name, loss in zip(
        table["group"], table["negatives"], table["loss_name"], strict=True
    ):
        look[group] = of_negatives[name]
        if several:
            dashes = DASHES[losses.index(loss) % len(DASHES)]
            look[group] = replace(look[group], dashes=dashes)
    if f"{y}_se" not in table.columns:
        table = table.assign(**{f"{y}_se": np.nan})
    if len(set(table["m"])) > 1:
        return bias_against_m(
            table, by="group", y=y, spread=f"{y}_se", markers=True, look=look, title=title, ax=ax
        )
    return _dots(table, y, look, title or f"m = {table['m'].iloc[0]}", ax)


def _dots(
    table: pd.DataFrame, y: str, look: Mapping[str, Look], title: str, ax: Axes | None
) -> Drawn:
    """One row for each group, from the first at the top; bars are one standard error."""
    ax = _axes(ax, SCORE_SPACE, "", title)
    drawn = Drawn(ax)
    names = list(dict.fromkeys(table["group"]))
    with style():
        for height, (name, value, error) in enumerate(
            zip(table["group"], table[y], table[f"{y}_se"], strict=True)
        ):
            this = look[name]
            if np.isfinite(error):
                ax.hlines(height, value - error, value + error, color=this.colour, linewidth=1.2)
            (drawn.points[name],) = ax.plot(
                [value], [height], linestyle="", marker=this.marker, color=this.colour, markersize=6
            )
        ax.set_yticks(range(len(names)), [display_name(name) for name in names])
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.margins(x=0.08)
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.grid(visible=False, axis="y")
    return drawn


class PlainNumbers(LogFormatterSciNotation):
    """0.2 instead of 2 x 10^-1 on an axis that stays above 0.0005; powers on a longer one.

    Which ticks get a label is Matplotlib's choice.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text of the tick at `x`, empty where there is to be none."""
        text = super().__call__(x, pos)
        long = self.axis is not None and min(self.axis.get_view_interval()) < 5e-4
        return text if long or not text else f"{x:g}"


def _axes(
    ax: Axes | None,
    xlabel: str,
    ylabel: str,
    title: str | None,
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> Axes:
    ax = axes_or_current(ax)
    with style():
        if log_x:
            ax.set_xscale("log", base=10)
            ax.xaxis.set_major_locator(LogLocator(numticks=12))
            ax.xaxis.set_major_formatter(FuncFormatter(_whole))
            ax.xaxis.set_minor_formatter(NullFormatter())
        if log_y:
            ax.set_yscale("log", nonpositive="mask")
            ax.yaxis.set_major_formatter(PlainNumbers())
            ax.yaxis.set_minor_formatter(PlainNumbers(labelOnlyBase=False))
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        if title is not None:
            ax.set_title(title)
    return ax


def _whole(value: float, _position: int | None = None) -> str:
    """1, 10, 1,000: counts are read as numbers, not as powers."""
    return f"{value:,.0f}"
