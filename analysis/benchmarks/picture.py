"""Seconds of an exact answer against labels and against negatives, beside a softmax."""

import pathlib

from matplotlib.axes import Axes

from analysis.frames import Table, read, where
from nce_bias import plot

FINDING = "With atoms 100,000 labels cost tens of softmaxes, whatever m is; directly, a thousand"
#: What is drawn, its rows, its column and how it looks.
LINES = {
    "direct rule": (("one", "independent"), "direct", plot.COLOURS["hard"], "s"),
    "distinct draws": (("one", "distinct"), "atoms", plot.COLOURS["mixed"], "^"),
    "all golds": (("all", "independent"), "atoms", plot.COLOURS["popularity"], "D"),
    "one gold": (("one", "independent"), "atoms", plot.COLOURS["model"], "o"),
    "one softmax": (("one", "independent"), "softmax", plot.COLOURS["cross_entropy"], ""),
}


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``benchmarks.png`` from ``atoms.csv``."""
    (table,) = read(results, "atoms")
    table = where(table, negatives="model")
    fig, (left, right) = plot.figure(1, 2, width=7.4, height=3.2, sharey=True)
    with plot.style():
        drawn = {name: _line(left, table, name, "labels") for name in LINES}
        for name in ("distinct draws", "one gold"):
            _line(right, table, name, "m")
        left.set(
            xscale="log",
            yscale="log",
            xlabel="labels $V$, 4 negatives, 64 distinct",
            ylabel="seconds",
        )
        right.set(xscale="log", xlabel="negatives $m$, 100,000 labels")
        plot.legend(fig, drawn)
        plot.finding(fig, FINDING)
    return [plot.save(fig, out / "benchmarks.png")]


def _line(ax: Axes, table: Table, name: str, against: str):
    """Against labels at one m, or against m at one number of labels."""
    (golds, draws), column, colour, marker = LINES[name]
    rows = where(table, golds=golds, draws=draws)
    at = {"m": 64 if draws == "distinct" else 4} if against == "labels" else {"labels": 10**5}
    rows = where(rows, **at).dropna(subset=[column]).sort_values(against)
    return ax.plot(
        rows[against], rows[column] / 1e3, color=colour, marker=marker, markersize=4, label=name
    )[0]
