"""Distinct draws with labels on atoms against the direct engine, and the pieces by hand.

The direct engine is held to enumeration in `test_exact` and `tests/oracles`.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.integrals import rings
from nce_bias.integrals.rings import powers_for, series, symmetric, with_last
from nce_bias.samplers import _last_ring as sequential
from tests import cases
from tests.engine.test_atoms import check


def both(problem, sampler, **options):
    return [nb.exact(problem, sampler, engine=engine, **options) for engine in ("direct", "atoms")]


@pytest.mark.parametrize("golds", [[3], [[3, 17]]])
def test_what_the_direct_rule_gives(golds, monkeypatch):
    """With half of the labels light: rates from Zipf's law, weights of their own."""
    rng = np.random.default_rng(1)
    labels = 40
    scores = 2 * rng.normal(size=(1, labels))
    popularity = 1 / (1 + rng.permutation(labels))
    problem = nb.Problem.from_golds(scores, golds, popularity / popularity.sum())
    monkeypatch.setattr(rings, "LIMITS", (0.25,))
    sampler = nb.without_replacement(nb.popularity(power=2.0), 5)
    direct, atoms = both(problem, sampler, split=False)
    check(direct, atoms, golds)
    law: Any = sampler.measured(problem, 2e-14).law(problem.scores[0], problem.popularity)
    last = float(np.exp(law.ages()[0][-1]))
    q = popularity**2 / np.sum(popularity**2)
    assert 5 < np.sum(q * last < 0.25) < labels - 5  # some of both kinds


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_errors_are_honest_on_random_problems(seed):
    rng = np.random.default_rng(seed)
    labels, m = 50, int(rng.choice([1, 2, 12, 30]))
    scores = rng.uniform(0.3, 8.0) * rng.standard_t(5, size=(1, labels))
    if seed % 3 == 0:
        scores[0, rng.integers(labels)] += 15
    zipf = 1 / (1 + rng.permutation(labels)) ** rng.uniform(0.3, 3)
    problem = nb.Problem.from_golds(scores, [int(rng.integers(labels))], zipf / zipf.sum())
    proposal = [nb.uniform(), nb.popularity(), nb.model(2.0)][seed % 3]
    direct, atoms = both(problem, nb.without_replacement(proposal, m))
    check(direct, atoms, seed)


@pytest.mark.slow
def test_many_labels_take_atoms_by_themselves():
    """20,000 labels against draws: loss and what the gold gets, within 4.5 standard errors."""
    rng = np.random.default_rng(2)
    problem = nb.Problem.from_golds(2 * rng.normal(size=(1, 20_000)), [11])
    sampler = nb.without_replacement(nb.model(), 8)
    found = nb.exact(problem, sampler)
    assert "atoms" in found.method
    assert found.status == "ok"
    assert float(np.sum(found.selection)) == pytest.approx(1, abs=1e-10)
    drawn = nb.monte_carlo(problem, sampler, key=jax.random.key(0), draws=4_000)
    for name in ("loss", "coverage"):
        apart = abs(float(getattr(found, name)) - float(getattr(drawn, name)))
        assert apart < 4.5 * float(drawn.standard_errors[name]), name


def test_the_variance_of_several_golds_is_split_directly_alone():
    problem = nb.Problem.from_golds(np.linspace(-1, 1, 12)[None], [[0, 3]])
    sampler = nb.without_replacement(nb.uniform(), 2)
    with pytest.raises(ValueError, match="engine: got 'atoms'"):
        nb.exact(problem, sampler, engine="atoms", split=True)


def test_what_takes_hours_is_still_refused():
    problem = nb.Problem.from_golds(np.zeros((1, 3_000_000)), [1])
    with pytest.raises(nb.NoExactMethod, match=r"3000000 labels would take.*nb\.monte_carlo"):
        nb.exact(problem, nb.without_replacement(nb.uniform(), 64), engine="direct")
    with pytest.raises(nb.NoExactMethod, match=r"would take"):
        nb.exact(problem, nb.without_replacement(nb.uniform(), 5000))


# --- pieces


def test_powers_of_what_has_rung_as_series_in_the_rate():
    count, powers = powers_for(0.25, 1000, 1e-15)
    made = series(count, powers)
    for u in (0.25, 0.1):
        terms = u ** np.arange(powers)
        r = math.expm1(u)
        for j in range(1, count + 1):
            assert u * (made.of_rings[:, j - 1] @ terms) == pytest.approx(r**j, abs=1e-15)
            # b_i, i = j - 1: q r^i = q sum_k of_last[k, i] u^k
            assert made.of_last[:, j - 1] @ terms == pytest.approx(r ** (j - 1), abs=1e-15)
    few, _ = powers_for(0.25, 3, 1e-15)
    assert few == 3


def test_newtons_identities_by_all_subsets():
    rng = np.random.default_rng(3)
    x = rng.uniform(0.1, 0.9, size=(6, 2))
    p = jnp.stack([jnp.asarray(np.sum(x**j, axis=0)) for j in range(1, 6)])
    start = jnp.asarray([1.0, 2.0])
    signs = jnp.asarray([1.0, -1.0, 1.0, -1.0, 1.0])
    found = np.asarray(symmetric(p, start, 5, signs))
    for n in range(5):
        by_subset = sum(np.prod(x[list(s)], axis=0) for s in itertools.combinations(range(6), n))
        assert found[n] == pytest.approx(np.asarray(start) * by_subset, rel=1e-12)
    homogeneous = np.asarray(symmetric(p, start, 5, jnp.abs(signs)))
    for n in range(5):
        choices = itertools.combinations_with_replacement(range(6), n)
        expected: Any = sum(np.prod(x[list(s)], axis=0) for s in choices)
        assert homogeneous[n] == pytest.approx(np.asarray(start) * expected, rel=1e-12)


def test_the_factor_of_the_last_ring():
    """sum_y c_y / (1 + zeta x_y) times prod (1 + zeta x_y) is sum_y c_y prod over the others."""
    rng = np.random.default_rng(4)
    x, c = rng.uniform(0.1, 0.5, size=(2, 5))
    whole = np.polynomial.polynomial.polyfromroots(-1 / x) * np.prod(x)
    without = sum(
        c[y]
        * np.polynomial.polynomial.polyfromroots(-1 / np.delete(x, y))
        * np.prod(np.delete(x, y))
        for y in range(5)
    )
    b = np.array([np.sum(c * x**i) for i in range(6)])
    found = with_last(jnp.asarray(whole)[:, None], jnp.asarray(b)[:, None])
    assert np.asarray(found)[:, 0] == pytest.approx([*np.asarray(without), 0.0], abs=1e-14)


@pytest.mark.parametrize("module", [np, jnp])
def test_the_end_of_the_rule_from_bins_is_no_earlier(module, monkeypatch):
    rng = np.random.default_rng(5)
    log_q = 2 * rng.normal(size=5000)
    log_q[7] = -np.inf
    log_q = module.asarray(log_q - np.log(np.sum(np.exp(log_q))))
    assert len(log_q) > sequential.BINS
    with np.errstate(divide="ignore"):  # a label that is never drawn
        binned = [float(end) for end in sequential.span(log_q, 9, 1e-14)]
        monkeypatch.setattr(sequential, "BINS", len(log_q))
        exact = [float(end) for end in sequential.span(log_q, 9, 1e-14)]
    assert binned[0] == exact[0]
    assert exact[1] <= binned[1] < exact[1] + 1.0


@pytest.mark.parametrize("module", [np, jnp])
@pytest.mark.parametrize(("labels", "m"), [(12, 1), (60, 7), (60, 50)])
def test_the_end_of_the_rule_is_the_first_that_is_late_enough(labels, m, module):
    """Chernoff's bound at every tau of the grid, by the moment generating function itself."""
    rng = np.random.default_rng(labels + m)
    q = rng.dirichlet(np.full(labels, 0.3))
    with np.errstate(divide="ignore"):
        end = float(sequential.span(module.asarray(np.log(q)), m, 1e-9)[1])
    rates = np.delete(q, np.argmax(q)) / (1 - q.max())
    grid = m * np.exp(np.linspace(0.0, max(60.0, 8.0 - np.log(rates.min())), sequential.GRID))

    def bound(tau, theta):
        """log of E[e^{theta (m - 1 - rings)}]."""
        age = rates * tau
        return theta * (m - 1) + np.sum(np.log(np.exp(-age) - np.expm1(-age) * np.exp(-theta)))

    bounds = np.array([min(bound(tau, theta) for theta in sequential.THETAS) for tau in grid])
    first = np.argmax(bounds < math.log(1e-9))
    assert 0 < first < sequential.GRID - 1
    assert end == pytest.approx(np.log(grid[first]) - np.log1p(-q.max()), abs=1e-9)


def test_in_single_precision_a_late_ring_is_no_number():
    """e^{-tau} is 0 for m over 64: refused where atoms are asked for, else the direct rule."""
    rng = np.random.default_rng(2)
    with cases.single_precision():
        problem = nb.Problem.from_golds(rng.normal(size=(1, 200)).astype(np.float32), [3])
        few, many = (nb.without_replacement(nb.uniform(), m) for m in (40, 80))
        assert "atoms" in nb.exact(problem, few, engine="atoms", tolerance=1e-6).method
        with pytest.raises(ValueError, match="engine: got 'atoms'"):
            nb.exact(problem, many, engine="atoms", tolerance=1e-6)
        found = nb.exact(problem, many, tolerance=1e-6)
    assert found.status == "ok"
    assert "atoms" not in found.method
