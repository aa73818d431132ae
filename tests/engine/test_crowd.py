"""A whole population of golds on atoms against the direct engine, and the pieces by hand.

The direct engine is held to enumeration in `test_exact`. A gold's own term left in, a power of nu
dropped or a hit policy mistaken moves a moment by far more than the tolerances here.
"""

import itertools
import math
from typing import Any

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine.plan import Wish, plan_for
from nce_bias.integrals import crowd as crowds
from nce_bias.integrals.crowd import basis_for, odds, places
from nce_bias.integrals.inclusion import included_by_many
from nce_bias.numerics import interpolation
from nce_bias.numerics.powers import binomials, taylor_terms
from nce_bias.numerics.quadrature import TOLERANCE
from tests.engine.test_atoms import check, scattered

#: Arrays of NumPy, which functions of both modules take.
numbers: Any = np.asarray
HITS = ("exclude", "mask", "keep")


def both(problem, sampler, loss=nb.infonce, **options):
    return [
        nb.exact(problem, sampler, loss, engine=engine, split=False, **options)
        for engine in ("direct", "atoms")
    ]


def crowd_of(problem, sampler, loss=nb.infonce):
    rule = plan_for(problem, sampler, loss, Wish(TOLERANCE, engine="atoms")).rule
    assert rule.crowd is not None
    return rule.crowd, rule


def problem_of(seed, labels=40, inputs=2):
    rng = np.random.default_rng(seed)
    scores = 2.5 * rng.normal(size=(inputs, labels))
    population = rng.dirichlet(np.full(labels, 0.5), size=inputs)
    return nb.Problem(scores, population, rng.dirichlet(np.full(labels, 0.5)))


@pytest.mark.parametrize("limit", [1.0, 1 / 64])
@pytest.mark.parametrize("hits", HITS)
def test_every_policy_with_few_and_many_taken_one_by_one(hits, limit, monkeypatch):
    monkeypatch.setattr(crowds, "LIMITS", (limit,))
    problem = problem_of(3)
    for m, proposal in itertools.product((1, 2, 7, 4000), (nb.popularity(), nb.model())):
        direct, atoms = both(problem, nb.iid(proposal, m, hits), compiled=False)
        check(direct, atoms, (proposal, m))


@pytest.mark.parametrize("hits", ["mask", "keep"])
def test_a_correction_on_both_sides(hits):
    problem = problem_of(4)
    for m in (1, 5):
        sampler = nb.iid(nb.mixture(nb.uniform(), nb.model(), 0.3), m, hits)
        direct, atoms = both(problem, sampler, nb.ranking_nce, compiled=False)
        check(direct, atoms, m)


def random_problem(seed):
    """As those of `test_atoms`, with a full population: far labels, ties, masks, a big one."""
    rng = np.random.default_rng(seed)
    scores = scattered(rng)
    labels = len(scores)
    population = rng.dirichlet(np.full(labels, rng.choice([0.1, 1.0])))
    if rng.random() < 0.3:
        masked = rng.random(labels) < 0.3
        masked[np.argsort(-population)[:2]] = False
        scores[masked], population[masked] = -np.inf, 0.0
    zipf = 1 / (1 + rng.permutation(labels)) ** rng.uniform(0.3, 2)
    problem = nb.Problem(scores, population / population.sum(), zipf / zipf.sum())
    proposals = [nb.uniform(), nb.popularity(), nb.log_uniform()]
    proposals += [nb.model(temperature) for temperature in (0.05, 1.0, 20.0)]
    sampler = nb.iid(
        proposals[rng.integers(len(proposals))],
        int(rng.choice([1, 2, 5, 64, 10_000])),
        HITS[rng.integers(3)],
    )
    return problem, sampler


@pytest.mark.filterwarnings("ignore::nce_bias.UnusualInput")  # masked labels are drawn, and meant
@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in range(1, 10))]
)
def test_errors_are_honest_on_random_problems(block):
    """Fifty problems a block, from the second on with a coarse grid: its error is all there is."""
    done = 0
    for seed in range(50 * block, 50 * (block + 1)):
        problem, sampler = random_problem(seed)
        options: dict = {"compiled": False} | ({"tolerance": 1e-7} if block else {})
        try:
            direct = nb.exact(problem, sampler, engine="direct", split=False, compiled=False)
            atoms = nb.exact(problem, sampler, engine="atoms", split=False, **options)
        except ValueError as refused:  # nothing left beside a gold, or scores too far apart
            assert "gold" in str(refused) or "spread" in str(refused) or "atoms" in str(refused)
            continue
        check(direct, atoms, seed, loose=1e6 if block else 1.0)
        done += 1
    assert done > 35


def test_equal_chances_take_one_wave():
    crowd, _ = crowd_of(problem_of(5), nb.iid(nb.uniform(), 3))
    assert crowd.basis.shape[1] == 1
    crowd, _ = crowd_of(problem_of(5), nb.iid(nb.model(), 3))
    assert crowd.basis.shape[1] > 1


def test_compiled_and_plain_are_one():
    rng = np.random.default_rng(6)
    scores = 2 * rng.normal(size=(2, 30))
    scores[1, 4] += 12  # one input has a label that is nearly all of q, the other none
    problem = nb.Problem(scores, rng.dirichlet(np.ones(30), size=2))
    for hits in ("exclude", "keep"):
        sampler = nb.iid(nb.model(), 5, hits)
        plain, compiled = (
            nb.exact(problem, sampler, engine="atoms", split=False, compiled=compiled)
            for compiled in (False, True)
        )
        assert np.allclose(plain.gradient, compiled.gradient, rtol=0, atol=1e-13)
        for name in ("loss", "variance", "coverage", "concentration"):
            ours, theirs = (getattr(x.by_input, name) for x in (plain, compiled))
            assert np.allclose(ours, theirs, rtol=0, atol=1e-13), name


@pytest.mark.parametrize("compiled", [False, True])
def test_two_steps_give_what_the_direct_rule_gives(compiled, monkeypatch):
    monkeypatch.setattr(interpolation, "CHOICES", ())  # no grid in one step is left to choose
    problem, sampler = problem_of(7, inputs=1), nb.iid(nb.model(), 6)
    direct, atoms = both(problem, sampler, compiled=compiled)
    check(direct, atoms, compiled)
    _, rule = crowd_of(problem, sampler)
    assert rule.atoms is not None
    assert rule.atoms.fine is not None


def test_many_labels_take_atoms_by_themselves():
    rng = np.random.default_rng(9)
    population = rng.dirichlet(np.full(20_000, 0.2))
    problem = nb.Problem(3 * rng.normal(size=20_000), population)
    found = nb.exact(problem, nb.iid(nb.model(), 16))
    assert "atoms" in found.method
    assert "not split" in found.method
    assert found.status == "ok"
    assert float(np.sum(found.selection)) == pytest.approx(1, abs=1e-10)


def test_what_atoms_of_golds_cannot_do_is_done_directly():
    problem, sampler = problem_of(8, labels=30), nb.iid(nb.popularity(), 4)
    with pytest.raises(ValueError, match="engine: got 'atoms'"):
        nb.exact(problem, sampler, nb.sampled_softmax, engine="atoms")
    with pytest.raises(ValueError, match="engine: got 'atoms'"):
        nb.exact(problem, sampler, engine="atoms", split=True)
    assert "atoms" not in nb.exact(problem, sampler, nb.sampled_softmax).method


def test_powers_of_a_binomial():
    for n in (1, 2, 5, 64):
        a, nu = 0.7, 0.3 / n
        rows = binomials(numbers(float(n)), 20, numbers(np.log([a])))
        assert rows[:, 0] @ nu ** np.arange(20) == pytest.approx((a + nu) ** n, rel=1e-14)
        exact = [math.comb(n, j) * a ** (n - j) if j <= n else 0.0 for j in range(20)]
        assert np.allclose(rows[:, 0], exact, rtol=1e-13, atol=0)


def test_how_many_terms_a_tolerance_takes():
    for kappa, tolerance in itertools.product((1e-4, 0.1, 1.0, 2.0), (1e-15, 1e-6)):
        terms = taylor_terms(kappa, tolerance)
        left = math.fsum(kappa**j / math.factorial(j) for j in range(terms, terms + 60))
        assert left <= tolerance
        if terms > 1:  # and one less would not be certain to do
            assert math.exp(kappa) * kappa ** (terms - 1) / math.factorial(terms - 1) > tolerance


def test_waves_are_the_powers_on_the_interval():
    interval, kappa, tolerance = (1e-4, 0.02), 0.5, 1e-14
    sizes = np.array([kappa**j / math.factorial(j) for j in range(15)])
    basis = basis_for(interval, sizes, tolerance)
    nu = np.linspace(*interval, 33)
    y = (2 * nu - sum(interval)) / (interval[1] - interval[0])
    waves = np.polynomial.chebyshev.chebvander(y, basis.shape[1] - 1)
    powers = (nu / interval[1]) ** np.arange(15)[:, None]
    left = np.abs(basis @ waves.T - powers).T @ sizes
    assert left.max() <= 2 * tolerance  # and rounding, of the size of the first power
    assert basis.shape[1] < 12


@pytest.mark.parametrize("m", [1, 2, 50])
@pytest.mark.parametrize("big", [False, True])
def test_inclusion_of_a_crowd_by_its_definition(m, big):
    rng = np.random.default_rng(11)
    scores = 2 * rng.normal(size=25)
    scores[3] += 8 * big  # q = .99, its rest renormalised
    q = np.exp(scores) / np.exp(scores).sum()
    assert (q.max() > 0.5) == big
    share = rng.dirichlet(np.full(25, 0.5))
    problem, sampler = nb.Problem(scores, share), nb.iid(nb.model(), m)
    _, rule = crowd_of(problem, sampler)
    law = sampler.law(numbers(scores), numbers(share))
    found = included_by_many(law, numbers(share), rule)
    chance = 1 - (1 - np.minimum(q / (1 - q[:, None]), 1)) ** m
    np.fill_diagonal(chance, 0.0)
    assert np.allclose(found, share @ chance, rtol=0, atol=1e-12)
    compiled = jax.jit(lambda s: included_by_many(sampler.law(s, s), s * 0 + share, rule))
    assert np.allclose(compiled(jax.numpy.asarray(scores)), found, rtol=0, atol=1e-13)


def test_places_of_those_taken():
    rng = np.random.default_rng(12)
    for labels, chance in ((5, 0.5), (2000, 0.01), (2000, 0.0)):
        taken = rng.random(labels) < chance
        expected = np.flatnonzero(taken)
        for found, meant in (places(numbers(taken), 64), places(jax.numpy.asarray(taken), 64)):
            assert np.array_equal(np.asarray(found)[np.asarray(meant)], expected)
            assert len(found) == 64


def test_odds_of_a_gold():
    assert odds(numbers([0.2]), "exclude")[0] == pytest.approx(0.25)
    assert odds(numbers([0.2]), "mask")[0] == 0.2
