"""Bias of the best negatives against m, and what they look like."""

import pathlib

import numpy as np

from analysis.frames import read, where
from nce_bias import plot

FINDING = "With 16 draws from the right distribution an uncorrected loss has no bias"
FLOOR = 1e-5


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``optimal.png`` from ``bias.csv`` and ``proposals.csv``."""
    bias, shapes = read(results, "bias", "proposals")
    fig, axes = plot.figure(1, 2, width=7.4, height=3.3)
    left, right = axes.flat
    with plot.style():
        for name, rows in bias.groupby("negatives"):
            reached = rows[rows["bias_norm"] > FLOOR].sort_values("m")
            look = plot.looks([name])[name]
            left.plot(
                reached["m"],
                reached["bias_norm"],
                color=look.colour,
                marker=look.marker,
                markersize=4,
                label=name,
            )
        zero = where(bias, negatives="optimal")
        zero = zero[zero["bias_norm"] <= FLOOR]
        if len(zero):
            left.annotate(
                f"optimal: 0 from $m={zero['m'].min()}$",
                (0.97, 0.12),
                xycoords="axes fraction",
                ha="right",
                fontsize=7.5,
                color=plot.COLOURS["optimal"],
            )
        left.set_xscale("log", base=2)
        left.set_yscale("log")
        left.set_xlabel("number of negatives $m$")
        left.set_ylabel(r"bias norm $\|\varepsilon\|$")
        left.legend(fontsize=7, frameon=False, loc="lower left")
        sizes = [m for m in (1, 16) if m in set(shapes["m"])]
        for m, colour, marker in zip(
            sizes, (plot.SECOND, plot.COLOURS["optimal"]), "o*", strict=False
        ):
            rows = where(shapes, m=m)
            right.scatter(
                np.log10(rows["population"] / rows["model"]),
                rows["q"].clip(lower=1e-6),
                s=16,
                color=colour,
                marker=marker,
                label=f"$m={m}$",
            )
        right.set_yscale("log")
        right.set_xlabel(r"$\log_{10}$ pop / model of a label")
        right.set_ylabel("its probability in the best $q$\n(below $10^{-6}$: at the edge)")
        right.legend(fontsize=7, frameon=False, loc="lower left")
        plot.finding(fig, FINDING)
    return [plot.save(fig, out / "optimal.png")]
