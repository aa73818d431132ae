"""Recall of trained encoders and of both stages, beside words alone and frozen heads."""

import pathlib

import numpy as np
import pandas as pd

from analysis.frames import Table, read, where
from analysis.linking.trained.kinds import AND, FROZEN, OWN, beside, encoders_of, own
from nce_bias import plot

POINTS = pathlib.Path(__file__).parents[1] / "points"
METRICS = ("recall@1", "recall@8", "recall@64")
SCORES = {"dual": "DUAL", "som": "SOM", "multi8": "MULTI-8", "poly8": "POLY-8"}
#: Names of what is compared with, in the order of the rows.
BESIDES = {
    ("bm25", "title ten times"): "BM25, title ten times",
    ("title", "most frequent sense"): "most frequent sense of the title",
    ("minilm", "as it comes"): "MiniLM as it comes",
    ("som, frozen", "mixed-50"): "SOM, frozen, mixed-50",
}
STAGES = {
    "joint": "then JOINT",
    "joint-all": "then JOINT of all mentions",
    "residual": "then residual JOINT",
}
#: Kinds whose bias is shown, and their colours; what a run's own kind is called for frozen heads.
MEASURED = {"random": "uniform", "mixed-50": "mixed", "hard": "hard", "model, independent": "model"}
COLUMNS = {
    "relative_bias": "score space",
    "parameter_relative_bias": "parameters of the last layer",
}
KINDS = {"random": "uniform", "mixed": "mixed", "hard": "hard", "in-batch": "cross_entropy"}


def rows_of(recall: Table) -> dict[tuple[str, str], str]:
    """What is shown, from above: keys of the table and their names."""
    there = list(dict.fromkeys(zip(recall["score"], recall["negatives"], strict=True)))
    trained = [key for key in there if key[0] in SCORES]
    second = [key for key in there if " + " in key[0]]
    names = {key: f"{SCORES[key[0]]}, trained, {key[1]}" for key in trained}
    for key in second:
        score, stage = key[0].split(" + ")
        names[key] = f"{SCORES[score]} {key[1]}, {STAGES[stage]}"
    for score, kind in there:
        if AND in score:
            both = " and ".join(f"{SCORES[a]} {b}" for a, b in encoders_of(score, kind))
            names[score, kind] = f"{both}, with {beside(score)}"
    return {key: name for key, name in BESIDES.items() if key in there} | names


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw both pictures."""
    return [recalls(results, out), biases(results, out)]


def recalls(results: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """``linking_trained.png``: recall of each run, and the published points."""
    (recall,) = read(results, "recall")
    (published,) = read(POINTS, "zhang_stratos_2021_zeshel")
    shown = where(recall, split="test", average="micro")
    names = rows_of(shown)
    fig, axes = plot.figure(1, 4, width=10.4, height=0.9 + 0.24 * len(names))
    with plot.style():
        for ax, metric in zip(axes.flat, METRICS, strict=False):
            some = where(shown, metric=metric).set_index(["score", "negatives"])
            for place, key in enumerate(names):
                row = 100 * some.loc[[key], ["value", "low", "high"]].iloc[0]
                joint = " + " in key[0] or AND in key[0]
                kind = KINDS.get(own(key[1])) if key not in BESIDES else None
                ax.errorbar(
                    row["value"],
                    -place,
                    xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]],
                    fmt="D" if joint else "o",
                    color=plot.GREY if kind is None else plot.COLOURS[kind],
                    mfc="white" if kind is None else None,
                    capsize=1.5,
                    linewidth=0.9,
                )
            ax.set_yticks(-np.arange(len(names)), [""] * len(names))
            ax.set_title(metric)
            ax.set_xlabel("test mentions linked (%)")
            ax.grid(axis="y", visible=False)
        axes.flat[0].set_yticks(-np.arange(len(names)), list(names.values()))
        last = axes.flat[3]
        for score, part in published.groupby("score"):
            colour = plot.SCORE_COLOURS[str(score)]
            last.plot(part["hard_share"], part["recall64"], color=colour, marker="o", label=score)
        lines = {str(line.get_label()): line for line in last.lines}
        plot.direct_labels(lines, SCORES)
        last.set_title("published: ZeShEL, recall@64")
        last.set_xlabel("share of hard negatives (%)")
        last.set_ylabel("validation mentions linked (%)")
        plot.finding(fig, finding(shown), fontsize=9)
    return plot.save(fig, out / "linking_trained.png")


def finding(shown: Table) -> str:
    """The title, with the numbers of the table."""
    first = where(shown, metric="recall@1").set_index(["score", "negatives"])["value"]
    trained = {key: value for key, value in first.items() if key[0] in SCORES}
    best = max(trained, key=trained.__getitem__)
    said = (
        f"An encoder that learns links {100 * trained[best]:.0f} % of the mentions at once "
        f"({best[1]} negatives), words alone {100 * first['bm25', 'title ten times']:.0f} %"
    )
    second = [value for key, value in first.items() if " + " in key[0]]
    said += f", both stages {100 * max(second):.0f} %" if second else ""
    added = {key: value for key, value in first.items() if AND in key[0]}
    # the best of those of one encoder, where there is such a sum
    order = sorted(added, key=lambda key: (-key[0].count(AND), added[key]))
    best_of = {beside(key[0]): added[key] for key in order}
    parts = [f"with {rest} added {100 * best_of[rest]:.1f} %" for rest in sorted(best_of)]
    said += f",\n{', '.join(parts)}" if parts else ""
    return f"{said} (95 % intervals over mentions)"


def biases(results: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """``linking_trained_bias.png``: bias before a run and at its end, and against recall."""
    moments, scatter = read(results, "moments", "scatter")
    frozen: Table = pd.read_csv(FROZEN)
    run, untrained = along(moments)
    steps = pd.concat([where(moments, run=untrained), where(moments, run=run)])
    fig, axes = plot.figure(1, 3, width=10.4, height=3.4)
    with plot.style():
        for ax, (column, title) in zip(axes.flat, COLUMNS.items(), strict=False):
            lines = {}
            for kind, colour in MEASURED.items():
                some = where(steps, kind=kind).dropna(subset=[column]).sort_values("step")
                (line,) = ax.plot(
                    some["step"], some[column], color=plot.COLOURS[colour], marker="o"
                )
                lines[kind] = line
                if f"{column}_error" in some:
                    spread = 1.96 * some[f"{column}_error"]
                    ax.errorbar(
                        some["step"], some[column], spread, fmt="none", ecolor=line.get_color(),
                        capsize=2, linewidth=0.9,
                    )  # fmt: skip
            ax.set_ylim(bottom=0)
            plot.direct_labels(lines, {kind: kind for kind in MEASURED})
            ax.set_title(title)
            ax.set_xlabel("steps trained")
            ax.set_ylabel("relative bias of the gradient, exact")
        last = axes.flat[2]
        for table, filled in ((frozen, False), (scatter, True)):
            for kind in OWN:
                name = kind if filled else OWN[kind]
                some = table[table["negatives"].map(own) == name]
                colour = plot.COLOURS[KINDS[kind]]
                if some.empty:
                    continue
                last.scatter(
                    some["relative_bias"],
                    100 * some["recall@1"],
                    s=26 if filled else 14,
                    facecolors=colour if filled else "none",
                    edgecolors=colour,
                    label=f"{kind}, encoder {'trained' if filled else 'frozen'}",
                )
        last.set_title("of a run's own negatives, and recall")
        last.set_xlabel("relative bias at the end, score space")
        last.set_ylabel("recall@1 on the test worlds (%)")
        last.set_xlim(left=0)
        # between the frozen heads and the trained encoders
        last.legend(loc="upper right", bbox_to_anchor=(1.0, 0.8), fontsize="x-small")
        name, kind = run.removesuffix("_0").split("_")
        plot.finding(fig, bias_finding(steps, SCORES[name], kind), fontsize=9)
    return plot.save(fig, out / "linking_trained_bias.png")


def along(moments: Table) -> tuple[str, str]:
    """The run of which most was measured, over parameters first, and its untrained model.

    Of equal ones the last.
    """
    order = [*reversed(COLUMNS)]
    counts = moments[moments["step"] > 0].groupby("run")[order].count()
    run = str(counts.sort_values(order, kind="stable").index[-1])
    return run, f"untrained_{run.split('_')[0]}"


def bias_finding(steps: Table, score: str, negatives: str) -> str:
    """The title, with the numbers of the table."""
    ends = {}
    for kind in ("random", "hard"):
        some = where(steps, kind=kind).sort_values("step")["relative_bias"]
        ends[kind] = [f"{some.iloc[place]:.2f}" for place in (0, -1)]
    (before, after), hard = ends["random"], " and ".join(ends["hard"])
    return (
        f"Uniform negatives miss {before} of the gradient before an encoder learns and {after} "
        f"after, hard ones {hard}\n({score} trained with {negatives} negatives, m = 63 "
        "of a test world, 95 % intervals over mentions; over parameters there are none)"
    )
