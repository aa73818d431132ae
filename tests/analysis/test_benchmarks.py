"""`analysis/benchmarks` measures what it says, and its page shows what was measured. No timing."""

import itertools
import json
import pathlib
import re
import shutil
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis import problems
from analysis.benchmarks import (
    accuracy,
    atoms,
    cost,
    devices,
    equal_error,
    first_answer,
    fresh,
    imports,
    memory,
    page,
    paper_figure,
    plain_numpy,
    run,
    sampling,
    stratified,
    sweeps,
    targets,
    timing,
)
from analysis.synthetic import model as synthetic

ROOT = pathlib.Path(run.__file__).parents[2]


CELL = atoms.Cell("one", "independent", "model", 300, 2, directly=True)


# --- the page


def test_the_page_names_commands_that_exist():
    text = run.PAGE.read_text()
    named = re.findall(r"analysis\.benchmarks\.run (\w+)`", text)
    assert sorted(named) == sorted([*run.BENCHMARKS, "NAME"])
    recipe = (ROOT / "Makefile").read_text().split("\nbench:", 1)[1].split("\n\n", 1)[0]
    assert "-m analysis.benchmarks.run" in recipe
    for file, words in re.findall(r"pytest (tests/\S+) -k (\w+)`", text):
        assert re.search(rf"def test_\w*{words}", (ROOT / file).read_text()), words


def test_the_page_shows_the_committed_results(tmp_path):
    """`make bench` writes both; neither was edited since."""
    copy = tmp_path / "benchmarks.md"
    copy.write_text(run.PAGE.read_text())
    run.write_page(run.RESULTS, copy)
    assert copy.read_text() == run.PAGE.read_text()
    other = tmp_path / "results"
    shutil.copytree(run.RESULTS, other)
    changed = pd.read_csv(other / "cost.csv", keep_default_na=False)
    changed.loc[0, "wall"] *= 2
    changed.to_csv(other / "cost.csv", index=False)
    run.write_page(other, copy)
    assert copy.read_text() != run.PAGE.read_text()


def test_the_reference_in_the_text_is_the_one_divided_by():
    assert f"the reference is {paper_figure.REFERENCE:g} s" in run.PAGE.read_text()
    table = run.read(run.RESULTS, "paper_figure")
    np.testing.assert_allclose(table["times_faster"] * table["wall"], paper_figure.REFERENCE)


def test_results_say_where_they_come_from():
    meta = json.loads((run.RESULTS / "meta.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{40}", meta["commit"])  # of a clean tree: no "+changes"
    assert meta["version"] == nb.__version__ and meta["jax"] and meta["dtype"] == "float64"
    made = meta["configuration"]
    assert made["cores"] >= 1 and made["load_highest"] >= made["load_lowest"] > 0


def test_a_table_and_its_markers():
    found = pd.DataFrame({"m": [4096], "wall": [0.0123456], "what": ["a | b"], "unused": [1]})
    shown = page.table(found, {"what": "x", "m": "m", "wall": "s"})
    assert shown == "| x | m | s |\n| --- | --- | --- |\n| a | b | 4,096 | 0.0123 |"
    assert page.cell("wall", 1234.5) == "1230"
    text = "before\n<!-- begin t -->\nold\n<!-- end t -->\nafter"
    new = page.replace(text, "t", "new")
    assert new == "before\n<!-- begin t -->\n\nnew\n\n<!-- end t -->\nafter"
    assert page.between(new, "t") == "new"
    assert page.cell("wall", np.nan) == "–"
    assert page.replace(new, "t", "new") == new
    with pytest.raises(ValueError, match=r"no table 'u': expected the lines <!-- begin u -->"):
        page.replace(text, "u", "new")


# --- targets


def results(*, wall=0.5, ratio=1.1, error=1e-13, heavy="none", answer=1.0, many=10.0):
    cells = pd.DataFrame([cell._asdict() for cell in atoms.CELLS])
    return {
        "atoms": cells.assign(ratio=many, atoms=many),
        "memory": pd.DataFrame([cell._asdict() for cell in memory.CELLS]).assign(peak=many / 10),
        "sweeps": pd.DataFrame({"cells": ["in memory", "kept"], "rate": [100.0, many]}),
        "accuracy": pd.DataFrame({"m": [1, 64], "error": [0.0, error], "sum_off": [1e-15, 0.0]}),
        "paper_figure": pd.DataFrame(
            {"call": paper_figure.AIMED_AT, "wall": [wall / 2, wall, wall / 2], "cpu": 0.25}
        ),
        "imports": pd.DataFrame(
            {
                "program": imports.PROGRAMS,
                "ratio_wall": [0.1, 1.0, 1.2, ratio],
                "heavy": ["none", "none", "none", heavy],
            }
        ),
        "first_answer": pd.DataFrame(
            {"step": list(first_answer.TARGETS), "wall": [answer, *[0.01] * 6]}
        ),
    }


def test_targets_reached_and_missed():
    every = targets.summary(results())
    assert set(every["reached"].tolist()) == {"yes"}
    assert every["measured"].tolist()[3] == "0.5 s (0.25 s of processor time)"
    assert every["measured"].tolist()[-10] == "1 × V = 1,000,000"
    bad = results(wall=1.5, ratio=1.56, error=4e-9, heavy="optax", answer=3.0, many=30.0)
    bad["sweeps"]["rate"] /= 4
    missed = targets.summary(bad)
    reached = dict(zip(missed["target"], missed["reached"], strict=True))
    assert list(reached.values()) == [
        "no, 4 times that",
        "yes",
        "yes",
        "no, 1.5 times that",
        "yes",
        "no, 1.2 times that",
        "no",
        "no, 1.5 times that",  # softmaxes
        *["yes"] * 2,
        "no, 2 times that",
        *["yes"] * 5,
        "no, 1.5 times that",
        "no, 0.5 of that",
        "no, 2 times that",
        *["yes"] * 6,
    ]
    assert list(reached)[3] == (
        "the paper's figure: its norm over the parameters too, `split=False` at most 1 s"
    )


# --- timing


def test_calls_run_in_turn_and_the_first_of_each_is_not_counted():
    calls = []
    timed = timing.rounds({name: lambda n=name: calls.append(n) for name in "ab"}, 3)
    assert "".join(calls) == "ab" + "ababab"
    assert timed["call"].tolist() == ["a", "b"] * 3
    assert timed[["wall", "cpu"]].to_numpy().min() >= 0


def test_medians_and_paired_ratios():
    timed = pd.DataFrame(
        {
            "round": [0, 0, 1, 1, 2, 2],
            "call": ["a", "b"] * 3,
            "wall": [1.0, 2.0, 10.0, 40.0, 6.0, 6.0],  # a/b: 1/2, 1/4, 1
        }
    )
    assert timing.median(timed, "a") == 6.0
    assert timing.ratio(timed, "a", "b") == 0.5  # the ratio of medians would be 1
    with pytest.raises(KeyError, match="no call 'c' was timed, only \\['a', 'b'\\]"):
        timing.median(timed, "c")


# --- what is timed is what it says


@pytest.mark.parametrize("replacement", [True, False])
def test_plain_numpy_estimates_what_exact_computes(replacement):
    problem, m, draws = problems.zipf(5), 2, 40_000
    scores, population = np.asarray(problem.scores), np.asarray(problem.population)
    q = np.exp(np.asarray(problem.log_model))
    rng = np.random.default_rng(0)
    means = [
        plain_numpy.estimate(
            scores, population, q, m, replacement=replacement, draws=draws // 20, rng=rng
        )
        for _ in range(20)
    ]
    selections = np.array([selection for selection, _ in means])
    losses = np.array([loss for _, loss in means])
    right, wrong = (
        nb.exact(problem, make(nb.model(), m), tolerance=1e-6, split=False)
        for make in ((nb.iid, nb.without_replacement)[:: 1 if replacement else -1])
    )

    def worst(exact):
        # In standard errors of 20 batches: t with 19 degrees of freedom, six values compared.
        spread = selections.std(axis=0, ddof=1) / np.sqrt(20)
        off = np.abs(selections.mean(axis=0) - np.asarray(exact.selection)) / spread
        loss_off = abs(losses.mean() - float(exact.loss)) / (losses.std(ddof=1) / np.sqrt(20))
        return max(off.max(), loss_off)

    assert worst(right) < 6 < worst(wrong)  # P(|t| > 6) = 9e-6 for each of the six


def test_plain_numpy_does_not_depend_on_its_blocks(monkeypatch):
    problem = problems.zipf(8)
    scores, population = np.asarray(problem.scores), np.asarray(problem.population)
    q = np.full(8, 1 / 8)

    def selection():
        rng = np.random.default_rng(0)
        return plain_numpy.estimate(scores, population, q, 2, replacement=False, draws=10, rng=rng)[
            0
        ]

    whole = selection()
    monkeypatch.setattr(plain_numpy, "BLOCK", 24)  # three sets at a time, the last block of one
    assert selection().sum() == pytest.approx(1, rel=1e-14)
    assert whole.sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("replacement", [True, False])
def test_both_sides_of_the_monte_carlo_ratio_agree(replacement):
    ours, plain, sets = sampling.pair(problems.zipf(8), 2, replacement=replacement, draws=4000)
    (a, loss_a), (b, loss_b) = ours(), plain()
    # Rounded up to whole batches, and it is these that a time is divided by.
    drawn = nb.monte_carlo(
        problems.zipf(8), nb.iid(nb.uniform(), 2), key=jax.random.key(0), draws=4000
    ).method
    assert f" {sets} draws " in drawn
    assert 4000 <= sets < 5000
    # Selections are means of numbers in [0, 1]: standard errors below 0.5 / sqrt(4000) = 0.008,
    # six of these times sqrt(2).
    assert np.abs(np.asarray(a) - b).max() < 0.07
    assert float(loss_a) == pytest.approx(loss_b, abs=0.1)


@pytest.mark.slow
def test_the_three_ways_to_the_papers_curve_agree():
    trained = synthetic.trajectory(seed=0, steps=2)
    sampler = paper_figure.SAMPLERS["mixed"]
    biases = paper_figure.in_scores(trained, sampler)
    at_once = paper_figure.in_parameters(trained, sampler)
    in_turn = paper_figure.step_by_step(trained, sampler)
    assert biases.shape == (2, 1000)
    assert at_once.shape == (2,)
    np.testing.assert_allclose(at_once, in_turn, rtol=1e-10)
    assert float(at_once[0]) != pytest.approx(float(at_once[1]), rel=1e-3)


@pytest.mark.slow
def test_tables_of_tiny_sizes(monkeypatch):
    # Sizes of the tests above, so that little is compiled for this one alone.
    monkeypatch.setattr(cost, "TOLERANCES", (1e-6,))
    monkeypatch.setattr(paper_figure, "SAMPLERS", {"mixed": paper_figure.SAMPLERS["mixed"]})
    monkeypatch.setattr(first_answer, "_fresh", lambda: {"import jax": [1.0], "then": [0.5, 2.0]})
    tables = {
        "accuracy": accuracy.run(labels=6, sizes=(1, 3)),
        "cost": cost.run(with_replacement=((5, 2),), split=((5, 2),), without=((5, 2),), count=1),
        "atoms": atoms.run(cells=(CELL, CELL._replace(golds="all", directly=False)), count=1),
        "memory": memory.run(cells=(CELL,)),
        "devices": pd.DataFrame([dict.fromkeys(devices.COLUMNS, 1.0)]),
        "equal_error": equal_error.run(sizes=(5,), draws=4000, count=1),
        "stratified": stratified.run(labels=5, draws=4000, ms=(2,), count=1),
        "sweeps": sweeps.run(cells=3, labels=5),
        "sampling": sampling.run(labels=8, sizes=(2,), draws={True: 4000}, count=1),
        "imports": imports.run(count=1, programs=("pass", "import jax")),
        "paper_figure": paper_figure.run(steps=2, count=1),
        "first_answer": first_answer.run(count=2),
    }
    assert set(tables) == set(run.BENCHMARKS)
    for name, found in tables.items():
        columns = run.BENCHMARKS[name].COLUMNS
        assert set(columns) <= set(found.columns), name
        numbers = found.select_dtypes("number").iloc[1:]  # no compiled way to import
        numbers = numbers.drop(columns="direct", errors="ignore")  # of the first row alone
        assert np.isfinite(numbers.to_numpy()).all(), name
        assert page.table(found, columns).count("\n") == len(found) + 1
    assert max(tables["accuracy"]["error"].tolist()) < accuracy.TARGETS["error"]
    assert tables["cost"]["tolerance"].tolist() == [cost.TOLERANCE, cost.TOLERANCE, 1e-6]
    assert tables["cost"]["split"].tolist() == ["no", "yes", "no"]
    assert tables["imports"]["heavy"].tolist() == ["none", "none"]


def test_first_answers_are_medians_over_processes(monkeypatch):
    runs = iter(
        {"import jax": [jax_], "import nce_bias": [2 * jax_], "first": [plain, compiled]}
        for jax_, plain, compiled in ((1.0, 0.5, 2.0), (4.0, 0.1, 3.0), (2.0, 0.4, 0.8))
    )
    monkeypatch.setattr(first_answer, "_fresh", lambda: next(runs))
    found: Any = first_answer.run(count=3).set_index("step")
    assert found["wall"].tolist() == [2.0, 4.0, 0.4]
    assert found["jax"].tolist() == [1.0, 2.0, 0.2]  # of 0.5, 0.025, 0.2 within processes
    assert found["compiled"]["first"] == 2.0
    assert found["ratio"]["first"] == 4.0  # of 4, 30, 2; the ratio of medians would be 5
    assert found[["compiled", "ratio"]].isna().all(axis=1).tolist() == [True, True, False]


def test_each_first_answer_differs_from_the_last_in_one_thing(monkeypatch):
    asked = []

    def exact(problem, sampler, loss, compiled):
        asked.append((problem.labels, sampler, loss.name, compiled))
        return given(problem, nb.top(1), nb.infonce, split=False)

    given = nb.exact
    monkeypatch.setattr(nb, "exact", exact)
    steps = dict(fresh.seconds())
    assert list(steps) == ["import jax", "import nce_bias", *first_answer.TARGETS]
    assert [len(taken) for taken in steps.values()] == [1, 1] + [2] * 7
    assert [way for *_, way in asked] == [None, True] * 7  # each asked in both ways
    assert [repr(a[:3]) for a in asked[::2]] == [repr(a[:3]) for a in asked[1::2]]
    steps = [(labels, repr(sampler), loss) for labels, sampler, loss, _ in asked[::2]]
    for before, after in itertools.pairwise(steps[:5]):
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, (before, after)
    assert steps[5][1] != steps[6][1] and steps[5][::2] == steps[6][::2]


def test_heavy_imports_are_seen():
    # Its own negative control: a program that imports one of them.
    assert imports._heavy("import pandas") == "pandas"


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit, match=r"unknown benchmark speed; known: imports, first_"):
        run.main(["speed", "imports"])
