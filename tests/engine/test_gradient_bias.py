"""Parameter space: the pulled-back bias is a difference of two gradients, taken the long way.

The long way: every candidate set is listed (tests.oracles), its loss written in jax.numpy, and
`jax.grad` taken by the parameters of the average. Nothing of the engine is in it.
"""

import functools
import inspect
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine import sampling
from tests import cases
from tests.oracles.drawing import draws
from tests.oracles.enumeration import log_weights

HIDDEN = 3
X = np.random.default_rng(5).normal(size=(cases.INPUTS, 2))


@functools.cache
def params():
    """A pytree with leaves that are not floating arrays."""
    rng = np.random.default_rng(6)
    with jax.ensure_compile_time_eval():  # whichever test calls it first, also while traced
        return {
            "in": jnp.asarray(rng.normal(size=(HIDDEN, 2))),
            "out": (jnp.asarray(rng.normal(size=(cases.LABELS, HIDDEN))), jnp.zeros(cases.LABELS)),
            "activation": jnp.tanh,
            "name": "small",
            "depth": 2,
            "steps": jnp.arange(3),
            "nothing": None,
        }


def score(params, x):
    weight, bias = params["out"]
    return weight @ params["activation"](params["in"] @ x) + bias


def trainable(params):
    return {"in": params["in"], "out": params["out"]}


def cross_entropy(part):
    full = {**params(), **part}
    logs = jnp.stack([jax.nn.log_softmax(score(full, x)) for x in X])
    return -jnp.sum(cases.WEIGHTS[:, None] * cases.POPULATION * logs)


def contrastive(spec_for, loss):
    """E[loss] as a function of the parameters: sets, probabilities and corrections held fixed."""
    pieces = []
    for row, x in enumerate(X):
        scores = np.asarray(score(params(), x))
        for gold in np.flatnonzero(cases.POPULATION[row] > 0):
            spec = spec_for(scores)
            chance, labels = draws(spec, gold, scores)
            negative, own = log_weights(spec, loss, gold, scores)
            assert (labels >= 0).all()
            taken_off = (scores - negative.astype(float), scores[gold] - float(own))
            weight = cases.WEIGHTS[row] * cases.POPULATION[row, gold] * chance.astype(float)
            pieces.append((x, gold, weight, labels, taken_off))

    def value(part):
        total = 0.0
        for x, gold, weight, labels, (off_negatives, off_gold) in pieces:
            s = score({**params(), **part}, x)
            candidates = jnp.concatenate(
                [jnp.full((len(labels), 1), s[gold] - off_gold), (s - off_negatives)[labels]], 1
            )
            total += weight @ (jax.nn.logsumexp(candidates, axis=1) - (s[gold] - off_gold))
        return total

    return value


def model_q(scores):
    q = np.exp(scores / 2.0)
    return q / q.sum()


CASES = {
    "iid-keep": (
        nb.iid(nb.model(2.0), 2, "keep"),
        "sampled_softmax",
        lambda s: ("iid", model_q(s), 2, "keep"),
    ),
    "iid-exclude": (
        nb.iid(nb.popularity(), 2),
        "ranking_nce",
        lambda s: ("iid", cases.POPULARITY, 2, "exclude"),
    ),
    "top": (nb.top(2), "infonce", lambda s: ("top", 2)),
}


@functools.cache
def found(name):
    sampler, loss, _ = CASES[name]

    def compute(inputs):
        return nb.gradient_bias(
            nb.ScoreModel(score, params()),
            inputs,
            cases.POPULATION,
            sampler,
            nb.LOSSES[loss],
            weights=cases.WEIGHTS,
            popularity=cases.POPULARITY,
        )

    return compute(X) if name == "top" else jax.jit(compute)(X)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("name", CASES)
def test_bias_is_the_difference_of_the_gradients(name):
    _, loss, spec_for = CASES[name]
    part = trainable(params())
    exact = jax.jit(jax.grad(cross_entropy))(part)
    noisy = jax.jit(jax.grad(contrastive(spec_for, loss)))(part)
    bias = jax.tree.map(jnp.subtract, exact, noisy)
    result = found(name)
    # a Jacobian with entries of order 1 times 15 entries of `error`; both sides rounded
    tolerance = 100 * float(result.moments.error)
    assert tolerance < 1e-10
    for key in part:
        for got, wanted in zip(
            jax.tree.leaves((result.bias[key], result.exact_gradient[key])),
            jax.tree.leaves((bias[key], exact[key])),
            strict=True,
        ):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)
    b, g, c = flat(bias), flat(exact), flat(noisy)
    assert np.linalg.norm(b) > 1e-2
    np.testing.assert_allclose(result.norm, np.linalg.norm(b), rtol=1e-9)
    np.testing.assert_allclose(
        result.relative_norm, np.linalg.norm(b) / np.linalg.norm(g), rtol=1e-9
    )
    cosine = c @ g / np.linalg.norm(c) / np.linalg.norm(g)
    np.testing.assert_allclose(result.cosine, cosine, rtol=1e-9)
    assert result.standard_error == 0
    # not the other sign, and not the average over inputs without their weights
    assert np.abs(flat(result.bias) + b).max() > 1e-2


def test_leaves_that_are_not_floats_are_left_alone():
    result = found("top")
    for tree in (result.bias, result.exact_gradient):
        assert tree["activation"] is tree["name"] is tree["depth"] is tree["steps"] is None
        assert jax.tree.map(jnp.shape, trainable(tree)) == jax.tree.map(
            jnp.shape, trainable(params())
        )


def test_its_moments_are_those_of_the_scores():
    scores = np.stack([score(params(), x) for x in X])
    problem = nb.Problem(scores, cases.POPULATION, cases.POPULARITY, cases.WEIGHTS)
    cases.assert_same(found("top").moments, cases.exact(problem, nb.top(2)))


def test_one_input_needs_no_axis():
    sampler = nb.top(2)
    one, rows = jax.jit(
        lambda x: [
            nb.gradient_bias(nb.ScoreModel(score, params()), part, population, sampler)
            for part, population in [(x[0], cases.POPULATION[0]), (x[:1], cases.POPULATION[:1])]
        ]
    )(X)
    np.testing.assert_allclose(flat(one.bias), flat(rows.bias), rtol=0, atol=1e-13)
    assert one.moments.bias.shape == (cases.LABELS,)
    assert rows.moments.bias.shape == (1, cases.LABELS)


@pytest.mark.slow
def test_golds_as_integers_are_one_hot_rows():
    model, golds = nb.ScoreModel(score, params()), [4, 0, 2]
    sampler = nb.iid(nb.uniform(), 2)
    found = nb.gradient_bias(model, X, None, sampler, golds=golds)
    wanted = nb.gradient_bias(model, X, np.eye(cases.LABELS)[golds], sampler)
    np.testing.assert_allclose(flat(found.bias), flat(wanted.bias), rtol=0, atol=1e-14)
    one = nb.gradient_bias(model, X[0], None, sampler, golds=4)
    assert one.moments.selection.shape == (cases.LABELS,)
    for population, both in ((None, None), (wanted.moments.selection, golds)):
        with pytest.raises(ValueError, match="expected one of them"):
            nb.gradient_bias(model, X, population, sampler, golds=both)


def test_scores_as_parameters_give_the_bias_itself():
    result = jax.jit(
        lambda s: nb.gradient_bias(
            nb.ScoreModel(lambda s, _: s, s), 0.0, cases.POPULATION[0], nb.top(2)
        )
    )(cases.SCORES[0])
    np.testing.assert_allclose(result.bias, result.moments.bias, rtol=0, atol=1e-15)
    np.testing.assert_allclose(result.norm, result.moments.bias_norm, rtol=1e-12)


REPEATS = 400


@functools.cache
def sampled():
    sampler, loss, _ = CASES["iid-keep"]

    def one(key):
        result = nb.gradient_bias(
            nb.ScoreModel(score, params()),
            X,
            cases.POPULATION,
            sampler,
            nb.LOSSES[loss],
            weights=cases.WEIGHTS,
            popularity=cases.POPULARITY,
            key=key,
            draws=128,
        )
        plain = sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(result.bias))
        return trainable(result.bias), result.norm, result.standard_error, plain

    keys = jax.random.split(jax.random.key(0), REPEATS)
    return jax.jit(lambda keys: jax.lax.map(one, keys))(keys)


def test_monte_carlo_in_parameter_space():
    """The bias of every parameter and the squared norm are unbiased; the plain square is not."""
    bias, norm, error, plain = sampled()
    truth = found("iid-keep")
    entries = np.stack([flat(jax.tree.map(lambda a, i=i: a[i], bias)) for i in range(REPEATS)])
    z = (entries.mean(0) - flat(trainable(truth.bias))) / (
        entries.std(0, ddof=1) / np.sqrt(REPEATS)
    )
    assert np.abs(z).max() < 5.5  # 26 of them: a chance of 1e-6
    square = np.sign(norm) * np.asarray(norm) ** 2

    def mean_z(values):
        return (np.mean(values) - truth.norm**2) / (np.std(values, ddof=1) / np.sqrt(REPEATS))

    assert abs(mean_z(square)) < 5
    assert mean_z(plain) > 6
    # its standard error is the upper half-width of an interval for the root: where the norm is
    # well away from 0 that is the spread, known here to 1 / sqrt(800) and by curvature
    spread = np.std(norm, ddof=1)
    assert 0.8 < np.median(error) / spread < 1.2


def test_both_engines_draw_once_and_report_the_moments_of_that_draw(monkeypatch):
    """A second draw with the same key would be the same numbers at twice the price."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return draw(*arguments)

    draw = sampling._sample_means
    monkeypatch.setattr(sampling, "_sample_means", counted)
    sampler, scores = nb.iid(nb.model(2.0), 2, "keep"), np.stack([score(params(), x) for x in X])
    given = {"key": jax.random.key(5), "draws": 200}
    for variance in (False, True):
        result = nb.gradient_bias(
            nb.ScoreModel(score, params()),
            X,
            cases.POPULATION,
            sampler,
            weights=cases.WEIGHTS,
            variance=variance,
            **given,
        )
        assert len(calls) == 1
        assert np.isfinite(result.variance) == variance
        calls.clear()
        problem = nb.Problem(scores, cases.POPULATION, None, cases.WEIGHTS)
        alone = nb.monte_carlo(problem, sampler, **given)
        assert len(calls) == 1
        calls.clear()
        pairs = zip(jax.tree.leaves(result.moments), jax.tree.leaves(alone), strict=True)
        for got, wanted in pairs:
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)
        assert result.moments.method == alone.method == "monte carlo, 256 draws per input, float64"


OLD = (
    "nb.gradient_bias(score_fn, params, inputs, population, ...) is "
    "nb.gradient_bias(nb.ScoreModel(score_fn, params), inputs, population, ...) now; the next "
    "release takes the old call no more"
)


def test_the_old_call_works_for_one_release_and_says_so():
    new = nb.gradient_bias(
        nb.ScoreModel(score, params()),
        X,
        cases.POPULATION,
        nb.top(2),
        nb.infonce,
        weights=cases.WEIGHTS,
        variance=False,
    )
    old: Any = nb.gradient_bias
    named = {"score_fn": score, "params": params(), "inputs": X, "population": cases.POPULATION}
    calls = (
        lambda: old(
            score,
            params(),
            X,
            cases.POPULATION,
            nb.top(2),
            nb.infonce,
            cases.WEIGHTS,
            variance=False,
        ),
        lambda: old(**named, sampler=nb.top(2), weights=cases.WEIGHTS, variance=False),
    )
    for call in calls:
        with pytest.warns(DeprecationWarning, match=f"^{re.escape(OLD)}$"):
            found = call()
        np.testing.assert_array_equal(flat(found.bias), flat(new.bias))


def test_a_proposal_is_no_model():
    """nb.model is what negatives are drawn from, nb.ScoreModel what is trained."""
    call = inspect.unwrap(nb.gradient_bias)  # without the tests' own check of annotations
    for given, shown in ((nb.model(), "model"), (score, repr(score))):
        with pytest.raises(ValueError) as error:
            call(given, X, cases.POPULATION, nb.top(2))
        assert str(error.value) == (
            f"model: got {shown}; expected a model nb.ScoreModel(score_fn, params). "
            "nb.ScoreModel(lambda params, x: params @ x, params) is a linear one."
        )


def test_a_result_reads_well():
    shown = repr(found("top"))
    assert shown.startswith("GradientBias over 26 parameters\n  norm ")
    assert "Moments of infonce with top(m=2)" in shown
