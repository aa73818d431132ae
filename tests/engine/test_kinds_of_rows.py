"""The variance of a batch whose rows drop their own gold, or bring views: all batches listed."""

import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine import _batch_variance
from tests.engine.test_batch_variance import (
    IMAGES,
    ONE,
    POPULATION,
    SCORES,
    SHARED,
    TOLERANCE,
    TWO,
    Q,
    rows,
)
from tests.oracles import batches

# Hits dropped ------------------------------------------------------------------------------------

MASKED = {
    "draws": (
        nb.iid(nb.from_probabilities(Q), 2, "mask"),
        lambda rows: batches.shared(rows, Q, 2, masked=True),
        SHARED,
    ),
    "one draw": (
        nb.iid(nb.from_probabilities(Q), 1, "mask"),
        lambda rows: batches.shared(rows, Q, 1, masked=True),
        nb.iid(nb.from_probabilities(Q), 1, "keep"),
    ),
    "rows": (
        nb.in_batch(3, hits="mask"),
        lambda rows: batches.in_batch(rows, 1, True),
        nb.in_batch(3),
    ),
}


@pytest.mark.parametrize("loss", [name for name in batches.WEIGHTS if name != "self_normalized"])
@pytest.mark.parametrize("kind", MASKED)
def test_rows_that_drop_their_own_gold(kind, loss):
    sampler, every, keeping = MASKED[kind]
    q = POPULATION if kind == "rows" else Q
    wanted = batches.variance(every(rows()), SCORES, loss, q, int(sampler.m))
    found = nb.batch_variance(ONE, sampler, nb.LOSSES[loss], batch=3)
    assert abs(found.variance - wanted) < TOLERANCE and found.error < 1e-11
    assert abs(found.variance - wanted) < found.error
    kept = nb.batch_variance(ONE, keeping, nb.LOSSES[loss], batch=3)
    assert abs(found.own - wanted) > 1e-3
    # the gold against itself alone has the gradient of the gold against nothing: 0
    alike = kind == "one draw" and loss not in batches.BINARY
    assert (abs(kept.variance - wanted) < TOLERANCE) == alike


@pytest.mark.parametrize("loss", ["ranking_nce", "negative_sampling"])
def test_dropped_hits_over_inputs_and_two_rows(loss, monkeypatch):
    scores, population, weights = TWO
    problem, q = nb.Problem(scores, population, weights=weights), weights @ population
    for size in (2, 3):
        every = list(batches.rows_of(size, weights, population))
        wanted = batches.variance(batches.in_batch(every, 1, True), scores, loss, q, size - 1)
        sampler = nb.in_batch(size, hits="mask")
        found = nb.batch_variance(problem, sampler, nb.LOSSES[loss])
        assert abs(found.variance - wanted) < TOLERANCE
    with monkeypatch.context() as patch:
        patch.setattr(_batch_variance, "MOST_TERMS", 0)
        compiled = nb.batch_variance(problem, sampler, nb.LOSSES[loss])
    assert compiled.variance == pytest.approx(found.variance, abs=1e-14)
    sampled = nb.batch_variance(problem, sampler, nb.LOSSES[loss], key=5, draws=10_000)
    assert abs(sampled.variance - found.variance) < 4.5 * sampled.error


def test_dropped_hits_where_scores_are_far_apart():
    problem = nb.Problem([0.0, 40.0, -60.0, 3.0], POPULATION)
    found = nb.batch_variance(problem, nb.in_batch(3, hits="mask"))
    every = batches.in_batch(rows(), 1, True)
    wanted = batches.variance(every, [0.0, 40.0, -60.0, 3.0], "infonce", POPULATION, 2)
    assert abs(found.variance - wanted) < found.error < 1e-11
    moved = nb.Problem(np.array([0.0, 40.0, -60.0, 3.0]) + 1e3, POPULATION)
    again = nb.batch_variance(moved, nb.in_batch(3, hits="mask"))
    assert again.variance == pytest.approx(found.variance, abs=1e-11)
    both = nb.in_batch(3, hits="mask") + nb.iid(nb.uniform(), 1, "keep")
    with pytest.raises(nb.NoExactMethod, match="no exact moments of two rows"):
        nb.batch_variance(ONE, both)


# Views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["infonce", "negative_sampling"])
@pytest.mark.parametrize("size", [2, 3])
def test_rows_that_bring_all_views(loss, size):
    every = batches.in_batch(batches.rows_of(size, [1.0], IMAGES.population), 2)
    wanted = batches.variance(every, SCORES, loss, Q, 2)
    found = nb.batch_variance(IMAGES, nb.in_batch(size, 2), nb.LOSSES[loss])
    assert abs(found.variance - wanted) < TOLERANCE and found.error < 1e-11
    one = nb.batch_variance(IMAGES, nb.in_batch(size), nb.LOSSES[loss])
    assert abs(one.variance - wanted) > 1e-3 < abs(found.own - wanted)


def test_views_over_inputs_and_far_apart(monkeypatch):
    scores = np.array([[1.3, -0.4, 0.2, 0.9], [-0.7, 41.9, -51.2, 0.3]])
    population, weights = np.array([[0.5, 0.2, 0.3, 0.0], [0.1, 0.3, 0.2, 0.4]]), [0.7, 0.3]
    problem = nb.Problem(scores, population, weights=weights)
    every = batches.in_batch(batches.rows_of(3, weights, population), 2)
    wanted = batches.variance(every, scores, "infonce", Q, 2)
    found = nb.batch_variance(problem, nb.in_batch(3, 2))
    assert abs(found.variance - wanted) < found.error < 1e-11
    sampled = nb.batch_variance(problem, nb.in_batch(3, 2), key=1, draws=10_000)
    assert abs(sampled.variance - found.variance) < 4.5 * sampled.error
    monkeypatch.setattr(_batch_variance, "MOST_TERMS", 0)
    compiled = nb.batch_variance(problem, nb.in_batch(3, 2))
    assert compiled.variance == pytest.approx(found.variance, abs=1e-14)
    with pytest.raises(nb.NoExactMethod, match="no exact moments of two rows"):
        nb.batch_variance(problem, nb.in_batch(3, 2, hits="mask"))
