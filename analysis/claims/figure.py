"""All claims on one sheet: a panel each, its title in the colour of the verdict."""

import dataclasses
import pathlib
import textwrap

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from analysis.frames import Table, read
from nce_bias import plot

COLUMNS, PANEL = 4, (2.75, 2.35)
LINES = tuple(plot.COLOURS[kind] for kind in ("uniform", "model", "mixed", "hard"))
LOOKS = tuple(plot.Look(colour, marker) for colour, marker in zip(LINES, "os^D", strict=True))
GREY_LOOK = plot.Look(plot.GREY, "", (0, (4, 1.2)))
#: Lines that are a yardstick, not a result.
YARDSTICKS = {"wanted", "log K", "mutual information", "e^MI - 1", "data"}
BIAS = r"bias norm $\|\varepsilon\|$"


@dataclasses.dataclass(frozen=True)
class Panel:
    """Columns, their names, logarithmic axes, the level claimed, room for a legend above."""

    x: str
    y: str
    across: str
    up: str
    log: str = ""
    level: float | None = None
    scatter: bool = False
    room: float = 0.0


M = "negatives $m$"
SHARE = "pop(y|x)"
LIKELIHOOD = "variance / likelihood's"
PANELS = {
    "three_quarters": Panel("power", "bias_norm", "power", BIAS),
    "shifted_pmi": Panel("population", "above", SHARE, "score less (PMI - log k)", level=0.0),
    "number_of_tries": Panel("chance", "ratio", "chance to be drawn", "tries / chance", level=1.0),
    "blackout": Panel("power", "noise", "power of the unigram", "noise"),
    "one_vs_each": Panel("population", "ratio", SHARE, "learnt / pop(y|x)", level=1.0, room=0.4),
    "quadratic_kernel": Panel("m", "bias_norm", M, BIAS, "xy"),
    "shared_noise": Panel("batch", "ratio", "rows", "variance / noise of one's own", "xy", 1.0),
    "nce_efficiency": Panel("k", "ratio", "noise for each example", LIKELIHOOD, "xy"),
    "ranking_efficiency": Panel("k", "excess", "draws $k$", LIKELIHOOD + ", less 1", "xy"),
    "log_k": Panel("k", "estimate", "candidates $K$", "estimate of MI (nats)", "x"),
    "log_q_in_batch": Panel("population", "ratio", SHARE, "learnt / pop(y|x)", level=1.0),
    "rate": Panel("m", "bias_norm", M, BIAS, "xy"),
    "adversarial_weights": Panel("m", "distance", M, "mean share - model", "xy"),
    "debiasing": Panel("m", "difference", M, "distance of gradients", "xy"),
    "noise_at_data": Panel("power", "ratio", "noise ~ pop^power", "signal, its best = 1"),
    "finite_cost": Panel("n", "square", "draws $n$", "mean square of a difference", "xy"),
    "exponential_variance": Panel("nats", "variance", "mutual information", "variance", "y"),
    "uniform_mixed_in": Panel("m", "bias_norm", M, BIAS, "xy"),
    "in_batch_gradients": Panel("m", "value", M, "InfoNCE's gradient", "xy"),
    "one_draw": Panel("drift", "bias_norm", "drift of the cached scores", BIAS),
    "ring": Panel("first", "ratio", "ranks better than the ring", "ring / all labels", "y", 1.0),
    "collisions": Panel("m", "pull", M, "pull on the class", "x"),
    "best_noise": Panel("x", "noise", "$x$", "noise", room=0.4),
    "infinite_negatives": Panel("m", "distance", M, "distance from the full one", "xy"),
    "small_batches": Panel("rate", "distance", "rate", "distance from the full one", "xy"),
    "no_optimum": Panel("score", "loss", "score of the commonest label", "loss above its least"),
    "resampling": Panel("m", "distance", "pool $M$", "law of a survivor - model", "xy"),
    "calibration": Panel("population", "learnt", SHARE, r"$\sigma$(score)"),
    "sigmoid_batches": Panel("batch", "cosine", "batch", "cosine with the largest", "x"),
    "top_of_pool": Panel("quantile", "weight", "quantile of a negative", "weight"),
    "closeness": Panel("divergence", "bias_norm", "KL(q | p)", BIAS, "xy", scatter=True),
    "corrected_log_q": Panel("m", "bias_norm", M, BIAS, "xy"),
}


#: A page that shows the sheet stays below one megabyte.
DPI = 120
WRAP = 44  # characters of a title above one panel


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``claims.png`` from ``claims.csv`` and the table of each claim."""
    (claims,) = read(results, "claims")
    rows = -(-len(claims) // COLUMNS)
    fig, axes = plot.figure(rows, COLUMNS, width=COLUMNS * PANEL[0], height=rows * PANEL[1] + 0.5)
    for ax, claim in zip(axes.flat, claims.itertuples(), strict=False):
        _panel(ax, PANELS[claim.claim], read(results, claim.claim)[0])
        who = f"{claim.paper.split(',')[0]} {claim.year}: {claim.verdict}"
        with plot.style():
            ax.set_title(
                f"{claim.title}\n{textwrap.fill(who, WRAP)}",
                fontsize=7,
                color=plot.VERDICT_COLOURS[claim.verdict],
            )
    for ax in list(axes.flat)[len(claims) :]:
        ax.set_axis_off()
    counts = claims["verdict"].value_counts()
    said = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in plot.VERDICT_COLOURS)
    plot.finding(fig, f"{len(claims)} published claims, computed exactly: {said}")
    return [plot.save(fig, out / "claims.png", dpi=DPI)]


def _panel(ax: Axes, panel: Panel, table: Table) -> None:
    lines = list(dict.fromkeys(table["line"]))
    results = iter(LOOKS)
    look = {name: GREY_LOOK if name in YARDSTICKS else next(results) for name in lines}
    with plot.style():
        if panel.level is not None:
            ax.axhline(panel.level, color=plot.GREY, linewidth=0.7, linestyle=":")
        if panel.scatter:
            ax.scatter(table[panel.x], table[panel.y], s=2, color=LINES[0])
        else:
            plot.curves(table, x=panel.x, y=panel.y, by="line", look=look, markers=True, ax=ax)
            if len(table) > 60:
                for line in ax.lines:
                    line.set_marker("")
        if "x" in panel.log:
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(NullFormatter())
        if "y" in panel.log:
            ax.set_yscale("log")
        low, high = ax.get_ylim()
        if panel.room:
            ax.set_ylim(low, high + panel.room * (high - low))
        ax.set_xlabel(panel.across, fontsize=7)
        ax.set_ylabel(panel.up, fontsize=7)
        if len(lines) > 1:
            ax.legend(fontsize=5.2, handlelength=1.4, labelspacing=0.25, borderaxespad=0.2)
