"""The variance of a batch whose rows share candidates: against all batches listed, and measured."""

import functools
import json
import pathlib

import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine import _batch_variance
from tests.oracles import batches

SCORES = np.array([1.3, -0.4, 0.2, -2.1])
POPULATION = np.array([0.35, 0.05, 0.4, 0.2])
Q = np.array([0.12, 0.4, 0.28, 0.2])
ONE = nb.Problem(SCORES, POPULATION)
#: Two inputs that occur unequally often, one label never the gold of the second.
TWO = (
    np.array([[1.3, -0.4, 0.2], [-0.7, 1.9, -1.2]]),
    np.array([[0.5, 0.2, 0.3], [0.4, 0.6, 0.0]]),
    np.array([0.7, 0.3]),
)
SHARED = nb.iid(nb.from_probabilities(Q), 2, "keep")
#: Of three rows, listed; the rule is exact to rounding.
TOLERANCE = 1e-12


def rows(size=3):
    return batches.rows_of(size, [1.0], POPULATION)


@functools.cache
def listed(kind, loss):
    if kind == "in_batch":
        return batches.variance(batches.in_batch(rows()), SCORES, loss, POPULATION, 2)
    return batches.variance(batches.shared(rows(), Q, 2), SCORES, loss, Q, 2)


@pytest.mark.parametrize("loss", batches.WEIGHTS)
@pytest.mark.parametrize("kind", ["in_batch", "shared"])
def test_three_rows_are_the_listed_ones(kind, loss):
    sampler = nb.in_batch(3) if kind == "in_batch" else SHARED
    found = nb.batch_variance(ONE, sampler, nb.LOSSES[loss], batch=3)
    assert abs(found.variance - listed(kind, loss)) < TOLERANCE
    assert abs(found.variance - listed(kind, loss)) < found.error < 1e-11
    assert found.variance == pytest.approx(found.own + found.shared, abs=1e-15)
    # division by B is the wrong answer, far from this one
    assert abs(found.own - listed(kind, loss)) > 0.01


def test_own_is_the_variance_of_one_row():
    for sampler, size in ((nb.in_batch(3), 3), (SHARED, 5), (SHARED, 1)):
        alone = nb.exact(ONE, sampler)
        found = nb.batch_variance(ONE, sampler, batch=size)
        assert found.own == pytest.approx(float(alone.variance) / size, abs=1e-13)
    assert found.variance == found.own and found.shared == 0.0 and found.ratio == 1.0


def test_two_rows_have_no_others():
    found = nb.batch_variance(ONE, nb.in_batch(2))
    wanted = batches.variance(batches.in_batch(rows(2)), SCORES, "infonce", POPULATION, 1)
    assert abs(found.variance - wanted) < TOLERANCE


@pytest.mark.parametrize("loss", ["infonce", "sampled_softmax", "binary_nce"])
def test_rows_meet_where_their_inputs_are_one(loss):
    scores, population, weights = TWO
    problem, popularity = nb.Problem(scores, population, weights=weights), weights @ population
    every = list(batches.rows_of(3, weights, population))
    found = nb.batch_variance(problem, nb.in_batch(3), nb.LOSSES[loss])
    wanted = batches.variance(batches.in_batch(every), scores, loss, popularity, 2)
    assert abs(found.variance - wanted) < TOLERANCE
    shared = nb.iid(nb.popularity(), 2, "keep")
    found = nb.batch_variance(problem, shared, nb.LOSSES[loss], 3)
    wanted = batches.variance(batches.shared(every, popularity, 2), scores, loss, popularity, 2)
    assert abs(found.variance - wanted) < TOLERANCE


@pytest.mark.parametrize("loss", ["infonce", "negative_sampling"])
def test_draws_for_the_batch_beside_its_own_rows(loss):
    beside = nb.iid(nb.from_probabilities(Q), 1, "keep")
    found = nb.batch_variance(ONE, nb.in_batch(3) + beside, nb.LOSSES[loss])
    every = batches.in_batch(rows(), beside=(Q, 1))
    assert abs(found.variance - batches.variance(every, SCORES, loss, Q, 3)) < TOLERANCE


def test_two_kinds_of_draws_for_all_rows():
    other = nb.iid(nb.uniform(), 1, "keep")
    found = nb.batch_variance(ONE, SHARED + other, batch=2)
    every = (
        (chance / 4, batch, [(*drawn, y) for drawn in negatives])
        for chance, batch, negatives in batches.shared(rows(2), Q, 2)
        for y in range(4)
    )
    assert abs(found.variance - batches.variance(every, SCORES, "infonce", Q, 3)) < TOLERANCE


def test_other_losses():
    """Another loss that adds up; log-sums, and a negative that reads the gold, have no formula."""
    found = nb.batch_variance(ONE, SHARED, nb.siglip(2.0, -1.0), batch=8)
    sampled = nb.batch_variance(ONE, SHARED, nb.siglip(2.0, -1.0), 8, key=0, draws=20_000)
    assert abs(found.variance - sampled.variance) < 4.5 * sampled.error
    assert abs(found.own - sampled.variance) > 4.5 * sampled.error
    for loss in (nb.blackout, nb.bpr):
        with pytest.raises(nb.NoExactMethod, match="no exact moments of two rows"):
            nb.batch_variance(ONE, SHARED, loss, batch=3)


def test_xla_agrees(monkeypatch):
    scores, population, weights = TWO
    problem = nb.Problem(scores, population, weights=weights)
    for loss in (nb.sampled_softmax, nb.binary_nce):
        plain = nb.batch_variance(problem, nb.in_batch(5), loss)
        with monkeypatch.context() as patch:
            patch.setattr(_batch_variance, "MOST_TERMS", 0)
            compiled = nb.batch_variance(problem, nb.in_batch(5), loss)
        assert compiled.variance == pytest.approx(plain.variance, abs=1e-14)


def test_scores_far_apart_and_shifted():
    scores = np.array([0.0, 40.0, -60.0, 3.0])
    problem = nb.Problem(scores, POPULATION)
    found = nb.batch_variance(problem, nb.in_batch(3))
    wanted = batches.variance(batches.in_batch(rows()), scores, "infonce", POPULATION, 2)
    assert abs(found.variance - wanted) < found.error < 1e-11
    moved = nb.batch_variance(nb.Problem(scores + 1e3, POPULATION), nb.in_batch(3))
    assert moved.variance == pytest.approx(found.variance, abs=1e-11)


# Measured by others ------------------------------------------------------------------------------

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "tensorflow_unique.json"
#: tensorflow-cpu 2.21.0, tf.nn.sampled_softmax_loss: log-uniform negatives, num_sampled=3, hits
#: kept, one set for a batch; trace of the covariance of the mean gradient over as many batches.
MEASURED = json.loads(DATA.read_text())
TENSORFLOW = {row["B"]: row["trace"] for row in MEASURED["shared_negatives"]}
BATCHES = 40_000
EIGHT = nb.Problem(MEASURED["problem"]["scores"], MEASURED["problem"]["population"])
THREE = nb.iid(nb.log_uniform("index"), 3, "keep")


@pytest.mark.parametrize("size", TENSORFLOW)
def test_tensorflows_shared_negatives(size):
    """Within 4.5 standard errors of as many batches of our own; division by B is rejected."""
    found = nb.batch_variance(EIGHT, THREE, nb.sampled_softmax_both, batch=size)
    few = nb.batch_variance(EIGHT, THREE, nb.sampled_softmax_both, size, key=1, draws=4_000)
    sigma = few.error * np.sqrt(4_000 / BATCHES)
    assert abs(found.variance - TENSORFLOW[size]) < 4.5 * sigma
    assert abs(found.variance - few.variance) < 4.5 * few.error
    if size > 1:
        uncorrected = nb.batch_variance(EIGHT, THREE, nb.infonce, batch=size)
        assert abs(uncorrected.variance - TENSORFLOW[size]) > 4.5 * sigma
        assert abs(found.own - TENSORFLOW[size]) > 4.5 * sigma


def test_the_numbers_that_the_documentation_quotes():
    """docs/theory.md and analysis/batches, to the digits they print."""
    found = nb.batch_variance(EIGHT, nb.in_batch(64))
    assert (round(found.variance, 4), round(found.own, 4)) == (0.0032, 0.0126)
    shared = nb.batch_variance(EIGHT, THREE, nb.sampled_softmax_both, batch=256)
    assert (round(shared.variance, 3), round(shared.own, 4)) == (0.205, 0.0025)


# Sampled -----------------------------------------------------------------------------------------

EPOCH = [3, 1, 2, 2]
HARD = [[1, 2], [2, -1], [0, 3], [-1, -1]]
OF_EPOCH = nb.Problem(SCORES, np.array(EPOCH) / 8)
IMAGES = nb.Problem(SCORES, [0.3, 0.1, 0.15, 0.45])
#: What is known by sampling alone: sampler, problem, and the listed batches.
SAMPLED = {
    "epoch": (
        nb.in_batch(3, counts=EPOCH),
        OF_EPOCH,
        lambda: batches.in_batch(batches.epoch_rows(3, EPOCH, OF_EPOCH.population)),
    ),
    "triplets": (
        nb.in_batch(3, hard=HARD),
        IMAGES,
        lambda: batches.triplets(batches.rows_of(3, [1.0], IMAGES.population), HARD),
    ),
    "images of an epoch": (
        nb.in_batch(2, 2, [2, 3]),
        IMAGES,
        lambda: batches.in_batch(batches.epoch_rows(2, [2, 3], IMAGES.population), 2),
    ),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_sampled_batches_have_the_listed_variance(kind):
    sampler, problem, every = SAMPLED[kind]
    size = sampler.rows or 3
    found = nb.batch_variance(problem, sampler, batch=size, key=2, draws=30_000)
    wanted = batches.variance(every(), SCORES, "infonce", Q, 2)
    assert abs(found.variance - wanted) < 4.5 * found.standard_errors["variance"]
    assert found.error == found.standard_errors["variance"] < 0.01
    assert abs(found.own - wanted) > 4.5 * found.error  # rows of their own
    assert found.method.startswith("monte carlo, 3")
    plain = nb.batch_variance(problem, nb.in_batch(size))  # the same rows, independent
    assert abs(plain.variance - wanted) > 4.5 * found.error
    with pytest.raises(nb.NoExactMethod) as refused:
        nb.batch_variance(problem, sampler, batch=size)
    assert "Use nb.batch_variance(problem, sampler, loss, batch, key=key, draws=10_000)" in str(
        refused.value
    )


def test_sampling_agrees_over_several_inputs():
    scores, population, weights = TWO
    problem = nb.Problem(scores, population, weights=weights)
    for sampler in (nb.in_batch(6), nb.in_batch(6) + nb.iid(nb.uniform(), 2, "keep")):
        found = nb.batch_variance(problem, sampler, key=3, draws=20_000)
        truth = nb.batch_variance(problem, sampler)
        for name, sigma in found.standard_errors.items():
            assert abs(getattr(found, name) - getattr(truth, name)) < 4.5 * sigma, name


# Refusals ----------------------------------------------------------------------------------------

REFUSED = {
    "batch: got None, and iid(from_probabilities([4]), m=2, hits='keep') does not say how many "
    "rows share it; expected a whole number >= 1. For example batch_variance(problem, sampler, "
    "loss, batch=64).": lambda: nb.batch_variance(ONE, SHARED),
    "batch: got 4 with in_batch(3); expected 3, the rows of its batches. Leave batch out.": (
        lambda: nb.batch_variance(ONE, nb.in_batch(3), batch=4)
    ),
    "sampler: iid(uniform, m=2) draws for each gold by itself, and rows of a batch differ in that; "
    'expected nb.in_batch(size), nb.iid(proposal, m, hits="keep") or sums of them. Negatives of '
    "one's own for each row have the variance of nb.exact over the batch.": (
        lambda: nb.batch_variance(ONE, nb.iid(nb.uniform(), 2), batch=3)
    ),
    "sampler: iid(model, m=2, hits='keep') reads scores, and rows of a batch differ in that; "
    'expected nb.in_batch(size), nb.iid(proposal, m, hits="keep") or sums of them. Negatives of '
    "one's own for each row have the variance of nb.exact over the batch.": (
        lambda: nb.batch_variance(nb.Problem(*TWO[:2]), nb.iid(nb.model(), 2, "keep"), batch=3)
    ),
    "popularity: differs from weights @ population by 0.35; expected the frequencies of the golds, "
    "which the rows of a batch have. Leave popularity out; a proposal of other frequencies is "
    "nb.from_probabilities(q).": lambda: nb.batch_variance(
        nb.Problem(SCORES, POPULATION, popularity=Q), nb.in_batch(3)
    ),
    "draws: got None; expected key and draws together. batch_variance(problem, sampler, loss, "
    "key=0, draws=10_000) samples.": lambda: nb.batch_variance(ONE, nb.in_batch(3), key=0),
    "tolerance: got 1.0; expected a number in (0, 0.1). Leave it out for 2e-14.": (
        lambda: nb.batch_variance(ONE, nb.in_batch(3), tolerance=1.0)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError) as refused:
        REFUSED[message]()
    assert str(refused.value) == message


def test_a_proposal_that_reads_the_scores_of_the_one_input_is_shared():
    found = nb.batch_variance(ONE, nb.iid(nb.model(), 2, "keep"), batch=3)
    q = np.exp(SCORES) / np.exp(SCORES).sum()
    wanted = batches.variance(batches.shared(rows(), q, 2), SCORES, "infonce", q, 2)
    assert abs(found.variance - wanted) < TOLERANCE


def test_hours_are_refused(monkeypatch):
    monkeypatch.setattr(_batch_variance, "MOST_PLANE", 10)
    with pytest.raises(nb.NoExactMethod, match="would take more than an hour"):
        nb.batch_variance(ONE, nb.in_batch(3))
