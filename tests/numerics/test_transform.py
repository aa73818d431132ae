"""Without replacement by a Fourier transform: against enumeration, products, the full softmax."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.numerics.polynomials import without_each_product
from nce_bias.numerics.transform import alias, frequencies, without_each_coefficient
from tests.oracles.enumeration import enumerate_moments

#: The module, which its function hides.
DISTINCT = sys.modules["nce_bias.samplers._without_replacement"]


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


def factors(labels, seed, nodes=5):
    rng = np.random.default_rng(seed)
    log_q = rng.normal(size=labels)
    log_age = (log_q - np.log(np.exp(log_q).sum()))[:, None] + np.linspace(2, 6, nodes)
    age, z = np.exp(log_age), np.exp(rng.normal(size=labels))[:, None]
    return age, -np.expm1(-age), z


@pytest.mark.parametrize("degree", [70, 98])
def test_the_coefficients_are_those_of_the_products(degree):
    """Few and all but two of a hundred labels; relative to the largest of each node."""
    age, gone, z = factors(100, degree)
    kept, f = np.exp(-age), np.exp(-z)
    expected = without_each_product(kept, gone * f, age * kept * f, degree)
    a, k, b = (jnp.asarray(part) for part in (-age, np.log(gone) - z, np.log(age) - age - z))
    count = frequencies(100, degree, 1e-15)
    found = without_each_coefficient(a, k, b, degree, count)
    scale = np.max(expected, axis=0)
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-12)
    # and half of the frequencies are too few where the count varies much
    if degree == 70:
        few = without_each_coefficient(a, k, b, degree, count // 4)
        assert np.abs((np.asarray(few) - expected) / scale).max() > 1e-9


@pytest.mark.parametrize("degree", [1, 50, 500, 998])
def test_the_bound_on_aliasing_holds(degree):
    """Against the exact tails of the widest law with that mean, the binomial."""
    from scipy.stats import binom

    labels, mean = 1000, degree + 0.5
    for count in (20, 60, 100):
        law = binom(labels, mean / labels)
        tail = law.sf(mean + count - 3) + law.cdf(mean - count + 3)
        assert tail <= alias(mean * (1 - mean / labels), count)
    assert alias(mean * (1 - mean / labels), frequencies(labels, degree, 1e-15)) <= 1e-15


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
    problem = nb.Problem(np.zeros(100_000), np.eye(1, 100_000)[0])
    with pytest.raises(nb.NoExactMethod) as caught:
        nb.exact(problem, nb.without_replacement(nb.uniform(), 50_000))
    message = str(caught.value)
    assert message.startswith(
        "without_replacement(uniform, m=50000) with 100000 labels would take at least"
    )
    assert "hours per input exactly. Use nb.monte_carlo(problem, sampler, loss," in message
