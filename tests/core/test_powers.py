"""Powers of Z in place of its logarithm: every moment against enumeration, by complex steps."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import nce_bias as nb
from nce_bias.numerics import quadrature
from tests.core.test_log_sums import LABELS, POPULATION, PROBLEM, SAMPLERS, SCORES, log_total, same
from tests.oracles.any_loss import enumerate_any

FIELDS = ("loss", "gradient", "bias", "variance", "variance_negatives", "variance_gold")
POWERS = (-3.0, -0.7, 1e-3, 0.4, 0.95)


def box_cox(log_z, power):
    return (np.exp(power * log_z) - 1) / power


def plain(power):
    term = nb.LogSum(1.0, same, same, power=power)
    return nb.LogSums(f"power {power:g}", term, lambda s: -s)


#: The library's, and the same of the gold's score and the negatives'.
LOSSES = {
    **{f"{p:g}": (plain(p), lambda g, n, p=p: box_cox(log_total(g, n), p) - g) for p in POWERS},
    "gce": (nb.gce(0.7), lambda g, n: (1 - np.exp(0.7 * (g - log_total(g, n)))) / 0.7),
    "mae": (nb.gce(1.0), lambda g, n: 1 - np.exp(g - log_total(g, n))),
    "rince": (
        nb.rince(0.3, 0.2),
        lambda g, n: ((0.2 * np.exp(log_total(g, n))) ** 0.3 - np.exp(0.3 * g)) / 0.3,
    ),
    "poly": (  # -log pi(1) + 2 (1 - pi(1))
        nb.LogSums(
            "poly",
            [
                nb.LogSum(1.0, same, same),
                nb.LogSum(2.0, lambda gold, negative: negative - gold, lambda s: 0 * s, power=-1.0),
            ],
            lambda s: -s,
        ),
        lambda g, n: log_total(g, n) - g + 2 * (1 - np.exp(g - log_total(g, n))),
    ),
    "constant": (  # 1.7 in Z
        nb.LogSums(
            "constant",
            nb.LogSum(1.0, same, lambda s: jnp.logaddexp(s, jnp.log(1.7)), power=0.4),
            lambda s: -s,
        ),
        lambda g, n: box_cox(np.log(np.exp(log_total(g, n)) + 1.7), 0.4) - g,
    ),
    "without the gold": (
        nb.LogSums("without", nb.LogSum(1.0, same, power=-0.7), lambda s: -s),
        lambda g, n: box_cox(np.log(np.exp(n).sum()), -0.7) - g,
    ),
    "one left out": (
        nb.LogSums(
            "out", [nb.LogSum(1.0, same, same, power=0.4, leaves_one_out=True)], lambda s: -s
        ),
        lambda g, n: (
            sum(box_cox(log_total(g, np.delete(n, k)), 0.4) for k in range(len(n))) / len(n) - g
        ),
    ),
}
CELLS = [
    *itertools.product(LOSSES, ["keep"]),
    *itertools.product(("-0.7", "0.4", "gce"), ("exclude", "mask", "poisson", "top")),
    ("0.4", "sum"),
    ("0.4", "distinct"),
]


def expected(name, spec, **options):
    return enumerate_any(SCORES, POPULATION, spec, lambda g, n, _: LOSSES[name][1](g, n), **options)


@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_every_moment_is_the_enumerated_one(name, kind):
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True)
    truth = expected(name, spec)
    for field in FIELDS:
        missed = np.abs(np.asarray(getattr(found, field)) - getattr(truth, field)).max()
        assert missed < (1e-10 + 30 * found.error if "variance" in field else 1e-11), field
    assert np.abs(np.asarray(found.gradient) - truth.gradient).max() < found.error < 1e-10


def test_a_power_of_one_sum_by_hand():
    """E Z^k - 1 over k with one draw: two values of Z."""
    q = np.array([0.25, 0.75, 0.0])
    problem = nb.Problem([1.0, -1.0, 0.5], [0.0, 0.0, 1.0])
    loss = nb.LogSums("z", nb.LogSum(1.0, same, same, power=0.5))
    found = nb.exact(problem, nb.iid(nb.from_probabilities(q), 1), loss)
    z = np.exp([1.0, -1.0]) + np.exp(0.5)
    assert float(found.loss) == pytest.approx(2 * (q[:2] @ np.sqrt(z) - 1), rel=1e-13)
    log = nb.LogSums("log", nb.LogSum(1.0, same, same))
    other = float(nb.exact(problem, nb.iid(nb.from_probabilities(q), 1), log).loss)
    assert abs(float(found.loss) - other) > 0.2


def test_the_limit_is_the_logarithm():
    sampler = SAMPLERS["keep"][0]
    log = nb.exact(PROBLEM, sampler, nb.LogSums("log", nb.LogSum(1.0, same, same), lambda s: -s))
    near = [nb.exact(PROBLEM, sampler, plain(power)) for power in (-1e-5, 1e-5, 1e-2)]
    apart = [float(np.abs(np.asarray(one.gradient - log.gradient)).max()) for one in near]
    assert max(apart[:2]) < 1e-4 < apart[2]
    middle = (near[0].loss + near[1].loss) / 2
    assert float(middle) == pytest.approx(float(log.loss), abs=1e-9)
    for end, loss in ((nb.gce(1e-6), nb.infonce), (nb.rince(1e-6, 1.0), nb.infonce)):
        one, other = (nb.exact(PROBLEM, sampler, each) for each in (end, loss))
        np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-5)


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 2.0, 4.5, 18.0])
def test_the_bound_of_the_rule(shape):
    """|Gamma(a + iw)| / Gamma(a) by SciPy, at the step taken; and what the rule itself misses."""
    step = quadrature.step_for(1e-13, shape)
    omega = 2 * math.pi / step * np.arange(1, 4)
    truth = 2 * np.abs(special.gamma(shape + 1j * omega)).sum() / special.gamma(shape)
    bound = quadrature.gamma_error(step, shape)
    assert truth <= bound * (1 + 1e-9) and bound <= min(1.02 * truth, 1e-13)
    left, right = quadrature.ends(1e-13, shape)
    nodes = math.ceil((right - left) / step) + 1
    grid_of: Any = quadrature.Grid
    grid = grid_of(np.float64(left), np.float64(step), nodes, 1e-13, shape, shape - 1)
    index = np.arange(nodes, dtype=float)
    log_t = left + step * index
    missed = np.sum(grid.weight(index) * np.exp(log_t - np.exp(log_t))) - 1  # Z = 1
    assert abs(missed) <= grid.error() + 1e-14 * shape and grid.error() < 3e-13
    wrong = grid_of(np.float64(left), np.float64(2 * step), nodes, 1e-13, shape, shape - 1)
    assert wrong.error() > 1e-9


def test_monte_carlo_agrees_and_another_power_does_not():
    sampler = SAMPLERS["exclude"][0]
    for loss, twin in ((nb.gce(0.7), nb.gce(0.5)), (nb.rince(0.3, 0.2), nb.rince(0.3, 0.3))):
        found = nb.monte_carlo(PROBLEM, sampler, loss, key=jax.random.key(3), draws=20_000)
        truth, other = (nb.exact(PROBLEM, sampler, each, split=True) for each in (loss, twin))
        for name in ("loss", "variance"):
            away = abs(float(getattr(found, name) - getattr(truth, name)))
            assert away < 4.5 * float(found.standard_errors[name]), (loss, name)
        assert abs(float(found.loss - other.loss)) > 9 * float(found.standard_errors["loss"])


def test_over_parameters():
    sampler, spec = SAMPLERS["keep"]
    jacobian = np.random.default_rng(0).normal(size=(LABELS, 3))
    model = nb.ScoreModel(lambda theta, x: jnp.asarray(SCORES) + jacobian @ theta, jnp.zeros(3))
    found = nb.gradient_bias(model, jnp.zeros((1, 1)), POPULATION[None], sampler, nb.gce(0.7))
    truth = expected("gce", spec, jacobian=jacobian)
    assert float(found.variance) == pytest.approx(truth.variance, rel=1e-10)
    np.testing.assert_allclose(found.bias, truth.bias @ jacobian, atol=1e-12)


def test_compiled_and_scores_far_from_zero():
    """Weights are measured by the largest: e^40 times all of them are e^(40 k) times the loss."""
    sampler = SAMPLERS["keep"][0]
    for name in ("0.4", "-0.7", "gce"):
        plain_way, compiled = (
            nb.exact(PROBLEM, sampler, LOSSES[name][0], compiled=way) for way in (False, True)
        )
        for field in FIELDS:
            np.testing.assert_allclose(
                getattr(plain_way, field), getattr(compiled, field), atol=1e-11
            )
    moved = nb.Problem(SCORES + 40, POPULATION)
    one, far = (nb.exact(given, sampler, nb.gce(0.7)) for given in (PROBLEM, moved))
    np.testing.assert_allclose(one.gradient, far.gradient, atol=1e-12)
    loss = nb.LogSums("z", nb.LogSum(1.0, same, same, power=0.4))
    one, far = (nb.exact(given, sampler, loss) for given in (PROBLEM, moved))
    np.testing.assert_allclose(far.gradient, np.exp(16) * np.asarray(one.gradient), rtol=1e-11)
    assert float(far.variance) == pytest.approx(float(np.exp(32) * one.variance), rel=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nb.LogSum(1.0, same, power=1.0),
            r"power: got 1.0; expected a number from -8 to less than 1. Z itself is a sum over "
            r"candidates: nb.Additive.",
        ),
        (lambda: nb.LogSum(1.0, same, power=math.nan), "power: got nan"),
        (lambda: nb.gce(5.0), r"q: got 5.0; expected a number in \(0, 4\]"),
        (lambda: nb.rince(1.0), r"q: got 1.0; expected a number in \(0, 1\). For q = 1 the loss"),
        (
            lambda: nb.exact(
                nb.Problem(SCORES * [1, 1, 1, 1, 600], POPULATION),
                SAMPLERS["keep"][0],
                nb.gce(0.7),
            ),
            "log-weights spread over more than 500 nats, and the loss has a power of Z",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
