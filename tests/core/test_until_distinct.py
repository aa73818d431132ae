"""Draws until m labels differ: by enumeration, by TensorFlow's own numbers, by sampling."""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.proposals import log_proposal
from nce_bias.samplers._tries import TriesLaw, points
from nce_bias.samplers._until_distinct import choose, last_try
from tests.core.test_samplers import LEVEL, drawn
from tests.core.test_unique import FIELDS, FIXED, POPULATION, PROBLEM, SCORES, Q, frequencies
from tests.oracles import distinct

MEASURED = json.loads(
    (pathlib.Path(__file__).parents[1] / "data/tensorflow_unique.json").read_text()
)
LOSS = nb.sampled_softmax_both
#: Of one number, as the data's own note has it; and float32's rounding.
DEVIATIONS, ROUNDING = 4.5, 3e-6


# --- enumeration


@pytest.mark.parametrize(("m", "hits"), [(1, "mask"), (2, "mask"), (3, "keep")])
def test_every_moment_is_the_enumerated_one(m, hits):
    found = nb.exact(PROBLEM, nb.until_distinct(FIXED, m, hits), LOSS, tolerance=1e-10)
    listed = distinct.until_distinct(Q, m, hits, corrected=True)
    oracle = distinct.moments(SCORES, POPULATION, listed)
    for field in FIELDS:
        assert float(getattr(found, field)) == pytest.approx(getattr(oracle, field), abs=1e-9)
    assert np.abs(np.asarray(found.gradient) - oracle.gradient).max() < found.error
    assert found.status == "ok" and found.error < 1e-9
    wrong = distinct.until_distinct(Q, m, hits, corrected=True, single=True)
    assert (abs(distinct.moments(SCORES, POPULATION, wrong).loss - oracle.loss) > 1e-3) == (m > 1)


@pytest.mark.parametrize("m", [2, 3])
def test_the_set_and_the_number_of_tries(m):
    """Each by itself, with the gold dropped and kept, up to tails of 1e-10."""
    z = np.array([0.3, 2.0, 1e-3, 5.0])
    for n in (m, m + 1, m + 6, m + 25):
        law_of_sets = _sets(n, m)
        chance = sum(law_of_sets.values())
        for hits in ("mask", "keep"):
            law = TriesLaw(jnp.log(Q), jnp.asarray(float(n)), m, points(n - m, 1e-16), hits)
            ready = law.prepared()
            assert float(jnp.exp(ready.log_chance)) == pytest.approx(chance, rel=1e-13)
            wanted = [
                sum(
                    p * np.exp(-sum(z[y] for y in labels if hits == "keep" or y != gold))
                    for labels, p in law_of_sets.items()
                )
                for gold in range(4)
            ]
            found = np.exp(np.asarray(ready.log_laplace(jnp.asarray(z))))
            assert found == pytest.approx(np.array(wanted) / chance, rel=1e-13)


def _sets(n, m):
    """P(set, T = n)."""
    running = {frozenset(): 1.0}
    for _ in range(n):
        after = {}
        for labels, chance in running.items():
            for y in range(4):
                after[labels | {y}] = after.get(labels | {y}, 0.0) + chance * Q[y]
        running = {labels: p for labels, p in after.items() if len(labels) < m}
    return {labels: p for labels, p in after.items() if len(labels) == m}


@pytest.mark.slow
def test_a_rule_of_few_tries_is_the_mean_over_all():
    """Of functions that it was not chosen by; fewer tries than all of them."""
    rank = np.arange(40)
    row = np.log(np.log((rank + 2) / (rank + 1)) / np.log(41))
    last = last_try(np.exp(row), 12, 1e-9)
    chosen, basis = choose(row[None], 12, last, points(last - 12, 1e-8), 1e-8)
    every = np.arange(12, last + 1)
    assert len(chosen) < len(every) / 2
    laws = [TriesLaw(jnp.asarray(row), jnp.asarray(float(n)), 12, 120, "mask") for n in every]
    chances = np.array([float(jnp.exp(law.log_chance)) for law in laws])
    assert 1 - 1e-9 < chances.sum() < 1 + 1e-12
    weights = basis @ chances
    for function in (np.log, np.sqrt, lambda n: np.exp(-n / 20)):
        assert function(chosen) @ weights == pytest.approx(function(every) @ chances, abs=1e-7)


def test_the_last_try_is_late_enough():
    for m in (2, 3):
        last = last_try(Q, m, 1e-6)
        ended = sum(sum(_sets(n, m).values()) for n in range(m, last + 1))
        assert 0 <= 1 - ended < 1e-6


# --- inclusion


@pytest.mark.slow
def test_tensorflows_set_corrected_by_inclusion():
    """A value computed by others: log of the chance to be drawn off both."""
    problem = nb.Problem(SCORES, POPULATION)
    sampler = nb.without_replacement(nb.log_uniform("index"), 2, hits="mask")
    found = nb.exact(problem, sampler, nb.with_inclusion(LOSS))
    assert float(found.bias_norm) == pytest.approx(0.0286432111, abs=1e-10)
    assert float(found.loss) == pytest.approx(0.8788772365, abs=1e-10)


# --- TensorFlow


def proposal_of(settings):
    name, weights = settings["sampler"], np.array(settings["unigrams"] or [1.0] * 8)
    if name.startswith("fixed_unigram"):
        weights = weights ** (0.75 if "075" in name else 1.0)
    elif name != "uniform_candidate_sampler":
        weights = np.log((np.arange(8) + 2) / (np.arange(8) + 1))
    return nb.from_probabilities(weights / weights.sum())


def deviations(found, row):
    """In standard errors, with the rounding of float32 in quadrature."""
    second = float(found.variance) + float(np.sum(np.asarray(found.gradient) ** 2))
    pairs = [
        (float(found.loss), row["loss"]),
        (np.asarray(found.gradient), row["gradient"]),
        (second, row["second_moment"]),
    ]
    return np.concatenate(
        [
            np.ravel((value - np.array(seen["mean"])) / np.hypot(np.array(seen["se"]), ROUNDING))
            for value, seen in pairs
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", MEASURED["rows"], ids=lambda row: row["id"])
def test_tensorflow_gives_these_numbers(row):
    """Its sampled losses with unique=True; a correction by m q as for single draws is rejected."""
    problem = nb.Problem(**MEASURED["problem"])
    settings = row["settings"]
    hits = "mask" if settings["remove_accidental_hits"] is True else "keep"
    proposal = proposal_of(settings)
    loss = nb.binary_nce if "nce_loss" in row["call"] else LOSS
    options = {"split": False, "tolerance": 1e-5}
    found = nb.exact(problem, nb.until_distinct(proposal, 3, hits), loss, **options)
    assert np.abs(deviations(found, row)).max() < DEVIATIONS
    twins: list[Any] = [nb.iid(proposal, 3, hits)]
    if not (settings["sampler"] == "uniform_candidate_sampler" and loss is LOSS):
        twins.append(nb.without_replacement(proposal, 3, hits))  # alike corrections cancel
    for twin in twins:
        assert np.abs(deviations(nb.exact(problem, twin, loss, **options), row)).max() > 6


# --- sampling


@pytest.mark.slow
@pytest.mark.parametrize("hits", ["mask", "keep"])
def test_sampling_agrees_and_rejects_the_other_correction(hits):
    sampler = nb.until_distinct(FIXED, 2, hits)
    found = nb.monte_carlo(PROBLEM, sampler, LOSS, key=jax.random.key(3), draws=60_000)
    twin = nb.without_replacement(FIXED, 2, hits)
    for one, right in ((sampler, True), (twin, False)):
        truth = nb.exact(PROBLEM, one, LOSS, split=False, tolerance=1e-8)
        z = [
            float(getattr(found, field) - getattr(truth, field)) / found.standard_errors[field]
            for field in ("loss", "bias_norm", "variance", "coverage")
        ]
        assert (np.abs(z).max() < DEVIATIONS) == right, z


@pytest.mark.slow
def test_sets_are_drawn_with_their_probabilities():
    for hits in ("mask", "keep"):
        labels = drawn(nb.until_distinct(FIXED, 2, hits), 0, SCORES, Q)
        assert frequencies(labels, distinct.distinct(Q, 2, hits), 0) > LEVEL
        assert frequencies(labels, distinct.unique(Q, 2, hits), 0) < LEVEL


@pytest.mark.slow
def test_check_sampler_accepts_its_draws():
    sampler = nb.until_distinct(FIXED, 2)
    draws = {"key": jax.random.key(0), "draws": 20_000}
    assert nb.check_sampler(PROBLEM, sampler, **draws).ok

    @jax.jit
    def repeated(key, scores, popularity, gold):
        return nb.iid(FIXED, 2, "mask").law(scores, popularity).draw(key, gold)

    assert not nb.check_sampler(PROBLEM, sampler, draw=repeated, **draws).ok


@pytest.mark.slow
def test_an_uncorrected_loss_sees_the_set_alone():
    plain, tried = (
        nb.exact(PROBLEM, sampler, split=False)
        for sampler in (nb.without_replacement(FIXED, 2, "mask"), nb.until_distinct(FIXED, 2))
    )
    assert np.abs(np.asarray(plain.gradient - tried.gradient)).max() < 1e-13


def test_the_index_is_the_rank():
    scores, popularity = jnp.zeros(4), jnp.asarray([0.1, 0.2, 0.3, 0.4])
    found = jnp.exp(log_proposal(nb.log_uniform("index"), scores, popularity))
    by_rank = jnp.exp(log_proposal(nb.log_uniform(), scores, popularity))
    assert np.asarray(found) == pytest.approx(np.log([2, 3 / 2, 4 / 3, 5 / 4]) / np.log(5))
    assert np.asarray(by_rank) == pytest.approx(np.asarray(found)[::-1])


# --- refusals


def test_refusals():
    with pytest.raises(ValueError) as refused:
        nb.until_distinct(FIXED, 2, hits="exclude")
    assert str(refused.value) == (
        "hits: got 'exclude'; expected 'mask' or 'keep'. Draws without the gold are "
        "nb.without_replacement(proposal, m)."
    )
    with pytest.raises(ValueError, match="m <= V - 1 = 3"):
        nb.exact(PROBLEM, nb.until_distinct(FIXED, 4), LOSS)
    rare = nb.from_probabilities([0.5, 0.5 - 2e-5, 1e-5, 1e-5])
    with pytest.raises(nb.NoExactMethod, match="more than 4096 tries"):
        nb.exact(PROBLEM, nb.until_distinct(rare, 3), LOSS)
    with pytest.raises(nb.NoExactMethod, match="for concrete values alone"):
        jax.jit(
            lambda s: nb.exact(nb.Problem(s, POPULATION), nb.until_distinct(FIXED, 2), LOSS).loss
        )(jnp.asarray(SCORES))
