"""Exact second moments: the variance of one example's gradient and its two parts.

Tolerance 1e-9, relative to 1: a second moment is an integral with one more power of t, whose rule
is good to a few 1e-13 (`gamma_error(step, 2)`), with room for without_replacement's inner rule.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.numerics.quadrature import TOLERANCE, gamma_error, step_for
from tests import cases
from tests.oracles.enumeration import enumerate_moments
from tests.oracles.integrals import iid_average

PARTS = ("variance", "variance_negatives", "variance_gold")
SCORES, POPULATION, Q = cases.SCORES[0], cases.POPULATION[0], cases.FIXED_Q
PROPOSAL = nb.from_probabilities(Q)

ATOMS = {
    **{f"iid-{h}": (nb.iid(PROPOSAL, 2, h), ("iid", Q, 2, h)) for h in cases.HITS},
    "one": (nb.iid(PROPOSAL, 1), ("iid", Q, 1, "exclude")),
    "one distinct": (nb.without_replacement(PROPOSAL, 1), ("without_replacement", Q, 1)),
    "top": (nb.top(2), ("top", 2)),
    "without_replacement": (
        nb.without_replacement(PROPOSAL, 2),
        ("without_replacement", Q, 2),
    ),
}
#: Each way in which two parts can coincide: both separable (with hits of their own), one, neither.
PAIRS = [
    ("iid-keep", "iid-keep"),
    ("iid-exclude", "iid-mask"),
    ("iid-mask", "top"),
    ("iid-keep", "without_replacement"),
    ("without_replacement", "one distinct"),
]
SUMS = {
    f"{a} + {b}": (ATOMS[a][0] + ATOMS[b][0], ("concat", [ATOMS[a][1], ATOMS[b][1]]))
    for a, b in PAIRS
}


@functools.cache
def found(name):
    return nb.exact(nb.Problem(SCORES, POPULATION), (ATOMS | SUMS)[name][0])


@functools.cache
def truth(name):
    return enumerate_moments(SCORES, POPULATION, (ATOMS | SUMS)[name][1], "infonce")


@pytest.mark.parametrize("name", [*ATOMS, *SUMS])
def test_variance_equals_enumeration(name):
    for part in PARTS:
        assert abs(getattr(found(name), part) - float(getattr(truth(name), part))) < 1e-9, part


@pytest.mark.parametrize("name", ["iid-keep", "iid-mask + top", "without_replacement"])
def test_a_neighbouring_law_has_another_variance(name):
    """The negative control: what agrees to 1e-9 above differs by more than 1e-6 between laws."""
    for other in ATOMS.keys() - {name}:
        assert abs(found(name).variance - float(truth(other).variance)) > 1e-6, other


@pytest.mark.parametrize("loss", [nb.sampled_softmax, nb.sampled_softmax_both, nb.ranking_nce])
@pytest.mark.parametrize("hits", cases.HITS)
def test_corrected_losses(loss, hits):
    result = nb.exact(nb.Problem(SCORES, POPULATION), nb.iid(PROPOSAL, 3, hits), loss)
    expected = enumerate_moments(SCORES, POPULATION, ("iid", Q, 3, hits), loss.name)
    for part in PARTS:
        assert abs(getattr(result, part) - float(getattr(expected, part))) < 1e-9, part


def test_several_inputs_are_averaged_by_their_weights():
    sampler = nb.iid(nb.model(), 2)
    result = nb.exact(cases.problem(), sampler)
    each = [
        nb.exact(nb.Problem(s[None], pop[None], cases.POPULARITY), sampler)
        for s, pop in zip(cases.SCORES, cases.POPULATION, strict=True)
    ]
    for part in PARTS:
        mean = cases.WEIGHTS @ np.array([float(getattr(one, part)) for one in each])
        assert abs(getattr(result, part) - mean) < 1e-12, part
        assert abs(mean - np.mean([float(getattr(one, part)) for one in each])) > 1e-3, part


@pytest.mark.parametrize("m", [4, 4096])
def test_a_thousand_labels(m):
    """Against high-precision Gauss-Legendre quadrature, hits kept: coincidences matter there."""
    rng = np.random.default_rng(3)
    scores, pop, q = (
        rng.normal(size=1000),
        rng.dirichlet(np.ones(1000)),
        rng.dirichlet(np.ones(1000)),
    )
    result = nb.exact(nb.Problem(scores, pop), nb.iid(nb.from_probabilities(q), m, "keep"))
    expected = iid_average(scores, scores, q, m, "keep", pop)
    assert abs(result.variance - float(expected.variance)) < 1e-9
    np.testing.assert_allclose(result.variance_negatives + result.variance_gold, result.variance)


def test_all_wrong_labels_leave_no_variance_to_the_negatives():
    """m = V - 1 without replacement: gamma = p for every gold, so only the gold varies."""
    problem = nb.Problem(SCORES, POPULATION)
    result = nb.exact(problem, nb.without_replacement(PROPOSAL, 4))
    assert abs(result.variance_negatives) < 1e-12
    golds = 1 - POPULATION @ POPULATION  # tr Cov of a one-hot gold: v is p whatever it is
    assert abs(result.variance_gold - golds) < 1e-12
    assert found("without_replacement").variance_negatives > 1e-3


def test_one_gold_has_no_variance_of_golds():
    result = nb.exact(nb.Problem(SCORES, np.eye(5)[1]), nb.iid(nb.uniform(), 2))
    assert abs(result.variance_gold) < 1e-14
    assert result.variance_negatives > 1e-3


def test_the_split_that_is_not_asked_for_is_nan_and_said():
    problem = nb.Problem(SCORES, POPULATION)
    whole, part = (nb.exact(problem, nb.iid(PROPOSAL, 2), split=s) for s in (True, False))
    assert np.isnan(part.variance_gold) and np.isnan(part.variance_negatives)
    assert "variance not split (split=True does)" in part.method
    assert abs(whole.variance - part.variance) < 1e-14
    assert "not split" not in whole.method


CASES = [
    ("iid-exclude", nb.infonce),
    ("iid-mask", nb.ranking_nce),
    ("iid-keep", nb.sampled_softmax),
    ("iid-mask + top", nb.infonce),
]


@pytest.mark.parametrize(("name", "loss"), CASES, ids=lambda case: str(case))
def test_monte_carlo_agrees_within_its_standard_error(name, loss):
    """Level 1e-6 over 12 comparisons: 5.4 standard errors, and 6 for errors of 64 batches' own.

    The twin is the population variance of the plug-in: the gold's part without taking off the noise
    of one set of negatives, E||v - e||^2 - ||E v - e||^2, must be refused where negatives vary.
    """
    problem, sampler = nb.Problem(SCORES, POPULATION), (ATOMS | SUMS)[name][0]
    sampled = nb.monte_carlo(problem, sampler, loss, key=jax.random.key(7), draws=40_000)
    result = nb.exact(problem, sampler, loss)
    for part in PARTS:
        distance = abs(getattr(sampled, part) - getattr(result, part))
        assert distance < 6 * sampled.standard_errors[part], part
    biased = abs(sampled.variance - result.variance_gold)
    assert biased > 6 * sampled.standard_errors["variance_gold"]


def test_the_rule_is_good_enough_for_second_moments():
    """What the module's tolerance rests on."""
    assert gamma_error(step_for(TOLERANCE), 2) < 1e-12


def test_it_is_jittable():
    def variance(scores):
        return nb.exact(nb.Problem(scores, POPULATION), nb.iid(nb.model(), 2), split=True).variance

    np.testing.assert_allclose(
        jax.jit(variance)(jnp.asarray(SCORES)), variance(SCORES), rtol=0, atol=1e-11
    )
