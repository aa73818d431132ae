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

RECALL = pd.read_csv(tables.RESULTS / "recall.csv")
DEPTHS = ("recall@1", "recall@8", "recall@64")


def value(score, negatives, metric, split="test"):
    about = {"score": score, "negatives": negatives, "metric": metric, "split": split}
    (row,) = where(RECALL, average="micro", **about).to_dict("records")
    return row


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


def test_what_is_said_of_the_first_prediction():
    """Above words alone and the best frozen head, intervals of the differences without 0."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro")
    for other, kind in (("bm25", "title ten times"), ("som, frozen", "mixed-50")):
        rows = where(found, score="dual", negatives="in-batch", minus_score=other)
        rows = rows[rows["minus_negatives"] == kind].set_index("metric")
        assert (rows.loc[list(DEPTHS), "low"] > 0).all()


def difference(kind, base, metric="recall@1"):
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro", score="dual")
    pair = {"negatives": kind, "minus_score": "dual", "minus_negatives": base}
    (row,) = where(found, metric=metric, **pair).to_dict("records")
    return row


def test_what_is_said_of_kinds_of_negatives():
    """Order at the very top alone; any entities more, then hard ones; the encoder is worth most."""
    any_more, hard = difference("random", "in-batch"), difference("hard", "random")
    assert any_more["low"] > 0 and hard["low"] > 0
    mixed = difference("mixed", "random")
    assert mixed["low"] > 0 and 0.5 * hard["value"] < mixed["value"] < hard["value"]
    assert any_more["value"] > hard["value"]
    assert difference("hard", "in-batch")["value"] < 2 * any_more["value"]
    for kind, base in (("random", "in-batch"), ("hard", "random"), ("mixed", "random")):
        for metric in ("recall@8", "recall@64"):
            row = difference(kind, base, metric)
            assert row["low"] < 0 < row["high"]
    frozen = pd.read_csv(tables.FROZEN.parent / "differences.csv")
    (heads,) = where(
        frozen, split="test", average="micro", metric="recall@1", score="dual",
        negatives="hard", minus_score="dual", minus_negatives="random",
    ).to_dict("records")  # fmt: skip
    assert hard["high"] < heads["low"] and 3 < heads["value"] / hard["value"] < 5
    encoder = value("dual", "in-batch", "recall@1")["value"]
    assert encoder - value("som, frozen", "mixed-50", "recall@1")["value"] > 5 * any_more["value"]


def test_what_is_said_where_words_do_not_help():
    found = pd.read_csv(tables.RESULTS / "categories.csv")
    low = where(found, category="LOW_OVERLAP", score="dual").set_index("negatives")
    assert low["recall@1"]["hard"] < low["recall@1"]["in-batch"]


def test_what_stays_unfound_is_what_words_do_not_find():
    missed = tables.ranks("test")["dual", "hard"][0] > max(setup.AT)
    of = np.array([mention.category for mention in nb.data.entity_linking().mentions["test"]])
    assert missed.sum() == 150 and (of[missed] == "LOW_OVERLAP").sum() == 149


def test_what_is_said_of_two_stages():
    """Neither adds anything to its retriever; JOINT alone is below it, and learns what it can."""
    found = pd.read_csv(tables.RESULTS / "two_stages.csv")
    some = where(found, split="test", average="micro", accuracy="unnormalised")
    for stage in ("joint", "residual"):
        both = where(some, stage=stage, order=setup.JOINED).iloc[0]
        assert both["difference_low"] < 0 < both["difference_high"]
        assert where(some, stage=stage, order=setup.JOINT).iloc[0]["difference_high"] < -0.05
    about = json.loads((tables.RESULTS / "joint_dual_hard_0" / "about.json").read_text())
    assert about["prior"] == max(setup.WEIGHTS)
    on_val = where(found, split="val", average="micro", accuracy="unnormalised", stage="joint")
    on_val = on_val.set_index("order")["value"]
    assert on_val[setup.JOINED] < on_val["retriever"]
    with np.load(tables.RESULTS / "residual_dual_hard_0" / "ranks.npz") as file:
        losses = file["losses"]
    assert 0.4 < losses[-74:].mean() < losses[:37].mean() < 0.55


def test_som_is_below_dual_with_both_kinds():
    below = [between("som", kind, "dual", kind)["recall@1"] for kind in ("random", "hard")]
    assert [round(100 * row["value"], 1) for row in below] == [-1.6, -1.6]
    assert all(row["high"] < 0 for row in below)


def between(score, kind, minus, minus_kind):
    """Rows of the table of differences, by metric."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro", score=score)
    found = where(found, negatives=kind, minus_score=minus, minus_negatives=minus_kind)
    return {row["metric"]: row for row in found.to_dict("records")}


@pytest.mark.parametrize(("score", "points"), [("dual", 1.7), ("som", 1.7), ("multi8", 1.8)])
def test_hard_negatives_win_the_same_with_every_score(score, points):
    rows = between(score, "hard", score, "random")
    assert round(100 * rows["recall@1"]["value"], 1) == points and rows["recall@1"]["low"] > 0
    for metric in ("recall@8", "recall@64"):
        assert rows[metric]["low"] < 0 < rows[metric]["high"]


@pytest.mark.parametrize("kind", ["random", "hard"])
def test_multi_is_no_better_and_no_worse_than_dual(kind):
    for metric in DEPTHS:
        row = between("multi8", kind, "dual", kind)[metric]
        assert abs(row["value"]) < 0.0035 and row["low"] < 0 < row["high"]


def test_another_seed_says_the_same():
    """Hard negatives win two points at the top, and nothing below; seeds differ by less."""
    found = where(pd.read_csv(tables.RESULTS / "seeds.csv"), score="dual").set_index("metric")
    first, second = (found[found["seed"] == seed] for seed in (0, 1))
    points = 100 * second.loc["recall@1", ["value", "low", "high"]].astype(float)
    assert points.round(1).tolist() == [2.0, 0.9, 3.1]
    for metric in ("recall@8", "recall@64"):
        assert second.loc[metric, "low"] < 0 < second.loc[metric, "high"]
    apart = 100 * (first[["hard", "random"]] - second[["hard", "random"]]).abs()
    assert apart.loc["recall@1"].round(1).tolist() == [0.3, 0.6]
    assert apart.loc[["recall@8", "recall@64"]].round(1).max(axis=None) == 0.2
    assert (first["value"] == [difference("hard", "random", k)["value"] for k in first.index]).all()


def test_what_is_said_of_poly():
    """Within a point of DUAL, and below it at @64; hard negatives win less, and rank better."""
    for kind, first, last in (("random", -0.2, -0.4), ("hard", -0.7, -0.5)):
        rows = between("poly8", kind, "dual", kind)
        assert round(100 * rows["recall@1"]["value"], 1) == first
        assert rows["recall@1"]["low"] < 0 < rows["recall@1"]["high"]
        assert round(100 * rows["recall@64"]["value"], 1) == last
        assert rows["recall@64"]["high"] < 0
        assert all(abs(rows[metric]["value"]) < 0.01 for metric in DEPTHS)
    rows = between("poly8", "hard", "poly8", "random")
    assert [round(100 * rows["recall@1"][k], 1) for k in ("value", "low", "high")] == [
        1.1,
        -0.1,
        2.3,
    ]
    assert round(100 * rows["mrr"]["value"], 1) == 0.8 and rows["mrr"]["low"] > 0
    for metric in ("recall@8", "recall@64"):
        assert rows[metric]["low"] < 0 < rows[metric]["high"]


def test_what_is_said_of_a_second_pass():
    """Half a point more at @8, nothing that is sure elsewhere; the best there is at @8."""
    rows = between("poly8", "hard+hard", "poly8", "hard")
    said = {
        "recall@1": (0.4, -0.6, 1.4),
        "recall@8": (0.5, 0.1, 0.9),
        "recall@64": (0.2, -0.3, 0.6),
    }
    for metric, numbers in said.items():
        found = tuple(round(100 * rows[metric][k], 1) for k in ("value", "low", "high"))
        assert found == numbers
    shown = where(RECALL, split="test", average="micro", metric="recall@8")
    best = shown.loc[shown["value"].idxmax()]
    assert (best["score"], best["negatives"]) == ("poly8", "hard+hard")
    every = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro")
    alike = where(every[every["score"] == every["minus_score"]], metric="recall@8")
    assert len(alike) == 10
    assert set(alike["negatives"][alike["low"] > 0]) == {"hard+hard"}
    limits = {k: shown_best(f"recall@{k}") for k in setup.AT}
    assert limits == {1: 67.9, 8: 87.5, 64: 92.2}


def shown_best(metric):
    """The best of the retrievers, in per cent."""
    first = [cell for cell in tables.kept() if cell.seed == 0]
    values = [value(cell.score, cell.negatives, metric)["value"] for cell in first]
    return round(100 * max(values), 1)


def test_what_is_said_of_a_stage_of_all_mentions():
    """A little more alone than with 5,120 mentions, and nothing joined with its retriever."""
    found = pd.read_csv(tables.RESULTS / "two_stages.csv")
    some = where(found, split="test", average="micro", order=setup.JOINT)
    for accuracy, numbers in {"unnormalised": (61.1, 59.8), "normalised": (68.9, 67.3)}.items():
        for stage, number in zip(("joint-all", "joint"), numbers, strict=True):
            row = where(some, stage=stage, accuracy=accuracy).iloc[0]
            assert round(100 * row["value"], 1) == number
    joined = where(found, split="test", average="micro", order=setup.JOINED, stage="joint-all")
    row = where(joined, accuracy="unnormalised").iloc[0]
    points = [100 * row[f"difference_{k}"] for k in ("value", "low", "high")]
    assert [round(number, 1) for number in points] == pytest.approx([0.0, -0.8, 0.7], abs=1e-9)
    about = json.loads((tables.RESULTS / "joint-all_poly8_hard_0" / "about.json").read_text())
    assert about["prior"] == max(setup.WEIGHTS)
    assert round(about["mentions"] / setup.STAGES["joint"].mentions, 1) == 3.6


def test_what_is_said_of_sums():
    """Titles win a point at the very top; counts and a second encoder next to nothing."""
    words = between("multi8 & words", "hard", "multi8", "hard")
    assert [round(100 * words["recall@1"][k], 1) for k in ("value", "low", "high")] == [
        1.0,
        0.4,
        1.6,
    ]
    both = between("multi8 & words, counts", "hard", "multi8", "hard")
    for metric in ("recall@8", "recall@64"):
        for rows in (words, both):
            assert rows[metric]["low"] < 0 <= rows[metric]["high"]  # a point of the bootstrap
    more = value("multi8 & words, counts", "hard", "recall@1")["value"]
    assert 0.002 < more - value("multi8 & words", "hard", "recall@1")["value"] < 0.0035
    one, two = (
        json.loads((folder / "about.json").read_text())["weights"]
        for folder in sorted(tables.sums(), key=lambda folder: len(folder.name))
    )
    assert one["words"]["bm25"] < 0
    assert round(one["words"]["title"], 1) == 1.2 and round(one["words"]["multi8 hard 0"], 1) == 1.3
    for weights in two.values():
        assert round(100 * weights["som random 0"] / weights["multi8 hard 0"]) == 1
    ranks = tables.ranks("test")
    som, multi = ranks["som", "random"][0], ranks["multi8", "hard"][0]
    for k, share, best in zip(setup.AT, (86, 95, 88), (72.1, 88.0, 93.0), strict=True):
        assert round(100 * np.mean(som[multi > k] > k)) == share
        assert round(100 * np.mean(np.minimum(som, multi) <= k), 1) == best
    added = RECALL[RECALL["score"].str.contains(" & ") & (RECALL["split"] == "test")]
    assert where(added, metric="recall@1", average="micro")["value"].max() < 0.69


def test_what_is_said_of_som():
    """Below DUAL with the same negatives at @1 and @64, most of it where words do not help."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro", score="som")
    pair = {"negatives": "hard", "minus_score": "dual", "minus_negatives": "hard"}
    rows = where(found, **pair).set_index("metric")
    for metric, points in (("recall@1", -1.6), ("recall@64", -1.0)):
        assert rows["high"][metric] < 0
        assert round(100 * rows["value"][metric], 1) == points
    by = pd.read_csv(tables.RESULTS / "categories.csv").query("negatives == 'hard'")
    by = by.set_index(["score", "category"])
    low, dual = by.loc[("som", "LOW_OVERLAP")], by.loc[("dual", "LOW_OVERLAP")]
    lost = (dual["recall@64"] - low["recall@64"]) * low["mentions"] / 1926
    assert lost > 0.5 * -rows["value"]["recall@64"]


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


def test_it_is_above_every_frozen_head():
    """As README.md says: of all scores and negatives of the analysis beside, at every depth."""
    frozen = pd.read_csv(tables.FROZEN.parent / "recall.csv")
    heads = where(frozen, split="test", average="micro")
    heads = heads[heads["score"] != "bm25"]
    assert heads["score"].nunique() == 4
    for metric in DEPTHS:
        trained = value("dual", "in-batch", metric)["low"]
        assert trained > where(heads, metric=metric)["value"].max()


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
    assert runs.missing(tmp_path, first) is None and runs.missing(tmp_path, third) == first
    assert runs.with_earlier(tmp_path, [other, third]) == [other, first, second, third]
    assert runs.with_earlier(tmp_path, [second, third]) == [first, second, third]
    _add(tmp_path / first.folder, {})
    assert runs.missing(tmp_path, second) is None and runs.missing(tmp_path, third) == second
    assert runs.with_earlier(tmp_path, [third]) == [second, third]


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


def test_a_step_is_no_slower_than_pytorchs():
    about = json.loads((tables.RESULTS / "step_time.json").read_text())
    assert np.median(about["ratios"]) == pytest.approx(about["ratio"], abs=1e-3)
    assert max(about["ratios"]) < 1.3
    assert f"{about['ratio']:.2f} of the time of the same model's step" in page.PAGE.read_text()


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
