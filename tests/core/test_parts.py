"""Log-sums of one part of a sum of samplers: several positives, two sources, against all sets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.core.test_log_sums import FIELDS
from tests.oracles.any_loss import enumerate_any

SCORES, POPULATION = cases.SCORES[0], np.array([0.5, 0.0, 0.2, 0.3, 0.0])
Q = np.array([0.1, 0.35, 0.2, 0.05, 0.3])
PROBLEM = nb.Problem(SCORES, POPULATION)
LABELS = len(SCORES)
POSITIVES = nb.iid(nb.from_probabilities(POPULATION), 2, hits="keep")
LISTED = nb.listed([0, 2, 3])
NEGATIVES = nb.iid(nb.from_probabilities(Q), 2, hits="keep")
#: Positives with the gold's own score, then negatives; how many positives besides the gold.
SAMPLERS = {
    "drawn": (
        POSITIVES + NEGATIVES,
        ("concat", [("iid", POPULATION, 2, "keep"), ("iid", Q, 2, "keep")]),
    ),
    "listed": (
        LISTED + NEGATIVES,
        ("concat", [("listed", [(0, 2, 3)] * LABELS), ("iid", Q, 2, "keep")]),
    ),
    "distinct": (
        POSITIVES + nb.without_replacement(nb.from_probabilities(Q), 2),
        ("concat", [("iid", POPULATION, 2, "keep"), ("without_replacement", Q, 2)]),
    ),
}


def same(score):
    return score


def log_total(*parts):
    return np.log(sum(np.exp(part).sum() for part in parts))


#: The library's, and the same of the gold's score, those of positives and those of negatives.
LOSSES = {
    "mil_nce": (nb.mil_nce, lambda g, p, n: log_total(g, p, n) - log_total(g, p)),
    "two sources": (
        nb.LogSums(
            "two sources",
            [nb.LogSum(0.6, same, same, part=0), nb.LogSum(0.4, same, same, part=1)],
            lambda s: -s,
        ),
        lambda g, p, n: 0.6 * log_total(g, p) + 0.4 * log_total(g, n) - g,
    ),
    "of both": (
        nb.LogSums(
            "of both",
            [
                nb.LogSum(1.0, lambda gold, negative: 1.5 * negative - gold, part=1),
                nb.LogSum(-0.5, lambda s: 0.5 * s, same),
            ],
        ),
        lambda g, p, n: log_total(1.5 * n - g) - 0.5 * log_total(g, 0.5 * p, 0.5 * n),
    ),
}


def expected(name, spec):
    def value(g, negatives, counts):
        return LOSSES[name][1](g, negatives[:2], negatives[2:])

    return enumerate_any(SCORES, POPULATION, spec, value)


#: Log-weights that read the gold, with draws that are neither independent nor fixed, take a minute.
CELLS = [cell for cell in itertools.product(LOSSES, SAMPLERS) if cell != ("of both", "distinct")]


@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_every_moment_is_the_enumerated_one(name, kind):
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True, tolerance=1e-12)
    truth = expected(name, spec)
    for field in FIELDS:
        missed = np.abs(np.asarray(getattr(found, field)) - getattr(truth, field)).max()
        assert missed < 1e-10, (field, missed)
    assert found.status == "ok"


def test_a_part_taken_for_another_is_told_apart():
    """Positives swapped with negatives, or the log-sum of all in place of that of a part."""
    sampler = SAMPLERS["drawn"][0]
    right = nb.exact(PROBLEM, sampler, nb.mil_nce)
    swapped = nb.exact(PROBLEM, NEGATIVES + POSITIVES, nb.mil_nce)
    assert np.abs(np.asarray(right.gradient - swapped.gradient)).max() > 1e-2
    outside = nb.exact(PROBLEM, sampler, nb.infonce)
    assert np.abs(np.asarray(right.gradient - outside.gradient)).max() > 1e-2


def test_with_the_mean_outside_each_positive_is_a_gold_in_turn():
    """SupCon: mean over positives of -log of their shares has the gradient gamma - pop."""

    def supcon(g, negatives, counts):
        positives = np.concatenate([[g], negatives[:2]])
        return log_total(positives, negatives[2:]) - positives.mean()

    sampler, spec = SAMPLERS["drawn"]
    found = nb.exact(PROBLEM, sampler, nb.infonce)
    truth = enumerate_any(SCORES, POPULATION, spec, supcon)
    np.testing.assert_allclose(found.gradient, truth.gradient, atol=1e-13)
    np.testing.assert_allclose(found.loss, truth.loss, rtol=1e-13)
    assert found.variance > truth.variance + 0.1  # the mean over positives is less uncertain
    np.testing.assert_allclose(found.selection.sum(), 1, atol=1e-13)


def test_sampling_agrees_and_another_part_does_not():
    for kind in ("drawn", "listed"):
        sampler = SAMPLERS[kind][0]
        found = nb.monte_carlo(PROBLEM, sampler, nb.mil_nce, key=jax.random.key(0), draws=20_000)
        truth = nb.exact(PROBLEM, sampler, nb.mil_nce, split=True)
        for name in ("loss", "variance"):
            away = abs(float(getattr(found, name) - getattr(truth, name)))
            assert away < 4.5 * float(found.standard_errors[name]), (kind, name)
    swapped = nb.exact(PROBLEM, NEGATIVES + POSITIVES, nb.mil_nce)
    found = nb.monte_carlo(PROBLEM, SAMPLERS["drawn"][0], nb.mil_nce, key=1, draws=20_000)
    assert abs(float(found.loss - swapped.loss)) > 9 * float(found.standard_errors["loss"])


def test_over_parameters():
    sampler, spec = SAMPLERS["drawn"]
    jacobian = np.random.default_rng(0).normal(size=(LABELS, 3))
    model = nb.ScoreModel(lambda theta, x: jnp.asarray(SCORES) + jacobian @ theta, jnp.zeros(3))
    found = nb.gradient_bias(model, jnp.zeros((1, 1)), POPULATION[None], sampler, nb.mil_nce)

    def value(g, negatives, counts):
        return LOSSES["mil_nce"][1](g, negatives[:2], negatives[2:])

    truth = enumerate_any(SCORES, POPULATION, spec, value, jacobian=jacobian)
    assert float(found.variance) == pytest.approx(truth.variance, rel=1e-10)
    np.testing.assert_allclose(found.bias, truth.bias @ jacobian, atol=1e-12)


def of_part(part, gold):
    return nb.LogSums("x", nb.LogSum(1.0, same, gold, part=part))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nb.LogSum(1.0, same, part=0, leaves_one_out=True), "part: got 0 beside fewer"),
        (lambda: nb.LogSum(1.0, same, part=-1), "part: got -1; expected a whole number >= 0"),
        (
            lambda: nb.exact(PROBLEM, NEGATIVES, nb.mil_nce),
            "mil_nce has a log-sum of part 0, and iid.* has no parts; expected a sum of samplers",
        ),
        (
            lambda: nb.exact(
                PROBLEM, LISTED + NEGATIVES, nb.LogSums("x", nb.LogSum(1.0, same, same, part=2))
            ),
            "has a log-sum of part 2, and .* has 2 parts",
        ),
        (
            lambda: nb.exact(PROBLEM, LISTED + NEGATIVES, of_part(0, None)),
            r"has a log-sum of the negatives alone, and listed\(.* may have none",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
