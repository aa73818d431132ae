"""The last copy of the gold alone dropped: enumeration, TensorFlow's numbers, draws."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

import nce_bias as nb
from tests.core.test_best_of import p_value, pairs_listed
from tests.core.test_loss_family import assert_enumerated
from tests.core.test_samplers import LEVEL, drawn
from tests.core.test_until_distinct import DEVIATIONS, ROUNDING, proposal_of
from tests.oracles.enumeration import enumerate_moments
from tests.refusals import refusal

SCORES = np.array([1.3, -0.4, 0.2, -2.1])
POPULATION = np.array([0.35, 0.05, 0.4, 0.2])
Q = np.array([0.52, 0.2, 0.18, 0.1])
INPUTS: Any = (SCORES, Q)
PROBLEM = nb.Problem(SCORES, POPULATION, popularity=Q)
MEASURED = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/tensorflow_repeats.json").read_text()
)
LOSSES = ("infonce", "sampled_softmax_both", "ranking_nce", "self_normalized", "binary_nce")


def sampler(m, hits="mask_last"):
    return nb.iid(nb.from_probabilities(Q), m, hits)


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("name", LOSSES)
def test_every_moment_is_the_enumerated_one(m, name):
    found = nb.exact(PROBLEM, sampler(m), nb.LOSSES[name], split=True)
    wanted = enumerate_moments(SCORES, POPULATION, ("iid", Q, m, "mask_last"), name)
    assert_enumerated(found, wanted)
    assert found.status == "ok" and float(found.error) < 1e-11
    for hits in ("mask", "keep"):
        if (hits, name) != ("mask", "self_normalized"):  # a set may be empty there
            twin = enumerate_moments(SCORES, POPULATION, ("iid", Q, m, hits), name)
            assert abs(twin.loss - wanted.loss) > 1e-3


def test_one_draw_is_masked():
    """There is no other copy; a loss without the gold in Z then has nothing left."""
    one, masked = (nb.exact(PROBLEM, sampler(1, hits)) for hits in ("mask_last", "mask"))
    np.testing.assert_allclose(one.gradient, masked.gradient, atol=1e-15)
    assert "mask_last" in refusal(lambda: nb.exact(PROBLEM, sampler(1), nb.self_normalized))


@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
def test_numpy_and_xla_agree(name):
    found = nb.exact(PROBLEM, sampler(4), nb.LOSSES[name], split=True, compiled=True)
    wanted = enumerate_moments(SCORES, POPULATION, ("iid", Q, 4, "mask_last"), name)
    assert_enumerated(found, wanted)


def test_corrections_by_expected_copies():
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = nb.exact(PROBLEM, sampler(3), loss, split=True)
    spec = ("iid", Q, 3, "mask_last")
    wanted = enumerate_moments(SCORES, POPULATION, spec, "sampled_softmax", inclusion=True)
    assert_enumerated(found, wanted)


def test_pairs_with_the_gold():
    """Their second moment needs derivatives at z = 0."""
    found = nb.exact(PROBLEM, sampler(4), nb.bpr)
    loss, gradient, variance = pairs_listed(("iid", Q, 4, "mask_last"), SCORES, POPULATION)
    assert float(found.loss) == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)
    assert float(found.variance) == pytest.approx(variance, abs=1e-11)


def test_beside_another_kind():
    found = nb.exact(PROBLEM, sampler(3) + nb.top(1), split=True)
    spec = ("concat", [("iid", Q, 3, "mask_last"), ("top", 1)])
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


@pytest.mark.parametrize("m", [3, 40, 1000])
def test_the_functional_by_its_sum_over_copies(m):
    """From exposures of 1e-12 to those at which nothing is left, q from 1e-9 to nearly 1."""
    q = np.array([1 - 2e-3 - 1e-9, 1e-3, 1e-3, 1e-9])
    law: Any = nb.iid(nb.from_probabilities(q), m, "mask_last").law(*INPUTS)
    k = np.arange(m + 1)
    for scale in (1e-12, 1e-6, 0.1, 3.0, 1e4):
        z = scale * np.array([0.7, 2.0, 0.1, 1.0])
        log_f = law.log_laplace(z)
        for gold in range(4):
            share = np.delete(q * np.exp(-z), gold).sum() / (1 - q[gold])
            chance = stats.binom.pmf(k, m, q[gold])
            wanted = chance @ (share ** (m - k) * np.exp(-np.maximum(k - 1, 0) * z[gold]))
            assert abs(np.exp(log_f[gold]) - wanted) < 1e-12
            if scale < 1e-3:  # 1 - F keeps digits, where it is linear in z
                weight = np.delete(q * z, gold).sum() / (1 - q[gold])
                lost = chance @ (np.maximum(k - 1, 0) * z[gold] + (m - k) * weight)
                slack = 3 * m * scale + float(law.error) / lost
                assert -log_f[gold] / lost == pytest.approx(1, abs=slack)


def test_sets_are_drawn_with_their_probabilities():
    for gold in (0, 3):
        labels = drawn(sampler(3), gold, SCORES, Q)
        assert p_value(labels, ("iid", Q, 3, "mask_last"), gold, SCORES) > LEVEL
    assert p_value(drawn(sampler(3), 0, SCORES, Q), ("iid", Q, 3, "mask"), 0, SCORES) < LEVEL


def test_sampling_agrees_and_the_checks_accept_it():
    found = nb.monte_carlo(PROBLEM, sampler(3), key=3, draws=40_000)
    for hits, right in (("mask_last", True), ("mask", False), ("keep", False)):
        truth = enumerate_moments(SCORES, POPULATION, ("iid", Q, 3, hits))
        z = (float(found.loss) - truth.loss) / found.standard_errors["loss"]
        assert (abs(z) < DEVIATIONS) == right
    asked = {"key": jax.random.key(0), "draws": 4000}
    assert nb.check_sampler(PROBLEM, sampler(3), **asked).ok

    @jax.jit
    def masked(key, scores, popularity, gold):
        return sampler(3, "mask").law(scores, popularity).draw(key, gold)

    assert not nb.check_sampler(PROBLEM, sampler(3), draw=masked, **asked).ok


# --- TensorFlow


def deviations(found, row):
    """In standard errors, with the rounding of float32 in quadrature."""
    second = float(found.variance) + float(np.sum(np.asarray(found.gradient) ** 2))
    pairs = [(float(found.loss), row["loss"]), (np.asarray(found.gradient), row["gradient"])]
    if row["second_moment"]:
        pairs.append((second, row["second_moment"]))
    return np.concatenate(
        [
            np.ravel((value - np.array(seen["mean"])) / np.hypot(np.array(seen["se"]), ROUNDING))
            for value, seen in pairs
        ]
    )


@pytest.mark.parametrize("row", MEASURED["rows"], ids=lambda row: row["id"])
def test_tensorflow_gives_these_numbers(row):
    """With unique=False; the learned unigram's q moves as it learns, from uniform to golds'."""
    problem = nb.Problem(**row.get("problem", MEASURED["problem"]))
    if row["settings"]["sampler"].startswith("learned"):
        counts = 1 + 2000 * 16 * np.asarray(problem.population)
        proposal = nb.from_probabilities(counts / counts.sum())
    else:
        proposal = proposal_of(row["settings"])
    loss = nb.binary_nce if "nce_loss" in row["call"] else nb.sampled_softmax_both
    found = nb.exact(problem, nb.iid(proposal, 3, "mask_last"), loss)
    assert np.abs(deviations(found, row)).max() < DEVIATIONS
    for twin in ("mask", "keep"):
        other = nb.exact(problem, nb.iid(proposal, 3, twin), loss)
        assert np.abs(deviations(other, row)).max() > 6
