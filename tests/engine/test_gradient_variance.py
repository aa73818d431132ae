"""The variance of parameter gradients: tr(J C J^T) with C the enumerated covariance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.oracles.enumeration import enumerate_moments

Q = cases.FIXED_Q
PROPOSAL = nb.from_probabilities(Q)
X = np.random.default_rng(5).normal(size=(cases.INPUTS, 2))
RNG = np.random.default_rng(6)
PARAMS = {
    "in": jnp.asarray(RNG.normal(size=(3, 2))),
    "out": jnp.asarray(RNG.normal(size=(cases.LABELS, 3))),
}

LAWS = {
    "keep": (nb.iid(PROPOSAL, 2, "keep"), ("iid", Q, 2, "keep")),
    "mask": (nb.iid(PROPOSAL, 2, "mask"), ("iid", Q, 2, "mask")),
    "exclude": (nb.iid(PROPOSAL, 3), ("iid", Q, 3, "exclude")),
    "top": (nb.top(2), ("top", 2)),
    "sum": (
        nb.iid(PROPOSAL, 1, "keep") + nb.iid(PROPOSAL, 2) + nb.top(1),
        ("concat", [("iid", Q, 1, "keep"), ("iid", Q, 2, "exclude"), ("top", 1)]),
    ),
    "distinct": (nb.without_replacement(PROPOSAL, 2), ("without_replacement", Q, 2)),
    "poisson": (nb.poisson(PROPOSAL, 2), ("poisson", Q, 2)),
}


def score(params, x):
    return params["out"] @ jnp.tanh(params["in"] @ x)


def found(law, loss, **options):
    return nb.gradient_bias(
        nb.ScoreModel(score, PARAMS),
        X,
        cases.POPULATION,
        LAWS[law][0],
        nb.LOSSES[loss],
        weights=cases.WEIGHTS,
        **options,
    )


@functools.cache
def truth(law, loss):
    """(within inputs, between inputs) from the Jacobian and the enumerated second moments."""
    within, squares, mean = 0.0, 0.0, np.zeros(21)
    for weight, x, population in zip(cases.WEIGHTS, X, cases.POPULATION, strict=True):
        scores = np.asarray(score(PARAMS, x))
        moments = enumerate_moments(scores, population, LAWS[law][1], loss)
        parts = jax.tree.leaves(jax.jacobian(score)(PARAMS, x))
        jacobian = np.concatenate([np.reshape(part, (cases.LABELS, -1)) for part in parts], axis=1)
        gradient = jacobian.T @ moments.gradient
        second = np.trace(jacobian.T @ moments.second_moment @ jacobian)
        within += weight * (second - gradient @ gradient)
        squares += weight * (gradient @ gradient)
        mean = mean + weight * gradient
    return within, squares - mean @ mean


@pytest.mark.parametrize(
    ("law", "loss"),
    [
        ("keep", "sampled_softmax_both"),
        ("keep", "self_normalized"),
        ("mask", "infonce"),
        ("mask", "negative_sampling"),
        ("exclude", "infonce"),
        ("exclude", "binary_nce"),
        ("top", "infonce"),
        ("sum", "infonce"),
        ("sum", "negative_sampling"),
        ("distinct", "infonce"),
        ("distinct", "binary_nce"),
        ("poisson", "sampled_softmax"),
    ],
)
def test_variance_equals_enumeration(law, loss):
    """1e-9 is asked for; the rule is good to 1e-12 for second moments."""
    result = found(law, loss)
    within, between = truth(law, loss)
    assert abs(result.variance - within) < 1e-11
    assert abs(result.variance_inputs - between) < 1e-12
    assert result.variance_error == 0


def test_neighbouring_laws_have_other_variances():
    """The negative control: what agrees to 1e-11 above differs by more than 1e-3 between laws."""
    values = [truth(law, "infonce")[0] for law in ("keep", "mask", "top", "distinct", "poisson")]
    assert np.diff(np.sort(values)).min() > 1e-3


@pytest.mark.parametrize(("law", "loss"), [("mask", "infonce"), ("poisson", "negative_sampling")])
def test_monte_carlo_agrees_within_its_standard_error(law, loss):
    """5.4 standard errors: 1e-6 over both; the biased twin adds the spread of the inputs."""
    sampled = found(law, loss, key=jax.random.key(4), draws=20_000)
    within, between = truth(law, loss)
    assert abs(sampled.variance - within) < 5.4 * sampled.variance_error
    assert sampled.variance_error < 0.02 * within
    assert abs(sampled.variance + between - within) > 5.4 * sampled.variance_error


def test_scores_as_parameters_give_the_variance_of_scores():
    """J is the identity: one input's variance is that of the moments."""
    result = nb.gradient_bias(
        nb.ScoreModel(lambda s, x: s, jnp.asarray(cases.SCORES[0])),
        0.0,
        cases.POPULATION[0],
        LAWS["sum"][0],
    )
    np.testing.assert_allclose(result.variance, result.moments.variance, rtol=1e-12)
    assert abs(result.variance_inputs) < 1e-15
    assert "variance " in repr(result)


def test_a_batch_has_the_mean_squared_error_that_the_parts_say():
    """norm^2 + (variance + variance_inputs) / B against simulated batches of 8 examples."""
    size, batches = 8, 4000
    result = found("mask", "infonce")
    rng = np.random.default_rng(0)
    logits, errors = np.stack([score(PARAMS, x) for x in X]), []
    jacobians = [
        np.concatenate([np.reshape(p, (5, -1)) for p in jax.tree.leaves(jac)], axis=1)
        for jac in (jax.jacobian(score)(PARAMS, x) for x in X)
    ]
    wanted = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(result.exact_gradient)])
    for _ in range(batches):
        total = np.zeros_like(wanted)
        for row in rng.choice(cases.INPUTS, size, p=cases.WEIGHTS):
            gold = rng.choice(5, p=cases.POPULATION[row])
            negatives = rng.choice(5, 2, p=Q)
            labels = np.append(gold, negatives[negatives != gold])
            weights = np.exp(logits[row][labels])
            v = np.bincount(labels, weights / weights.sum(), minlength=5)
            total += jacobians[row].T @ (v - np.eye(5)[gold]) / size
        errors.append(((total - wanted) ** 2).sum())
    expected = result.norm**2 + (result.variance + result.variance_inputs) / size
    error = np.std(errors, ddof=1) / np.sqrt(batches)
    assert abs(np.mean(errors) - expected) < 5 * error
    assert abs(np.mean(errors) - (expected - result.norm**2)) > 5 * error  # no bias
    assert abs(np.mean(errors) - (expected - result.variance_inputs / size)) > 5 * error


@pytest.mark.slow
def test_it_is_left_out_where_it_is_dear_or_not_wanted():
    assert np.isnan(found("top", "infonce", variance=False).variance)
    many = nb.gradient_bias(
        nb.ScoreModel(score, PARAMS),
        np.zeros((206, 2)),
        np.full((206, 5), 0.2),
        nb.poisson(nb.uniform(), 1),
    )
    assert np.isnan(many.variance)
