"""`analysis/claims`: each verdict's number once more, by listing or by hand; rule, pages, sheet.

What is recomputed shares no code with the engine: `tests/oracles` lists every set of negatives.
"""

import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, log_softmax, softmax
from scipy.stats import kendalltau

import nce_bias as nb
from analysis.claims import figure, page, rates
from analysis.claims import run as claims
from analysis.claims.docket import TRIALS
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Reading, telling, verdict
from analysis.claims.trials import (
    blackout,
    closeness,
    corrected_log_q,
    debiasing,
    in_batch_gradients,
    infinite_negatives,
    log_k,
    log_q_in_batch,
    no_optimum,
    noise_at_data,
    one_draw,
    one_vs_each,
    quadratic_kernel,
    rate,
    resampling,
    ring,
    sigmoid_batches,
    three_quarters,
    top_of_pool,
    uniform_mixed_in,
)
from tests.oracles.any_loss import enumerate_any
from tests.oracles.enumeration import enumerate_moments

#: Both sides are exact to a few units of rounding.
ROUNDING: Any = {"rel": 1e-9, "abs": 1e-12}
VERDICTS = {
    "confirmed": {
        "shifted_pmi",
        "blackout",
        "one_vs_each",
        "log_k",
        "rate",
        "debiasing",
        "noise_at_data",
        "uniform_mixed_in",
        "one_draw",
        "ring",
        "infinite_negatives",
        "calibration",
        "sigmoid_batches",
    },
    "true under a condition": {
        "three_quarters",
        "quadratic_kernel",
        "log_q_in_batch",
        "in_batch_gradients",
        "no_optimum",
        "resampling",
        "corrected_log_q",
    },
    "refuted": {"top_of_pool", "closeness"},
}


def table(name: str) -> Any:
    return pd.read_csv(page.RESULTS / f"{name}.csv")


def at(name: str, column: str, **place: Any) -> np.ndarray:
    rows = table(name)
    for key, value in place.items():
        rows = rows[rows[key] == value]
    assert len(rows)
    return rows[column].to_numpy()


def number(claim: str, condition: str) -> float:
    rows = table("readings")
    (found,) = rows[(rows["claim"] == claim) & (rows["condition"] == condition)]["number"]
    return float(found)


def arrays(problem: nb.Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, population = np.asarray(problem.scores), np.asarray(problem.population)
    return scores, population, np.asarray(problem.popularity)


def of_two_draws(
    population: np.ndarray,
    q: np.ndarray,
    hits: str,
    own: np.ndarray,
    weights: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The selection of a candidate softmax, from all pairs of draws of every gold.

    `own` are the weights of golds, `weights(q)` those of negatives that are drawn from q.
    """
    labels = len(q)
    selection = np.zeros(labels)
    for gold in range(labels):
        here = np.arange(labels) == gold
        chance = np.where(here & (hits == "exclude"), 0.0, q)
        chance = chance / chance.sum()
        w = np.zeros(labels)
        w[chance > 0] = weights(chance)[chance > 0]
        w[here & (hits == "mask")] = 0.0
        pairs = chance[:, None] * chance / (own[gold] + w[:, None] + w)
        selection += population[gold] * 2 * w * pairs.sum(axis=1)
        selection[gold] += population[gold] * own[gold] * pairs.sum()
    return selection


def corrected(scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """e^s / (2 q)."""

    def weights(q):
        with np.errstate(divide="ignore"):
            return np.exp(scores) / (2 * q)

    return weights


def test_pairs_are_what_the_oracle_lists():
    scores, population = np.array([1.0, 0.2, -0.5]), np.array([0.5, 0.2, 0.3])
    q = np.array([0.2, 0.7, 0.1])
    for hits in ("exclude", "mask", "keep"):
        known = enumerate_moments(scores, population, ("iid", q, 2, hits), "sampled_softmax")
        found = of_two_draws(population, q, hits, np.exp(scores), corrected(scores))
        assert found == pytest.approx(known.selection, **ROUNDING)


# --- the rule


def test_the_rule():
    held, failed = Reading("a", 1.0, "<=", 2.0), Reading("b", 3.0, "<=", 2.0)
    beyond = Reading("c", 3.0, "<=", 2.0, beyond=True)
    assert verdict([held, held]) == "confirmed" == verdict([held, beyond])
    assert verdict([failed, failed]) == "refuted"
    assert verdict([held, failed]) == "true under a condition"
    assert telling([held, beyond, failed]) is failed
    assert telling([held, beyond]) is beyond
    assert telling([held, held]) is held
    with pytest.raises(ValueError, match="got none of the claim's own; expected at least one"):
        verdict([beyond])


@pytest.mark.parametrize(
    ("relation", "holding"), [("=", (0.9, 1.1)), ("<=", (-5.0, 1.1)), (">=", (0.9, 5.0))]
)
def test_a_reading_holds_within_its_slack(relation, holding):
    slack = 0.1 + 1e-12
    for value in (-5.0, 0.8, 0.9, 1.1, 1.2, 5.0):
        found = Reading("a", value, relation, 1.0, slack).holds
        assert found == (holding[0] <= value <= holding[1]), value


def test_rates():
    assert rates.slope((1, 10, 40), (5.0, 4.0, 1.0)) == pytest.approx(-1.0)
    assert rates.needed(4.0, (1, 2, 8), (32.0, 8.0, 2.0)) == pytest.approx(4.0)  # 8/m from 2 on
    assert rates.needed(128.0, (1, 2), (32.0, 8.0)) == pytest.approx(0.5)
    assert rates.needed(1.0, (1, 2), (32.0, 8.0)) == np.inf


def test_a_trial_needs_a_fixed_point():
    sampler = nb.iid(nb.popularity(), 3, hits="keep")  # gradients beyond -pop, which it cannot take
    with pytest.raises(RuntimeError, match=r"fixed point of bpr .* did not converge"):
        at_rest(one_vs_each.problem(), sampler, nb.bpr)


def test_verdicts_follow_from_the_readings():
    readings, rows = table("readings"), table("claims").set_index("claim")
    assert set(rows.index) == set(TRIALS) == set().union(*VERDICTS.values())
    for name, found in readings.groupby("claim"):
        own = found[~found["beyond"]]["holds"]
        expected = ["refuted", "true under a condition", "confirmed"][int(own.any()) + own.all()]
        assert rows.loc[name, "verdict"] == expected
        assert name in VERDICTS[expected]
    for row in readings.itertuples():
        off = row.number - row.expected
        # Slack is at most .01 (the share of a pool that counts as nothing), rounding for the rest.
        slack = 0.0101 if row.claim == "top_of_pool" else 1e-7
        met = {"=": abs(off) <= slack, "<=": off <= slack, ">=": off >= -slack}[row.relation]
        assert met == row.holds, row


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_each_verdict_is_found_again(name):
    found = TRIALS[name].weigh(True)
    assert name in VERDICTS[verdict(found.readings)]


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


# --- variances, estimates, directions


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


# --- pages and sheet


@pytest.mark.parametrize("path", [page.README, page.DOCS], ids=lambda path: path.name)
def test_the_pages_show_the_committed_tables(path: pathlib.Path):
    text = path.read_text(encoding="utf-8")
    assert page.refreshed(text) == text
    assert text.count("**confirmed**") >= len(VERDICTS["confirmed"])
    assert "figures/claims.png" in text


def test_each_claim_has_a_panel():
    assert set(figure.PANELS) == set(TRIALS)


@pytest.mark.slow
def test_the_sheet_is_drawn(tmp_path):
    (path,) = figure.draw(page.RESULTS, tmp_path)
    assert path.stat().st_size > 100_000


@pytest.mark.slow
def test_a_quick_run_leaves_out_what_compiles(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "QUICK", claims.Design(quick=True, claims=("rate", "resampling")))
    claims.run(tmp_path / "results", quick=True)
    written = {path.name for path in (tmp_path / "results").iterdir()}
    assert written == {"claims.csv", "readings.csv", "rate.csv", "resampling.csv", "meta.json"}
    (png,) = figure.draw(tmp_path / "results", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
