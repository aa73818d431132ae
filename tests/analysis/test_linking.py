"""`analysis/linking`: its page against its results, its figures against its tables."""

import importlib
import json
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.linking import examples, setup, tables
from analysis.linking import figure as figure

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "analysis" / "linking"
RESULTS = FOLDER / "results"
PAGE = FOLDER / "README.md"
NAMES = {"dual": "DUAL", "multi8": "MULTI-8", "poly8": "POLY-8", "som": "SOM", "bm25": "BM25"}
METRICS = ("recall@1", "recall@8", "recall@64")


def read(name: str) -> Any:
    return pd.read_csv(RESULTS / f"{name}.csv")


def cell(table: Any, **where: Any) -> Any:
    """The one row where all columns have these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]


# --- tables of the page, each made from a table of the results


def recall_table() -> str:
    """Test worlds, micro, in per cent, with the standard error over seeds."""
    found = read("recall")
    found = found[(found["split"] == "test") & (found["average"] == "micro")]
    lines = [
        "| score | negatives | recall@1 | recall@8 | recall@64 | MRR |",
        "|---|---|---|---|---|---|",
    ]
    for (score, kind), rows in found.groupby(["score", "negatives"], sort=False):
        shown = []
        for metric in (*METRICS, "mrr"):
            row = cell(rows, metric=metric)
            error = "" if np.isnan(row["seeds_error"]) else f" ± {100 * row['seeds_error']:.1f}"
            shown.append(f"{100 * row['value']:.1f}{error}")
        lines.append(f"| {NAMES[str(score)]} | {kind} | {' | '.join(shown)} |")
    return "\n".join(lines)


def difference_table() -> str:
    """Points of recall won, test worlds, micro, 95 % interval."""
    found = read("differences")
    found = found[(found["split"] == "test") & (found["average"] == "micro")]
    lines = ["| | recall@1 | recall@8 | recall@64 |", "|---|---|---|---|"]
    pairs = [
        *((s, k, s, "random") for s in ("dual", "multi8", "som") for k in ("mixed-50", "hard")),
        ("dual", "model", "dual", "random"),
        ("som", "model", "som", "random"),
        ("dual", "hard", "dual", "mixed-50"),
        ("som", "hard", "som", "mixed-50"),
        *((s, k, "dual", k) for k in ("random", "mixed-50", "hard") for s in ("multi8", "som")),
    ]
    for score, kind, other, base in pairs:
        shown = []
        for metric in METRICS:
            row = cell(
                found,
                score=score,
                negatives=kind,
                minus_score=other,
                minus_negatives=base,
                metric=metric,
            )
            low, high = 100 * row["low"], 100 * row["high"]
            shown.append(f"{100 * row['value']:+.1f} [{low:+.1f}, {high:+.1f}]")
        name = f"{NAMES[score]} {kind} − {NAMES[other]} {base}"
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def bias_table() -> str:
    """Of a run's own negatives at its end, mean over seeds."""
    found = read("moments")
    last = found[(found["step"] == found["step"].max()) & (found["kind"] == found["negatives"])]
    lines = [
        "| score | negatives | relative bias, scores | relative bias, parameters "
        "| cosine, parameters | variance | coverage |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = (
        "relative_bias",
        "parameter_relative_bias",
        "parameter_cosine",
        "variance",
        "coverage",
    )
    for (score, kind), rows in last.groupby(["score", "negatives"], sort=False):
        values = [f"{max(rows[name].mean(), 0):.2g}" for name in columns]
        lines.append(f"| {NAMES[str(score)]} | {kind} | {' | '.join(values)} |")
    return "\n".join(lines)


def category_table() -> str:
    """Recall@1 by overlap of mention and title, test worlds, mean over seeds, per cent."""
    found = read("categories")
    kinds = [("bm25", "title ten times"), *((s, k) for s in ("dual", "som") for k in setup.MAIN)]
    names = list(dict.fromkeys(found["category"]))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for score, kind in kinds:
        rows = [cell(found, score=score, negatives=kind, category=name) for name in names]
        shown = [f"{100 * row['recall@1']:.1f}" for row in rows]
        lines.append(f"| {NAMES[score]} {kind} | {' | '.join(shown)} |")
    return "\n".join(lines)


def correlation_table() -> str:
    """Spearman's rank correlation over runs, 95 % interval."""
    found = read("correlation")
    names = {"all": "all", "all but random": "all but random", **NAMES}
    lines = ["| runs | bias of | recall@1 | recall@8 | recall@64 |", "|---|---|---|---|---|"]
    spaces = {"relative_bias": "scores", "parameter_relative_bias": "parameters"}
    for (group, space), rows in found.groupby(["runs", "bias"], sort=False):
        shown = []
        for metric in METRICS:
            row = cell(rows, metric=metric)
            shown.append(f"{row['spearman']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
        count = f"{names[str(group)]} ({rows['count'].iloc[0]})"
        lines.append(f"| {count} | {spaces[str(space)]} | {' | '.join(shown)} |")
    return "\n".join(lines)


TABLES = (recall_table, difference_table, bias_table, category_table, correlation_table)


@pytest.mark.parametrize("table", TABLES, ids=lambda f: f.__name__)
def test_the_page_has_the_tables_of_the_results(table: Any) -> None:
    assert table() in PAGE.read_text()


# --- what the page says


def difference(score: str, kind: str, metric: str = "recall@1", **other: str) -> Any:
    where = {"split": "test", "average": "micro", "minus_score": score, "minus_negatives": "random"}
    return cell(read("differences"), score=score, negatives=kind, metric=metric, **(where | other))


@pytest.mark.parametrize("score", ["dual", "som"])
@pytest.mark.parametrize("kind", ["mixed-50", "hard"])
def test_mixed_and_hard_beat_random_by_more_than_two_standard_errors(score: str, kind: str) -> None:
    row = difference(score, kind)
    assert row["value"] > 2 * row["seeds_error"] > 0
    assert row["low"] > 0  # over mentions and seeds together, too


def test_bias_tells_random_negatives_from_others_and_no_more() -> None:
    """The page's answer: two groups that lie apart, and no order within the second."""
    scatter, found = read("scatter"), read("correlation")
    random = scatter["negatives"] == "random"
    for bias_of in tables.BIASES:
        assert scatter[bias_of][random].min() > scatter[bias_of][~random].max()
    for _, table in scatter.groupby("score"):
        at = table["negatives"] == "random"
        assert table["recall@1"][at].max() < table["recall@1"][~at].min()
    recall = found[found["metric"] == "recall@1"]
    assert (recall[recall["runs"] == "all"]["spearman"] < 0).all()
    assert (recall[recall["runs"] == "all"]["high"] > 0).all()
    rest = recall[recall["runs"] == "all but random"].set_index("bias")
    assert rest["low"]["relative_bias"] < 0 < rest["high"]["relative_bias"]
    assert rest["low"]["parameter_relative_bias"] > 0  # more bias, better recall


def test_what_the_page_says_of_scores_and_baselines() -> None:
    recall = read("recall")
    recall = recall[(recall["split"] == "test") & (recall["average"] == "micro")]

    def value(score: str, kind: str, metric: str) -> float:
        return cell(recall, score=score, negatives=kind, metric=metric)["value"]

    for kind in setup.MAIN:  # SOM over DUAL: told apart at 64 alone
        base = {"minus_score": "dual", "minus_negatives": kind}
        assert difference("som", kind, "recall@64", **base)["low"] > 0
        assert difference("som", kind, **base)["low"] < 0
    for kind in ("mixed-50", "hard"):
        base = {"minus_score": "dual", "minus_negatives": kind}
        assert difference("multi8", kind, **base)["high"] < 0
        row = difference("som", "hard", minus_negatives="mixed-50")
        assert row["low"] < 0 < row["high"]
    bm25 = {m: value("bm25", "title ten times", m) for m in METRICS}
    best = {
        m: max(value(s, k, m) for s, k in (("dual", "hard"), ("som", "mixed-50"))) for m in METRICS
    }
    assert bm25["recall@1"] < best["recall@1"] and bm25["recall@64"] < best["recall@64"]
    learnt = recall[(recall["score"] != "bm25") & (recall["metric"] == "recall@8")]
    assert bm25["recall@8"] > learnt["value"].max() >= best["recall@8"]
    random = recall[(recall["negatives"] == "random") & (recall["metric"] == "recall@1")]
    assert random["value"].max() < bm25["recall@1"]
    # the README: points won at recall@1 by hard negatives, rounded
    for score in ("dual", "multi8", "som"):
        assert 6.5 < 100 * difference(score, "hard")["value"] < 8.5
    gains = {
        s: value("dual", s, "recall@1") - value("dual", "random", "recall@1")
        for s in ("mixed-25", "hard")
    }
    assert gains["mixed-25"] > 0.85 * gains["hard"]


def test_distinct_uniform_negatives_are_independent_ones_here() -> None:
    table = read("distinct")
    assert (abs(table["independent"] - table["distinct"]) < 3 * table["standard_error"]).all()
    assert (table["standard_error"] < 0.01 * table["independent"]).all()


def test_hard_negatives_have_the_least_bias_of_every_model_measured() -> None:
    """Title of the figure: at every step of every run, whatever it was trained with."""
    moments = read("moments")
    model = ["score", "negatives", "seed", "step"]
    wide = moments.pivot_table(index=model, columns="kind", values="relative_bias")
    assert len(wide) == len(moments) / len({*setup.EXACT, *setup.SAMPLED})
    assert (wide.idxmin(axis=1) == "hard").all() and (wide.idxmax(axis=1) == "random").all()
    last = moments[moments["step"] == moments["step"].max()]
    own = last[last["kind"] == last["negatives"]]
    mean = own.groupby(["negatives", "score"])["coverage"].mean()
    for kind in ("hard", "random"):
        shown = f"{mean[kind].min():.2f} to {mean[kind].max():.2f}"
        assert shown in PAGE.read_text(), (kind, shown)


def test_published_points_are_those_of_their_page() -> None:
    points = pd.read_csv(FOLDER / "points" / "zhang_stratos_2021_zeshel.csv")
    assert len(points) == 15 and points["recall64"].between(91, 95).all()
    assert "Second-hand" in (FOLDER / "points" / "README.md").read_text()
    assert "second-hand" in PAGE.read_text()


def test_ranks_are_stored_and_give_the_table() -> None:
    """Counted here without the library."""
    recall = read("recall")
    with np.load(RESULTS / "ranks.npz", allow_pickle=False) as ranks:
        for name in ranks.files:
            split, score, kind = name.split(" ", 2)
            hits = ranks[name] <= 8
            row = cell(
                recall, split=split, score=score, negatives=kind, average="micro", metric="recall@8"
            )
            assert row["value"] == pytest.approx(hits.mean(), abs=1e-12)
            assert row["mentions"] == hits.shape[1]


def test_every_moment_has_an_error_and_every_run_its_place() -> None:
    moments, meta = read("moments"), json.loads((RESULTS / "meta.json").read_text())
    exact = moments[moments["kind"] != "model"]
    assert (exact["error"] < 1e-5).all()  # asked: 1e-6 relative
    assert (moments["variance"] > -1e-4).all() and moments["relative_bias"].between(0, 2).all()
    done = moments[["score", "negatives", "seed"]].drop_duplicates()
    assert len(done) == len(meta["configuration"]["runs"])
    assert "+" not in meta["commit"]


def test_examples_are_wrong_once_and_right_once() -> None:
    table = read("examples")
    first = table[table["place"] == 1]
    assert not first[first["negatives"] == "random"]["gold"].any()
    assert first[first["negatives"] == "hard"]["gold"].all()
    assert first["mention"].nunique() == examples.SHOWN
    page = (RESULTS / "examples.md").read_text()
    assert examples.page(table, "N").split("\n## ", 1)[1] == page.split("\n## ", 1)[1]


# --- figures


def test_figures_are_drawn_from_the_tables(tmp_path: pathlib.Path) -> None:
    made = figure.draw(RESULTS, tmp_path)
    assert [path.name for path in made] == [
        "linking.png", "linking_bias.png", "linking_mixing.png", "linking_scatter.png",
        "linking_trained.png", "linking_trained_bias.png",
    ]  # fmt: skip
    pages = PAGE.read_text() + (FOLDER / "trained" / "README.md").read_text()
    for path in made:
        assert path.stat().st_size > 20_000
        assert (ROOT / "figures" / path.name).is_file()
        assert f"../figures/{path.name}" in pages


def test_the_scatter_shows_every_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("nce_bias.plot.save", lambda fig, path: shown.append(fig) or path)
    scatter = read("scatter")
    figure.against_recall(scatter, read("correlation"), tmp_path)
    drawn = np.concatenate([c.get_offsets() for c in shown[0].axes[0].collections])
    expected = scatter[["relative_bias", "recall@1"]].to_numpy() * [1, 100]
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0), atol=1e-12)


def test_the_command_names_the_analysis() -> None:
    module = importlib.import_module("analysis.linking.full")
    assert re.search(r"python -m analysis\.linking\.full", module.__doc__ or "")
    assert "python -m analysis.linking.full" in PAGE.read_text()
