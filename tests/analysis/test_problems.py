"""`analysis.problems`: shared negatives are the named ones, shared problems are what they say."""

import jax
import numpy as np
import pytest
from scipy.special import softmax

import nce_bias as nb
from analysis import problems
from nce_bias.proposals import log_proposal


def test_the_four_kinds_are_the_named_proposals():
    problem = problems.zipf(20)
    scores, popularity = problem.scores, problem.popularity
    named = {
        "uniform": nb.uniform(),
        "popularity": nb.popularity(),
        "mixed": nb.mixture(nb.uniform(), nb.model(), 0.5),
        "model": nb.model(),
    }
    assert list(named) == list(problems.KINDS)
    for kind, proposal in named.items():
        expected = log_proposal(proposal, scores, popularity)
        found = log_proposal(problems.proposal(kind), scores, popularity)
        assert np.asarray(found) == pytest.approx(np.asarray(expected), rel=1e-13)


def test_the_problem_is_the_same_every_time():
    a, b = problems.zipf(10), problems.zipf(10)
    assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))
    assert a.labels == 10


def test_a_half_trained_model_has_what_it_learnt_and_noise():
    logits = np.array([[3.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
    popularity = np.array([0.5, 0.25, 0.25])
    found = problems.half_trained(
        logits, np.random.default_rng(3), learnt=0.7, noise=0.2, popularity=popularity
    )
    noise = np.random.default_rng(3).normal(size=(2, 3))
    assert np.asarray(found.scores) == pytest.approx(0.7 * logits + 0.2 * noise, rel=1e-14)
    assert np.asarray(found.population) == pytest.approx(softmax(logits, axis=1), rel=1e-14)
    assert np.asarray(found.popularity).tolist() == popularity.tolist()


def test_zipf_is_seen_through_an_input():
    found = problems.zipf(50)
    popularity = np.asarray(found.popularity)
    assert popularity[0] / popularity[:] == pytest.approx(np.arange(1, 51))
    rng = np.random.default_rng(0)
    seen = popularity * np.exp(rng.normal(size=50))
    population = seen / seen.sum()
    assert np.asarray(found.population) == pytest.approx(population, rel=1e-13)
    scores = 0.5 * np.log(population) + 0.5 * rng.normal(size=50)
    assert np.asarray(found.scores) == pytest.approx(scores, rel=1e-13)
