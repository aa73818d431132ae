"""Loss and gradient bias along training, without and with replacement, and the published points."""

import pathlib

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.frames import read, where
from nce_bias import plot

FINDING = (
    "Hard negatives remove the bias of the gradient only where they are distinct:\n"
    "drawn with replacement, theirs comes back to the size of random negatives'."
)
PANELS = {
    ("without replacement", "loss"): "Distinct negatives: hard loss meets cross entropy",
    ("without replacement", "bias_norm"): "Distinct negatives: hard bias falls a thousandfold",
    ("with replacement", "loss"): "With replacement: no loss settles at cross entropy",
    ("with replacement", "bias_norm"): "With replacement: every bias comes back",
}
LOSSES, BIASES = (-0.1, 6.6), (1e-3, 30)


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``synthetic.png`` from ``contrastive.csv``, ``training.csv`` and ``published.csv``."""
    training, contrastive, published = read(results, "training", "contrastive", "published")
    training = training[training["role"] != "trained only"]
    line = where(training, role="line")["seed"].iloc[0]
    cross_entropy = training.rename(columns={"cross_entropy": "loss"}).assign(
        negatives="cross_entropy"
    )
    options = {"band": "seed", "bold": line}
    fig, axes = plot.figure(2, 2, width=7.4, height=6.0, sharex=True, sharey="col")
    labels = []
    for row, sampling in zip(axes, ("without replacement", "with replacement"), strict=True):
        table = where(contrastive, sampling=sampling)
        points = published if sampling == "without replacement" else None
        losses = plot.loss_against_step(
            pd.concat([cross_entropy, table]),
            published=points,
            entropy=training["entropy"].iloc[0],
            title=PANELS[sampling, "loss"],
            ax=row[0],
            **options,
        )
        bias = plot.bias_against_step(
            table,
            published=None if points is None else points.dropna(subset="bias_norm"),
            title=PANELS[sampling, "bias_norm"],
            ax=row[1],
            **options,
        )
        row[0].set_ylim(*LOSSES)
        row[1].set_ylim(*BIASES)
        row[0].set_xlim(0, table["step"].max() + 0.5)
        labels += [losses.lines, bias.lines]
    for ax in axes[0]:
        ax.set_xlabel("")
    plot.finding(fig, FINDING)
    _explain(fig, line, training["seed"].nunique(), training["entropy"].iloc[0])
    for lines in labels:
        plot.direct_labels(lines)
    return [plot.save(fig, out / "synthetic.png")]


def _explain(fig: Figure, line: int, runs: int, entropy: float) -> None:
    hollow = {"marker": "o", "markerfacecolor": "white", "linestyle": "", "markersize": 3.5}
    entries = {
        f"exact, seed {line}, whose cross entropy is the closest to the published one": Line2D(
            [], [], color=plot.GREY
        ),
        "published: one run, bias with the noise of 10 draws": Line2D(
            [], [], color=plot.GREY, **hollow
        ),
        f"range over {runs} seeds, exact": Patch(color=plot.GREY, alpha=0.2, linewidth=0),
        f"entropy of the population, {entropy:.3f} nats": Line2D(
            [], [], color=plot.COLOURS["entropy"], linestyle=(0, (5, 2.5)), linewidth=0.8
        ),
    }
    plot.legend(fig, entries, columns=2)
