"""Without replacement by a Fourier transform: against enumeration, products, the full softmax."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.numerics.circle import angles_for, frequencies, reach
from nce_bias.numerics.polynomials import Products
from nce_bias.numerics.transform import Transform
from tests.oracles.enumeration import enumerate_moments

#: Modules, of which the first is hidden by its function.
DISTINCT = sys.modules["nce_bias.samplers._without_replacement"]
CIRCLE = sys.modules["nce_bias.numerics.circle"]


@pytest.fixture
def everywhere(monkeypatch):
    """The transform for every m."""
    monkeypatch.setattr(DISTINCT, "MOST_BY_PRODUCTS", 0)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(
    ("m", "spread_of_scores", "spread_of_q"), [(2, 1, 1), (4, 10, 1), (3, 1, 20), (3, 30, 30)]
)
def test_against_enumeration(everywhere, m, spread_of_scores, spread_of_q):
    """Scores and rates over up to a hundred nats too, where all that cancels must cancel."""
    rng = np.random.default_rng(1)
    scores, rates = spread_of_scores * rng.normal(size=5), spread_of_q * rng.normal(size=5)
    q = np.exp(rates - rates.max())
    q, population = q / q.sum(), rng.dirichlet(np.ones(5))
    sampler = nb.without_replacement(nb.from_probabilities(q), m)
    found = nb.exact(nb.Problem(scores, population), sampler, split=False)
    expected = enumerate_moments(scores, population, ("without_replacement", q, m))
    assert np.abs(np.asarray(found.selection) - expected.selection).max() <= found.error < 1e-12
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert abs(found.variance - expected.variance) < 1e-11


def clocks(labels, seed, nodes=5) -> Any:
    """log(q tau) and z of labels at some ages, as the laws of distinct draws have them."""
    rng = np.random.default_rng(seed)
    log_q = rng.normal(size=labels)
    log_age = (log_q - np.log(np.exp(log_q).sum()))[:, None] + np.linspace(2, 6, nodes)
    return log_age, np.exp(rng.normal(size=labels))[:, None] * np.ones(nodes)


def all_of(ways, log_age, z, along):
    """The coefficient and both derivatives, over the largest of each node."""
    factors = ways.factors(log_age, z, z)
    value, up = ways.value(factors), ways.push_forward(factors, along)
    scale = np.max(value, axis=0)
    return value / scale, up / scale, ways.pull_back(factors, along / scale)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("degree", [0, 1, 20, 98])
def test_all_is_what_the_products_give(degree, xp):
    """From no draw before the last to all but two of a hundred labels, derivatives too."""
    log_age, z = clocks(100, degree)
    along = np.random.default_rng(1).normal(size=z.shape)
    expected = all_of(Products(degree), log_age, z, along)
    given = (xp.asarray(part) for part in (log_age, z, along))
    found = all_of(Transform(degree, 1e-15), *given)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


def test_derivatives_by_all_factors_are_differences():
    """Those by a, which `jax.grad` of a law asks for, and one of a cotangent's derivative."""
    ways, (log_age, z) = Transform(20, 1e-15), clocks(40, 3)
    a, k, b = (jnp.asarray(part) for part in ways.factors(log_age, z, z))
    scale = jnp.max(ways.value((a, k, b)), axis=0)

    def total(factors):
        return jnp.sum(jnp.sin(ways.value(factors) / scale))

    slopes = jax.grad(total)((a, k, b))
    rng = np.random.default_rng(4)
    along = tuple(jnp.asarray(rng.normal(size=a.shape)) for _ in range(3))

    def at(step):
        return total(jax.tree.map(lambda x, d: x + step * d, (a, k, b), along))

    by_hand = (8 * (at(1e-3) - at(-1e-3)) - (at(2e-3) - at(-2e-3))) / 12e-3
    ours = sum(jnp.vdot(s, d) for s, d in zip(slopes, along, strict=True))
    np.testing.assert_allclose(ours, by_hand, rtol=1e-8)


def test_a_third_of_the_angles_are_too_few(monkeypatch):
    log_age, z = clocks(200, 5)
    ways = Transform(60, 1e-15)
    right = ways.value(ways.factors(log_age, z, z))
    count = angles_for(200, 60, 1e-15)
    monkeypatch.setattr(CIRCLE, "angles_for", lambda *_: count // 3)
    wrong = ways.value(ways.factors(log_age, z, z))
    assert np.max(np.abs(wrong - right) / np.max(right, axis=0)) > 1e-9
    assert count < 27  # whatever the degree is
    assert angles_for(100_000, 50_000, 1e-15) < 27


@pytest.mark.parametrize("degree", [1, 50, 500, 998])
def test_the_bounds_hold(degree):
    """Against the exact tails of the widest law with that mean, the binomial."""
    from scipy.stats import binom

    labels, mean = 1000, degree + 0.5
    law, variance = binom(labels, mean / labels), mean * (1 - mean / labels)
    for tolerance in (1e-3, 1e-9, 1e-15):
        for n in (reach(np.float64(variance), tolerance), frequencies(labels, degree, tolerance)):
            tail = law.sf(np.ceil(mean + n) - 1) + law.cdf(np.floor(mean - n))
            assert tail <= tolerance / 4


def test_weights_that_lie_far_apart():
    """Odds over thousands of nats: r is found, and the answer is that of the labels that matter."""
    log_age: Any = np.linspace(-1000.0, 1.0, 30)[:, None]
    z: Any = np.zeros((30, 1))
    ways = Transform(2, 1e-15)
    found = ways.value(ways.factors(log_age, z, z))
    few = ways.value(ways.factors(log_age[-6:], z[-6:], z[-6:]))
    age = np.exp(log_age[-3:, 0])  # of golds that are none of the three first, e^{-age} is 1
    rung, ringing = -np.expm1(-age), age * np.exp(-age)
    wanted = sum(ringing[j] * np.prod(np.delete(rung, j)) for j in range(3))
    np.testing.assert_allclose(found[:-3], wanted, rtol=1e-12)
    np.testing.assert_allclose(few[:3], wanted, rtol=1e-12)


@pytest.mark.slow
def test_all_wrong_labels_of_two_hundred():
    """m = V - 1 through the default route: the full softmax; one fewer is not."""
    rng = np.random.default_rng(2)
    problem = nb.Problem(rng.normal(size=120), np.eye(120)[7])
    found = nb.exact(problem, nb.without_replacement(nb.model(), 119), split=False, tolerance=1e-9)
    assert found.bias_norm < 1e-8
    assert abs(found.coverage - 1) < 1e-8
    assert abs(found.variance) < 1e-7


def test_what_would_take_hours_is_refused():
    problem = nb.Problem.from_golds(np.zeros(1_000_000), 0)
    with pytest.raises(nb.NoExactMethod) as caught:
        nb.exact(problem, nb.without_replacement(nb.uniform(), 500_000))
    message = str(caught.value)
    assert message.startswith(
        "without_replacement(uniform, m=500000) with 1000000 labels would take at least"
    )
    assert "hours per input exactly. Use nb.monte_carlo(problem, sampler, loss," in message
