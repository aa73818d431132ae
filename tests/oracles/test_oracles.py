"""Hand arithmetic checks the oracles, so that the oracles may check everything else.

Expected values are arithmetic on fractions, spelled out. Each comes with the wrong formulas one
could have meant, on inputs where they give something else, and that is asserted too. Both sides
work in 64-bit mantissas, so agreement is to ``ROUNDING``; a wrong formula is off by > ``MISTAKE``.
"""

import itertools
from fractions import Fraction as F
from math import log

import mpmath
import numpy as np
import pytest

from tests.oracles.drawing import draws, poisson_inclusion, softmax
from tests.oracles.enumeration import LOSSES, enumerate_moments, on_sets, outcomes, proposals
from tests.oracles.integrals import HITS, iid_average, iid_reference

ROUNDING = 2e-15  # sums of a few hundred doubles of order 1, rounded to double at the end
MISTAKE = 1e-3


def logs(*weights):
    return np.array([log(w) for w in weights])


def one_gold(gold, size):
    return np.eye(size)[gold]


def agrees(given, expected, tolerance=ROUNDING):
    given, expected = ([float(x) for x in np.ravel(side)] for side in (given, expected))
    np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance)


def differs(given, mistaken):
    assert np.abs(np.ravel(given) - [float(x) for x in np.ravel(mistaken)]).max() > MISTAKE


def random_case(size=5, seed=0):
    rng = np.random.default_rng(seed)
    scores = 1.5 * rng.normal(size=size)
    return scores, rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size))


def every_spec(q, m):
    iid = [("iid", q, m, hits) for hits in HITS]
    others = [("without_replacement", q, m), ("poisson", q, m), ("top", m)]
    both = ("concat", [("top", 1), ("iid", q, m - 1, "keep")])
    return iid + others + [both]


# Two labels, one negative ------------------------------------------------------------------------

TWO = logs(3, 1), np.array([2 / 5, 3 / 5])  # p = (3/4, 1/4)
THIRDS = np.array([1 / 3, 2 / 3])


def test_two_labels_one_wrong_negative():
    found = enumerate_moments(*TWO, ("iid", THIRDS, 1, "exclude"))
    agrees(found.selection, [F(3, 4), F(1, 4)])  # the only candidate set is all of Y
    agrees(found.gradient, [F(3, 4) - F(2, 5), F(1, 4) - F(3, 5)])
    agrees(found.loss, F(2, 5) * F(log(4 / 3)) + F(3, 5) * F(log(4)))
    agrees(found.cross_entropy, found.loss)
    agrees([found.bias_norm, found.variance_negatives, found.coverage, found.cosine], [0, 0, 1, 1])
    # v - e is (-1/4, 1/4) with chance 2/5 and (3/4, -3/4) with chance 3/5: two coordinates each
    agrees(found.variance, 2 * (F(2, 5) * F(1, 16) + F(3, 5) * F(9, 16) - F(7, 20) ** 2))
    agrees(found.second_moment[0, 1], -F(2, 5) * F(1, 16) - F(3, 5) * F(9, 16))


def test_two_labels_one_negative_kept():
    found = enumerate_moments(*TWO, ("iid", THIRDS, 1, "keep"))
    # gold 0: another 0 (1/3) or a 1 (2/3); gold 1: a 0 (1/3) or another 1 (2/3)
    given = [
        [F(1, 3) + F(2, 3) * F(3, 4), F(2, 3) * F(1, 4)],
        [F(1, 3) * F(3, 4), F(2, 3) + F(1, 12)],
    ]
    agrees(found.selection_given_gold, given)
    agrees(found.selection[0], F(2, 5) * given[0][0] + F(3, 5) * given[1][0])
    agrees(found.bias[0], F(3, 4) - F(29, 60))
    kept = F(2, 5) * (F(log(2)) / 3 + F(log(4 / 3)) * 2 / 3)
    kept += F(3, 5) * (F(log(4)) / 3 + F(log(2)) * 2 / 3)
    agrees(found.loss, kept)
    # v - e at label 0: 0 (2/15), -1/4 (4/15), 3/4 (3/15), 0 (6/15)
    square = F(4, 15) * F(1, 16) + F(3, 15) * F(9, 16)
    mean = F(29, 60) - F(2, 5)
    agrees(found.variance, 2 * (square - mean**2))
    by_gold = F(2, 5) * F(-1, 6) ** 2 + F(3, 5) * F(1, 4) ** 2  # E[v_0 - e_0 | gold]
    agrees(found.variance_gold, 2 * (by_gold - mean**2))
    agrees(found.variance_negatives, 2 * (square - by_gold))
    agrees(found.coverage, F(2, 5) * (F(1, 3) * F(3, 4) + F(2, 3)) + F(3, 5) * (F(1, 3) + F(1, 6)))
    # a second copy of the gold costs log 2, a dropped one nothing
    masked = enumerate_moments(*TWO, ("iid", THIRDS, 1, "mask"))
    agrees(kept - F(masked.loss), log(2) * (F(2, 15) + F(6, 15)))


def test_a_kept_hit_counts_twice():
    spec = ("iid", THIRDS, 2, "keep")
    found = enumerate_moments(TWO[0], one_gold(0, 2), spec).selection[0]
    # (0,0): only the gold; one 0: weights 3+3 against 1; none: 3 against 1+1
    agrees(found, F(1, 9) + F(4, 9) * F(6, 7) + F(4, 9) * F(3, 5))
    differs(found, F(1, 9) + F(4, 9) * F(3, 4) + F(4, 9) * F(3, 5))  # counted once
    masked = enumerate_moments(TWO[0], one_gold(0, 2), ("iid", THIRDS, 2, "mask"))
    agrees(masked.selection[0], F(1, 9) + F(4, 9) * F(3, 4) + F(4, 9) * F(3, 5))


# Three labels: corrections -----------------------------------------------------------------------

WEIGHTS = (1, 2, 4)
Q = np.array([1 / 6, 1 / 2, 1 / 3])


def found_for_gold_0(spec, loss, **options):
    return enumerate_moments(logs(*WEIGHTS), one_gold(0, 3), spec, loss, **options)


def share(*weights):
    return [F(w) / sum(F(w) for w in weights) for w in weights]


def test_correction_is_m_times_the_renormalised_q():
    found = found_for_gold_0(("without_replacement", Q, 2), "sampled_softmax").selection
    # both wrong labels are there; q without the gold is (3/5, 2/5)
    agrees(found, share(1, 2 / (2 * F(3, 5)), 4 / (2 * F(2, 5))))
    differs(found, share(1, 2 / F(3, 5), 4 / F(2, 5)))  # no m in log(m q)
    differs(found, share(1, 2 / (2 * F(1, 2)), 4 / (2 * F(1, 3))))  # q not renormalised
    exact = found_for_gold_0(("without_replacement", Q, 2), "sampled_softmax", inclusion=True)
    agrees(exact.selection, share(1, 2, 4))  # inclusion probability 1
    ranking = found_for_gold_0(("without_replacement", Q, 2), "ranking_nce", inclusion=True)
    agrees(ranking.selection, share(1 / F(1, 6), 2 / F(1, 2), 4 / F(1, 2)))  # 1 / m


def test_gold_is_corrected_by_the_proposals_own_q():
    both = found_for_gold_0(("iid", Q, 1, "exclude"), "sampled_softmax_both").selection
    one = share(1 / F(1, 6), 2 / F(3, 5))
    two = share(1 / F(1, 6), 4 / F(2, 5))
    agrees(both, [F(3, 5) * one[0] + F(2, 5) * two[0], F(3, 5) * one[1], F(2, 5) * two[1]])
    one, two = share(1 / F(1, 6), 2 / F(1, 2)), share(1 / F(1, 6), 4 / F(1, 3))
    differs(both, [F(3, 5) * one[0] + F(2, 5) * two[0], F(3, 5) * one[1], F(2, 5) * two[1]])


@pytest.mark.parametrize("hits", HITS)
def test_ranking_nce_is_both_corrected_without_m(hits):
    for m in (1, 3):  # m cancels when it is taken off gold and negatives alike
        ranking, both, once = (
            found_for_gold_0(("iid", Q, m, hits), loss)
            for loss in ("ranking_nce", "sampled_softmax_both", "sampled_softmax")
        )
        agrees(ranking.selection, both.selection)
        agrees(ranking.loss, both.loss)
        differs(ranking.selection, once.selection)


def test_masked_draws_vanish_but_m_and_q_stay():
    found = found_for_gold_0(("iid", Q, 2, "mask"), "sampled_softmax").selection[1]
    one, two = F(2) / (2 * F(1, 2)), F(4) / (2 * F(1, 3))  # weights of the labels 1 and 2
    twice, with_two, alone = 2 * one / (1 + 2 * one), one / (1 + one + two), one / (1 + one)
    agrees(found, F(1, 4) * twice + 2 * F(1, 6) * with_two + 2 * F(1, 12) * alone)
    # q renormalised, as if hits were excluded
    differs(found, F(9, 25) * twice + 2 * F(6, 25) * with_two)
    # m counted after dropping: a lone survivor would be corrected by log(1 q)
    differs(found, F(1, 4) * twice + 2 * F(1, 6) * with_two + 2 * F(1, 12) * F(4, 5))
    kept = found_for_gold_0(("iid", Q, 2, "keep"), "sampled_softmax").selection[1]
    again = F(1) / (2 * F(1, 6))  # the gold's weight as a negative: corrected, unlike as the gold
    alone_again = one / (1 + again + one)
    agrees(kept, F(1, 4) * twice + 2 * F(1, 6) * with_two + 2 * F(1, 12) * alone_again)
    differs(kept, F(1, 4) * twice + 2 * F(1, 6) * with_two + 2 * F(1, 12) * one / (2 + one))


def test_self_normalized_leaves_the_gold_out_of_the_partition():
    found = found_for_gold_0(("iid", Q, 2, "exclude"), "self_normalized")
    one, two = F(2) / (2 * F(3, 5)), F(4) / (2 * F(2, 5))
    agrees(
        found.selection,
        [0, F(9, 25) + F(12, 25) * one / (one + two), F(4, 25) + F(12, 25) * two / (one + two)],
    )
    agrees(
        found.loss, F(9, 25) * F(log(10 / 3)) + F(12, 25) * F(log(20 / 3)) + F(4, 25) * F(log(10))
    )
    differs(
        found.loss, F(9, 25) * F(log(13 / 3)) + F(12, 25) * F(log(23 / 3)) + F(4, 25) * F(log(11))
    )
    with pytest.raises(ValueError, match="without any weight"):
        found_for_gold_0(("iid", Q, 2, "mask"), "self_normalized")


@pytest.mark.parametrize(
    ("loss", "corrected"), [("binary_nce", True), ("negative_sampling", False)]
)
def test_binary_losses(loss, corrected):
    found = found_for_gold_0(("iid", Q, 2, "exclude"), loss)
    gold, one, two = (
        (F(1) / (2 * F(1, 6)), F(2) / (2 * F(3, 5)), F(4) / (2 * F(2, 5)))
        if corrected
        else (1, 2, 4)
    )  # odds e^Delta, so sigma = odds / (1 + odds)
    gradient = [-F(1) / (1 + gold), 2 * F(3, 5) * one / (1 + one), 2 * F(2, 5) * two / (1 + two)]
    agrees(found.gradient, gradient)
    loss_value = log(1 + 1 / gold) + 2 * 3 / 5 * log(1 + one) + 2 * 2 / 5 * log(1 + two)
    agrees(found.loss, loss_value)
    # two independent draws: twice the variance of one, tr = sum_y q s^2 - sum_y (q s)^2
    s1, s2 = F(one) / (1 + one), F(two) / (1 + two)
    first, second = F(3, 5) * s1, F(2, 5) * s2
    agrees(found.variance, 2 * (first * s1 + second * s2 - first**2 - second**2))
    agrees(found.selection - found.gradient, [1, 0, 0])


# Samplers ----------------------------------------------------------------------------------------

FOUR = np.array([0.1, 0.2, 0.3, 0.4])


def test_without_replacement_draws_from_what_is_left():
    chance = dict((labels, p) for p, labels in outcomes(("without_replacement", FOUR, 2), 0, FOUR))
    assert set(chance) == set(itertools.permutations([1, 2, 3], 2))
    agrees([chance[1, 2], chance[2, 1]], [F(2, 9) * F(3, 7), F(3, 9) * F(2, 6)])
    differs([chance[1, 2]], F(2, 9) * F(3, 9))  # with replacement
    differs([chance[1, 2]], F(2, 9) * F(3, 9) / (1 - F(4 + 9 + 16, 81)))  # and then made distinct
    differs([chance[1, 2]], F(2, 10) * F(3, 8))  # the gold's mass left in


def test_poisson_inclusion_hands_on_what_a_sure_label_cannot_use():
    q = np.array([0.1, 0.6, 0.2, 0.1])
    agrees(poisson_inclusion(q, 2, 0), [0, 1, F(2, 3), F(1, 3)])  # 2 * 6/9 > 1
    differs(poisson_inclusion(q, 2, 0), [0, 1, F(4, 9), F(2, 9)])  # clipped only: sums to 5/3
    agrees(poisson_inclusion(q, 1, 0), [0, F(6, 9), F(2, 9), F(1, 9)])
    agrees(poisson_inclusion(q, 3, 0), [0, 1, 1, 1])
    chance = dict((labels, p) for p, labels in outcomes(("poisson", q, 2), 0, q))
    agrees([chance[(1,)], chance[1, 2], chance[1, 3]], [F(1, 3) * F(2, 3), F(4, 9), F(1, 9)])
    table = np.array([poisson_inclusion(q, 2, gold) for gold in range(4)])
    scores, population, _ = random_case(4)
    by_q, by_table = (
        enumerate_moments(scores, population, s) for s in (("poisson", q, 2), ("poisson", table))
    )
    agrees(by_q.selection, by_table.selection)
    with pytest.raises(ValueError, match="fewer than 2 wrong labels"):
        poisson_inclusion(np.array([0.5, 0.5, 0]), 2, 0)


def test_top_skips_the_gold_and_breaks_ties_downwards():
    scores = np.array([3.0, 1.0, 2.0, 2.0])
    assert list(outcomes(("top", 2), 0, scores)) == [(1.0, (2, 3))]
    assert list(outcomes(("top", 1), 0, scores)) == [(1.0, (2,))]
    assert list(outcomes(("top", 2), 2, scores)) == [(1.0, (0, 3))]


def test_a_label_in_both_parts_counts_twice_but_is_covered_once():
    spec = ("concat", [("top", 1), ("without_replacement", Q, 1)])
    found = found_for_gold_0(spec, "infonce")
    once, twice = share(1, 2, 4), share(1, 8)
    agrees(
        found.selection,
        [
            F(3, 5) * once[0] + F(2, 5) * twice[0],
            F(3, 5) * once[1],
            F(3, 5) * once[2] + F(2, 5) * twice[1],
        ],
    )
    agrees(found.coverage, F(3, 5) + F(2, 5) * F(5, 7))
    differs(found.coverage, F(3, 5) + F(2, 5) * F(9, 7))
    with pytest.raises(ValueError, match="no single q"):
        found_for_gold_0(spec, "sampled_softmax")


@pytest.mark.parametrize("m", [2, 3, 4])
def test_outcomes_are_a_probability_law_and_parts_add_up(m):
    scores, population, q = random_case()
    for spec in every_spec(q, m):
        for gold in range(5):
            probability, _ = draws(spec, gold, scores)
            agrees(float(probability.sum()), 1)
        found = enumerate_moments(scores, population, spec)
        agrees(found.variance, found.variance_negatives + found.variance_gold)
        agrees(found.variance, np.trace(found.second_moment) - found.gradient @ found.gradient)
        agrees(found.selection, population @ found.selection_given_gold)
        agrees(found.selection.sum(), 1)


def test_proposals():
    scores, popularity = logs(4, 1, 9), np.array([0.25, 0.25, 0.5])
    cases = {
        "uniform": [F(1, 3)] * 3,
        "popularity": [F(1, 4), F(1, 4), F(1, 2)],
        "model": share(4, 1, 9),
        # ranks 1, 2, 0: the tie goes to the lower index
        "log_uniform": [F(log(3 / 2) / log(4)), F(log(4 / 3) / log(4)), F(log(2) / log(4))],
    }
    for name, expected in cases.items():
        agrees(proposals(name, scores, popularity), expected)
    agrees(proposals("model", scores, popularity, temperature=2), share(2, 1, 3))
    agrees(proposals("popularity", scores, popularity, power=2), share(1, 1, 4))
    parts = {"a": ("model", {}), "b": ("uniform", {}), "share": 0.25}
    expected = [F(x, 14) / 4 + F(1, 4) for x in (4, 1, 9)]
    agrees(proposals("mixture", scores, popularity, **parts), expected)
    agrees(proposals("from_probabilities", scores, popularity, q=popularity), popularity)


# Gradients and the facts of the theory -----------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_the_derivative_of_the_loss_with_the_draws_held(loss):
    scores, population, q = random_case()
    for spec in every_spec(q, 2):
        if spec[0] in ("top", "concat") and loss not in ("infonce", "negative_sampling"):
            continue  # no q to correct with
        if loss == "self_normalized" and (spec[-1] == "mask" or spec[0] == "poisson"):
            continue  # undefined where all negatives may be missing, tested above
        step, slope = 1e-3, np.zeros(5)
        for y in range(5):
            at = [
                enumerate_moments(scores + k * step * one_gold(y, 5), population, spec, loss).loss
                for k in (-2, -1, 1, 2)
            ]
            slope[y] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
        # five-point rule: step^4 / 30 times a fifth derivative of order 1, and 1e-16 / step
        agrees(enumerate_moments(scores, population, spec, loss).gradient, slope, 1e-11)


def test_gradient_does_not_go_through_the_proposal():
    scores, population, _ = random_case()

    def at(s):
        return enumerate_moments(
            s, population, ("iid", proposals("model", s, population), 2, "keep")
        )

    through = (
        at(scores + 1e-4 * one_gold(0, 5)).loss - at(scores - 1e-4 * one_gold(0, 5)).loss
    ) / 2e-4
    differs(at(scores).gradient[0], through)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_highest_scoring_negatives_are_the_adversary(m):
    """THEORY 5.6: among laws on m distinct wrong labels the top m maximise the loss."""
    scores, _, _ = random_case(seed=3)
    rng = np.random.default_rng(m)
    for gold in range(5):
        subsets = np.array(list(itertools.combinations([y for y in range(5) if y != gold], m)))
        losses, *_ = on_sets("infonce", gold, scores[gold], subsets, scores, scores[gold])
        ((_, top),) = outcomes(("top", m), gold, scores)
        assert set(subsets[np.argmax(losses)]) == set(top)
        best = enumerate_moments(scores, one_gold(gold, 5), ("top", m)).loss
        agrees(best, losses.max())
        # a law's loss is the average over its subsets: no law does better, every other does worse
        for law in rng.dirichlet(np.ones(len(subsets)), size=50):
            assert law @ losses < best
        # and it is a statement about distinct labels: m copies of the best one are worse still
        copies = np.full((1, m), top[0])
        repeated, *_ = on_sets("infonce", gold, scores[gold], copies, scores, scores[gold])
        assert m == 1 or repeated[0] > best + MISTAKE


def test_all_wrong_labels_give_cross_entropy():
    """THEORY 5.1, and its negation one label short and with repetition."""
    scores, population, q = random_case()
    full = enumerate_moments(scores, population, ("without_replacement", q, 4))
    agrees([full.bias_norm, full.variance_negatives, full.loss], [0, 0, full.cross_entropy])
    for spec in (("without_replacement", q, 3), ("iid", q, 4, "exclude")):
        assert enumerate_moments(scores, population, spec).bias_norm > MISTAKE


def test_model_negatives_and_correction_make_the_partition_constant():
    """THEORY 5.2, which needs q without the gold and the correction."""
    scores, population, _ = random_case()
    q = softmax(scores)
    for m in (1, 2, 3):
        exact = enumerate_moments(scores, population, ("iid", q, m, "exclude"), "sampled_softmax")
        agrees([exact.bias_norm, exact.loss_variance_negatives], [0, 0])
        assert exact.variance_negatives > MISTAKE  # the loss is constant, the gradient is not
        for hits, loss in [("keep", "sampled_softmax"), ("exclude", "infonce")]:
            assert (
                enumerate_moments(scores, population, ("iid", q, m, hits), loss).bias_norm > MISTAKE
            )


def test_ranking_nce_is_consistent_with_hits_kept():
    """THEORY 5.7, and its negation with hits removed."""
    _, population, q = random_case()
    scores = np.log(population) + 3
    for m in (1, 2, 3):
        kept, masked, excluded = (
            enumerate_moments(scores, population, ("iid", q, m, hits), "ranking_nce").gradient
            for hits in ("keep", "mask", "exclude")
        )
        agrees(kept, np.zeros(5))
        differs(excluded, np.zeros(5))
        if m == 1:  # a single draw equal to the gold: no gradient, kept or masked
            agrees(masked, kept)
        else:
            differs(masked, np.zeros(5))


# Integrals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hits", HITS)
@pytest.mark.parametrize("m", [1, 3])
def test_integrals_agree_with_enumeration(hits, m):
    scores, population, q = random_case(size=3, seed=m)
    for loss in ("infonce", "sampled_softmax"):
        found = enumerate_moments(scores, population, ("iid", q, m, hits), loss)
        negative = scores - np.log(m * q) if loss == "sampled_softmax" else scores
        own = np.array(scores)
        if hits == "exclude" and loss == "sampled_softmax":
            own -= np.log1p(-q)  # relative to negatives that carry log q instead of log q/(1 - q_g)
        average = iid_average(negative, own, q, m, hits, population)
        agrees(average.selection, found.selection)
        agrees(average.variance, found.variance)
        loss_value = square = 0
        for gold in range(3):
            one = iid_reference(negative, own[gold], q, m, hits, gold, range(3))
            agrees(one.selection, found.selection_given_gold[gold])
            assert one.error < 1e-30
            loss_value += population[gold] * float(one.loss)
            square += population[gold] * float(sum(one.square) - 2 * one.selection[gold] + 1)
        agrees(loss_value, found.loss)
        agrees(square, np.trace(found.second_moment))


def three_weights(m, own, plus, chances, weights):
    """E[n_c w_c / (w_+ + sum n w)] over a multinomial count n of (the gold, class a, class b)."""
    result = [mpmath.mpf(0)] * 3
    chances = [mpmath.mpf(c) / mpmath.fsum(chances) for c in chances]
    for copies in range(m + 1 if chances[0] else 1):
        for first in range(m - copies + 1):
            n = (copies, first, m - copies - first)
            ways = mpmath.binomial(m, copies) * mpmath.binomial(m - copies, first)
            p = ways * mpmath.fprod(c**k for c, k in zip(chances, n, strict=True))
            values = (own, *weights)
            total = plus + mpmath.fdot(n, values)
            result = [r + p * k * w / total for r, k, w in zip(result, n, values, strict=True)]
    return result


@pytest.mark.parametrize(("hits", "m"), [*((hits, 24) for hits in HITS), ("exclude", 4096)])
def test_integrals_at_a_thousand_labels_agree_with_counting(hits, m):
    """With two weights among the wrong labels, a binomial or trinomial sum is exact."""
    size, gold = 1000, 17
    a, b, own, plus = 5.0, -4.0, 1.5, 2.0  # log-weights
    q = np.random.default_rng(0).dirichlet(np.ones(size))
    q[gold] = 0.05
    q /= q.sum()
    scores = np.where(np.arange(size) < 300, a, b)
    scores[gold] = own
    with mpmath.workdps(45):
        in_a = [y for y in range(300) if y != gold]
        q_a, q_b = mpmath.fsum(q[in_a]), mpmath.fsum(q[300:])
        gold_chance = 0 if hits == "exclude" else q[gold]
        weights = [mpmath.exp(x) for x in (own, plus, a, b)]
        as_negative = 0 if hits == "mask" else weights[0]
        counted = three_weights(m, as_negative, weights[1], [gold_chance, q_a, q_b], weights[2:])
        expected = [
            1 - counted[1] - counted[2],
            q[3] / q_a * counted[1],
            q[900] / q_b * counted[2],
        ]
        found = iid_reference(scores, plus, q, m, hits, gold, [gold, 3, 900])
        true_error = max(abs(x - y) for x, y in zip(found.selection, expected, strict=True))
        assert true_error < 1e-30
        assert found.error < 1e-30
        rough = iid_reference(scores, plus, q, m, hits, gold, [gold, 3, 900], orders=(3, 5))
        missed = max(abs(x - y) for x, y in zip(rough.selection, expected, strict=True))
        assert 1e-15 < missed <= rough.error  # five nodes do not do, and the estimate says so
    average = iid_average(scores, np.full(size, plus), q, m, hits, one_gold(gold, size))
    agrees(average.selection[[gold, 3, 900]], expected)


@pytest.mark.parametrize("hits", HITS)
def test_the_two_integrals_agree_over_the_gold(hits):
    """Two golds, m = 4096, weights from e^-6 to e^12: thirty digits against extended precision."""
    size, golds = 200, (4, 90)
    rng = np.random.default_rng(1)
    scores, q = 2 * rng.normal(size=size), rng.dirichlet(np.full(size, 0.3))
    scores[list(golds)] = 12, 10
    population = 0.25 * one_gold(golds[0], size) + 0.75 * one_gold(golds[1], size)
    average = iid_average(scores, scores, q, 4096, hits, population)
    labels = [*golds, 0, 17, 199]
    each = [iid_reference(scores, scores[g], q, 4096, hits, g, labels) for g in golds]
    pairs = list(zip(*(one.selection for one in each), strict=True))
    agrees(average.selection[labels], [0.25 * x + 0.75 * y for x, y in pairs])
    differs(average.selection[labels], [0.75 * x + 0.25 * y for x, y in pairs])
    assert average.error < 1e-17
    assert max(one.error for one in each) < 1e-30
