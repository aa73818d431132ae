"""What README.md of `analysis/linking/trained` says of recall and of stages, against its tables."""

import json

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.frames import where
from analysis.linking.trained import (
    page,
    setup,
    tables,
)
from tests.analysis.linking_trained import DEPTHS, RECALL, between, difference, points, value

#: Of an order of the candidates to its retriever's.
DIFFERENCE = ("difference_value", "difference_low", "difference_high")


def test_what_is_said_of_the_first_prediction():
    """Above words alone and the best frozen head, intervals of the differences without 0."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro")
    for other, kind in (("bm25", "title ten times"), ("som, frozen", "mixed-50")):
        rows = where(found, score="dual", negatives="in-batch", minus_score=other)
        rows = rows[rows["minus_negatives"] == kind].set_index("metric")
        assert (rows.loc[list(DEPTHS), "low"] > 0).all()


def test_what_is_said_of_kinds_of_negatives():
    """Order at the very top alone; any entities more, then hard ones; the encoder is worth most."""
    any_more, hard = difference("random", "in-batch"), difference("hard", "random")
    assert any_more["low"] > 0 and hard["low"] > 0
    assert difference("mixed", "random")["low"] > 0
    assert points(difference("hard", "mixed")) == (0.3, -0.5, 1.2)
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


@pytest.mark.parametrize("score", setup.SCORES)
def test_hard_negatives_help_nothing_where_words_do_not_help(score):
    """Of LOW_OVERLAP mentions: no interval of hard - random without 0, and DUAL's @1 is lower."""
    mentions = nb.data.entity_linking().mentions["test"]
    low = np.array([mention.category == "LOW_OVERLAP" for mention in mentions])
    worlds = np.array([mention.world for mention in mentions])[low]
    ranks = tables.ranks("test")
    hard, random = (ranks[score, kind][:, low] for kind in ("hard", "random"))
    found = where(nb.retrieval.compare(hard, random, worlds, at=setup.AT), average="micro")
    assert (found["low"] < 0).all() and (found["high"] > 0).all()
    if score == "dual":
        assert np.mean(hard == 1) < np.mean(ranks["dual", "in-batch"][:, low] == 1)


def test_what_stays_unfound_is_what_words_do_not_find():
    missed = tables.ranks("test")["dual", "hard"][0] > max(setup.AT)
    of = np.array([mention.category for mention in nb.data.entity_linking().mentions["test"]])
    assert missed.sum() == 150 and (of[missed] == "LOW_OVERLAP").sum() == 149


def test_what_is_said_of_two_stages():
    """None adds anything to its retriever; JOINT alone is below it, and learns what it can."""
    found = where(pd.read_csv(tables.RESULTS / "two_stages.csv"), average="micro")
    found = where(found, accuracy="unnormalised")
    test, val = where(found, split="test"), where(found, split="val")
    joined = where(test, order=setup.JOINED).set_index(["score", "stage"])
    assert len(joined) == 5 and (joined["difference_low"] < 0.0005).all()
    assert (joined["difference_low"].drop([("som", "joint")]) < 0).all()
    assert points(joined.loc["som", "joint"], DIFFERENCE) == (0.8, 0.0, 1.6)
    assert points(joined.loc["multi8", "joint"], DIFFERENCE) == (0.4, -0.3, 1.1)
    assert (where(test, order=setup.JOINT)["difference_high"] < 0).all()
    for score, kind in (("dual", "hard"), ("multi8", "mixed"), ("som", "mixed")):
        about = json.loads((tables.RESULTS / f"joint_{score}_{kind}_0" / "about.json").read_text())
        assert about["prior"] == (2 if score == "som" else max(setup.WEIGHTS))
        orders = where(val, stage="joint", score=score, negatives=kind).set_index("order")["value"]
        assert orders[setup.JOINED] < orders["retriever"]
    with np.load(tables.RESULTS / "residual_dual_hard_0" / "ranks.npz") as file:
        losses = file["losses"]
    assert 0.4 < losses[-74:].mean() < losses[:37].mean() < 0.55


def test_som_is_below_dual_with_both_kinds():
    below = [between("som", kind, "dual", kind)["recall@1"] for kind in ("random", "hard")]
    assert [round(100 * row["value"], 1) for row in below] == [-1.6, -1.6]
    assert all(row["high"] < 0 for row in below)


@pytest.mark.parametrize(("score", "more"), [("dual", 1.7), ("som", 1.7), ("multi8", 1.8)])
def test_hard_negatives_win_the_same_with_every_score(score, more):
    rows = between(score, "hard", score, "random")
    assert round(100 * rows["recall@1"]["value"], 1) == more and rows["recall@1"]["low"] > 0
    for metric in ("recall@8", "recall@64"):
        assert rows[metric]["low"] < 0 < rows[metric]["high"]


@pytest.mark.parametrize(
    ("score", "over_random", "under_hard"),
    [("dual", 1.3, 0.3), ("som", 1.4, 0.3), ("multi8", 2.4, -0.6), ("poly8", 1.3, -0.2)],
)
def test_one_hard_entity_of_two_is_as_good_as_two(score, over_random, under_hard):
    """Mixed is above random at the very top alone, and hard nowhere above mixed."""
    over = between(score, "mixed", score, "random")
    assert round(100 * over["recall@1"]["value"], 1) == over_random and over["recall@1"]["low"] > 0
    under = between(score, "hard", score, "mixed")
    assert round(100 * under["recall@1"]["value"], 1) == under_hard
    for rows, metrics in ((over, ("recall@8", "recall@64")), (under, DEPTHS)):
        for metric in metrics:
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
    assert points(second.loc["recall@1"]) == (2.0, 0.9, 3.1)
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
    assert points(rows["recall@1"]) == (1.1, -0.1, 2.3)
    assert round(100 * rows["mrr"]["value"], 1) == 0.8 and rows["mrr"]["low"] > 0
    for metric in ("recall@8", "recall@64"):
        assert rows[metric]["low"] < 0 < rows[metric]["high"]


def test_what_is_said_of_a_second_pass():
    """Half a point more at @8 for POLY, nothing that is sure elsewhere."""
    rows = between("poly8", "hard+hard", "poly8", "hard")
    said = {
        "recall@1": (0.4, -0.6, 1.4),
        "recall@8": (0.5, 0.1, 0.9),
        "recall@64": (0.2, -0.3, 0.6),
    }
    assert {metric: points(rows[metric]) for metric in said} == said
    again = between("multi8", "mixed+mixed", "multi8", "mixed")
    said = {
        "recall@1": (-0.8, -1.8, 0.2),
        "recall@8": (0.2, -0.3, 0.7),
        "recall@64": (0.3, -0.2, 0.8),
    }
    assert {metric: points(again[metric]) for metric in said} == said
    every = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro")
    alike = where(every[every["score"] == every["minus_score"]], metric="recall@8")
    assert len(alike) == 20
    above = alike[alike["low"] > 0]
    assert above["negatives"].tolist() == ["hard+hard"] * 2


def test_what_is_reached():
    """The best retriever at each depth, and the one that the validation worlds choose."""
    runs = [(cell.score, cell.negatives) for cell in tables.kept() if cell.seed == 0]
    assert len(runs) == 15

    def best(metric, split="test"):
        return max(runs, key=lambda run: value(run[0], run[1], metric, split)["value"])

    def shown(metric, run):
        return round(100 * value(run[0], run[1], metric)["value"], 1)

    top = {metric: (best(metric), shown(metric, best(metric))) for metric in DEPTHS}
    assert top == {
        "recall@1": (("multi8", "mixed"), 68.3),
        "recall@8": (("poly8", "hard+hard"), 87.5),
        "recall@64": (("multi8", "mixed+mixed"), 92.4),
    }
    chosen = best("recall@1", "val")
    assert chosen == ("multi8", "hard")
    assert [shown(metric, chosen) for metric in DEPTHS] == [67.7, 87.3, 92.1]


def test_what_is_said_of_a_stage_of_all_mentions():
    """A little more alone than with 5,120 mentions, and nothing joined with its retriever."""
    found = pd.read_csv(tables.RESULTS / "two_stages.csv")
    some = where(found, split="test", average="micro", order=setup.JOINT)
    retrievers = {"joint-all": "poly8", "joint": "dual"}
    for accuracy, numbers in {"unnormalised": (61.1, 59.8), "normalised": (68.9, 67.3)}.items():
        for (stage, score), number in zip(retrievers.items(), numbers, strict=True):
            (linked,) = where(some, stage=stage, score=score, accuracy=accuracy)["value"]
            assert round(100 * linked, 1) == number
    joined = where(found, split="test", average="micro", order=setup.JOINED, stage="joint-all")
    row = where(joined, accuracy="unnormalised").iloc[0]
    assert points(row, DIFFERENCE) == (0.0, -0.8, 0.7)
    about = json.loads((tables.RESULTS / "joint-all_poly8_hard_0" / "about.json").read_text())
    assert about["prior"] == max(setup.WEIGHTS)
    assert round(about["mentions"] / setup.STAGES["joint"].mentions, 1) == 3.6


def test_what_is_said_of_sums():
    """Titles win a point at the very top; counts and a second encoder next to nothing."""
    words = between("multi8 & words", "hard", "multi8", "hard")
    assert points(words["recall@1"]) == (1.0, 0.4, 1.6)
    both = between("multi8 & words, counts", "hard", "multi8", "hard")
    for metric in ("recall@8", "recall@64"):
        for rows in (words, both):
            assert rows[metric]["low"] < 0 <= rows[metric]["high"]  # a point of the bootstrap
    more = value("multi8 & words, counts", "hard", "recall@1")["value"]
    assert 0.002 < more - value("multi8 & words", "hard", "recall@1")["value"] < 0.0035
    one, two = (
        json.loads((tables.RESULTS / folder / "about.json").read_text())["weights"]
        for folder in ("sum_multi8_hard_0", "sum_som_random_0_multi8_hard_0")
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
    top = where(added, metric="recall@1", average="micro").nlargest(2, "value")
    assert set(top["negatives"]) == {"mixed"} and (100 * top["value"]).round(1).tolist() == [
        69.7,
        69.5,
    ]


def test_what_is_said_of_som():
    """Below DUAL with the same negatives at @1 and @64, most of it where words do not help."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro", score="som")
    pair = {"negatives": "hard", "minus_score": "dual", "minus_negatives": "hard"}
    rows = where(found, **pair).set_index("metric")
    for metric, below in (("recall@1", -1.6), ("recall@64", -1.0)):
        assert rows["high"][metric] < 0
        assert round(100 * rows["value"][metric], 1) == below
    by = pd.read_csv(tables.RESULTS / "categories.csv").query("negatives == 'hard'")
    by = by.set_index(["score", "category"])
    low, dual = by.loc[("som", "LOW_OVERLAP")], by.loc[("dual", "LOW_OVERLAP")]
    lost = (dual["recall@64"] - low["recall@64"]) * low["mentions"] / 1926
    assert lost > 0.5 * -rows["value"]["recall@64"]


def test_it_is_above_every_frozen_head():
    """As README.md says: of all scores and negatives of the analysis beside, at every depth."""
    frozen = pd.read_csv(tables.FROZEN.parent / "recall.csv")
    heads = where(frozen, split="test", average="micro")
    heads = heads[heads["score"] != "bm25"]
    assert heads["score"].nunique() == 4
    for metric in DEPTHS:
        trained = value("dual", "in-batch", metric)["low"]
        assert trained > where(heads, metric=metric)["value"].max()


def test_a_step_is_no_slower_than_pytorchs():
    about = json.loads((tables.RESULTS / "step_time.json").read_text())
    assert np.median(about["ratios"]) == pytest.approx(about["ratio"], abs=1e-3)
    assert max(about["ratios"]) < 1.3
    assert f"{about['ratio']:.2f} of the time of the same model's step" in page.PAGE.read_text()
