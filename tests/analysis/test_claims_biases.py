"""`analysis/claims`: each number about an optimum or a bias once more, by listing or by hand.

What is recomputed shares no code with the engine: `tests/oracles` lists every set of negatives.
"""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import kendalltau

import nce_bias as nb
from analysis.claims.losses import decoupled
from analysis.claims.trials import (
    closeness,
    collisions,
    corrected_log_q,
    debiasing,
    infinite_negatives,
    log_q_in_batch,
    no_optimum,
    one_draw,
    one_vs_each,
    quadratic_kernel,
    rate,
    resampling,
    small_batches,
    three_quarters,
    uniform_mixed_in,
)
from tests.analysis.claim_tables import ROUNDING, arrays, at, corrected, number, of_two_draws
from tests.oracles.any_loss import enumerate_any
from tests.oracles.enumeration import enumerate_moments


def test_pairs_are_what_the_oracle_lists():
    scores, population = np.array([1.0, 0.2, -0.5]), np.array([0.5, 0.2, 0.3])
    q = np.array([0.2, 0.7, 0.1])
    for hits in ("exclude", "mask", "keep"):
        known = enumerate_moments(scores, population, ("iid", q, 2, hits), "sampled_softmax")
        found = of_two_draws(population, q, hits, np.exp(scores), corrected(scores))
        assert found == pytest.approx(known.selection, **ROUNDING)


# --- optima


def test_calibration_by_hand():
    population = at("calibration", "population", line="hits keep")
    labels = len(population)
    learnt = at("calibration", "learnt", line="hits keep")
    assert learnt == pytest.approx(population / (population + 1 - 1 / labels), **ROUNDING)
    assert np.abs(learnt - population).max() > 0.2  # not calibrated
    assert at("calibration", "learnt", line="hits exclude") == pytest.approx(population, rel=1e-9)


def test_shifted_pmi_by_hand():
    population = at("shifted_pmi", "population", line="hits mask")
    above = at("shifted_pmi", "above", line="hits mask")
    assert above == pytest.approx(-np.log1p(-population), **ROUNDING)
    assert np.abs(at("shifted_pmi", "above", line="hits keep")).max() < 1e-9


@pytest.mark.parametrize("hits", log_q_in_batch.CONDITIONS)
def test_log_q_in_batch_rests_where_an_enumerated_gradient_vanishes(hits):
    _, population, popularity = arrays(log_q_in_batch.problem())
    learnt = population * at("log_q_in_batch", "ratio", line=f"hits {hits}")
    spec = ("iid", popularity, log_q_in_batch.DRAWS, hits)
    found = enumerate_moments(np.log(learnt), population, spec, "ranking_nce")
    assert np.abs(found.gradient).max() < 1e-10
    if hits != "keep":  # and does not at the population
        there = enumerate_moments(np.log(population), population, spec, "ranking_nce")
        assert np.abs(there.gradient).max() > 1e-3


def test_one_vs_each_by_hand():
    _, population, popularity = arrays(one_vs_each.problem())
    ratio = population / popularity
    found = at("one_vs_each", "ratio", line=one_vs_each.UNWEIGHTED)
    assert found == pytest.approx(ratio / ratio.sum() / population, rel=1e-8)
    for name in set(one_vs_each.SETTINGS) - {one_vs_each.UNWEIGHTED}:
        assert at("one_vs_each", "ratio", line=name) == pytest.approx(1, rel=1e-8)


def test_no_optimum_by_hand():
    for m, hits, most in no_optimum.SETTINGS:
        drawn = "hits kept" if hits == "keep" else "gold excluded"
        if hits == "keep":
            reached = 1 - (1 - 1 / no_optimum.LABELS) ** m
        else:
            reached = (1 - most) * (1 - (1 - 1 / (no_optimum.LABELS - 1)) ** m)
        found = number("no_optimum", f"{m} draws, {drawn}, pop = {most:g}")
        assert found == pytest.approx(reached - most, **ROUNDING)


# --- biases


@pytest.mark.parametrize("hits", ["exclude", "keep"])
def test_rate_at_two_draws(hits):
    scores, population, _ = arrays(rate.problem())
    q = np.full(len(scores), 1 / len(scores))
    known = of_two_draws(population, q, hits, np.exp(scores), corrected(scores))
    bias = np.linalg.norm(softmax(scores) - known)
    name = "uniform, gold excluded" if hits == "exclude" else "uniform, hits kept"
    assert at("rate", "bias_norm", line=name, m=2) == pytest.approx(bias, **ROUNDING)


@pytest.mark.parametrize("kernel", [False, True])
def test_quadratic_kernel_at_two_draws(kernel, monkeypatch):
    monkeypatch.setattr(quadratic_kernel, "LABELS", 30)
    problem = quadratic_kernel.problem("trained")
    scores, population, _ = arrays(problem)
    q = quadratic_kernel.ALPHA * scores**2 + 1 if kernel else np.ones(30)
    spec = ("iid", q / q.sum(), 2, "exclude")
    found = enumerate_moments(scores, population, spec, "sampled_softmax")
    assert quadratic_kernel.bias(problem, kernel, 2) == pytest.approx(found.bias_norm, **ROUNDING)


def test_closeness_by_enumeration():
    log_q = log_softmax(np.random.default_rng(7).normal(size=(5, closeness.LABELS)), axis=-1)
    found = closeness.biases(log_q)
    for row, value in zip(log_q, found, strict=True):
        spec = ("iid", np.exp(row), closeness.DRAWS, "exclude")
        known = enumerate_moments(closeness.SCORES, closeness.POPULATION, spec, "sampled_softmax")
        assert value == pytest.approx(known.bias_norm, **ROUNDING)
    apart = closeness.divergences(log_q, log_softmax(closeness.SCORES))
    p, q = softmax(closeness.SCORES), np.exp(log_q[0])
    assert apart["KL(q | p)"][0] == pytest.approx(np.sum(q * np.log(q / p)), **ROUNDING)
    assert apart["KL(p | q)"][0] == pytest.approx(np.sum(p * np.log(p / q)), **ROUNDING)
    assert apart["max p / q"][0] == pytest.approx(np.log((p / q).max()), **ROUNDING)


def test_concordance_is_kendalls():
    a, b = np.random.default_rng(3).normal(size=(2, 40))
    assert closeness.concordance(a, a + b) == pytest.approx(kendalltau(a, a + b)[0])
    assert number("closeness", "KL(q | p), as an order") == pytest.approx(
        kendalltau(at("closeness", "divergence"), at("closeness", "bias_norm"))[0]
    )


def test_corrected_log_q_is_the_papers_loss():
    """Its gradient as the paper writes it, set by set; and the usual one."""
    scores, population, popularity = arrays(corrected_log_q.problem())
    labels, weights = len(scores), np.exp(scores)
    selection = np.zeros(labels)
    for gold in range(labels):
        q = np.where(np.arange(labels) == gold, 0.0, popularity)
        q /= q.sum()
        w = np.divide(weights, 2 * q, out=np.zeros(labels), where=q > 0)
        total = w[:, None] + w + (q == 0)[:, None] + (q == 0)  # no set without weight
        push = total / (total + weights[gold])  # 1 - p_g, a constant to the gradient
        each = (q[:, None] * q * push * w[:, None] / total).sum(axis=1) * 2
        selection += population[gold] * each
        selection[gold] += population[gold] * (1 - (q[:, None] * q * push).sum())
    refined = np.linalg.norm(softmax(scores) - selection)
    assert at("corrected_log_q", "bias_norm", line="refined", m=2) == pytest.approx(
        refined, **ROUNDING
    )
    for hits, name in corrected_log_q.USUAL.items():
        ratio = weights / popularity
        known = of_two_draws(population, popularity, hits, ratio, lambda q, ratio=ratio: ratio)
        found = at("corrected_log_q", "bias_norm", line=name, m=2)
        assert found == pytest.approx(np.linalg.norm(softmax(scores) - known), **ROUNDING)
        assert abs(found - refined) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("share", debiasing.SHARES.values())
def test_debiasing_at_three_draws(share):
    scores, population, _ = arrays(debiasing.problem())
    scores, population = scores[:5], population[:5] / population[:5].sum()
    q, tau, m = np.full(5, 1 / 5), share / 5, 3

    def debiased(gold, negatives, log_counts):
        mean = np.exp(negatives).mean()
        return np.log(np.exp(gold) + m * (mean - tau * np.exp(gold)) / (1 - tau)) - gold

    aimed = enumerate_moments(scores, population, ("iid", q, m, "exclude"))
    found = enumerate_any(scores, population, ("iid", q, m, "keep"), debiased)
    known = np.linalg.norm(found.gradient - aimed.gradient)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debiasing, "LABELS", 5)
        patch.setattr(debiasing, "problem", lambda: nb.Problem(scores, population))
        assert debiasing.difference(m, share) == pytest.approx(known, rel=1e-8)


def test_uniform_mixed_in_at_two_draws():
    scores, population, popularity = arrays(uniform_mixed_in.problem())
    mixed = (popularity + 1 / len(scores)) / 2
    for name, q, correction in (
        ("popularity alone", popularity, popularity),
        ("the mixture taken off", mixed, mixed),
        (uniform_mixed_in.CODE, mixed, popularity),
    ):
        ratio = np.exp(scores) / correction
        known = of_two_draws(population, q, "keep", ratio, lambda q, ratio=ratio: ratio)
        found = at("uniform_mixed_in", "bias_norm", line=name, m=2)
        assert found == pytest.approx(np.linalg.norm(softmax(scores) - known), **ROUNDING)


@pytest.mark.slow
def test_one_draw():
    scores = np.asarray(one_draw.problem().scores)
    old = one_draw.stale(one_draw.DRIFT)
    assert np.linalg.norm(old - softmax(scores)) > 0.01
    assert one_draw.bias(old, 1) == pytest.approx(np.linalg.norm(softmax(scores) - old), **ROUNDING)
    weights = np.exp(scores)  # the sum holds the two draws alone, whatever the gold
    each = old[:, None] * old * weights[:, None] / (weights[:, None] + weights)
    known = np.linalg.norm(softmax(scores) - 2 * each.sum(axis=1))
    assert one_draw.bias(old, 2) == pytest.approx(known, **ROUNDING)


def test_resampling_of_one_and_of_two():
    scores, _, popularity = arrays(resampling.problem())
    model, r = softmax(scores), np.exp(scores) / popularity
    assert at("resampling", "distance", m=1) == pytest.approx(
        np.linalg.norm(popularity - model), **ROUNDING
    )
    pairs = popularity[:, None] * popularity / (r[:, None] + r)
    law = 2 * r * pairs.sum(axis=1)
    assert at("resampling", "distance", m=2) == pytest.approx(
        np.linalg.norm(law - model), **ROUNDING
    )


def test_infinite_negatives_at_two_draws_and_their_limit():
    problem = infinite_negatives.problems.zipf(infinite_negatives.LABELS)
    scores, population, popularity = arrays(problem)
    weights = np.exp(scores)
    known = of_two_draws(population, popularity, "keep", weights, lambda q: weights)
    for name, full in {
        "against infinitely many negatives": softmax(scores + np.log(popularity)),
        infinite_negatives.CROSS_ENTROPY: softmax(scores),
    }.items():
        found = at("infinite_negatives", "distance", line=name, m=2)
        assert found == pytest.approx(np.linalg.norm(full - known), **ROUNDING)


def test_a_moving_average_by_listing():
    """Two draws at each of three ages, whose weights differ: all draws written down."""
    q, weights = np.array([0.5, 0.3, 0.2]), np.array([0.4, 1.1, 2.5])
    ages = [(0.3, weights), (0.25, weights**0.5), (0.1, weights**-0.2)]
    known = np.zeros(3)
    for drawn in itertools.product(range(3), repeat=6):
        pairs = [list(drawn[k : k + 2]) for k in (0, 2, 4)]
        u = sum(c * w[pair].mean() for (c, w), pair in zip(ages, pairs, strict=True))
        for y in pairs[0]:
            known[y] += q[list(drawn)].prod() * weights[y] / (2 * u)
    found = small_batches.selection(weights, q, 2, ages[0][0], ages[1:])
    assert found == pytest.approx(known, **ROUNDING)
    same = small_batches.selection(weights, q, 2, ages[0][0], [(c, weights) for c, _ in ages[1:]])
    assert np.abs(found - same).max() > 0.01  # each age has its own weights


def test_small_batches_without_an_average_and_with_a_long_one():
    q, weights = small_batches.problem()
    given = nb.Problem(np.log(weights), q, q)
    plain = nb.exact(given, nb.iid(nb.popularity(), 15, hits="keep"), decoupled, split=False)
    found = small_batches.push(16, 1.0)
    assert found == pytest.approx(np.asarray(plain.selection), rel=1e-8, abs=1e-11)
    # to first order in the rate
    p, relative = q * weights / (q @ weights), weights / (q @ weights)
    first = p * (1 + (q @ relative**2 - 1) / 2 - relative) / 15
    rate = 1 / 64
    known = rate * np.linalg.norm(first)
    (distance,) = at("small_batches", "distance", line="16 rows, at rest", rate=rate)
    assert distance == pytest.approx(known, rel=0.05)  # the next order is another rate / 15


def test_the_code_of_small_batches_step_by_step():
    """u <- u_1 + u_2 in the mean; and coefficients of a plain average sum to 1."""
    rate, u = 0.9, 0.0
    for _ in range(200):
        denominator = (1 - rate) * u + rate
        u = 2 * denominator
    assert denominator == pytest.approx(rate / (2 * rate - 1))
    own, older = small_batches.summed(rate)
    assert own + sum(c for c, _ in older) == pytest.approx(denominator, rel=1e-11)
    own, older = small_batches.averaged(0.1)
    assert own + sum(c for c, _ in older) == pytest.approx(1, rel=1e-11)
    push = number("small_batches", "as the authors' code stores it, rate 0.9: push")
    assert push == pytest.approx(1 / denominator, rel=1e-3)


def test_three_quarters_at_two_draws(monkeypatch):
    monkeypatch.setattr(three_quarters, "DRAWS", 2)
    problem = three_quarters.problem(1.0)
    scores, population, popularity = arrays(problem)
    q = popularity**0.75 / np.sum(popularity**0.75)
    own = np.exp(scores)
    for loss, weights in ((nb.sampled_softmax, corrected(scores)), (nb.infonce, lambda q: own)):
        known = of_two_draws(population, q, "exclude", own, weights)
        found = three_quarters.bias(problem, loss, 0.75)
        assert found == pytest.approx(np.linalg.norm(softmax(scores) - known), **ROUNDING)


@pytest.mark.parametrize("classes", collisions.CLASSES)
def test_collisions_from_all_pairs_of_draws(classes):
    problem, own = collisions.problem(classes), collisions.of_class(classes)
    scores, population, popularity = arrays(problem)
    for name, q in {"all labels": popularity, "other classes": ~own / np.sum(~own)}.items():
        known = of_two_draws(
            population, q, "keep", np.exp(scores), lambda q: np.where(q > 0, np.exp(scores), 0.0)
        )
        found = at("collisions", "pull", line=f"{name}, {classes} classes", m=2)
        assert found == pytest.approx(np.sum((population - known)[own]), **ROUNDING)
    size = collisions.LABELS // classes
    of_data = np.log(
        (1 - collisions.STRAY) / size / (collisions.STRAY / (collisions.LABELS - size))
    )
    assert collisions.margin(classes, 2, "keep") == pytest.approx(of_data, rel=1e-8)
    wider = np.where(own, collisions.margin(classes, 2, "mask"), 0.0)
    rest = of_two_draws(population, popularity, "mask", np.exp(wider), lambda q: np.exp(wider))
    assert rest == pytest.approx(population, rel=1e-8)
    assert wider.max() > of_data + 1e-3
