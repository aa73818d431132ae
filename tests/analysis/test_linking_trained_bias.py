"""What `analysis/linking/trained` says of the bias, against its tables."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from analysis.frames import Table, where
from analysis.linking.trained import kinds, page, pooled, setup, tables
from tests.analysis.linking_trained import value

MOMENTS: Table = pd.read_csv(tables.RESULTS / "moments.csv")


def ends() -> Table:
    """Each run at its last step, and the untrained models; by run and kind."""
    last = MOMENTS["step"] == MOMENTS.groupby("run")["step"].transform("max")
    return MOMENTS[last].set_index(["run", "kind"])


def test_what_is_said_of_the_bias():
    """Five sixths and 57 degrees, half and a quarter; the order is that of frozen heads."""
    found, every = ends(), setup.FULL.plan.mine_every
    assert not MOMENTS.duplicated(["run", "step", "kind"]).any()
    for run, rows in MOMENTS.groupby("run")["step"]:
        about = tables.RESULTS / str(run) / "about.json"
        last = json.loads(about.read_text())["steps"] if about.is_file() else 0
        assert rows.max() == last and set(rows) <= {last, *range(every, last, every)}
    random, hard = found.loc["dual_hard_0", "random"], found.loc["dual_hard_0", "hard"]
    assert abs(random["relative_bias"] - 5 / 6) < 0.02
    assert abs(np.degrees(np.arccos(random["cosine"])) - 57) < 2
    assert abs(hard["relative_bias"] - 1 / 4) < 0.02 and hard["cosine"] > 0.95
    assert abs(found.loc["untrained_dual", "random"]["relative_bias"] - 1 / 2) < 0.05
    for _, rows in MOMENTS.groupby(["run", "step"]):
        each = rows.set_index("kind")["relative_bias"]
        kinds = ["random", "mixed-25", "mixed-50", "mixed-75", "hard"]
        assert (np.diff(each[[kind for kind in kinds if kind in each]]) < 0).all()
    assert np.all(MOMENTS["error"] < 1e-4)


def test_what_is_said_of_the_bias_as_som_learns():
    """Of score space and of the last layer, where the order of kinds turns."""
    found = ends()
    said = {
        ("untrained_som", "relative_bias"): (2 / 5, 1 / 6),
        ("som_hard_0", "relative_bias"): (5 / 6, 1 / 5),
        ("untrained_som", "parameter_relative_bias"): (3 / 8, 1 / 2),
        ("som_hard_0", "parameter_relative_bias"): (2 / 3, 1 / 3),
    }
    for (run, column), shares in said.items():
        for kind, share in zip(("random", "hard"), shares, strict=True):
            # to a thirtieth: between a third and three eighths lie four hundredths
            assert abs(found.loc[run, kind][column] - share) < 1 / 30
    before, after = (
        found.loc[run]["parameter_relative_bias"] for run in ("untrained_som", "som_hard_0")
    )
    assert before["hard"] > before["random"] and after["hard"] < after["random"]


def test_what_is_said_of_the_bias_of_multi():
    """Its order does not turn, training doubles it, and in score space it is DUAL's."""
    found = ends()
    over = found["parameter_relative_bias"]
    said = {
        ("untrained_multi8", "hard"): 1 / 3,
        ("untrained_multi8", "random"): 4 / 9,
        ("multi8_hard_0", "hard"): 2 / 3,
        ("multi8_hard_0", "random"): 4 / 5,
    }
    for key, share in said.items():
        assert abs(over[key] - share) < 1 / 50
    for kind in ("random", "hard"):
        assert 1.8 < over["multi8_hard_0", kind] / over["untrained_multi8", kind] < 2.2
        own, dual = found.loc["multi8_hard_0", kind], found.loc["dual_hard_0", kind]
        apart = abs(own["relative_bias"] - dual["relative_bias"])
        assert apart < 1.96 * own["relative_bias_error"]  # DUAL's was kept without one
        again = found.loc["dual_hard_1", kind]
        assert (
            abs(again["relative_bias"] - dual["relative_bias"])
            < 1.96 * again["relative_bias_error"]
        )


@pytest.mark.parametrize(
    ("score", "seed", "biases", "masses"),
    [
        ("dual", 1, (0.11, 0.26), (0.90, 0.76)),
        ("som", 0, (0.11, 0.20), (0.89, 0.79)),
        ("multi8", 0, (0.10, 0.24), (0.91, 0.74)),
        ("poly8", 0, (0.13, 0.23), (0.88, 0.75)),
    ],
)
def test_hard_negatives_are_better_where_training_had_random_ones(score, seed, biases, masses):
    """About half the bias, outside its errors, as they cover more."""
    found = ends()
    random, hard = (found.loc[f"{score}_{kind}_{seed}", "hard"] for kind in ("random", "hard"))
    spread = np.hypot(random["relative_bias_error"], hard["relative_bias_error"])
    assert hard["relative_bias"] - random["relative_bias"] > 1.96 * spread
    assert 0.4 < random["relative_bias"] / hard["relative_bias"] < 0.6
    for row, bias, mass in zip((random, hard), biases, masses, strict=True):
        assert round(row["relative_bias"], 2) == bias and round(row["coverage"], 2) == mass


@pytest.mark.parametrize(
    ("score", "own", "of_hard"),
    [("som", 0.23, 0.19), ("multi8", 0.29, 0.25), ("poly8", 0.27, 0.24)],
)
def test_one_hard_entity_of_two_leaves_the_bias_of_two(score, own, of_hard):
    """Trained with mixed negatives: their own is above hard ones', which is as after hard ones."""
    found = ends()
    mixed, hard = (found.loc[f"{score}_{kind}_0"] for kind in ("mixed", "hard"))
    assert round(mixed.loc["mixed-50", "relative_bias"], 2) == own
    assert round(mixed.loc["hard", "relative_bias"], 2) == of_hard
    apart = abs(mixed.loc["hard", "relative_bias"] - hard.loc["hard", "relative_bias"])
    assert apart < mixed.loc["hard", "relative_bias_error"]
    assert round(mixed.loc["random", "relative_bias"], 2) == 0.85


def test_a_second_pass_lowers_what_mixed_negatives_miss():
    missed = ends()["relative_bias"]
    passes = [missed[f"multi8_{kind}_0", "mixed-50"] for kind in ("mixed", "mixed+mixed")]
    assert np.round(passes, 2).tolist() == [0.29, 0.24]


def test_what_is_said_of_the_bias_along_training():
    """Of POLY at both minings and at its end: hard negatives cover less and less of what learns."""
    steps, about = [100, 200, 289], {}
    for run, kind in itertools.product(("hard", "random"), ("hard", "random")):
        about[run, kind] = where(MOMENTS, run=f"poly8_{run}_0", kind=kind).set_index("step")
        assert about[run, kind].index.tolist() == steps
    for run, missed in (("hard", [0.18, 0.22, 0.23]), ("random", [0.14, 0.14, 0.13])):
        assert about[run, "hard"]["relative_bias"].round(2).tolist() == missed
        uniform = about[run, "random"]
        assert np.ptp(uniform["relative_bias"]) < 1.96 * uniform["relative_bias_error"].min()
    mass = about["hard", "hard"]["coverage"]
    assert (np.diff(mass) < 0).all() and [round(mass[k], 2) for k in (100, 289)] == [0.85, 0.75]


def test_what_is_said_of_the_law_that_a_batch_shares():
    """Three fifths, three times as much as of a world's own; the order is that of DUAL's recall."""
    found = pd.read_csv(tables.RESULTS / "pooled.csv").set_index(["run", "kind"])
    shared = found.loc["som_hard_0"]["relative_bias"]
    moments = ends()
    assert abs(shared["hard"] - 3 / 5) < 0.03
    assert abs(shared["hard"] / moments.loc["som_hard_0", "hard"]["relative_bias"] - 3) < 0.2
    assert (np.diff(shared[[*setup.NEGATIVES]]) < 0).all()
    assert f"{2 * pooled.DRAWS} batches a mention" in page.PAGE.read_text()
    recalls = [value("dual", kind, "recall@1")["value"] for kind in setup.NEGATIVES]
    assert (np.diff(recalls) > 0).all()


def test_what_is_said_of_bias_and_recall():
    """No interval without 0; fifteen points more with a bias that frozen heads have."""
    found = where(pd.read_csv(tables.RESULTS / "correlation.csv"), metric="recall@1")
    assert len(found) == 4 and (found["low"] < 0).all() and (found["high"] > 0).all()
    assert (found["spearman"] < 0).all()
    ours = where(pd.read_csv(tables.RESULTS / "scatter.csv"), negatives="hard", seed=0)
    ours = ours.set_index("score")
    for column in ("relative_bias", "recall@1"):
        order = [ours[column][score] for score in ("som", "poly8", "multi8", "dual")]
        assert (np.diff(order) > 0).all()
    for score in setup.SCORES:
        rows = where(pd.read_csv(tables.RESULTS / "scatter.csv"), score=score)
        rows = where(rows, seed=int(score == "dual")).sort_values("recall@1")
        assert rows["negatives"].iloc[0] == "random" and rows["relative_bias"].iloc[0] > 0.84
        assert (rows["relative_bias"].iloc[1:] < 0.3).all()
    frozen = where(pd.read_csv(kinds.FROZEN), negatives="hard")
    bias = frozen["relative_bias"]
    assert bias.min() < ours["relative_bias"]["som"] < bias.max()
    assert round(100 * (ours["recall@1"]["som"] - frozen["recall@1"].max())) == 15
