"""`analysis/told_apart`: what is committed, and how it is counted."""

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.told_apart import measure


def test_every_pair_measured_is_right_in_95_of_100_runs():
    fits, near = (pd.read_csv(measure.RESULTS / f"{name}.csv") for name in ("fits", "close"))
    assert np.asarray(near["apart"]).max() <= measure.APART and len(near) < 60
    names = pd.read_csv(measure.RESULTS / "asked.csv")["name"].tolist()
    assert set(names) <= set(measure.conventions()) and len(names) == 87
    pairs = measure.right(fits, near, names)
    assert len(pairs) > 1000 and np.asarray(pairs["right"]).min() >= 95


def test_code_that_is_none_of_them():
    """The page says why these fell short of 100; what is not named here did not."""
    short = {
        "popularity, one uniform in twenty": 86,
        "log q off the negatives alone, hits kept": 97,
        "in-batch, hinge of margin 0.8": 92,
    }
    fits = pd.read_csv(measure.RESULTS / "fits.csv")
    rows = zip(fits["sets_of"], fits["asked"], fits["fits"], strict=True)
    none = {name: int(count) for name, asked, count in rows if asked == measure.NONE}
    measured = [name for name in measure.foreign() if name in none]
    assert len(measured) >= 7
    for name in measured:
        assert none[name] == short.get(name, 100), name
        row = f"| {name} | {none[name]} of 100 |"
        assert row in (measure.HERE / "README.md").read_text(encoding="utf-8")


def test_apart_is_what_the_best_factor_leaves():
    one, other = np.array([1.0, 2.0, 0.5]), np.array([2.0, 3.0, -1.0])
    factors = np.linspace(0, 1, 100_001)
    left = np.linalg.norm(one - factors[:, None] * other, axis=1).min() / np.linalg.norm(one)
    assert measure.apart(one, other) == pytest.approx(left, rel=1e-6)
    assert measure.apart(one, -3 * one) == pytest.approx(0, abs=1e-7)


def test_pairs_are_counted_both_ways_and_close_ones_not():
    fits = pd.DataFrame(
        [("a", "a", 99), ("a", "b", 3), ("b", "b", 98), ("c", "c", 100), ("c", "a", 60)],
        columns=["sets_of", "asked", "fits"],
    )
    near = pd.DataFrame([("a", "c", 0.01)], columns=["one", "other", "apart"])
    found = measure.right(fits, near, ["a", "b", "c", "d"]).set_index(["sets_of", "asked"])
    assert found["right"].to_dict() == {
        ("a", "b"): 96,
        ("a", "d"): 99,
        ("b", "a"): 98,
        ("b", "c"): 98,
        ("b", "d"): 98,
        ("c", "b"): 100,
        ("c", "d"): 100,
    }


@pytest.mark.slow
def test_a_run_of_two(monkeypatch):
    few = {name: nb.preset(name, 2) for name in ("in_batch_infonce", "word2vec", "hardest")}
    monkeypatch.setattr(measure, "conventions", lambda: few)
    found = measure.measure("word2vec", runs=2)
    assert found["asked"].tolist() == [*few, measure.NONE]
    assert found["fits"].tolist() == [0, 2, 0, 0]
