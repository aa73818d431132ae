"""Rows and columns of a batch of pairs: against all batches listed, and a package's own numbers."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import nce_bias as nb

SCORES = np.array([[0.8, -0.3, 1.4], [-0.5, 0.9, 0.2]])
POPULATION = np.array([[0.5, 0.2, 0.3], [0.3, 0.1, 0.6]])
WEIGHTS = np.array([0.6, 0.4])
PROBLEM = nb.Problem(SCORES, POPULATION, weights=WEIGHTS)
SIZE = 3


def listed(share, corrected=False):
    """Expected loss and gradient by the table of scores, over all batches of pairs.

    Where corrected, log q is taken off gold and negatives alike, of labels in rows and of inputs in
    columns.
    """
    joint = WEIGHTS[:, None] * POPULATION
    loss, gradient = 0.0, np.zeros_like(SCORES)
    for batch in itertools.product(np.ndindex(SCORES.shape), repeat=SIZE):
        chance = np.prod([joint[pair] for pair in batch])
        x, y = np.transpose(batch)
        scores = SCORES[np.ix_(x, y)]
        for direction, part in ((0, share), (1, 1 - share)):
            own = joint.sum(axis=direction)[(y, x)[direction]]
            logits = (scores if direction == 0 else scores.T) - corrected * np.log(own)
            logs = log_softmax(logits, axis=1)
            loss -= chance * part * np.mean(np.diag(logs))
            off = (np.exp(logs) - np.eye(SIZE)) / SIZE
            np.add.at(gradient, np.ix_(x, y), chance * part * (off if direction == 0 else off.T))
    return loss, gradient


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_rows_and_columns_are_the_listed_ones(share):
    loss, gradient = listed(share)
    found = nb.both_directions(PROBLEM, nb.in_batch(SIZE), share=share)
    assert found.loss == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-13)
    assert found.error < 1e-11
    # rows alone, or columns with the weights of rows, are something else
    alone = WEIGHTS[:, None] * np.asarray(found.rows.gradient)
    assert np.abs(alone - gradient).max() > 1e-2


def test_corrections_are_of_each_direction():
    loss, gradient = listed(0.5, corrected=True)
    found = nb.both_directions(PROBLEM, nb.in_batch(SIZE), nb.ranking_nce)
    assert found.loss == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-13)


def test_the_exact_gradient_is_that_of_two_cross_entropies():
    joint = WEIGHTS[:, None] * POPULATION
    rows = WEIGHTS[:, None] * softmax(SCORES, axis=1) - joint
    columns = joint.sum(axis=0) * softmax(SCORES, axis=0) - joint
    found = nb.both_directions(PROBLEM, nb.in_batch(SIZE))
    wanted = (rows + columns) / 2
    np.testing.assert_allclose(found.exact_gradient, wanted, atol=1e-13)
    np.testing.assert_allclose(found.bias, wanted - found.gradient, atol=1e-13)
    norms = np.linalg.norm(found.bias), np.linalg.norm(wanted), np.linalg.norm(found.gradient)
    assert found.relative_bias == pytest.approx(norms[0] / norms[1], rel=1e-10)
    inner = np.sum(wanted * found.gradient)
    assert found.cosine == pytest.approx(inner / norms[1] / norms[2], rel=1e-10)


def test_another_sampler_for_columns():
    other = nb.iid(nb.uniform(), 1)
    found = nb.both_directions(PROBLEM, nb.in_batch(SIZE), back=other)
    turned = nb.exact(PROBLEM.transposed(), other)
    assert float(found.columns.loss) == float(turned.loss)


#: open-clip-torch 3.3.0, ClipLoss()(image, text, 1/t) with batches of 4, all of them listed: mean
#: loss, and its gradient by the scores of each input over pop(x), in float32.
CLIP = (
    1.32324386,
    [
        [0.0552042318, -0.00244745586, -0.0436848204, -0.0153540001],
        [-0.0223630685, 0.0268691718, 0.0838901414, -0.078973178],
    ],
)
#: What rounding in float32 leaves.
ROUNDING = 3e-6


def test_open_clip_gives_these_numbers():
    problem = nb.Problem(
        [[0.8, -0.3, 0.4, -1.1], [-0.5, 0.9, 0.2, 0.1]],
        [[0.5, 0.1, 0.3, 0.1], [0.2, 0.3, 0.1, 0.4]],
        weights=[0.6, 0.4],
    )
    found = nb.both_directions(problem, nb.in_batch(4))
    assert abs(found.loss - CLIP[0]) < ROUNDING
    weights = np.array([[0.6], [0.4]])
    assert np.abs(found.gradient / weights - CLIP[1]).max() < ROUNDING
    assert np.abs(np.asarray(found.rows.gradient) - CLIP[1]).max() > 1e3 * ROUNDING


def test_transposed_twice_is_the_problem():
    again = PROBLEM.transposed().transposed()
    np.testing.assert_allclose(again.population, POPULATION, atol=1e-15)
    np.testing.assert_allclose(again.weights, WEIGHTS, atol=1e-15)
    np.testing.assert_array_equal(again.scores, SCORES)
    golds = nb.Problem.from_golds(SCORES.T, [0, 1, 0])
    np.testing.assert_allclose(golds.transposed().population, [[0.5, 0, 0.5], [0, 1, 0]])


def test_refusals():
    with pytest.raises(ValueError) as refused:
        nb.both_directions(PROBLEM, nb.in_batch(3), share=1.0)
    assert str(refused.value) == (
        "share: got 1.0; expected a number in (0, 1). Leave it out for a half."
    )
    with pytest.raises(ValueError) as refused:
        nb.Problem(SCORES, [[0.5, 0.5, 0.0], [0.4, 0.6, 0.0]]).transposed()
    assert str(refused.value) == (
        "population: label 2 is never a gold; expected labels that all are, to be inputs. Leave it "
        "out of scores and population."
    )
