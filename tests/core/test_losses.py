"""The losses by hand arithmetic: which correction is taken off which score.

Two candidate sets at most, so that everything is a fraction. Tolerances are the results' `error`.
"""

from math import log

import jax
import numpy as np
import pytest

import nce_bias as nb
from tests import cases

#: Weights e^s = 1, 2, 4 and q = 1/6, 1/2, 1/3; the gold is label 0: q without it is 3/5, 2/5.
SCORES = np.log([1.0, 2.0, 4.0])
Q = np.array([1 / 6, 1 / 2, 1 / 3])


@pytest.fixture(scope="module")
def problem():
    return nb.Problem(SCORES, [1.0, 0.0, 0.0])


def share(*weights):
    return np.array(weights) / sum(weights)


#: Gold's weight, weights of the labels 1 and 2, with one excluded-gold draw.
BY_HAND = {
    "infonce": (1, 2, 4),
    "sampled_softmax": (1, 2 / (3 / 5), 4 / (2 / 5)),
    "sampled_softmax_both": (1 / (1 / 6), 2 / (3 / 5), 4 / (2 / 5)),
    "ranking_nce": (1 / (1 / 6), 2 / (3 / 5), 4 / (2 / 5)),
}


#: The logits of the binary losses as odds e^D.
ODDS_BY_HAND = {
    "binary_nce": (1 / (1 / 6), 2 / (3 / 5), 4 / (2 / 5)),
    "negative_sampling": (1, 2, 4),
}


def test_every_loss_is_computed_by_hand():
    assert set(BY_HAND) | set(ODDS_BY_HAND) | {"self_normalized"} == set(nb.LOSSES)


@pytest.mark.parametrize("name", ODDS_BY_HAND)
def test_one_negative_told_from_noise_by_hand(name, problem):
    found = cases.exact(problem, nb.iid(nb.from_probabilities(Q), 1), nb.LOSSES[name])
    gold, one, two = ODDS_BY_HAND[name]
    expected = [-1 / (1 + gold), 3 / 5 * one / (1 + one), 2 / 5 * two / (1 + two)]
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-15)
    by_hand = log(1 + 1 / gold) + 3 / 5 * log(1 + one) + 2 / 5 * log(1 + two)
    np.testing.assert_allclose(found.loss, by_hand, rtol=1e-15)
    assert np.isnan(found.effective_sample_size)


def test_self_normalized_by_hand(problem):
    """One negative has all the weight; two that differ, each its own importance weight."""
    q = nb.from_probabilities(Q)
    found = cases.exact(problem, nb.iid(q, 1), nb.self_normalized)
    np.testing.assert_allclose(found.gradient, [-1, 3 / 5, 2 / 5], rtol=0, atol=1e-13)
    by_hand = 3 / 5 * log(2 / (3 / 5)) + 2 / 5 * log(4 / (2 / 5))  # the gold's score is 0
    np.testing.assert_allclose(found.loss, by_hand, rtol=1e-13)
    found = cases.exact(problem, nb.without_replacement(q, 2), nb.self_normalized)
    one, two = share(2 / (3 / 5), 4 / (2 / 5))  # both labels, always
    np.testing.assert_allclose(found.gradient, [-1, one, two], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.loss, log((2 / (3 / 5) + 4 / (2 / 5)) / 2), rtol=1e-12)
    np.testing.assert_allclose(found.effective_sample_size, 1 / (one**2 + two**2), rtol=1e-11)


@pytest.mark.parametrize("name", BY_HAND)
def test_one_negative_by_hand(name, problem):
    found = cases.exact(problem, nb.iid(nb.from_probabilities(Q), 1), nb.LOSSES[name])
    gold, one, two = BY_HAND[name]
    first, second = share(gold, one), share(gold, two)
    expected = [3 / 5 * first[0] + 2 / 5 * second[0], 3 / 5 * first[1], 2 / 5 * second[1]]
    np.testing.assert_allclose(found.selection, expected, rtol=0, atol=float(found.error))
    np.testing.assert_allclose(
        found.loss, -3 / 5 * log(first[0]) - 2 / 5 * log(second[0]), rtol=float(found.error)
    )
    # E[v] - e_gold, and the bias has the paper's sign: exact minus contrastive
    np.testing.assert_allclose(found.gradient, expected - np.eye(3)[0], atol=float(found.error))
    p = share(1, 2, 4)
    np.testing.assert_allclose(found.bias, p - expected, atol=float(found.error))
    np.testing.assert_allclose(found.cross_entropy, log(7), rtol=1e-15)
    for other, weights in BY_HAND.items():  # the other losses do give something else
        if weights != BY_HAND[name]:
            wrong = (
                3 / 5 * share(weights[0], weights[1])[0] + 2 / 5 * share(weights[0], weights[2])[0]
            )
            assert abs(wrong - expected[0]) > 1e-2, other


def test_m_is_taken_off_where_the_loss_says(problem):
    """Label 1 alone can be drawn, m times: Z = w_+ + m w, and log(m q) makes m w = 2 / q."""
    m = 3
    sampler = nb.iid(nb.from_probabilities([0.5, 0.5, 0.0]), m)
    q = 1.0  # of label 1 once the gold is excluded; 1/2 is the gold's own
    expected = {
        "infonce": share(1, 2 * m),
        "sampled_softmax": share(1, m * 2 / (m * q)),
        "sampled_softmax_both": share(1 / (m / 2), m * 2 / (m * q)),
        "ranking_nce": share(1 / (1 / 2), m * 2 / q),
    }
    for name, (gold, negative) in expected.items():
        found = cases.exact(problem, sampler, nb.LOSSES[name])
        np.testing.assert_allclose(found.selection, [gold, negative, 0], atol=float(found.error))


@pytest.mark.parametrize("hits", ["mask", "keep"])
def test_where_the_gold_can_be_hit_q_stays_whole(hits, problem):
    found = cases.exact(problem, nb.iid(nb.from_probabilities(Q), 1, hits), nb.sampled_softmax)
    one, two = share(1, 2 / (1 / 2)), share(1, 4 / (1 / 3))
    # a hit is dropped, or competes with the gold as a second copy of it: picked for sure
    expected = [1 / 6 + 1 / 2 * one[0] + 1 / 3 * two[0], 1 / 2 * one[1], 1 / 3 * two[1]]
    np.testing.assert_allclose(found.selection, expected, atol=float(found.error))
    # the copy's weight is corrected, the gold's is not: 1 + 1 / (1/6) over 1
    hit = log(1 + 6) if hits == "keep" else 0.0
    by_hand = 1 / 6 * hit - 1 / 2 * log(one[0]) - 1 / 3 * log(two[0])
    np.testing.assert_allclose(found.loss, by_hand, rtol=float(found.error))


def test_ranking_nce_is_both_corrected():
    """log m is taken off gold and negatives alike, so it cancels."""
    sampler = nb.iid(cases.proposal("model(temperature=2.5)"), 3)
    cases.assert_same(
        cases.exact(cases.problem(), sampler, nb.ranking_nce),
        cases.exact(cases.problem(), sampler, nb.sampled_softmax_both),
    )


def test_uniform_q_corrects_nothing_where_both_are():
    """A constant log q on both sides cancels, with the gold's own q = 1/V where it is kept."""
    sampler = nb.iid(cases.proposal("uniform"), 2, "keep")
    plain = cases.exact(cases.problem(), sampler)
    cases.assert_same(cases.exact(cases.problem(), sampler, nb.ranking_nce), plain)
    corrected = cases.exact(cases.problem(), sampler, nb.sampled_softmax)
    assert np.abs(np.asarray(corrected.selection - plain.selection)).max() > 1e-2


def test_no_gradient_flows_through_the_negatives():
    """The derivative of the loss by the scores is the gradient, though q depends on the scores."""
    scores, population = cases.SCORES[0], cases.POPULATION[0]
    sampler = nb.iid(nb.model(), 2)

    @jax.jit
    @jax.value_and_grad
    def loss(s):
        return nb.exact(nb.Problem(s, population), sampler).loss

    _, slope = loss(scores)
    found = cases.exact(nb.Problem(scores, population), sampler)
    np.testing.assert_allclose(slope, found.gradient, rtol=0, atol=1e-12)
    step = 1e-5 * np.eye(5)[0]
    through = (loss(scores + step)[0] - loss(scores - step)[0]) / 2e-5
    assert abs(through - slope[0]) > 1e-2  # what it would be with the draws differentiated


def test_names():
    assert {name: repr(loss) for name, loss in nb.LOSSES.items()} == {n: n for n in nb.LOSSES}
    assert (nb.infonce, nb.ranking_nce) == (nb.LOSSES["infonce"], nb.LOSSES["ranking_nce"])
