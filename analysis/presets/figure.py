"""All presets in the plane of bias and variance, along the number of candidates."""

import pathlib

import numpy as np

from analysis.frames import read, where
from nce_bias import plot

FLOOR = 3e-3
BINARY = ("word2vec", "binary_nce")
SAME = "tfrs_in_batch_with_hits"  # as ranking_nce
FINDING = (
    "More candidates take the bias off corrected losses, unless in-batch hits are removed,\n"
    "and off distinct hard negatives; in-batch InfoNCE's grows (2, 5, 17, 65 candidates)"
)
NAMES = (
    "paper",
    "paper_replacement",
    "tf_sampled_softmax",
    "log_uniform",
    "tfrs_in_batch",
    "in_batch_infonce",
    "mixed_negative_sampling",
    "bengio_senecal_2003",
    "bengio_senecal_2008",
    "ranking_nce",
    "blanc_rendle",
)


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``presets.png`` from ``moments.csv``."""
    (table,) = read(results, "moments")
    fig, ax = plot.figure(width=7.2, height=4.2)
    with plot.style():
        for name, colour in zip(NAMES, plot.CATEGORIES, strict=True):
            rows = where(table, preset=name).sort_values("m")
            bias = rows["bias_norm"].clip(lower=FLOOR)
            label = f"{name} (bias 0)" if (rows["bias_norm"] < 1e-6).all() else name
            ax.plot(bias, rows["variance"], color=colour, linewidth=0.9, label=label, zorder=2)
            places = 12 + 14 * np.arange(len(rows))
            ax.scatter(bias, rows["variance"], s=places, color=colour, zorder=3)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_yticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
        ax.minorticks_off()
        ax.set_xlabel(r"bias norm $\|\varepsilon\|$ (0 drawn at the left edge)")
        ax.set_ylabel("variance of one gradient")
        ax.legend(fontsize=6.5, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
        plot.finding(fig, FINDING, fontsize=9)
    return [plot.save(fig, out / "presets.png")]
