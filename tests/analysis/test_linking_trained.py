"""`analysis/linking/trained`: its page against its results, and its tables against the ranks."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.frames import where
from analysis.linking.trained import (
    baselines,
    changed,
    figure,
    page,
    runs,
    setup,
    stages,
    tables,
)
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.retrieval import Ranked
from tests.analysis.linking_trained import RECALL, value


def test_the_page_has_the_tables_of_the_results():
    text = page.PAGE.read_text()
    assert page.written(text) == text


def test_a_changed_table_is_noticed(tmp_path):
    RECALL.assign(value=RECALL["value"] + 0.01).to_csv(tmp_path / "recall.csv", index=False)
    assert page.recall(tmp_path) != page.recall()


def test_recall_is_that_of_the_ranks():
    """By counting, of every run that is kept."""
    assert tables.kept()
    for cell in tables.kept():
        folder = tables.RESULTS / cell.folder
        with np.load(folder / "ranks.npz") as file:
            ranks = {split: file[split] for split in setup.HELD_OUT}
        about = json.loads((folder / "about.json").read_text())
        for split, found in ranks.items():
            for k in setup.AT:
                share = np.mean(found <= k)
                assert about["recall"][split][str(k)] == pytest.approx(share, abs=1e-12)
                row = value(cell.score, cell.negatives, f"recall@{k}", split)
                assert row["seeds"] == 1
                if cell.seed == 0:
                    assert row["value"] == pytest.approx(share, abs=1e-12)


def test_the_figure_says_what_the_table_has(tmp_path):
    made = figure.draw(tables.RESULTS, tmp_path)
    assert all(path.stat().st_size > 20_000 for path in made)
    shown = where(RECALL, split="test", average="micro")
    said = figure.finding(shown)
    best = max(value(cell.score, cell.negatives, "recall@1")["value"] for cell in tables.kept())
    assert f"links {100 * best:.0f} % of the mentions" in said
    names = figure.rows_of(shown)
    assert {(cell.score, cell.negatives) for cell in tables.kept()} <= set(names)
    assert set(figure.BESIDES) <= set(names)


def test_runs_that_are_kept_are_not_run_again(tmp_path, monkeypatch):
    cells, ran, said = setup.FULL.cells, [], []
    monkeypatch.setattr(runs, "run", lambda corpus, design, cell, work, say: ran.append(cell))
    corpus: Any = {"train": range(18525)}
    runs.run_all(corpus, setup.FULL, cells, tmp_path, said.append)
    assert ran == [cell for cell in cells if cell not in tables.kept()]
    assert f"{len(tables.kept())} of them done" in said[0]


def test_a_second_pass_begins_with_the_model_of_the_first(tmp_path, monkeypatch):
    """Each with the negatives of its pass, in an order of its own."""
    asked = []

    def train(corpus, score, sampler, *, config, start, folder, **_):
        asked.append((sampler, config.seed, start, folder.name))
        return SimpleNamespace(status="ok", model=f"model of {folder.name}")

    monkeypatch.setattr(nb.retrieval, "train_encoder", train)
    corpus: Any = {"train": range(18525)}
    runs.trained(corpus, setup.FULL, setup.Cell("dual", "random+hard", 0), tmp_path)
    random, hard = (setup.NEGATIVES[kind] for kind in ("random", "hard"))
    assert asked == [
        (random, 0, None, "dual_random_0"),
        (hard, setup.PASS, "model of dual_random_0", "dual_random+hard_0"),
    ]
    before = setup.Cell("dual", "in-batch+random+hard", 0).before
    assert before and before.negatives == "in-batch+random" and before.own == "random"


def test_passes_that_are_not_at_hand(tmp_path):
    first, second, third = (
        setup.Cell("dual", kinds, 0)
        for kinds in ("in-batch", "in-batch+hard", "in-batch+hard+hard")
    )
    other = setup.Cell("som", "hard", 0)
    assert runs.missing(tmp_path, first) == []
    assert runs.missing(tmp_path, third) == [first, second]
    assert runs.with_earlier(tmp_path, [other, third]) == [other, first, second, third]
    assert runs.with_earlier(tmp_path, [second, third]) == [first, second, third]
    _add(tmp_path / first.folder, {})
    assert runs.missing(tmp_path, second) == [] and runs.missing(tmp_path, third) == [second]
    assert runs.with_earlier(tmp_path, [third]) == [second, third]


def test_what_a_run_is_judged_by():
    """Easier negatives, hardest last, and the pass before; never a second pass."""
    first = list(setup.NEGATIVES)
    kinds = [*first, "mixed+mixed", "hard+hard"]
    judged = {than: [kind for kind in kinds if tables.easier(kind, than)] for than in kinds}
    by_hand = {kind: first[:place] for place, kind in enumerate(first)}
    assert judged == by_hand | {"mixed+mixed": first[:3], "hard+hard": first}


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("untrained_som", "SOM, untrained"),
        ("multi8_hard_0", "MULTI-8, trained with hard"),
        ("poly8_hard+hard_0", "POLY-8, trained with hard+hard"),
        ("dual_random_1", "DUAL, trained with random, seed 1"),
    ],
)
def test_a_model_in_words(folder, words):
    assert page.model_named(folder) == words


def test_a_stage_of_all_mentions_reads_as_many_pairs_a_step():
    corpus: Any = {"train": np.arange(6000)}
    cell, counts = setup.Cell("dual", "hard", 0), {}
    for name, stage in setup.STAGES.items():
        counts[name] = len(stages.mentions_of(corpus, cell, stage))
        assert stage.plan.batch * (1 + stage.plan.negatives) == 128
    assert counts == {"joint": 5120, "joint-all": 6000, "residual": 5120}


def test_a_name_of_no_second_stage_is_refused():
    with pytest.raises(ValueError, match="no second stage 'both'; there are: joint"):
        setup.check_stages(["joint", "both"])


def test_the_title_comes_before_the_count():
    """By hand: two entities of the title, the rarer one meant; and one that no title names."""
    entities = [
        Entity(str(i), title, "", "w", count)
        for i, (title, count) in enumerate([("bank", 1), ("bank", 5), ("shore", 99), ("River", 3)])
    ]
    meant = [("banks", 0), ("Bank", 1), ("river", 3), ("coast", 2)]
    mentions = tuple(Mention(str(i), "", t, "", y, "w", "") for i, (t, y) in enumerate(meant))
    data = EntityLinking(tuple(entities), {"test": mentions}, {"w": slice(0, 4)}, "", "")
    assert baselines.most_frequent(data, "test").tolist() == [2, 1, 1, 4]


def test_both_stages_are_counted(tmp_path):
    """Accuracy from the ranks that are kept, over all and over those retrieved."""
    cell = setup.Cell("dual", "hard", 0)
    ranks = {"alone": [1, 2, 1, 9], "joined": [1, 1, 1, 9], "first": [2, 1, 1, 9]}
    for split in setup.HELD_OUT:
        arrays = {
            f"{split} {setup.JOINT}": ranks["alone"],
            f"{split} {setup.JOINED}": ranks["joined"],
        }
        arrays[f"{split} retrieved"] = [True, True, True, False]
        _add(tmp_path / f"joint_{cell.folder}", arrays)
        _add(tmp_path / cell.folder, {split: ranks["first"]})
    rows = pd.DataFrame(tables.two_stages({s: ["a"] * 4 for s in setup.HELD_OUT}, tmp_path))
    some = where(rows, split="test", average="micro").set_index(["accuracy", "order"])
    assert some["value"].to_dict() == {
        ("unnormalised", "retriever"): 0.5,
        ("unnormalised", setup.JOINT): 0.5,
        ("unnormalised", setup.JOINED): 0.75,
        ("normalised", "retriever"): pytest.approx(2 / 3),
        ("normalised", setup.JOINT): pytest.approx(2 / 3),
        ("normalised", setup.JOINED): 1.0,
    }
    assert some["difference_value"]["unnormalised", setup.JOINED] == 0.25


def _add(folder, arrays):
    folder.mkdir(exist_ok=True)
    path = folder / "ranks.npz"
    there = dict(np.load(path)) if path.is_file() else {}
    there |= {name: np.array(array) for name, array in arrays.items()}
    np.savez(path, allow_pickle=False, **there)
    (folder / "about.json").write_text("{}")


def test_the_share_of_the_retriever_is_the_best_on_validation():
    """Pairs alone link one of three, the retriever alone one, and one share all of them."""
    labels = np.array([[0, 1], [0, 1], [0, 1]])
    said = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    pairs = np.array([[0.0, 1.0], [0.9, 0.0], [0.0, 2.5]])
    mentions: Any = SimpleNamespace(labels=np.array([0, 0, 1]))
    found = stages.weight(mentions, Ranked(np.ones(3, int), labels, said), pairs)
    linked = {
        share: (np.argmax(pairs + share * said, axis=1) == mentions.labels).sum()
        for share in setup.WEIGHTS
    }
    assert linked[0.0] == 2 and linked[found] == 3 and linked[3.0] == 2
    assert found == min(share for share, count in linked.items() if count == 3)


def test_examples_are_wrong_with_one_kind_and_right_with_the_other():
    """By the ranks of the runs: how many there are each way, and those shown in order."""
    found = pd.read_csv(tables.RESULTS / "examples.csv")
    ranks = tables.ranks("test")
    data = nb.data.entity_linking()
    place = {mention.id: number for number, mention in enumerate(data.mentions["test"])}
    for right, wrong in ((changed.AFTER, changed.BEFORE), (changed.BEFORE, changed.AFTER)):
        good, bad = ranks["dual", right][0] == 1, ranks["dual", wrong][0] > 1
        some = where(found, right=right)
        assert len(some) == changed.SHOWN
        assert set(some["mentions"]) == {int((good & bad).sum())}
        numbers = [place[mention] for mention in some["mention"]]
        assert numbers == sorted(numbers)
        for number, (_, row) in zip(numbers, some.iterrows(), strict=True):
            assert row[right] == 1 and row[wrong] == ranks["dual", wrong][0][number] > 1
            assert row["title"] == data.entities[data.labels("test")[number]].title
