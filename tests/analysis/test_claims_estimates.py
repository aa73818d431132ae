"""`analysis/claims`: each number about an estimator's efficiency, by listing or by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from analysis.claims import asymptotics
from analysis.claims.trials import (
    adversarial_weights,
    best_noise,
    exponential_variance,
    finite_cost,
    nce_efficiency,
    number_of_tries,
    ranking_efficiency,
)
from tests.analysis.claim_tables import ROUNDING, at, number
from tests.oracles import distinct

#: Of a central difference of a smooth function, step 1e-5, divided by numbers of order .01.
DIFFERENCES: Any = {"rel": 1e-6}


def sandwich(moment_data, moment_noise, theta, p, q, k):
    """Covariance of the root of mean over data + k * mean over noise, by differences."""

    def mean(at):
        return p @ moment_data(at) + k * (q @ moment_noise(at))

    assert mean(theta) == pytest.approx(0, abs=1e-12)
    steps = 1e-5 * np.eye(len(theta))
    slopes = np.array([(mean(theta + h) - mean(theta - h)) / 2e-5 for h in steps]).T
    spread = np.cov(moment_data(theta).T, aweights=p, ddof=0)
    spread = spread + k * np.cov(moment_noise(theta).T, aweights=q, ddof=0)
    inverse = np.linalg.inv(slopes)
    return inverse @ spread @ inverse.T


@pytest.mark.parametrize("k", [0.5, 4])
@pytest.mark.parametrize("noise", ["uniform noise", "noise against the data"])
def test_asymptotic_variances_from_estimating_equations(noise, k):
    features, p = nce_efficiency.model()
    q = nce_efficiency.noises()[noise]
    truth = np.array([1.0, -0.7, 0.5])
    theta = np.append(truth, -np.asarray(logsumexp(features @ truth)))
    both = np.column_stack([features, np.ones(len(p))])

    def nce_data(at):
        return expit(np.log(k * q) - both @ at)[:, None] * both

    def nce_noise(at):
        return -expit(both @ at - np.log(k * q))[:, None] * both

    known = sandwich(nce_data, nce_noise, theta, p, q, k)[:-1, :-1]
    assert asymptotics.nce(features, p, q, k) == pytest.approx(known, **DIFFERENCES)

    # mean f = mean of e^{theta f + c} f / q over the noise, and 1 = mean of e^{theta f + c} / q
    def geyer_data(at):
        return both + 0 * at[0]

    def geyer_noise(at):
        return -(np.exp(both @ at) / q)[:, None] * both / k

    other = sandwich(geyer_data, geyer_noise, theta, p, q, k)[:-1, :-1]
    assert asymptotics.mc_mle(features, p, q, k) == pytest.approx(other, **DIFFERENCES)

    def held_data(at):
        return nce_data(np.append(at, theta[-1]))[:, :-1]

    def held_noise(at):
        return nce_noise(np.append(at, theta[-1]))[:, :-1]

    held = sandwich(held_data, held_noise, truth, p, q, k)
    found = asymptotics.nce_with_known_constant(features, p, q, k)
    assert found == pytest.approx(held, **DIFFERENCES)


def test_the_worst_direction():
    one, other = np.diag([1.0, 6.0]), np.diag([2.0, 3.0])
    assert asymptotics.largest(one, other) == pytest.approx(2.0)
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert asymptotics.largest(turned @ one @ turned.T, turned @ other @ turned.T) == pytest.approx(
        2.0
    )


def test_ranking_at_two_draws():
    f = ranking_efficiency.features()
    p = softmax(f, axis=1)
    q = p.mean(axis=0)
    information = 0.0
    for row, pop in zip(f, p, strict=True):
        for gold, *drawn in itertools.product(range(len(q)), repeat=3):
            candidates = [gold, *drawn]
            v = softmax(row[candidates] - np.log(q[candidates]))
            score = v @ row[candidates] - row[gold]
            information += pop[gold] * q[drawn].prod() * score**2 / len(f)
    fisher = np.mean((p * f**2).sum(axis=1) - (p * f).sum(axis=1) ** 2)
    assert ranking_efficiency.excess(2) == pytest.approx(fisher / information - 1, rel=1e-8)


def test_binary_at_the_truth_by_differences():
    """The gradient of its expected loss, at the constant that minimises it."""
    f, k = ranking_efficiency.features(), 16
    p, q = softmax(f, axis=1), 1 / f.shape[1]

    def loss(theta, c):
        d = theta * f - c - np.log(k * q)
        return np.mean((p * np.logaddexp(0, -d) + k * q * np.logaddexp(0, d)).sum(axis=1))

    each = np.asarray(logsumexp(f, axis=1))
    constants = np.linspace(each.min(), each.max(), 4001)
    best = min(constants, key=lambda c: loss(1.0, c))
    slope = (loss(1 + 1e-5, best) - loss(1 - 1e-5, best)) / 2e-5
    found = ranking_efficiency.of_binary(k, normalised=False)
    assert found == pytest.approx(abs(slope), rel=5e-3)  # the grid of constants
    assert found == pytest.approx(
        number("ranking_efficiency", "binary, partitions differ: gradient")
    )


def test_differences_of_log_means_by_listing():
    values = np.array(finite_cost.WEIGHTS)
    chances = np.array([1 - finite_cost.SHARE, finite_cost.SHARE])
    roulette = antithetic = plain = 0.0
    for drawn in itertools.product(range(2), repeat=5):
        w, chance = values[list(drawn)], chances[list(drawn)].prod()
        roulette += chance * (np.log(w.mean()) - np.log(w[:4].mean())) ** 2
        halves = np.log(w[:2].mean()), np.log(w[2:4].mean())
        antithetic += chance * (np.log(w[:4].mean()) - np.mean(halves)) ** 2
        plain += chance * (np.log(w[:4].mean()) - halves[0]) ** 2
    assert finite_cost.roulette(4) == pytest.approx(roulette, **ROUNDING)
    assert finite_cost.level(4, antithetic=True) == pytest.approx(antithetic, **ROUNDING)
    assert finite_cost.level(4, antithetic=False) == pytest.approx(plain, **ROUNDING)


def test_differences_of_log_means_in_the_limit():
    """n^2 E (L_{n+1} - L_n)^2 and n E (L_n - L_a)^2 tend to the relative variance v of a weight.

    D is -(x_a - x_b)^2 / 8 of the halves' relative errors, so n^2 E D^2 tends to 3 v^2 / 4.
    """
    values, share = np.array(finite_cost.WEIGHTS), finite_cost.SHARE
    mean = (1 - share) * values[0] + share * values[1]
    v = ((1 - share) * values[0] ** 2 + share * values[1] ** 2) / mean**2 - 1
    n = 2048
    for line, power, limit in (
        ("roulette of single draws", 2, v),
        ("antithetic levels", 2, 3 * v**2 / 4),
        ("levels without that", 1, v),
    ):
        (square,) = at("finite_cost", "square", line=line, n=n)
        assert n**power * square == pytest.approx(limit, rel=0.02)  # the next order is v / n


@pytest.mark.parametrize("tau", [np.inf, 0.5])
def test_variance_of_a_ratio_by_listing_two_products(tau):
    joint, product = exponential_variance.pairs(3, zipf=True)
    assert joint.sum() == pytest.approx(1) and joint.sum(axis=0) == pytest.approx(product.sum(0))
    ratios = [
        (chance, min(max(r, np.exp(-tau)), np.exp(tau)))
        for chance, r in zip(product.ravel(), (joint / product).ravel(), strict=True)
    ]
    mean = square = 0.0
    for (a, r), (b, other) in itertools.product(ratios, repeat=2):
        mean += a * b * (r + other) / 2
        square += a * b * ((r + other) / 2) ** 2
    found = exponential_variance.variance(joint, product, tau)
    assert found == pytest.approx(2 * (square - mean**2), **ROUNDING)
    assert exponential_variance.added(joint, product, tau) == pytest.approx(
        -np.log(mean), **ROUNDING
    )


def test_adversarial_weights_at_two_draws():
    s = np.array([2.0, 0.3, -1.0, 0.7])
    share = np.zeros(4)
    for drawn in itertools.product(range(4), repeat=2):
        weights = softmax(s[list(drawn)])
        np.add.at(share, list(drawn), weights / 16)
    known = np.linalg.norm(share - softmax(s)) / np.linalg.norm(softmax(s) - 0.25)
    assert adversarial_weights.distance(s, 2) == pytest.approx(known, **ROUNDING)


# --- the best noise


@pytest.mark.parametrize("k", best_noise.RATIOS)
@pytest.mark.parametrize("name", best_noise.models())
def test_the_best_noise_by_another_search(name, k):
    features, p = best_noise.models()[name]
    found = best_noise.best(features, p, k)

    def trace(logits):
        return np.trace(asymptotics.nce(features, p, softmax(logits), k))

    known: Any = minimize(trace, np.log(np.maximum(found.q, 1e-4)), method="BFGS")
    assert found.trace <= known.fun * (1 + 1e-9)
    assert found.trace == pytest.approx(known.fun, rel=1e-5)  # the other search's own tolerance
    data = (1 + 1 / k) * np.trace(asymptotics.likelihood(features, p))
    assert trace(np.log(p)) == pytest.approx(data, **ROUNDING)
    gain = number("best_noise", f"{name}, k = {k}: gain")
    assert gain == pytest.approx(data / known.fun, rel=1e-5)
    assert 1 < gain < 1 + 1 / k


def test_the_slope_of_the_trace_by_differences():
    features, p = best_noise.models()["random features"]
    q = np.full(len(p), 1 / len(p))
    slope = best_noise.trace_and_slope(features, p, q, 3)[1]
    for y, step in ((0, 1e-6), (7, 1e-6)):
        move = step * np.eye(len(p))[y]
        ends = [best_noise.trace_and_slope(features, p, q + s * move, 3)[0] for s in (1, -1)]
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(slope[y], **DIFFERENCES)


def test_much_noise_is_best_in_proportion_to_the_fisher_score():
    features, p = best_noise.models()["Gaussian, mean"]
    score = p * np.abs(features[:, 0] - p @ features[:, 0])
    found = best_noise.best(features, p, 1e4).q
    assert best_noise.distance(found, score / score.sum()) < 2e-3
    assert best_noise.distance(found, p) > 0.2


def test_a_best_noise_that_is_not_found_says_so(monkeypatch):
    monkeypatch.setattr(best_noise, "STEPS", 2)
    with pytest.raises(RuntimeError, match=r"best noise: a gap of .* is left"):
        best_noise.best(*best_noise.models()["Gaussian, mean"], 1)


# --- the number of tries


@pytest.mark.parametrize("m", [1, 2, 3])
def test_numbers_of_tries_by_listing(m):
    q = np.array([0.5, 0.3, 0.15, 0.05])
    listed = distinct.until_distinct(q, m, "keep", corrected=True)(0)
    known = [sum(p for p, labels, *_ in listed if y in labels) for y in range(4)]
    assert number_of_tries.chance_among(q, m) == pytest.approx(known, rel=1e-10)
    known = sum(p * taken for p, _, taken, _ in listed)
    assert number_of_tries.as_in_the_code(q, m) == pytest.approx(known, rel=1e-10)
    orders = itertools.permutations(range(4), m)
    at_once = sum(q[list(order)].prod() for order in orders)
    assert number_of_tries.at_once(q, m) == pytest.approx(at_once, **ROUNDING)
    mean, spread = number_of_tries.counted(q, m)
    known -= at_once * (m * q - 1 + (1 - q) ** m)
    assert mean == pytest.approx(known, rel=1e-10)
    assert (np.abs(spread) < 1e-6).all() == (m == 1)  # one try, always


def test_uniform_chances_are_one_less_a_harmonic_mean():
    """(V - D) (1 - 1/V)^{-n} is a martingale, with D labels seen after n draws."""
    q, m = number_of_tries.proposals()["uniform"], number_of_tries.DRAWS["nine tenths"]
    labels = len(q)
    powers = number_of_tries.power_of_tries(1 / (1 - q[:1]), q, m)
    assert powers == pytest.approx(labels / (labels - m), rel=1e-9)
    assert number_of_tries.chance_among(q, m) == pytest.approx(m / labels, rel=1e-10)
    off = number("number_of_tries", "uniform, nine tenths of the labels")
    assert 1 - number_of_tries.counted(q, m)[0] * labels / m == pytest.approx(off, rel=1e-8)
