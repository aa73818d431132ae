"""Mean squared error of the batch gradient against the batch size."""

import pathlib

import numpy as np

from analysis.frames import read, where
from nce_bias import plot

DASHES = {"infonce": "-", "sampled_softmax": (0, (4, 1.5))}
FINDING = (
    "Bias matters from a batch of about a hundred on where negatives are hard or popular,\n"
    "and, corrected, not below thousands; a corrected loss costs variance at small batches."
)


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``batches.png`` from ``moments.csv``."""
    (moments,) = read(results, "moments")
    sizes = sorted(m for m in moments["m"].unique() if m != moments["m"].max())
    fig, axes = plot.figure(1, len(sizes), width=8.6, height=3.3, sharey=True)
    batches = np.geomspace(1, 1e6, 61)
    full = where(moments, negatives="full softmax").iloc[0]
    with plot.style():
        for ax, m in zip(np.atleast_1d(axes), sizes, strict=True):
            for _, row in where(moments, m=m).iterrows():
                noise = row["variance"] + row["variance_inputs"]
                ax.plot(
                    batches,
                    row["bias_norm"] ** 2 + noise / batches,
                    color=plot.COLOURS[row["negatives"]],
                    linestyle=DASHES[row["loss_name"]],
                    label=f"{row['negatives']}, {plot.display_name(row['loss_name'])}",
                )
            noise = full["variance"] + full["variance_inputs"]
            ax.plot(batches, noise / batches, color="black", linewidth=0.8, label="full softmax")
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("batch size $B$")
            ax.set_title(f"$m={m}$", fontsize=9)
        np.atleast_1d(axes)[0].set_ylabel("mean squared error of the gradient")
        last = np.atleast_1d(axes)[-1]
        plot.direct_labels({str(line.get_label()): line for line in last.lines}, fontsize=7)
        plot.finding(fig, FINDING, fontsize=9)
    return [plot.save(fig, out / "batches.png")]
