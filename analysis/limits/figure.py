"""Bias against the number of negatives and its limits: with and without correction, both hits."""

import pathlib

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.frames import read, where
from nce_bias import plot

FLOOR = 2e-6  # below it lies rounding alone
PANELS = {
    ("infonce", "exclude"): "Uncorrected, hits excluded: all keep a bias",
    ("sampled_softmax", "exclude"): "Corrected, hits excluded: all go to 0",
    ("infonce", "keep"): "Uncorrected, hits kept: only uniform goes to 0",
    ("sampled_softmax", "keep"): "Corrected, hits kept: all end at one bias",
}
FINDING = (
    "More negatives do not remove the bias of an uncorrected loss; hard and popular ones add to it."
    "\n"
    "The logQ correction removes it as $1/m$, if the gold is excluded from the draws."
)


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``limits.png`` from ``bias.csv`` and ``limits.csv``."""
    bias, limits = read(results, "bias", "limits")
    fig, axes = plot.figure(2, 2, width=7.2, height=5.6, sharex=True, sharey=True)
    drawn = {}
    of = {place: dict(zip(("loss_name", "hits"), place, strict=True)) for place in PANELS}
    for ax, (place, title) in zip(axes.flat, PANELS.items(), strict=True):
        drawn[place] = plot.bias_against_m(
            where(bias, **of[place]), limit=where(limits, **of[place]), title=title, ax=ax
        )
        ax.label_outer()
        ax.set_ylim(FLOOR, 1.2)
        ax.set_xlim(1, bias["m"].max())
    plot.finding(fig, FINDING)
    _slope(drawn["sampled_softmax", "exclude"].ax, (150, 1.2e-2), (1500, 1.2e-3))
    plot.legend(
        fig,
        {
            "exact, iid draws": Line2D([], [], color=plot.GREY),
            "limit, $m\\to\\infty$": Line2D(
                [], [], color=plot.GREY, linestyle=(0, (5, 2.5)), linewidth=0.8
            ),
        },
    )
    for place, panel in drawn.items():
        rows = where(bias, **of[place])
        zero = {name for name, part in rows.groupby("negatives") if part["bias_norm"].max() < FLOOR}
        plot.direct_labels({n: line for n, line in panel.lines.items() if n not in zero})
        for name in sorted(zero):
            panel.ax.annotate(
                f"{name}: 0 at every $m$",
                (0.03, 0.04),
                xycoords="axes fraction",
                color=panel.lines[name].get_color(),
                fontsize=7.5,
            )
    return [plot.save(fig, out / "limits.png")]


def _slope(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A short line of slope -1, to hold the curves against."""
    ax.plot(*zip(start, end, strict=True), color=plot.GREY, linewidth=0.7, linestyle=":")
    middle = (start[0] * end[0]) ** 0.5, (start[1] * end[1]) ** 0.5
    ax.annotate(
        r"$\propto 1/m$", middle, (5, 2), textcoords="offset points", color=plot.GREY, fontsize=7
    )
