"""Scores that a function makes or a file holds, and answers that keep to a memory."""

import numpy as np
import pytest

import nce_bias as nb
from nce_bias import streamed
from nce_bias.engine import budget, in_blocks

INPUTS, LABELS = 7, 9
SAMPLER = nb.iid(nb.model(), 3)
SCALARS = ("loss", "bias_norm", "cosine", "variance", "variance_gold", "coverage")


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(5).normal(size=(INPUTS, LABELS))


@pytest.fixture(scope="module")
def golds():
    return np.random.default_rng(6).integers(0, LABELS, INPUTS)


@pytest.fixture(scope="module")
def whole(scores, golds):
    return nb.exact(nb.Problem.from_golds(scores, golds), SAMPLER)


def check_alike(found, whole):
    for name in SCALARS:
        assert float(getattr(found, name)) == pytest.approx(float(getattr(whole, name)), rel=1e-12)
    assert "selection, gradient, bias: not kept, see by_input" in repr(found)


def test_a_function_is_asked_for_the_inputs_that_are_looked_at(scores, golds, whole, monkeypatch):
    asked = []

    def rows(inputs):
        asked.append(inputs.tolist())
        return scores[inputs]

    problem = nb.Problem.from_golds(rows, golds)
    assert asked == [[0]]  # which tells how many labels there are
    assert problem.shape == (INPUTS, LABELS)
    assert "9 labels, 7 inputs, made by a function" in repr(problem)
    assert problem.seen_rows.input.tolist() == list(range(INPUTS))
    assert np.asarray(problem.population).argmax(-1).tolist() == golds.tolist()
    assert asked == [[0]]  # nor do shapes ask for any
    np.testing.assert_array_equal(problem.take([5, 2]).scores, scores[[5, 2]])
    np.testing.assert_array_equal(problem.scores, scores)
    assert float(problem.cross_entropy) == pytest.approx(float(whole.cross_entropy), rel=1e-13)
    monkeypatch.setattr(in_blocks, "MOST_KEPT", 10)
    asked.clear()
    found = nb.exact(problem, SAMPLER, memory=budget.BYTES * 3 * LABELS)
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]  # the last filled up, not counted
    check_alike(found, whole)


def test_a_large_memory_map_is_read_by_rows(scores, golds, whole, monkeypatch, tmp_path):
    np.save(tmp_path / "scores.npy", scores.astype(np.float32).astype(float))
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    assert not isinstance(nb.Problem.from_golds(mapped, golds).kept, streamed.Streamed)
    monkeypatch.setattr(streamed, "LARGE", 10)
    monkeypatch.setattr(in_blocks, "MOST_KEPT", 10)
    problem = nb.Problem.from_golds(mapped, golds)
    assert "read from a file" in repr(problem)
    held = nb.exact(nb.Problem.from_golds(np.array(mapped), golds), SAMPLER)
    assert abs(float(held.loss - whole.loss)) > 1e-10  # the file's numbers, not the others
    check_alike(nb.exact(problem, SAMPLER), held)


def test_scores_that_are_held_go_in_blocks_where_results_would_not_fit(scores, golds, whole):
    problem = nb.Problem.from_golds(scores, golds)
    fields = budget.FIELDS * scores.nbytes
    assert nb.exact(problem, SAMPLER, memory=40 * fields).bias.shape == scores.shape
    enough = budget.BYTES * LABELS
    assert enough > fields  # so that a memory below the fields holds no input here
    wide = nb.Problem.from_golds(np.tile(scores, (40, 1)), np.tile(golds, 40))
    check_alike(nb.exact(wide, SAMPLER, memory=enough), whole)


def test_an_audit_of_scores_that_are_made(scores, golds):
    given = [
        nb.audit(nb.Problem.from_golds(source, golds), 3, "in_batch_infonce", progress=False)
        for source in (scores, lambda inputs: scores[inputs])
    ]
    held, made = (found.to_frame()["bias_norm"].tolist() for found in given)
    assert held == made


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f, g: nb.Problem.from_golds(lambda _: f[0], g), "gave shape (9,) for 1 input"),
        (
            lambda f, g: nb.Problem.from_golds(lambda _: f[:1], g).scores,
            "shape (1, 9) for 7 inputs",
        ),
        (lambda f, g: nb.Problem.from_golds(lambda i: f[i] * np.nan, g).take([1]), "got nan at"),
        (lambda f, g: nb.exact(nb.Problem.from_golds(f, g), SAMPLER, memory=0), "memory: got 0;"),
        (
            lambda f, g: nb.exact(nb.Problem.from_golds(f, g), SAMPLER, memory=100),
            "memory: got 100 bytes; expected at least some 2.25e+03, which the 9 labels",
        ),
    ],
)
def test_refused(ask, message, scores, golds):
    with pytest.raises(ValueError) as caught:
        ask(scores, golds)
    assert message in str(caught.value)


def test_a_quarter_of_what_is_free_is_taken(monkeypatch):
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(budget.os, "sysconf", pages.__getitem__)
    assert budget.budget(None) == 1000 * 4096 / 4
    assert budget.scores_at_once(10, None) == 1000 * 4096 // 4 // budget.BYTES
    assert budget.scores_at_once(10**9, None) == 10**9  # one input, whatever it takes
    monkeypatch.setattr(budget.os, "sysconf", lambda _: (_ for _ in ()).throw(ValueError))
    assert budget.budget(None) == float("inf")
