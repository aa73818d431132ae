"""Means over the negatives by their own weights: by enumeration, and beside resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests.core.test_log_sums import POPULATION, PROBLEM, SAMPLERS, SCORES, check
from tests.oracles.any_loss import enumerate_any


def softplus(x):
    return np.log(1 + np.exp(x))


def shares(logs):
    """No step of the scores moves them."""
    return np.exp(logs.real) / np.exp(logs.real).sum()


#: The library's, and the same from its definition, of the gold, negatives and log counts.
LOSSES = {
    "self_adversarial": (
        nb.self_adversarial(1.5),
        lambda g, n, c: softplus(-g) + shares(1.5 * n) @ softplus(n),
    ),
    "pairs": (
        nb.LogSums(
            "pairs",
            nb.WeightedMean(
                lambda m: 2 * m,
                lambda gold, negative: jax.nn.softplus(negative - gold),
                lambda gold, negative, log_count: (negative - gold) ** 2 - log_count,
            ),
        ),
        lambda g, n, c: 2 * len(n) * shares((n - g) ** 2 - c) @ softplus(n - g),
    ),
    "beside a log-sum": (
        nb.LogSums(
            "beside a log-sum",
            [
                nb.LogSum(1.0, lambda s: s, lambda s: s),
                nb.WeightedMean(-0.5, lambda s: s**2, lambda s: -s),
            ],
            lambda s: -s,
        ),
        lambda g, n, c: np.log(np.exp(g) + np.exp(n).sum()) - g - 0.5 * shares(-n) @ n**2,
    ),
}


@pytest.mark.parametrize("kind", ["exclude", "keep", "distinct", "sum"])
@pytest.mark.parametrize("name", ["self_adversarial", "pairs"])
def test_every_moment_is_the_enumerated_one(name, kind):
    sampler, spec = SAMPLERS[kind]
    loss, value = LOSSES[name]
    found = nb.exact(PROBLEM, sampler, loss, split=True)
    check(found, enumerate_any(SCORES, POPULATION, spec, value))
    assert found.status == "ok"


def test_a_mean_and_a_log_sum_in_one_loss():
    sampler, spec = SAMPLERS["keep"]
    loss, value = LOSSES["beside a log-sum"]
    found = nb.exact(PROBLEM, sampler, loss, split=True)
    check(found, enumerate_any(SCORES, POPULATION, spec, value))


def test_a_gradient_through_the_weights_is_another():
    """Which the oracle has where nothing is held fixed."""
    sampler, spec = SAMPLERS["exclude"]

    def moving(g, n, c):
        share = np.exp(1.5 * n) / np.exp(1.5 * n).sum()
        return softplus(-g) + share @ softplus(n)

    found = nb.exact(PROBLEM, sampler, nb.self_adversarial(1.5))
    wrong = enumerate_any(SCORES, POPULATION, spec, moving)
    assert float(found.loss) == pytest.approx(wrong.loss, abs=1e-13)
    assert np.abs(np.asarray(found.gradient) - wrong.gradient).max() > 1e-2


def test_over_parameters():
    sampler, spec = SAMPLERS["exclude"]
    loss, value = LOSSES["pairs"]
    jacobian = np.random.default_rng(0).normal(size=(len(SCORES), 3))
    model = nb.ScoreModel(lambda theta, x: jnp.asarray(SCORES) + jacobian @ theta, jnp.zeros(3))
    found = nb.gradient_bias(model, jnp.zeros((1, 1)), POPULATION[None], sampler, loss)
    enumerated = enumerate_any(SCORES, POPULATION, spec, value, jacobian=jacobian)
    assert float(found.variance) == pytest.approx(enumerated.variance, rel=1e-10)
    np.testing.assert_allclose(found.bias, enumerated.bias @ jacobian, atol=1e-12)


def test_alpha_to_zero_is_a_plain_mean_and_to_infinity_the_best():
    pool = nb.iid(nb.uniform(), 4, "keep")
    for alpha, other, of in ((1e-9, nb.jsd, pool), (400.0, nb.jsd, nb.best_of(pool, 1))):
        found = nb.exact(PROBLEM, pool, nb.self_adversarial(alpha))
        np.testing.assert_allclose(found.gradient, nb.exact(PROBLEM, of, other).gradient, atol=1e-8)


def test_drawing_by_weight_is_the_same_in_the_mean_with_more_variance():
    pool = SAMPLERS["keep"][0]
    whole = nb.exact(PROBLEM, pool, nb.self_adversarial(1.5), split=True)
    excess, jsd = [], nb.jsd
    for m in (1, 2, 4):
        drawn = nb.resampled(pool, lambda scores, popularity: 1.5 * scores, m)
        found = nb.exact(PROBLEM, drawn, jsd, split=True)
        np.testing.assert_allclose(found.gradient, whole.gradient, atol=1e-13)
        assert float(found.loss) == pytest.approx(float(whole.loss), abs=1e-13)
        excess.append(m * float(found.variance - whole.variance))
    assert excess[0] > 1e-2
    np.testing.assert_allclose(excess, excess[0], rtol=1e-10)  # all of it by the m draws


def test_monte_carlo_agrees_and_another_weight_does_not():
    sampler, loss = SAMPLERS["distinct"][0], LOSSES["pairs"][0]
    found = nb.monte_carlo(PROBLEM, sampler, loss, key=jax.random.key(3), draws=20_000)
    truth = nb.exact(PROBLEM, sampler, loss)
    for name in ("loss", "variance"):
        away = abs(float(getattr(found, name) - getattr(truth, name)))
        assert away < 4.5 * float(found.standard_errors[name]), name
    pairs = nb.WeightedMean(
        lambda m: 2 * m, lambda gold, negative: jax.nn.softplus(negative - gold), lambda s: 0 * s
    )
    other = nb.exact(PROBLEM, sampler, nb.LogSums("alike", pairs))
    assert abs(float(found.loss - other.loss)) > 9 * float(found.standard_errors["loss"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nb.self_adversarial(0.0), "alpha: got 0.0; expected a number > 0"),
        (
            lambda: nb.WeightedMean(1.0, lambda s: s, lambda gold, other: other),
            "loss weighted mean: its function of the negative reads 'gold', 'other'; expected",
        ),
        (
            lambda: nb.exact(PROBLEM, nb.poisson(nb.uniform(), 2), nb.self_adversarial()),
            "loss: self_adversarial(alpha=1) has a log-sum of the negatives alone, and",
        ),
        (
            lambda: nb.LogSums("none", [nb.jsd]),
            "loss none: got the terms (jsd,); expected one nb.LogSum or several, or",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)
