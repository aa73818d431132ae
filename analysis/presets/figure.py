"""All presets in the plane of bias and variance, along the number of candidates."""

import pathlib

import pandas as pd

from nce_bias import plot

FLOOR = 3e-3
BINARY = ("word2vec", "binary_nce")
SAME = "tfrs_in_batch_with_hits"  # as ranking_nce
FINDING = "Published conventions, from 2 candidates (small) to 65 (large marker)"
COLOURS = {
    "paper": "#D55E00",
    "paper_replacement": "#E69F00",
    "tf_sampled_softmax": "#56B4E9",
    "log_uniform": "#0072B2",
    "tfrs_in_batch": "#CC79A7",
    "in_batch_infonce": "#000000",
    "mixed_negative_sampling": "#009E73",
    "bengio_senecal_2003": "#999933",
    "bengio_senecal_2008": "#882255",
    "ranking_nce": "#332288",
    "blanc_rendle": "#7F7F7F",
}


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``presets.png`` from ``moments.csv``."""
    table = pd.read_csv(results / "moments.csv")
    fig, ax = plot.figure(width=7.2, height=4.2)
    with plot.style():
        for name, colour in COLOURS.items():
            rows = table[table["preset"] == name].sort_values("m")
            bias = rows["bias_norm"].clip(lower=FLOOR)
            label = f"{name} (bias 0)" if (rows["bias_norm"] < 1e-6).all() else name
            ax.plot(bias, rows["variance"], color=colour, linewidth=0.9, label=label, zorder=2)
            places = 12 + 14 * pd.Series(range(len(rows)), dtype=float)
            ax.scatter(bias, rows["variance"], s=places, color=colour, zorder=3)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_yticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
        ax.minorticks_off()
        ax.set_xlabel(r"bias norm $\|\varepsilon\|$ (0 drawn at the left edge)")
        ax.set_ylabel("variance of one gradient")
        ax.legend(fontsize=6.5, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
        fig.suptitle(FINDING, x=0.01, ha="left")
    return [plot.save(fig, out / "presets.png")]
