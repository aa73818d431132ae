"""Bias along training with the negatives themselves, and what the models learn, on real text."""

import pathlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.frames import Table, read, where, with_edges
from nce_bias import plot

FINDING = (
    "Models trained with negatives: less bias goes with lower cross entropy, though it does not "
    "rank the three\nworst kinds for words. Uncorrected, uniform negatives are best; corrected, "
    "model and mixed ones."
)
SPACES = {"letters": "Letters (27, K = 8)", "words": "Words (1000, K = 64)"}
LOSSES = {"infonce": "uncorrected", "sampled_softmax": "logQ-corrected"}
EXCESS = "cross entropy above that of\na run by cross entropy (nats)"
BIAS = r"norm of the mean gradient's bias, $\|b(\theta)\|$"
FLOORS = {"bias": 1e-4, "excess": 2e-4}


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``label_spaces.png`` from ``bias.csv`` and ``training.csv``."""
    bias, training = read(results, "bias", "training")
    bias = bias[bias["trained_with"] == bias["negatives"]]
    training = training[training["trained_with"] != "cross_entropy"]
    keys = ("space", "loss", "step", "negatives")
    tables = {
        "bias": with_edges(
            bias.assign(loss=bias["loss_name"]),
            keys,
            bias["bias_norm"],
            bias["bias_norm_low"],
            bias["bias_norm_high"],
        ),
        "excess": with_edges(
            training.assign(negatives=training["trained_with"], loss=training["trained_loss"]),
            keys,
            training["excess"],
            training["excess"] - 2 * training["excess_se"],
            training["excess"] + 2 * training["excess_se"],
        ),
    }
    fig, axes = plot.figure(2, 4, width=11.0, height=5.6, sharex="col", sharey="row")
    lines: dict[Any, dict[str, Line2D]] = {}
    for row, (quantity, table) in enumerate(tables.items()):
        panels = [(space, loss) for loss in LOSSES for space in SPACES]
        for ax, (space, loss) in zip(axes[row], panels, strict=True):
            here = where(table, space=space, loss=loss)
            lines[ax] = _panel(ax, here, quantity)
            if row == 0:
                with plot.style():
                    ax.set_title(f"{SPACES[space]},\n{LOSSES[loss]}")
    for ax in axes[0]:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    plot.finding(fig, FINDING)
    handles: Any = {
        "exact over negatives, on held-out text": Line2D([], [], color=plot.GREY, marker="o"),
        "± 2 standard errors of the average over words (letters: all contexts, none)": Patch(
            color=plot.GREY, alpha=0.2, linewidth=0
        ),
    }
    plot.legend(fig, handles)
    for named in lines.values():
        plot.direct_labels(named)
    return [plot.save(fig, out / "label_spaces.png")]


def _panel(ax: Axes, table: Table, quantity: str) -> dict[str, Line2D]:
    """Draw one panel; the lines that end inside it."""
    floor = FLOORS[quantity]
    zero = {name for name, part in table.groupby("negatives") if part["value"].max() < floor}
    drawn = plot.bias_against_step(
        table[~table["negatives"].isin(zero)],
        y="value",
        ylabel=BIAS if quantity == "bias" else EXCESS,
        band="edge",
        bold="estimate",
        ax=ax,
    )
    for name, line in drawn.lines.items():
        line.set_marker(plot.MARKERS[name])
    ax.set_xscale("log")
    ax.set_xlim(table["step"].min() / 1.15, table["step"].max() * 1.15)
    ax.xaxis.set_major_locator(FixedLocator(sorted(set(table["step"]))))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_ylim(floor, 3)
    estimates = table[table["edge"] == "estimate"]
    lost = set(estimates.loc[estimates["value"].isna(), "negatives"]) - zero
    notes = [(f"{name}: 0 at every step", name) for name in sorted(zero)]
    notes += [(f"{name}: in the end not told from 0", name) for name in sorted(lost)]
    for place, (text, name) in enumerate(notes):
        ax.annotate(
            text,
            (0.03, 0.03 + 0.07 * place),
            xycoords="axes fraction",
            color=plot.COLOURS[name],
            fontsize=7,
        )
    return {name: line for name, line in drawn.lines.items() if name not in lost}
