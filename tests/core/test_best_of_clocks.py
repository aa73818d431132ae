"""The best of distinct labels from any q: against all pools listed, limits, draws."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._reads import Seen, bind
from nce_bias.samplers import BestOfClocksLaw
from tests.core.test_best_of import LEVEL, POPULATION, PROBLEM, SCORES, Q, p_value, pairs_listed
from tests.core.test_loss_family import assert_enumerated
from tests.oracles.enumeration import enumerate_moments

LABELS = len(SCORES)
PROPOSAL = nb.from_probabilities(Q)
BY_SCORE = np.tile(SCORES, (LABELS, 1))
HITS = ("exclude", "mask", "keep")
LISTED = [*itertools.product(HITS, ((2, 1), (3, 2), (3, 1))), ("exclude", (4, 2)), ("keep", (4, 3))]


def pool(hits, of, proposal: Any = PROPOSAL):
    return nb.without_replacement(proposal, of, hits=hits)


def listed(hits, of, m, key=BY_SCORE):
    drawn = ("without_replacement", Q, of, *([] if hits == "exclude" else [hits]))
    return ("best_of", Q, m, drawn, key)


@pytest.mark.parametrize(("hits", "sizes"), LISTED)
def test_every_moment_is_the_enumerated_one(hits, sizes):
    of, m = sizes
    found = nb.exact(PROBLEM, nb.best_of(pool(hits, of), m), split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, listed(hits, of, m)))
    assert found.status == "ok" and float(found.error) < 1e-11
    # a pool of m, and another pool of as many
    others = (pool(hits, m), nb.best_of(pool(hits, of, nb.uniform()), m))
    apart = [abs(float(nb.exact(PROBLEM, other).loss - found.loss)) for other in others]
    assert apart[0] > 1e-2 and (apart[1] > 1e-3 or of == LABELS - 1)


@pytest.mark.parametrize(
    ("hits", "name"), [("exclude", "negative_sampling"), ("keep", "binary_nce")]
)
def test_other_losses(hits, name):
    found = nb.exact(PROBLEM, nb.best_of(pool(hits, 3), 2), nb.LOSSES[name], split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, listed(hits, 3, 2), name))


@pytest.mark.parametrize("hits", ["exclude", "keep"])
def test_corrections_by_expected_copies(hits):
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = nb.exact(PROBLEM, nb.best_of(pool(hits, 3), 2), loss, split=True)
    spec = listed(hits, 3, 2)
    wanted = enumerate_moments(SCORES, POPULATION, spec, "sampled_softmax", inclusion=True)
    assert_enumerated(found, wanted)


def test_pairs_with_the_gold():
    """Second moments at z = 0 along the scores, by derivatives twice."""
    found = nb.exact(PROBLEM, nb.best_of(pool("mask", 3), 2), nb.bpr)
    loss, gradient, variance = pairs_listed(listed("mask", 3, 2), SCORES, POPULATION)
    assert float(found.loss) == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)
    assert float(found.variance) == pytest.approx(variance, abs=1e-11)


def test_a_key_that_reads_the_gold():
    def near(scores, gold):
        return -abs(scores - scores[gold])

    key = -np.abs(SCORES[None, :] - SCORES[:, None])
    found = nb.exact(PROBLEM, nb.best_of(pool("exclude", 3), 2, by=near), split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, listed("exclude", 3, 2, key)))


def test_uniform_clocks_are_the_closed_form():
    """40 labels, 9 of 20: sums of products over a prefix, without any integral."""
    rng = np.random.default_rng(1)
    scores, golds = rng.normal(size=40), np.append([0.4, 0.6], np.zeros(38))
    problem = nb.Problem(scores, golds)
    alike = nb.exact(problem, nb.best_of(nb.without_replacement(nb.uniform(), 20), 9), split=False)
    flat = nb.from_probabilities(np.full(40, 1 / 40))  # not known to be uniform
    clocks = nb.exact(problem, nb.best_of(nb.without_replacement(flat, 20), 9), split=False)
    np.testing.assert_allclose(clocks.gradient, alike.gradient, atol=1e-12)
    assert float(clocks.loss) == pytest.approx(float(alike.loss), abs=1e-12)


def test_all_wrong_labels_and_nearly_all():
    top = nb.exact(PROBLEM, nb.top(2))
    every = nb.exact(PROBLEM, nb.best_of(pool("exclude", LABELS - 1), 2))
    np.testing.assert_allclose(every.gradient, top.gradient, atol=1e-12)
    rare = nb.from_probabilities([0.3, 0.3, 1e-40, 0.2, 0.2])  # label 2 rings last
    least = nb.best_of(nb.without_replacement(rare, 3), 2)
    listed_rare = ("without_replacement", [0.3, 0.3, 1e-40, 0.2, 0.2], 3)
    spec = ("best_of", None, 2, listed_rare, BY_SCORE)
    wanted = enumerate_moments(SCORES, [0.0, 0.0, 1.0, 0.0, 0.0], spec)
    found = nb.exact(nb.Problem(SCORES, [0.0, 0.0, 1.0, 0.0, 0.0]), least)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)


def test_sampling_agrees_and_the_other_order_does_not():
    sampler = nb.best_of(pool("keep", 3), 2)
    found = nb.monte_carlo(PROBLEM, sampler, key=2, draws=20_000)
    exact = nb.exact(PROBLEM, sampler)
    worst = nb.exact(PROBLEM, nb.best_of(pool("keep", 3), 2, by=lambda scores, popularity: -scores))
    sigma = found.standard_errors["loss"]
    assert abs(float(found.loss - exact.loss)) < 4.5 * sigma < abs(float(found.loss - worst.loss))


@pytest.mark.parametrize("hits", HITS)
def test_sets_are_drawn_with_their_probabilities(hits):
    gold = 0
    bound = bind(nb.best_of(pool(hits, 3), 2), Seen(jnp.asarray(0), {}), jnp.asarray(gold))
    law = bound.law(jnp.asarray(SCORES), jnp.asarray(Q))
    assert isinstance(law, BestOfClocksLaw)
    keys = jax.random.split(jax.random.key(3), 20_000)
    labels, present = jax.jit(jax.vmap(lambda key: law.draw(key, jnp.asarray(gold))))(keys)
    sets = np.where(present, labels, -1)
    assert p_value(sets, listed(hits, 3, 2), gold) > LEVEL
    other = HITS[(HITS.index(hits) + 1) % 3]
    assert p_value(sets, listed(other, 3, 2), gold) < LEVEL


def test_what_would_take_hours_is_refused():
    rng = np.random.default_rng(0)
    problem = nb.Problem.from_golds(rng.normal(size=50_000), 3, rng.dirichlet(np.ones(50_000)))
    with pytest.raises(nb.NoExactMethod) as refused:
        nb.exact(problem, nb.best_of(nb.without_replacement(nb.popularity(), 2000), 1000))
    said = str(refused.value)
    assert said.startswith(
        "best_of(without_replacement(popularity, m=2000), m=1000) with 50000 lab"
    )
    assert said.endswith("draws=100_000), a smaller m, or a pool of nb.iid.")
