"""Recall by negatives and score, the mixing curve, bias along training, bias against recall.

And the recall of encoders that learn, from the tables of `analysis.linking.trained`.
"""

import pathlib

import numpy as np

from analysis.frames import Table, read, where
from analysis.linking.trained import figure as trained
from nce_bias import plot

POINTS = pathlib.Path(__file__).parent / "points"
TRAINED = pathlib.Path(__file__).parent / "trained" / "results"

SCORES = {
    score: (label, plot.SCORE_COLOURS[score], marker)
    for score, label, marker in (
        ("dual", "DUAL", "o"),
        ("multi8", "MULTI-8", "s"),
        ("poly8", "POLY-8", "D"),
        ("som", "SOM", "^"),
    )
}
NEGATIVES = {
    "random": ("random", plot.COLOURS["uniform"], plot.MARKERS["uniform"]),
    "mixed-25": ("mixed-25", plot.COLOURS["mixed-25"], plot.MARKERS["mixed-25"]),
    "mixed-50": ("mixed-50", plot.COLOURS["mixed-50"], plot.MARKERS["mixed-50"]),
    "mixed-75": ("mixed-75", plot.COLOURS["mixed-75"], plot.MARKERS["mixed-75"]),
    "hard": ("hard", plot.COLOURS["hard"], plot.MARKERS["hard"]),
    "model": ("model (distinct)", plot.COLOURS["model"], plot.MARKERS["model"]),
    "model, independent": (
        "model, independent",
        plot.COLOURS["model, independent"],
        plot.MARKERS["model, independent"],
    ),
}
SHOWN = ("random", "mixed-50", "hard", "model")  # for every score
SHARES = {"random": 0, "mixed-25": 25, "mixed-50": 50, "mixed-75": 75, "hard": 100}
BM25 = {"title once": (0, (1, 1)), "title ten times": (0, (4, 2))}
METRICS = {"recall@1": "recall@1", "recall@8": "recall@8", "recall@64": "recall@64"}

VARIANCE_FLOOR = 1e-6
METRIC_COLOURS = (plot.CATEGORIES[9], plot.CATEGORIES[7], plot.CATEGORIES[4])


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw the pictures, of the full set of runs where it is there, else of the reduced one."""
    folder = results if (results / "recall.csv").is_file() else results / "reduced"
    recall, moments = read(folder, "recall", "moments")
    made = [by_negatives(recall, out), along_training(moments, out)]
    if set(SHARES) <= set(recall["negatives"]):
        made.append(mixing(recall, moments, out))
        scatter, correlation = read(folder, "scatter", "correlation")
        made.append(against_recall(scatter, correlation, out))
        made += trained.draw(TRAINED, out)
    return made


def by_negatives(recall: Table, out: pathlib.Path) -> pathlib.Path:
    """Recall on the test worlds, with 95 % intervals, beside the published curve."""
    rows = where(recall, split="test", average="micro")
    (published,) = read(POINTS, "zhang_stratos_2021_zeshel")
    fig, axes = plot.figure(1, 4, width=9.4, height=3.2)
    places = {kind: index for index, kind in enumerate(SHOWN)}
    with plot.style():
        for ax, (metric, title) in zip(axes.flat, METRICS.items(), strict=False):
            some = where(rows, metric=metric)
            for shift, (score, (label, colour, marker)) in enumerate(SCORES.items()):
                own = some[(some["score"] == score) & some["negatives"].isin(SHOWN)]
                if own.empty:
                    continue
                x = own["negatives"].map(places) + 0.16 * (shift - 1.5)
                spread = [own["value"] - own["low"], own["high"] - own["value"]]
                ax.errorbar(
                    x,
                    100 * own["value"],
                    100 * np.array(spread),
                    fmt=marker,
                    color=colour,
                    label=label,
                    capsize=1.5,
                    linewidth=0.9,
                )
            for name, dashes in BM25.items():
                value = where(some, score="bm25", negatives=name)["value"]
                ax.axhline(
                    100 * float(value.iloc[0]),
                    color="black",
                    linestyle=dashes,
                    linewidth=0.8,
                    label=f"BM25, {name}",
                )
            ax.set_xticks(list(places.values()), SHOWN)
            ax.set_xlim(-0.6, len(SHOWN) - 0.4)
            ax.set_title(title)
            ax.grid(axis="x", visible=False)
        axes.flat[0].set_ylabel("test mentions linked (%)")
        last = axes.flat[3]
        for score, part in published.groupby("score"):
            label, colour, marker = SCORES[str(score)]
            last.plot(part["hard_share"], part["recall64"], color=colour, marker=marker)
        last.set_title("published: ZeShEL, recall@64")
        last.set_ylabel("validation mentions linked (%)")
        last.set_xlabel("share of hard negatives (%)")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=6)
        plot.finding(
            fig,
            "Hard and mixed negatives link better than random ones, most of all at recall@1 "
            "(95 % intervals over mentions and seeds)",
            fontsize=9,
        )
    return plot.save(fig, out / "linking.png")


def mixing(recall: Table, moments: Table, out: pathlib.Path) -> pathlib.Path:
    """Recall of DUAL and the exact bias of its gradient at the end, against the share."""
    fig, axes = plot.figure(1, 2, width=7.4, height=3.1)
    rows = where(recall, split="test", average="micro", score="dual")
    with plot.style():
        left, right = axes.flat
        for metric, marker, colour in zip(METRICS, "os^", METRIC_COLOURS, strict=True):
            some = rows[(rows["metric"] == metric) & rows["negatives"].isin(SHARES)]
            some = some.assign(share=some["negatives"].map(SHARES)).sort_values("share")
            low, high = 100 * some["low"], 100 * some["high"]
            left.fill_between(some["share"], low, high, color=colour, alpha=0.15, linewidth=0)
            left.plot(some["share"], 100 * some["value"], color=colour, marker=marker, label=metric)
        last = moments[(moments["score"] == "dual") & moments["negatives"].isin(SHARES)]
        last = last[(last["step"] == last["step"].max()) & (last["kind"] == last["negatives"])]
        last = last.assign(share=last["negatives"].map(SHARES))
        for column, (label, colour, marker) in {
            "relative_bias": ("score space", "black", "o"),
            "parameter_relative_bias": ("parameters", plot.SECOND, "s"),
        }.items():
            grouped = last.groupby("share")[column]
            right.plot(
                grouped.mean().index, grouped.mean(), color=colour, marker=marker, label=label
            )
            right.scatter(last["share"], last[column], color=colour, s=5, alpha=0.5)
        left.set_ylabel("test mentions linked (%)")
        right.set_ylabel("relative bias of the gradient, exact")
        right.set_ylim(bottom=0)
        for ax in axes.flat:
            ax.set_xlabel("share of hard negatives (%)")
            ax.set_xticks(list(SHARES.values()))
            ax.legend()
        plot.finding(
            fig,
            "DUAL: the first quarter of hard negatives brings most of the recall, "
            "and takes off most of the bias",
            fontsize=9,
        )
    return plot.save(fig, out / "linking_mixing.png")


def along_training(moments: Table, out: pathlib.Path) -> pathlib.Path:
    """Exact bias, direction and variance along training, of the negatives that are trained with."""
    columns = {
        "relative_bias": "relative bias, scores",
        "parameter_relative_bias": "relative bias, parameters",
        "parameter_cosine": "cosine, parameters",
        "variance": "variance of one gradient",
    }
    scores = [score for score in ("dual", "som") if score in set(moments["score"])]
    fig, axes = plot.figure(len(scores), 4, width=9.4, height=2.1 * len(scores) + 0.9)
    grid = np.reshape(axes, (len(scores), 4))
    own = where(moments, seed=0)
    with plot.style():
        for line, score in zip(grid, scores, strict=True):
            for kind, (label, colour, marker) in NEGATIVES.items():
                trained = "model" if kind.startswith("model") else kind
                rows = where(own, score=score, kind=kind)
                rows = rows[(rows["negatives"] == trained) | (rows["step"] == 0)]
                if rows.empty or trained not in set(own["negatives"][own["score"] == score]):
                    continue
                rows = rows.sort_values("step")
                for ax, column in zip(line, columns, strict=True):
                    values = rows[column]
                    if column == "variance":  # on a logarithmic axis; 0 is said in words
                        values = values.where(values > VARIANCE_FLOOR)
                    ax.plot(rows["step"], values, color=colour, marker=marker, label=label)
                    if column == "relative_bias":
                        ax.fill_between(
                            rows["step"],
                            rows[column] - rows["relative_bias_error"],
                            rows[column] + rows["relative_bias_error"],
                            color=colour,
                            alpha=0.15,
                            linewidth=0,
                        )
            for ax, title in zip(line, columns.values(), strict=True):
                ax.set_title(title if score == scores[0] else "")
                ax.set_xlabel("step" if score == scores[-1] else "")
            line[0].set_ylim(bottom=0)
            line[1].set_ylim(bottom=0)
            line[3].set_yscale("log")
            line[3].annotate(
                "hard: 0",
                (0.03, 0.36),
                xycoords="axes fraction",
                fontsize=7,
                color=NEGATIVES["hard"][1],
            )
            line[0].set_ylabel(SCORES[score][0])
        handles, labels = grid[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=7)
        plot.finding(
            fig,
            "In score space random negatives have most bias at every step and hard ones least; "
            "over parameters SOM's differ less\n"
            "(seed 0, each kind on the run trained with it; band: standard error over mentions)",
            fontsize=9,
        )
    return plot.save(fig, out / "linking_bias.png")


def against_recall(scatter: Table, correlation: Table, out: pathlib.Path) -> pathlib.Path:
    """Every run: its bias at the end against its recall@1."""
    biases = {
        "relative_bias": "relative bias at the end, score space",
        "parameter_relative_bias": "relative bias at the end, parameters",
    }
    fig, axes = plot.figure(1, 2, width=8.0, height=3.6, sharey=True)
    with plot.style():
        for ax, (bias, name) in zip(axes.flat, biases.items(), strict=True):
            for _, row in scatter.iterrows():
                ax.scatter(
                    row[bias],
                    100 * row["recall@1"],
                    color=NEGATIVES[row["negatives"]][1],
                    marker=SCORES[row["score"]][2],
                    s=16,
                    alpha=0.8,
                )
            found = where(correlation, runs="all", bias=bias, metric="recall@1").iloc[0]
            ax.set_title(
                rf"$\rho$ = {found['spearman']:.2f}  [{found['low']:.2f}, {found['high']:.2f}]"
            )
            ax.set_xlabel(name)
            ax.set_xlim(left=0)
        axes.flat[0].set_ylabel("recall@1 on the test worlds (%)")
        for kind in (kind for kind in NEGATIVES if kind in set(scatter["negatives"])):
            label, colour, _ = NEGATIVES[kind]
            axes.flat[1].scatter([], [], color=colour, marker="s", s=16, label=label)
        for score in (score for score in SCORES if score in set(scatter["score"])):
            label, _, marker = SCORES[score]
            axes.flat[1].scatter([], [], color="black", marker=marker, s=16, label=label)
        handles, labels = axes.flat[1].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside right center")
        plot.finding(
            fig,
            "Random negatives have most bias and least recall; among all others less bias does not "
            "mean better recall\n"
            r"($\rho$: Spearman's rank correlation over all runs, 95 % interval over conditions)",
            fontsize=9,
        )
    return plot.save(fig, out / "linking_scatter.png")
