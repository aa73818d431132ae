"""The facts of the theory (docs/theory), each beside a claim that it must not be confused with."""

from itertools import combinations
from math import log, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases

#: What "not 0" means below: no estimate of error comes near it.
FAR = 1e-2


def softmax(scores):
    weight = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


P = softmax(cases.SCORES)
#: Scores of the population, up to a constant; -inf where the third input has no gold.
with np.errstate(divide="ignore"):
    TRUE = np.log(cases.POPULATION) + np.array([[3.0], [-1.0], [0.5]])
UNIFORM, POPULARITY, MODEL = map(cases.proposal, ("uniform", "popularity", "model"))
TEMPERED = cases.proposal("model(temperature=2.5)")


def norm(sampler, loss=nb.infonce, problem=None):
    return float(cases.exact(problem or cases.problem(), sampler, loss).bias_norm)


# 1. All wrong labels are cross entropy ------------------------------------------------------------


@pytest.mark.slow
def test_all_wrong_labels_leave_no_bias_and_no_noise():
    """m = V - 1 distinct: v = p whatever is drawn, so even few draws are exact."""

    @jax.jit
    def sampled(problem):
        key = jax.random.key(1)
        return [
            nb.monte_carlo(problem, sampler, key=key, draws=2048)
            for sampler in (
                nb.without_replacement(nb.popularity(), 4),
                nb.without_replacement(nb.popularity(), 3),
                nb.iid(nb.popularity(), 4),
            )
        ]

    found, *others = sampled(cases.problem())
    # sums of 2048 terms of order 1, in 64 batches
    np.testing.assert_allclose(found.selection, P, rtol=0, atol=1e-13)
    assert found.error < 1e-14
    assert found.standard_errors["bias_norm_plugin"] < 1e-14
    for other in others:  # not so: one label fewer, and as many labels with repetitions
        assert other.error > 1e-4
        assert other.bias_norm > FAR


def test_all_wrong_labels_there_are():
    """Exactly, too: with two labels out of the model's reach, m = 2 are all others."""
    scores = np.where(np.arange(5) < 3, cases.SCORES, -np.inf)
    population = np.array([[0.5, 0.2, 0.3, 0, 0]] * 3)
    problem = nb.Problem(scores, population, popularity=cases.POPULARITY)
    found = cases.exact(problem, nb.without_replacement(MODEL, 2))
    assert np.abs(np.asarray(found.bias)).max() <= found.error < 1e-10
    np.testing.assert_allclose(found.loss, found.cross_entropy, rtol=float(found.error))
    assert norm(nb.without_replacement(UNIFORM, 2), problem=problem) > FAR
    assert norm(nb.iid(MODEL, 2), problem=problem) > FAR


# 2. Sampled softmax with the model's own negatives ------------------------------------------------


@pytest.mark.parametrize("m", [1, 16, 1000])
def test_corrected_model_negatives_make_the_partition_constant(m):
    found = cases.exact(cases.problem(), nb.iid(MODEL, m), nb.sampled_softmax)
    assert found.bias_norm <= sqrt(5) * found.error < 1e-12
    np.testing.assert_allclose(found.loss, found.cross_entropy, rtol=float(found.error))
    np.testing.assert_allclose(found.cosine, 1, rtol=1e-11)


def test_so_the_loss_of_a_gold_does_not_vary():
    """To rounding of log-sum-exps; uncorrected it does vary."""
    one = nb.Problem(cases.SCORES[0], np.eye(5)[3])
    key = jax.random.key(0)

    @jax.jit
    def sampled(problem):
        return [
            nb.monte_carlo(problem, nb.iid(nb.model(), 3), loss, key=key, draws=128)
            for loss in (nb.sampled_softmax, nb.infonce)
        ]

    corrected, plain = sampled(one)
    assert corrected.standard_errors["loss"] < 1e-14 < FAR < plain.standard_errors["loss"]
    np.testing.assert_allclose(corrected.loss, -np.log(P[0, 3]), rtol=1e-14)


@pytest.mark.parametrize(
    ("sampler", "loss"),
    [
        (nb.iid(MODEL, 4, "keep"), nb.sampled_softmax),
        (nb.iid(TEMPERED, 4), nb.sampled_softmax),
        (nb.iid(MODEL, 4), nb.sampled_softmax_both),
        (nb.iid(MODEL, 4), nb.infonce),
    ],
    ids=["hits kept", "tempered", "gold corrected", "uncorrected"],
)
def test_but_only_with_q_the_softmax_of_the_wrong_labels(sampler, loss):
    assert norm(sampler, loss) > FAR


# 3. Uniform negatives, hits kept ------------------------------------------------------------------


def test_uniform_negatives_approach_the_model_at_rate_one_over_m():
    few, many = (norm(nb.iid(UNIFORM, m, "keep")) for m in (1024, 2048))
    # bias = c/m + d/m^2: halving m moves m x bias by d/m, a fraction of a per cent here
    assert abs(few / many - 2) < 0.01
    assert many < 2e-3
    assert norm(nb.iid(UNIFORM, 2048)) > FAR  # without the gold the limit is another one


def test_distinct_uniform_negatives_are_exact_at_the_optimum():
    """s = log pop + const, any m < V; not elsewhere, nor with repetitions, nor for another q."""
    problem = nb.Problem(TRUE, cases.POPULATION, popularity=cases.POPULARITY)
    distinct = nb.without_replacement(UNIFORM, 2)
    found = cases.exact(problem, distinct)
    assert found.bias_norm <= sqrt(5) * found.error < 1e-10
    assert norm(nb.iid(UNIFORM, 1), problem=problem) < 1e-12  # one label is always distinct
    assert norm(nb.iid(UNIFORM, 2), problem=problem) > FAR / 2
    assert norm(nb.without_replacement(POPULARITY, 2), problem=problem) > FAR
    assert norm(distinct) > FAR  # at other scores


# 4. Many independent negatives --------------------------------------------------------------------

LIMITS = {
    "model": (MODEL, P * np.exp(cases.SCORES)),
    "popularity": (POPULARITY, cases.POPULARITY * np.exp(cases.SCORES)),
    "uniform": (UNIFORM, np.exp(cases.SCORES)),
}


def limit(mass, hits):
    """q e^s, normalised; over the wrong labels of each gold where hits are removed."""
    if hits == "keep":
        return mass / mass.sum(axis=1, keepdims=True)
    others = mass[:, None, :] * (1 - np.eye(5))  # [X, gold, V]
    given_gold = others / others.sum(axis=-1, keepdims=True)
    return np.einsum("xg,xgv->xv", cases.POPULATION, given_gold)


@pytest.mark.parametrize("hits", cases.HITS)
def test_many_independent_negatives_tend_to_q_times_e_to_the_s(hits):
    """Extrapolated: 2 gamma(2m) - gamma(m) is left with c/m^2 < 1e-4; other limits are far."""
    for name, (proposal, mass) in LIMITS.items():
        few, many = (
            np.asarray(cases.exact(cases.problem(), nb.iid(proposal, m, hits)).selection)
            for m in (2048, 4096)
        )
        found = 2 * many - few
        np.testing.assert_allclose(found, limit(mass, hits), rtol=0, atol=1e-4, err_msg=name)
        for other, (_, wrong) in LIMITS.items():
            assert other == name or np.abs(found - limit(wrong, hits)).max() > FAR
        policy = "mask" if hits == "keep" else "keep"
        assert np.abs(found - limit(mass, policy)).max() > FAR


def test_those_limits_are_the_model_for_uniform_negatives_alone():
    assert np.abs(limit(LIMITS["uniform"][1], "keep") - P).max() < 1e-15
    assert np.abs(limit(LIMITS["model"][1], "keep") - P).max() > FAR
    assert np.abs(limit(LIMITS["uniform"][1], "exclude") - P).max() > FAR
    squares = P**2 / np.sum(P**2, axis=1, keepdims=True)
    np.testing.assert_allclose(limit(LIMITS["model"][1], "keep"), squares, rtol=1e-14)
    information = softmax(cases.SCORES + np.log(cases.POPULARITY))
    np.testing.assert_allclose(limit(LIMITS["popularity"][1], "keep"), information, rtol=1e-14)


# 6. The adversarial view --------------------------------------------------------------------------


def test_top_negatives_are_the_adversary():
    """Of all laws on m distinct wrong labels none has a greater loss: all subsets, all golds."""
    m, scores = 2, cases.SCORES[0]
    for gold in range(5):
        one = nb.Problem(scores, np.eye(5)[gold])
        best = float(cases.exact(one, nb.top(m)).loss)
        chosen = {}
        for subset in combinations([y for y in range(5) if y != gold], m):
            # distinct draws from a support of m labels: always the same set
            found = subset_loss(one, jnp.asarray(np.isin(np.arange(5), subset) / m))
            assert found.standard_errors["loss"] < 1e-13
            chosen[subset] = float(found.loss)
        assert max(chosen.values()) == pytest.approx(best, rel=1e-12)
        assert sorted(chosen.values())[-2] < best - 1e-3  # and it is the only one
        # not so without "distinct": m copies of the best wrong label do more harm
        hardest = max((y for y in range(5) if y != gold), key=lambda y: scores[y])
        repeated = cases.exact(one, nb.iid(nb.from_probabilities(np.eye(5)[hardest]), m))
        assert float(repeated.loss) > best + 1e-3


@jax.jit
def subset_loss(problem, q):
    sampler = nb.without_replacement(lambda scores, popularity: jnp.log(q), 2)
    return nb.monte_carlo(problem, sampler, key=jax.random.key(0), draws=64)


# 7. Where the expected gradient vanishes ----------------------------------------------------------


def gradient(scores, sampler, loss):
    problem = nb.Problem(scores, cases.POPULATION, popularity=cases.POPULARITY)
    return np.abs(np.asarray(cases.exact(problem, sampler, loss).gradient)).max()


@pytest.mark.parametrize("m", [1, 5])
def test_ranking_nce_is_consistent_if_hits_are_kept(m):
    """At m = 1 a masked hit selects the gold like a kept one; beyond, removing hits breaks it."""
    kept = nb.iid(POPULARITY, m, "keep")
    assert gradient(TRUE, kept, nb.ranking_nce) < 1e-12
    assert gradient(TRUE, kept, nb.infonce) > FAR
    for hits in ("mask", "exclude") if m > 1 else ("exclude",):
        assert gradient(TRUE, nb.iid(POPULARITY, m, hits), nb.ranking_nce) > FAR


@pytest.mark.parametrize("m", [1, 5])
def test_uncorrected_popularity_negatives_learn_mutual_information(m):
    kept = nb.iid(POPULARITY, m, "keep")
    information = TRUE - np.log(cases.POPULARITY)
    assert gradient(information, kept, nb.infonce) < 1e-12
    assert gradient(information, kept, nb.ranking_nce) > FAR
    assert gradient(TRUE, kept, nb.infonce) > FAR
    assert gradient(information, nb.iid(UNIFORM, m, "keep"), nb.infonce) > FAR


# 8. Two labels by hand ----------------------------------------------------------------------------


def test_one_kept_model_negative_of_two_labels():
    """|eps| = sqrt 2 a (1 - a) |2a - 1| at p = pop = (a, 1 - a).

    gold 0 with q = (a, 1 - a): a second 0 picks label 0 for sure, a 1 picks it with chance a; so
    gamma_0 = a (a + (1 - a) a) + (1 - a) a^2 = a^2 (3 - 2a), and a - a^2 (3 - 2a) = a(1-a)(1-2a).
    """
    a = np.array([0.5, 0.8, 0.9999])
    rows = np.stack([a, 1 - a], axis=1)
    problem = nb.Problem(np.log(rows), rows)
    found = cases.exact(problem, nb.iid(nb.model(), 1, "keep"))
    error = float(found.error)
    np.testing.assert_allclose(found.selection[:, 0], a**2 * (3 - 2 * a), atol=error)
    expected = a * (1 - a) * (1 - 2 * a)
    np.testing.assert_allclose(found.bias, np.stack([expected, -expected], 1), atol=error)
    norms = sqrt(2) * a * (1 - a) * np.abs(2 * a - 1)
    np.testing.assert_allclose(found.bias_norm, sqrt(np.mean(norms**2)), atol=error)
    # -log of the gold's share: a hit costs log 2
    loss = (a**2 + (1 - a) ** 2) * log(2) - a * (1 - a) * (np.log(a) + np.log(1 - a))
    np.testing.assert_allclose(found.loss, loss.mean(), rtol=error)
    # a masked hit leaves the gold alone, and so picks it for sure, too; excluded, m = V - 1
    for hits, factor in [("mask", 1), ("exclude", 0)]:
        other = cases.exact(problem, nb.iid(nb.model(), 1, hits))
        np.testing.assert_allclose(other.bias[:, 0], factor * expected, atol=float(other.error))


def test_two_labels_by_hand():
    """p = (3/4, 1/4), pop = (2/5, 3/5), q = (1/3, 2/3): the chance of 0 given either gold."""
    problem = nb.Problem(np.log([3.0, 1.0]), [2 / 5, 3 / 5])
    q = nb.from_probabilities([1 / 3, 2 / 3])
    # the chance that label 0 is picked, given gold 0 and given gold 1
    by_hand = {
        ("keep", "infonce"): (1 / 3 + 2 / 3 * 3 / 4, 1 / 3 * 3 / 4),
        # weights 3 against 1 / (2/3), and 3 / (1/3) against 1
        ("keep", "sampled_softmax"): (1 / 3 + 2 / 3 * 2 / 3, 1 / 3 * 9 / 10),
        # 3 / (1/3) against 1 / (2/3), the same for either gold
        ("keep", "ranking_nce"): (1 / 3 + 2 / 3 * 6 / 7, 1 / 3 * 6 / 7),
        # the excluded gold leaves q = 1 to the other, and keeps its own: 9 against 1, 3 against 3/2
        ("exclude", "sampled_softmax_both"): (9 / 10, 2 / 3),
    }
    for (hits, loss), (given_0, given_1) in by_hand.items():
        found = cases.exact(problem, nb.iid(q, 1, hits), nb.LOSSES[loss])
        expected = 2 / 5 * given_0 + 3 / 5 * given_1
        np.testing.assert_allclose(
            found.selection[0], expected, atol=float(found.error), err_msg=f"{hits} {loss}"
        )


# 10. Distinct negatives and their correction ------------------------------------------------------


def test_distinct_negatives_are_corrected_by_inclusion():
    """By the q of one draw, which makes independent draws unbiased, the bias grows."""
    problem = nb.Problem(cases.SCORES[0], cases.POPULATION[0])
    by_inclusion = nb.with_inclusion(nb.sampled_softmax)
    hard = nb.without_replacement(nb.model(), 3)
    plain, by_one_draw, exact = (
        float(nb.exact(problem, hard, loss, split=False).bias_norm)
        for loss in (nb.infonce, nb.sampled_softmax, by_inclusion)
    )
    assert by_one_draw > 5 * plain > 50 * exact
    assert norm(nb.iid(nb.model(), 3), nb.sampled_softmax, problem) < 1e-12
