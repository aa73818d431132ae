"""`analysis/linking`: its set-up, a small set of runs, and tables by hand."""

import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.linking import bias, runs, setup, tables
from analysis.linking import run as reduced
from analysis.linking.trained import bias as trained
from analysis.linking.trained import runs as trained_runs
from tests.analysis.test_linking import cell, read
from tests.retrieval import tiny_bert
from tests.retrieval import tiny_linking as tiny


def test_shares_of_hard_negatives_add_up() -> None:
    for share in setup.SHARES:
        hard = setup.hard_count(share)
        assert abs(hard / setup.M - share / 100) <= 0.5 / setup.M
        for kinds in (setup.TRAINED, setup.EXACT):
            sampler = kinds[setup.name(share)]
            assert sampler.slots(1000) == setup.M
    assert [setup.hard_count(share) for share in setup.SHARES] == [0, 16, 32, 47, 63]


def test_seeds_come_one_after_the_other_and_the_untrained_model_is_measured_once() -> None:
    cells = setup.FULL.cells
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert len(set(cells)) == len(cells) == 3 * 13 + 3
    first = [cell for cell in cells if 0 in setup.FULL.checkpoints(cell)]
    assert [(cell.score, cell.negatives) for cell in first] == [
        (score, "random") for score in setup.FULL.negatives
    ]


def test_a_rank_correlation_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four conditions of one seed each: rho = 1 - 6 S / (n (n^2 - 1)), S of squared distances."""
    monkeypatch.setattr(tables, "RESAMPLES", 200)
    scatter = pd.DataFrame(
        {
            "score": ["dual"] * 4,
            "negatives": list("abcd"),
            "relative_bias": [0.1, 0.2, 0.3, 0.4],
            "parameter_relative_bias": [0.4, 0.3, 0.2, 0.1],
            **{f"recall@{k}": [0.5, 0.6, 0.3, 0.4] for k in setup.AT},
        }
    )
    found = pd.DataFrame(tables.correlation(tables.groups(scatter)))
    ranks = [3, 4, 1, 2]
    distance = sum((rank - place) ** 2 for place, rank in enumerate(ranks, start=1))
    row = cell(found, runs="all", bias="relative_bias", metric="recall@1")
    assert row["spearman"] == pytest.approx(1 - 6 * distance / 60)
    other = cell(found, runs="all", bias="parameter_relative_bias", metric="recall@1")
    assert other["spearman"] == pytest.approx(-row["spearman"])
    assert row["low"] <= row["spearman"] <= row["high"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A design of two runs on the tiny data, all of it done."""
    patch = pytest.MonkeyPatch()
    tiny.small_blocks(patch.setattr)
    patch.setattr(setup, "M", 4)
    kinds = {"random": nb.iid(nb.uniform(), 4), "hard": nb.top(4)}
    patch.setattr(setup, "TRAINED", {"random": nb.without_replacement(nb.uniform(), 4)} | kinds)
    patch.setattr(setup, "EXACT", kinds)
    patch.setattr(setup, "SAMPLED", {"model": nb.without_replacement(nb.model(), 4)})
    patch.setattr(tables, "RESAMPLES", 50)
    design = setup.Design({"dual": ("random", "hard")}, 1, tiny.CONFIG, measured=3, draws=64)
    folder = tmp_path_factory.mktemp("runs")
    corpus = tiny.corpus(folder / "states")
    for one in design.cells:
        runs.run(corpus, design, one, folder / "runs")
    yield corpus, design, folder
    patch.undo()


@pytest.mark.slow
def test_moments_are_those_of_each_mention_and_of_the_mean_gradient(small: Any) -> None:
    """Against `nb.gradient_bias` on a function of all labels, one world."""
    corpus, design, folder = small
    model = runs.trained(corpus, design, design.cells[0], folder / "runs").at(8)
    kinds = bias.Kinds(setup.EXACT, setup.SAMPLED, mentions=3, draws=64)
    table = pd.DataFrame(bias.moments(model, corpus, "test", kinds)).set_index("kind")
    (rows,) = bias.measured_rows(corpus, "test", 3)
    assert rows.tolist() == [0, 5, 11]
    entities = corpus.entities.batch(np.arange(35, 47), 32)
    mentions = corpus["test"].texts.batch(rows, 32)

    def score_fn(model: Any, index: Any) -> Any:
        import jax

        inputs = jax.tree.map(lambda leaf: leaf[index][None], model.encode_inputs(mentions))
        return model.against(inputs, model.encode_labels(entities))[0]

    population = np.eye(12)[corpus["test"].labels[rows] - 35]
    scored = nb.ScoreModel(score_fn, model)
    for kind, sampler in setup.EXACT.items():
        found = nb.gradient_bias(scored, np.arange(3), population, sampler, variance=False)
        row = table.loc[kind]
        # scores are float32
        assert row["bias_norm"] == pytest.approx(float(found.moments.bias_norm), rel=1e-4)
        assert row["parameter_bias"] == pytest.approx(float(found.norm), rel=1e-3)
        assert row["parameter_cosine"] == pytest.approx(float(found.cosine), abs=1e-4)
        assert row["parameter_relative_bias"] == pytest.approx(float(found.relative_norm), rel=1e-3)
    assert table.loc["random", "bias_norm"] != pytest.approx(
        table.loc["hard", "bias_norm"], rel=0.1
    )


@pytest.mark.slow
def test_runs_that_are_done_are_not_run_again(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, design, folder = small
    from rich.console import Console

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr(nb.retrieval, "train_retriever", never)
    console = Console(record=True, width=200)
    assert runs.run_all(corpus, design, folder / "runs", console) == {}
    assert "2 runs, 2 of them done; about 0 min" in console.export_text()


@pytest.mark.slow
def test_all_tables_of_a_small_set_of_runs(small: Any, tmp_path: pathlib.Path) -> None:
    corpus, design, folder = small
    tables.write(corpus, tiny.data(), design, folder / "runs", tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"recall.csv", "moments.csv", "scatter.csv", "ranks.npz", "meta.json"} <= written
    assert not [p for p in tmp_path.glob("*.csv") if p.stat().st_size < 10]
    for name in ("recall", "moments", "scatter"):
        here = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(here.columns) == list(read(name).columns)


@pytest.mark.slow
def test_a_trained_encoder_is_measured_at_its_last_layer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Score space as of the whole model; over parameters a part of its gradient, not all of it."""
    tiny.small_blocks(monkeypatch.setattr)
    kinds = {kind: nb.iid(nb.uniform(), 4) for kind in trained.KINDS} | {"hard": nb.top(4)}
    monkeypatch.setattr(setup, "EXACT", kinds)
    monkeypatch.setattr(setup, "MEASURED", 5)  # of twelve mentions
    monkeypatch.setattr(trained, "BELOW", tiny_bert.LAYERS - 1)
    corpus = nb.retrieval.corpus(tiny.data(), tiny_bert.encoder(tmp_path), learn=True)
    model = nb.retrieval.encoder_retriever(corpus, nb.scores.Som())
    found = pd.DataFrame(trained.measure(model, corpus)).set_index("kind").to_dict()
    every = bias.Kinds(kinds, {}, setup.MEASURED, draws=0)
    whole = pd.DataFrame(bias.moments(model, corpus, "test", every)).set_index("kind").to_dict()
    assert list(found["bias_norm"]) == list(trained.KINDS)
    for kind in ("random", "hard"):
        assert found["bias_norm"][kind] == pytest.approx(whole["bias_norm"][kind], rel=1e-5)
        for column in ("parameter_bias", "parameter_gradient"):
            assert 0.01 < found[column][kind] / whole[column][kind] < 0.99
    for column in ("relative_bias", "parameter_relative_bias"):
        assert abs(found[column]["random"] - found[column]["hard"]) > 0.01
    kept = trained_runs.kept_scores(model, corpus, "test", tmp_path)
    alone = pd.DataFrame(trained.measure_kept(kept.parts, corpus)).set_index("kind").to_dict()
    assert set(found) - set(alone) == {name for name in found if name.startswith("parameter_")}
    anew = pd.DataFrame(trained.measure_score_space(model, corpus)).set_index("kind").to_dict()
    for column, values in alone.items():
        assert values == pytest.approx(found[column], rel=1e-5, abs=1e-9)
        assert anew[column] == pytest.approx(values, rel=1e-5, abs=1e-9)


def test_scores_of_a_run_are_computed_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept in the order of the file, whatever the order they come in; another model's are not."""
    asked = []

    def scored(model: Any, mentions: Any, *, progress: bool) -> Any:
        asked.append(model)
        yield nb.retrieval.Scored(
            np.array([2, 0]), 5, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
        )
        yield nb.retrieval.Scored(np.array([1]), 0, np.array([[7.0, 8.0]], np.float32))

    monkeypatch.setattr(nb.retrieval, "world_scores", scored)
    corpus: Any = {"val": SimpleNamespace(spans=np.array([[5, 8], [0, 2], [5, 8]]))}
    one: Any = np.zeros(2)
    other: Any = np.ones(2)
    first, again = (trained_runs.kept_scores(one, corpus, "val", tmp_path) for _ in range(2))
    assert len(asked) == 1 and first.seconds == again.seconds > 0
    for kept in (first, again):
        found = [(part.first, part.rows.tolist(), part.scores.tolist()) for part in kept.parts]
        assert found == [(0, [1], [[7, 8]]), (5, [0, 2], [[4, 5, 6], [1, 2, 3]])]
    trained_runs.kept_scores(other, corpus, "val", tmp_path)
    assert len(asked) == 2 and asked[1] is other


def test_what_was_measured_of_a_step_is_known_and_replaced() -> None:
    over = "parameter_relative_bias"
    table = pd.DataFrame({"step": [100, 289], "relative_bias": [0.2, 0.3], over: [0.4, np.nan]})
    assert trained.has_step(table, 100, over) and trained.has_step(table, 289)
    assert not trained.has_step(table, 289, over) and not trained.has_step(table, 200)
    assert not trained.has_step(pd.DataFrame(), 100)
    more = trained.with_step(table, 289, [{"relative_bias": 0.3, over: 0.5}])
    assert more["step"].tolist() == [100, 289] and more[over].tolist() == [0.4, 0.5]
    between = trained.with_step(more, 200, [{"relative_bias": 0.1}, {"relative_bias": 0.2}])
    assert between["step"].tolist() == [100, 200, 200, 289]
    assert trained.with_step(pd.DataFrame(), 0, [{"relative_bias": 0.1}])["step"].tolist() == [0]


def test_some_worlds_of_a_data_set() -> None:
    data = reduced.part(tiny.data(), {"train": ("ash", "cedar"), "val": ("elm",), "test": ("fir",)})
    assert [*data.spans] == ["ash", "cedar", "elm", "fir"] and len(data.entities) == 48
    whole = {m.id: tiny.data().entities[m.label].id for m in tiny.data().mentions["train"]}
    for mention in data.mentions["train"]:
        assert data.entities[mention.label].id == whole[mention.id]
        assert mention.world in ("ash", "cedar")
