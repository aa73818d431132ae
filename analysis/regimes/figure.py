"""Where hard negatives have less bias than random ones: a map of entropy against m."""

import pathlib

import numpy as np
from matplotlib.colors import TwoSlopeNorm

from analysis.frames import read, where
from nce_bias import plot

PANELS = {"independent": "Independent draws", "distinct": "Distinct draws"}
FINDING = (
    "Hard negatives have less bias than random ones (blue) where distinct draws cover the\n"
    "population, or where there is next to nothing to learn; elsewhere more, thirty-fold or so."
)
LETTERS = {"uniform": "u", "popularity": "p", "mixed": "x", "model": "M"}


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``regimes.png`` from ``bias.csv``."""
    (bias,) = read(results, "bias")
    fig, axes = plot.figure(1, 2, width=7.4, height=4.0, sharey=True)
    with plot.style():
        for ax, (draws, title) in zip(axes.flat, PANELS.items(), strict=True):
            rows = where(bias, draws=draws)
            wide = rows.pivot_table(index="entropy", columns=["negatives", "m"], values="bias_norm")
            ratio = np.log10(wide["model"] / wide["uniform"])
            sizes, places = np.arange(len(ratio.columns)), np.arange(len(ratio))
            mesh = ax.pcolormesh(
                sizes, places, ratio.to_numpy(), cmap="RdBu_r", norm=TwoSlopeNorm(0, -1.5, 1.5)
            )
            if len(sizes) > 1:
                ax.contour(sizes, places, ratio.to_numpy(), levels=[0], colors="black")
            best = rows.loc[rows.groupby(["entropy", "m"])["bias_norm"].idxmin()]
            for _, row in best.iterrows():
                at = ratio.columns.get_loc(row["m"]), ratio.index.get_loc(row["entropy"])
                dark = abs(ratio.loc[row["entropy"], row["m"]]) > 0.9
                ax.text(
                    *at,
                    LETTERS[row["negatives"]],
                    ha="center",
                    va="center",
                    fontsize=5.5,
                    color="white" if dark else "black",
                )
            ax.set_yticks(places, [f"{entropy:.2f}" for entropy in ratio.index], fontsize=6)
            ax.set_xticks(sizes, [str(m) for m in ratio.columns])
            ax.set_xlabel("number of negatives $m$")
            ax.set_title(title, fontsize=9)
        axes.flat[0].set_ylabel("entropy of the population (nats)")
        bar = fig.colorbar(mesh, ax=axes, ticks=[-1.5, -1, -0.5, 0, 0.5, 1, 1.5])
        bar.set_label(r"$\log_{10}$ bias of model / of uniform")
        plot.finding(fig, FINDING, fontsize=9)
        axes.flat[0].annotate(
            "least bias: u uniform, p popularity, x mixed, M model",
            (0, -0.2),
            xycoords="axes fraction",
            fontsize=6.5,
            color=plot.GREY,
        )
    return [plot.save(fig, out / "regimes.png")]
