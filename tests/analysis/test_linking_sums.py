"""`analysis.linking.trained.sums`: weights in closed form, ranks by hand."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from analysis.frames import where
from analysis.linking.trained import page, runs, setup, sums, tables
from analysis.linking.trained.sums import Parts
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.retrieval import Scored
from nce_bias.retrieval.bm25 import Bm25


def world(golds, parts):
    return Parts(np.arange(len(golds)), np.array(golds), np.array(parts, np.float32))


def random_worlds(seed=0, sizes=((7, 5), (4, 9)), parts=3):
    """Two worlds, a score of each kind with a spread of its own."""
    random, found, first = np.random.default_rng(seed), [], 0
    for count, width in sizes:
        values = random.normal(size=(parts, count, width)) * np.array([[[20.0]], [[0.1]], [[3.0]]])
        golds = random.integers(width, size=count)
        rows = np.arange(first, first + count)
        found.append(Parts(rows, golds, values.astype(np.float32)))
        first += count
    return found


def test_one_score_of_two_entities_has_the_weight_of_its_odds():
    """Three golds of four have the score 1, the other entity 0: exp w = 3."""
    (weight,) = sums.likeliest([world([0, 0, 0, 1], [[[1, 0]] * 4])])
    assert weight == pytest.approx(math.log(3), abs=1e-4)


def test_a_score_in_other_units_is_the_same_sum():
    some = random_worlds()
    units = np.array([1e-3, 50.0, 7.0], np.float32)
    other = [w._replace(parts=w.parts * units[:, None, None]) for w in some]
    np.testing.assert_allclose(sums.likeliest(other) * units, sums.likeliest(some), rtol=1e-3)


def test_the_loss_is_the_mean_of_the_golds_cross_entropies_and_its_gradient_the_difference():
    some, weights = random_worlds(), np.array([0.05, 2.0, -0.3])

    def by_hand(weights):
        each = []
        for w in some:
            for i, gold in enumerate(w.golds):
                chances = [
                    math.exp(sum(a * f[i, y] for a, f in zip(weights, w.parts, strict=True)))
                    for y in range(w.parts.shape[2])
                ]
                each.append(-math.log(chances[gold] / sum(chances)))
        return sum(each) / len(each)

    value, gradient = sums.loss(weights, some)
    assert value == pytest.approx(by_hand(weights), rel=1e-12)
    for k in range(3):  # a difference over 2e-4 has an error of its third derivative, 1e-8 of it
        step = 1e-4 * np.eye(3)[k]
        slope = (by_hand(weights + step) - by_hand(weights - step)) / 2e-4
        assert gradient[k] == pytest.approx(slope, abs=1e-5)


def test_no_other_weights_are_likelier():
    some = random_worlds()
    best = sums.likeliest(some)
    least, slope = sums.loss(best, some)
    assert np.abs(slope * best).max() < 1e-4
    random = np.random.default_rng(1)
    for _ in range(20):
        assert sums.loss(best * (1 + 0.3 * random.normal(size=3)), some)[0] > least


def test_ranks_are_in_the_order_of_the_mentions_and_ties_count_against_the_gold():
    first = Parts(np.array([1, 2]), np.array([0, 2]), np.array([[[1, 2, 3]] * 2, [[3, 0, 0]] * 2]))
    second = Parts(np.array([0]), np.array([1]), np.array([[[5, 5]], [[0, 0]]]))
    assert sums.ranks(np.array([1.0, 0.0]), [first, second]).tolist() == [2, 3, 1]
    assert sums.ranks(np.array([1.0, 1.0]), [first, second]).tolist() == [2, 1, 2]


def linking():
    """Two worlds whose mentions are mixed in the file."""
    entities = (
        Entity("a", "bank", "of a river", "w", 0),
        Entity("b", "Banks", "money", "w", 6),
        Entity("c", "pond", "water", "v", 2),
        Entity("d", "lake", "water", "v", 0),
        Entity("e", "ponds", "water", "v", 0),
    )
    mentions = tuple(
        Mention(f"m{i}", "", text, "", label, name, "")
        for i, (text, label, name) in enumerate(
            [("lake", 3, "v"), ("bank", 0, "w"), ("pond", 2, "v")]
        )
    )
    spans = {"w": slice(0, 2), "v": slice(2, 5)}
    return EntityLinking(entities, {"test": mentions}, spans, "", "")


def test_titles_and_counts_of_each_world():
    data = linking()
    backwards = list(sums.titles(data, "test"))[::-1]  # a source may come in any order
    first, second = sums.worlds(data, "test", [backwards, sums.counts(data, "test")])
    assert first.rows.tolist() == [1] and second.rows.tolist() == [0, 2]
    assert first.golds.tolist() == [0] and second.golds.tolist() == [1, 0]
    assert first.parts[0].tolist() == [[1, 1]]
    assert second.parts[0].tolist() == [[0, 1, 0], [1, 0, 1]]
    np.testing.assert_allclose(np.exp(first.parts[1]), [[1, 7]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(second.parts[1]), [[3, 1, 1]] * 2, rtol=1e-6)


def test_a_mention_without_scores_is_an_error():
    data = linking()
    parts = list(sums.titles(data, "test"))
    for missing in (parts[:1], [parts[0], parts[1]._replace(rows=parts[1].rows[:1])]):
        some = [part._replace(scores=part.scores[: len(part.rows)]) for part in missing]
        with pytest.raises(ValueError, match="mentions have none"):
            sums.worlds(data, "test", [some])


@pytest.mark.parametrize(
    ("parts", "said"),
    [([[[1, 0]] * 2], "no likeliest weights"), ([[[1, 1]] * 2], "the same everywhere")],
)
def test_weights_that_are_not_there_are_an_error(parts, said):
    """Golds above all others: any larger weight is likelier; and a score that says nothing."""
    with pytest.raises(ValueError, match=said):
        sums.likeliest([world([0, 0], parts)])


def test_each_sum_has_its_own_parts():
    some = random_worlds()
    fits = sums.chosen(some, ["a", "b", "c"], {"two": ("c", "a"), "all": ("a", "b", "c")})
    assert list(fits["two"]) == ["c", "a"]
    whole = sums.likeliest(some)
    np.testing.assert_allclose(list(fits["all"].values()), whole, rtol=1e-6)
    apart = [w._replace(parts=w.parts[[2, 0]]) for w in some]
    np.testing.assert_allclose(list(fits["two"].values()), sums.likeliest(apart), rtol=1e-6)


WORDS = ("bank", "shore", "lake", "pond", "river", "canal")


def two_splits(turn):
    """Two worlds of six entities; test golds are `turn` entities further on."""
    random = np.random.default_rng(3)
    entities, mentions, spans = [], {}, {}
    for first, split in ((0, "val"), (6, "test")):
        entities += [
            Entity(f"{split}{i}", name, f"{name} {WORDS[i - 1]}", split, 3 * i)
            for i, name in enumerate(WORDS)
        ]
        golds = random.integers(6, size=30)
        further = golds if split == "val" else (golds + turn) % 6
        mentions[split] = tuple(
            Mention(f"{split}{i}", WORDS[(gold + i % 3) % 6], WORDS[(gold + i % 2) % 6], "",
                    first + label, split, "")
            for i, (gold, label) in enumerate(zip(golds.tolist(), further.tolist(), strict=True))
        )  # fmt: skip
        spans[split] = slice(first, first + 6)
    return EntityLinking(tuple(entities), mentions, spans, "", "")


def measured(turn, monkeypatch, tmp_path):
    """Of two runs whose scores are random ones; and these, of each split."""
    data, cells = two_splits(turn), setup.cells_of(["dual hard 0", "som random 0"])
    scores = {
        (cell.score, split): np.random.default_rng([k, j]).normal(size=(30, 6)).astype(np.float32)
        for k, cell in enumerate(cells)
        for j, split in enumerate(setup.HELD_OUT)
    }
    for (_, split), values in scores.items():  # they know something of the golds
        at = np.arange(30), two_splits(0).labels(split) % 6
        values[at] += 0.5

    def kept(model, corpus, split, folder):
        rows = np.arange(30)
        return runs.Kept([Scored(rows, 6 * (split == "test"), scores[model, split])], 0.0)

    monkeypatch.setattr(runs, "kept_scores", kept)
    monkeypatch.setattr(
        runs, "trained", lambda corpus, design, cell, work: SimpleNamespace(model=cell.score)
    )
    nothing: Any = None  # the scores are there
    fits, ranks = sums.measure(nothing, data, cells, tmp_path)
    return data, scores, fits, ranks


def test_weights_are_those_of_validation_and_ranks_those_of_the_sum(monkeypatch, tmp_path):
    """Every part by its name, summed one by one."""
    data, scores, fits, ranks = measured(0, monkeypatch, tmp_path)
    assert set(ranks) == {f"{split} {name}" for split in setup.HELD_OUT for name in sums.SUMS}
    for name, weights in fits.items():
        for split in setup.HELD_OUT:
            (bm25,) = Bm25(titles=10).scores(data, split)
            values = []
            for i, mention in enumerate(data.mentions[split]):
                values.append([])
                for k, entity in enumerate(data.among(split)):
                    parts = {
                        "dual hard 0": scores["dual", split][i, k],
                        "som random 0": scores["som", split][i, k],
                        "bm25": bm25.scores[i, k],
                        "title": float(entity.title == mention.text),
                        "counts": math.log(1 + entity.count),
                    }
                    used = [key for key in parts if key != "counts" or name == "words, counts"]
                    assert list(weights) == used
                    values[i].append([parts[key] for key in used])
            f, golds = np.array(values), data.labels(split) % 6
            total = f @ np.array(list(weights.values()))
            expected = [
                int(np.sum(row >= row[gold] - 1e-9)) for row, gold in zip(total, golds, strict=True)
            ]
            assert ranks[f"{split} {name}"].tolist() == expected
            shares = np.exp(total) / np.exp(total).sum(axis=1, keepdims=True)
            slope = np.mean(np.einsum("nv,nvk->nk", shares, f) - f[np.arange(30), golds], axis=0)
            if split == "val":  # likeliest there
                assert np.abs(slope).max() < 1e-3
            else:
                assert np.abs(slope).max() > 0.05


def test_golds_of_the_test_worlds_change_no_weight(monkeypatch, tmp_path):
    _, _, fits, ranks = measured(0, monkeypatch, tmp_path)
    _, _, same, others = measured(1, monkeypatch, tmp_path)
    assert fits == same
    assert (ranks["val words"] == others["val words"]).all()
    assert (ranks["test words"] != others["test words"]).any()


def test_a_run_that_is_not_there_or_not_done_is_named(tmp_path):
    with pytest.raises(ValueError, match="no run 'dual soft 0'; there are: dual in-batch 0"):
        setup.cells_of(["dual soft 0"])
    twice = setup.cells_of(["som hard 0", "dual hard 0", "som hard 0"])
    assert [cell.label for cell in twice] == ["dual hard 0", "som hard 0"]
    called = CliRunner().invoke(_app(), ["--work", str(tmp_path), "--only", "dual hard 0"])
    assert called.exit_code == 2 and "dual hard 0 is not done" in called.output


def _app():
    app = typer.Typer()
    app.command()(sums.main)
    return app


def kept_sum(folder, encoders, names):
    folder.mkdir()
    about = {"runs": [cell._asdict() for cell in encoders], "weights": {key: {} for key in names}}
    (folder / "about.json").write_text(json.dumps(about))


def test_sums_are_named_by_what_was_added(tmp_path):
    dual, som = setup.cells_of(["dual hard 0", "som random 0"])
    kept_sum(tmp_path / "sum_one", [dual], ["words"])
    kept_sum(tmp_path / "sum_two", [dual, som, dual], ["words, counts"])
    one, two = tables.sums(tmp_path).values()
    assert one == {"words": (("dual & words", "hard"), [("dual", "hard")])}
    ((key, encoders),) = two.values()
    assert key == ("dual & som & dual & words, counts", "hard/random/hard")
    assert encoders == [("dual", "hard"), ("som", "random"), ("dual", "hard")]
    assert page.named(*one["words"][0]) == "DUAL hard & words"
    assert page.named(*key) == "DUAL hard & SOM random & DUAL hard & words, counts"
    assert page.named("dual & som & words", "hard") == "DUAL hard & SOM hard & words"


def test_the_ranks_of_sums_that_are_kept_are_those_of_the_table():
    recall = pd.read_csv(tables.RESULTS / "recall.csv")
    some = where(recall, split="test", average="micro", metric="recall@1")
    value = some.set_index(["score", "negatives"])["value"]
    assert tables.sums()
    for folder, names in tables.sums().items():
        with np.load(folder / "ranks.npz") as file:
            for name, (key, _) in names.items():
                assert value[key] == pytest.approx(np.mean(file[f"test {name}"] == 1), abs=1e-12)
