"""`analysis/claims`: each number about a variance or a direction, by listing or by hand."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, softmax

import nce_bias as nb
from analysis.claims.trials import (
    blackout,
    in_batch_gradients,
    log_k,
    noise_at_data,
    ring,
    shared_noise,
    sigmoid_batches,
    top_of_pool,
)
from tests.analysis.claim_tables import ROUNDING, arrays, at, number
from tests.oracles import batches
from tests.oracles.any_loss import enumerate_any
from tests.oracles.enumeration import enumerate_moments


@pytest.mark.parametrize("kind", in_batch_gradients.NEGATIVES)
def test_in_batch_gradients_at_two_draws(kind):
    scores, population, _ = arrays(in_batch_gradients.problem())
    size = variance = 0.0
    for s, pop in zip(scores, population, strict=True):
        q = softmax(s) if kind == "hard" else np.full(len(s), 1 / len(s))
        known = enumerate_moments(s, pop, ("iid", q, 2, "exclude"))
        size += np.trace(known.second_moment) / len(scores)
        variance += known.variance / len(scores)
    found = {
        key: at("in_batch_gradients", "value", line=f"{kind}: {key}", m=2)
        for key in ("size", "variance")
    }
    assert found["size"] == pytest.approx(np.sqrt(size), **ROUNDING)
    assert found["variance"] == pytest.approx(variance, **ROUNDING)


def test_ring_by_enumeration():
    problem = ring.problem()
    scores, population, _ = arrays(problem)
    everywhere = np.full(ring.LABELS, 1 / ring.LABELS)
    known = [
        enumerate_moments(scores, population, ("iid", q, ring.DRAWS, "exclude"))
        for q in (ring.ring(problem, 5), everywhere)
    ]
    for name, field in {
        "bias": "bias_norm",
        "variance of the bound": "loss_variance_negatives",
        "variance of the gradient": "variance_negatives",
    }.items():
        a, b = (getattr(found, field) for found in known)
        assert number("ring", f"ring behind them: {name}") == pytest.approx(a / b, **ROUNDING)
    order = np.argsort(-scores)
    assert np.flatnonzero(ring.ring(problem, 5)).tolist() == sorted(order[5:10])


def test_log_k_with_two_draws():
    problem = log_k.problem()
    scores, population, popularity = arrays(problem)
    for hits in ("keep", "exclude"):
        known = enumerate_moments(scores, population, ("iid", popularity, 2, hits)).loss
        assert log_k.estimate(problem, 2, hits) == pytest.approx(np.log(3) - known, **ROUNDING)
    truth = np.sum(population * np.log(population / popularity))
    assert log_k.information(problem) == pytest.approx(truth, **ROUNDING)
    assert number("log_k", "hits removed, K = 64: mutual information") > truth + 1


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_noise_at_data_from_the_definition(power):
    scores, population, _ = arrays(noise_at_data.problem())
    q = noise_at_data.proposal(population, power)
    best = np.log(population / q)  # D at the optimum, one draw
    known = enumerate_moments(best + np.log(q), population, ("iid", q, 1, "keep"), "binary_nce")
    assert np.abs(known.gradient).max() < 1e-12
    curvature = population * expit(best) * expit(-best) + q * expit(best) * expit(-best)
    noise = np.sum(np.diag(known.second_moment) / curvature)
    assert noise_at_data.noise(population, q, 1) == pytest.approx(noise, **ROUNDING)
    away = enumerate_moments(scores, population, ("iid", q, 1, "keep"), "binary_nce")
    ratio = np.sum(away.gradient**2) / away.variance
    assert noise_at_data.signal(noise_at_data.problem(), q, 1) == pytest.approx(ratio, **ROUNDING)


def test_noise_of_several_draws_is_least_at_the_data():
    population = np.array([0.5, 0.3, 0.2])
    q = np.array([0.3, 0.5, 0.2])
    scores = np.log(population)
    known = enumerate_moments(scores, population, ("iid", q, 3, "keep"), "binary_nce")
    d = scores - np.log(3 * q)
    curvature = (population + 3 * q) * expit(d) * expit(-d)
    noise = np.sum(np.diag(known.second_moment) / curvature)
    assert noise_at_data.noise(population, q, 3) == pytest.approx(noise, **ROUNDING)
    assert noise_at_data.noise(population, population, 3) < noise


def test_sigmoid_batches_in_closed_form():
    problem = sigmoid_batches.problems.zipf(sigmoid_batches.LABELS)
    scores, population, popularity = arrays(problem)
    sizes = at("sigmoid_batches", "batch", line="b = -5") - 1
    for name, b in sigmoid_batches.BIASES.items():
        rows = [
            m * popularity * expit(scores + b) - population * expit(-(scores + b)) for m in sizes
        ]
        unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
        found = at("sigmoid_batches", "cosine", line=name)
        assert found == pytest.approx(unit @ unit[-1], **ROUNDING)


def test_blackout_by_enumeration():
    scores, population, popularity = arrays(blackout.problem())
    q = popularity**blackout.POWER / np.sum(popularity**blackout.POWER)

    def loss(gold, negatives, log_counts):
        own = gold - np.log(q[np.argmin(abs(scores - gold.real))])
        logs = negatives - log_counts + np.log(2)  # q of draws without the gold
        total = np.exp(own) + np.exp(logs).sum()
        return np.log(total) - own - np.log(1 - np.exp(logs) / total).sum()

    known = enumerate_any(scores, population, ("iid", q, 2, "exclude"), loss)
    place = {"line": "BlackOut, 2 draws", "power": blackout.POWER}
    gradient = known.gradient
    noise = known.variance / np.sum(gradient**2)
    assert at("blackout", "noise", **place) == pytest.approx(noise, rel=1e-7)
    exact = softmax(scores) - population
    cosine = gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact)
    assert at("blackout", "direction", **place) == pytest.approx(cosine, rel=1e-9)
    nce = enumerate_moments(scores, population, ("iid", q, 2, "keep"), "binary_nce")
    place["line"] = "NCE, 2 draws"
    noise = nce.variance / np.sum(nce.gradient**2)
    assert at("blackout", "noise", **place) == pytest.approx(noise, **ROUNDING)


def test_top_of_pool_by_integration_and_by_listing():
    for m, n in ((1, 4), (3, 12)):
        mass, _ = quad(lambda u, m=m, n=n: top_of_pool.weight(u, m, n), m / n, 1)
        total, _ = quad(lambda u, m=m, n=n: top_of_pool.weight(u, m, n), 0, 1)
        assert top_of_pool.beyond(m, n) == pytest.approx(mass, rel=1e-9)
        assert total == pytest.approx(1, rel=1e-9)
    assert top_of_pool.beyond(1, 4) == pytest.approx(0.75**4, rel=1e-12)
    pools = list(itertools.combinations(range(6), 4))  # sorted: the best come first
    kept = [rank for pool in pools for rank in pool[:2]]
    share = np.mean(np.array(kept) >= 3)
    assert top_of_pool.beyond_distinct(2, 4, labels=6) == pytest.approx(share, rel=1e-12)


def test_shared_noise_by_listing_all_batches():
    """Two rows, two draws: every batch written down, in each of three kinds of parameters."""
    rng = np.random.default_rng(5)
    scores, population = rng.normal(size=(2, 3)), rng.dirichlet(np.ones(3), size=2)
    weights, features = np.array([0.3, 0.7]), rng.normal(size=(2, 2))
    problem = nb.Problem(scores, population, weights=weights)
    q = weights @ population
    rows = list(batches.rows_of(2, weights, population))
    shared = list(batches.shared(rows, q, 2))
    own = [
        (chance * q[list(second)].prod(), golds, [first, second])
        for chance, golds, (first, _) in shared
        for second in itertools.product(range(3), repeat=2)
    ]
    for parameters in (np.eye(2), features, np.ones((2, 1))):
        known = [_variance(every, scores, q, parameters) for every in (shared, own)]
        found = shared_noise.ratio(problem, parameters @ parameters.T, 2, 2)
        assert found == pytest.approx(known[0] / known[1], **ROUNDING)
        assert found > 1.01


def _variance(every, scores, q, features):
    """Trace of the covariance of the gradient by output vectors `[V, d]`, features `[X, d]`."""
    mean, square = 0.0, 0.0
    for chance, golds, negatives in every:
        total = 0.0
        for (x, gold), drawn in zip(golds, negatives, strict=True):
            row = batches.row_gradient("binary_nce", scores[x], q, 2, gold, drawn)
            total = total + np.outer(row, features[x]) / len(golds)
        mean, square = mean + chance * total, square + chance * np.sum(total**2)
    return float(square - np.sum(mean**2))


@pytest.mark.slow
def test_shared_noise_in_a_table_is_batch_variance():
    problem, kernel = shared_noise.problem(), shared_noise.kernels()["a table of scores"]
    draws = nb.iid(nb.popularity(), shared_noise.DRAWS, "keep")
    found = nb.batch_variance(problem, draws, nb.binary_nce, 64).ratio
    assert shared_noise.ratio(problem, kernel, shared_noise.DRAWS, 64) == pytest.approx(found)
    assert at("shared_noise", "ratio", line="a table of scores", batch=64) == pytest.approx(found)
