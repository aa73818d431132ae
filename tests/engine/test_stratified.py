"""Stratified draws: as unbiased as independent ones, as honest about their error, and better."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import nce_bias as nb
from nce_bias.engine import candidate_sets
from nce_bias.numerics.latin import hypercube

DRAWS = 4096
BATCHES = 64  # of the jackknife: standard errors have 63 degrees of freedom
#: Chance that a right estimator fails anywhere below (the keys are fixed: it does not).
LEVEL = 1e-6

SAMPLERS = {
    "exclude": nb.iid(nb.model(), 4),
    "mask": nb.iid(nb.uniform(), 6, hits="mask"),
    "keep": nb.iid(nb.popularity(), 3, hits="keep"),
    "top and iid": nb.top(2) + nb.iid(nb.uniform(), 3),
}
QUANTITIES = ("loss", "bias_norm_squared", "variance", "variance_gold", "coverage")


def problem(dtype="float64"):
    """Two inputs; a dominating label, so that what is left of q without a gold counts."""
    rng = np.random.default_rng(3)
    scores = 1.5 * rng.normal(size=(2, 12))
    scores[0, 4] = 6.0
    population = rng.dirichlet(np.ones(12), 2)
    return nb.Problem(scores.astype(dtype), population.astype(dtype))


@functools.cache
def sampled(name, *, stratified, dtype="float64", key=0):
    """One estimate."""
    return nb.monte_carlo(
        problem(dtype), SAMPLERS[name], key=key, draws=DRAWS, stratified=stratified
    )


def z_scores(found, truth):
    """Of every quantity."""
    return {
        name: float((getattr(found, name) - getattr(truth, name)) / found.standard_errors[name])
        for name in QUANTITIES
        if float(found.standard_errors[name]) > 0
    }


def bound(tests):
    """That the largest of so many |z| exceeds with chance LEVEL."""
    return stats.t.ppf(1 - LEVEL / (2 * tests), BATCHES - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("points", [1, 7, 64])
def test_each_column_of_a_hypercube_has_one_point_in_every_interval(points, dtype):
    levels = hypercube(jax.random.key(points), points, 5, jnp.dtype(dtype))
    if dtype == "float32":
        levels = np.asarray(levels[0], float) + np.asarray(levels[1], float)
    places = np.floor(points * np.asarray(levels, float))
    assert (np.sort(places, axis=0) == np.arange(points)[:, None]).all()


def test_columns_of_a_hypercube_are_independent():
    """The rank correlation of two columns of N points has variance 1 / (N - 1)."""
    levels = np.asarray(hypercube(jax.random.key(1), 1000, 6, jnp.dtype("float64")))
    found = np.asarray(np.corrcoef(stats.rankdata(levels, axis=0).T))[np.triu_indices(6, 1)]
    assert abs(found).max() < bound(len(found)) / np.sqrt(999)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_means_are_the_exact_ones(name, dtype):
    found = z_scores(
        sampled(name, stratified=True, dtype=dtype), nb.exact(problem(), SAMPLERS[name])
    )
    assert max(map(abs, found.values())) < bound(len(SAMPLERS) * 2 * len(QUANTITIES)), found


def test_one_order_for_all_slots_is_rejected(monkeypatch):
    """The twin: every column with the permutation of the first, negatives that are alike."""

    def alike(key, points, columns, dtype):
        levels: Any = hypercube(key, points, columns, dtype)
        return jnp.broadcast_to(levels[:, :1], levels.shape)

    sampler = nb.iid(nb.model(), 5)  # of no other test: what is compiled here is theirs alone
    monkeypatch.setattr(candidate_sets, "hypercube", alike)
    found = nb.monte_carlo(problem(), sampler, key=0, draws=DRAWS, stratified=True)
    assert abs(z_scores(found, nb.exact(problem(), sampler))["loss"]) > bound(1)


def test_standard_errors_are_the_spread_over_keys():
    """Over K keys: the variance of the loss over its mean squared error is chi^2 / (K - 1)."""
    keys = 60
    found = [sampled("mask", stratified=True, key=1 + key) for key in range(keys)]
    losses = np.array([float(moments.loss) for moments in found])
    claimed = np.mean([float(moments.standard_errors["loss"]) ** 2 for moments in found])
    chances = stats.chi2(keys - 1).ppf([LEVEL / 2, 1 - LEVEL / 2]) / (keys - 1)
    assert chances[0] < losses.var(ddof=1) / claimed < chances[1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_errors_are_smaller(name):
    """Of the loss by more than two; 64 batches tell factors above 1.8 (F test at LEVEL)."""
    plain, better = (sampled(name, stratified=how).standard_errors["loss"] for how in (False, True))
    known = np.sqrt(stats.f(BATCHES - 1, BATCHES - 1).ppf(1 - LEVEL))
    assert float(plain / better) > max(2.0, known)


def test_result_says_so():
    assert "stratified" in sampled("mask", stratified=True).method
    assert "stratified" not in sampled("mask", stratified=False).method


@pytest.mark.parametrize(
    "sampler", [nb.without_replacement(nb.uniform(), 3), nb.poisson(nb.uniform(), 3)]
)
def test_other_samplers_are_refused(sampler):
    with pytest.raises(ValueError, match="stratified"):
        nb.monte_carlo(problem(), sampler, key=0, draws=64, stratified=True)


def test_a_proposal_that_reads_the_gold_is_refused():
    sampler = nb.iid(lambda scores, gold: scores + 0 * gold, 3)
    with pytest.raises(ValueError, match="does not read the gold"):
        nb.monte_carlo(problem(), sampler, key=0, draws=64, stratified=True)
