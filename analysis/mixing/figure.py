"""Bias and variance against the share of hard negatives, for each kind of mixing."""

import pathlib

from analysis.frames import read, where
from nce_bias import plot

KINDS = {
    ("mixture", "infonce"): ("mixture", plot.COLOURS["mixed"], "-", "o"),
    ("two sets", "infonce"): ("two sets", "black", (0, (1, 1.5)), ""),
    ("top and distinct", "infonce"): ("top + distinct uniform", plot.COLOURS["hard"], "-", "^"),
    ("mixture", "sampled_softmax"): (
        "mixture, corrected",
        plot.lighten(plot.COLOURS["mixed"], 0.45),
        "-",
        "s",
    ),
}
FINDING = (
    "Uncorrected, hard negatives add bias however they are mixed in; corrected, they remove it"
)
FLOOR = 1e-4


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``mixing.png`` from ``moments.csv``."""
    (table,) = read(results, "moments")
    fig, axes = plot.figure(1, 2, width=8.4, height=3.1, sharex=True)
    with plot.style():
        for ax, column in zip(axes.flat, ("bias_norm", "variance"), strict=True):
            for (mixing, loss), (name, colour, dashes, marker) in KINDS.items():
                rows = where(table, mixing=mixing, loss_name=loss)
                rows = rows[rows["bias_norm"] > FLOOR] if column == "bias_norm" else rows
                ax.plot(
                    rows["share"],
                    rows[column],
                    color=colour,
                    linestyle=dashes,
                    marker=marker,
                    markersize=4,
                    label=name,
                )
            ax.set_xlabel("share of hard negatives")
        first, second = axes.flat
        first.set_yscale("log")
        first.set_ylabel(r"bias norm $\|\varepsilon\|$")
        first.annotate(
            "0 at share 1",
            (0.98, 0.12),
            xycoords="axes fraction",
            ha="right",
            fontsize=7,
            color=plot.lighten(plot.COLOURS["mixed"], 0.45),
        )
        second.set_ylabel("variance of one gradient")
        plot.direct_labels({str(line.get_label()): line for line in second.lines})
        plot.finding(fig, FINDING)
    return [plot.save(fig, out / "mixing.png")]
