"""Bias along training on real text, with and without logQ: of the mean gradient, per example."""

import pathlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from analysis.frames import Table, read, stacked, where, with_edges
from nce_bias import plot

FINDING = (
    "Next word, 64 candidates: uncorrected, uniform negatives bias the mean gradient least;\n"
    "logQ-corrected, in the end they bias it most. Norms per example hide the first."
)
PANELS = {
    ("bias", "infonce"): "Mean gradient, uncorrected",
    ("bias", "sampled_softmax"): "Mean gradient, logQ-corrected",
    ("relative_score", "infonce"): "Per example, uncorrected",
    ("relative_score", "sampled_softmax"): "Per example, logQ-corrected",
}
RELATIVE = r"relative bias $\|\epsilon\|\,/\,\|p-\mathrm{pop}\|$ (scores)"
PARAMETERS = r"norm over parameters"
FLOORS = {"bias": 1e-4, "relative_score": 3e-5}


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``next_word.png`` from ``bias.csv`` and ``training.csv``."""
    bias, training = read(results, "bias", "training")
    bias["relative_score"] = bias["relative_score_bias"]
    for side, sign in {"low": -2, "high": 2}.items():
        bias[f"relative_score_{side}"] = (
            bias["relative_score_bias"] + sign * bias["relative_score_bias_se"]
        )
    bias = bias.rename(columns=_short)
    gradient = training.rename(columns=_short).assign(negatives="cross_entropy")
    fig, axes = plot.figure(2, 2, width=7.4, height=6.0, sharex=True, sharey="row")
    drawn, named = {}, {}
    for (quantity, loss), ax in zip(PANELS, axes.flat, strict=True):
        parts = [_edges(gradient, "gradient")] if quantity == "bias" else []
        table = stacked([*parts, _edges(where(bias, loss_name=loss), quantity)])
        zero = {
            n for n, part in table.groupby("negatives") if part["value"].max() < FLOORS[quantity]
        }
        drawn[quantity, loss] = plot.bias_against_step(
            table[~table["negatives"].isin(zero)],
            y="value",
            ylabel=PARAMETERS if quantity == "bias" else RELATIVE,
            title=PANELS[quantity, loss],
            band="edge",
            bold="estimate",
            ax=ax,
        )
        _steps(ax, bias["step"])
        ax.set_ylim(FLOORS[quantity], 2.5 if quantity == "bias" else 1)
        lost = set(table.loc[(table["edge"] == "estimate") & table["value"].isna(), "negatives"])
        for name in sorted(lost):
            ax.annotate(
                f"{name}: below the top of its band,\nnot told from 0 at late steps",
                (0.22, 0.3),
                xycoords="axes fraction",
                color=plot.COLOURS[name],
                fontsize=7.5,
            )
        named[quantity, loss] = {
            name: line for name, line in drawn[quantity, loss].lines.items() if name not in lost
        }
        for name in sorted(zero):
            ax.annotate(
                f"{name}: 0 at every step",
                (0.03, 0.9),
                xycoords="axes fraction",
                color=plot.COLOURS[name],
                fontsize=7.5,
            )
    for ax in axes[0]:
        ax.set_xlabel("")
    for ax in axes[:, 1]:
        ax.set_ylabel("")
    plot.finding(fig, FINDING)
    handles: dict[str, Any] = {
        "exact bias, averaged over held-out examples": Line2D([], [], color=plot.GREY),
        "± 2 standard errors of the average": Patch(color=plot.GREY, alpha=0.2, linewidth=0),
    }
    plot.legend(
        fig,
        handles,
    )
    for lines in named.values():
        plot.direct_labels(lines, {"cross_entropy": "exact gradient"})
    return [plot.save(fig, out / "next_word.png")]


def _short(column: str) -> str:
    """bias_norm -> bias, bias_norm_low -> bias_low, and so for gradient."""
    return column.replace("_norm", "")


def _edges(table: Table, quantity: str) -> Table:
    values = (table[f"{quantity}{side}"] for side in ("", "_low", "_high"))
    return with_edges(table, ("step", "negatives"), *values)


def _steps(ax: Axes, steps: Table) -> None:
    ax.set_xscale("log")
    ax.set_xlim(steps.min(), steps.max())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
