"""A model's scores and J^T rows, against the Jacobian written out; and what is refused."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb

LABELS, FEATURES, INPUTS = 4, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(INPUTS, FEATURES))
ROWS = RNG.normal(size=(INPUTS, LABELS))
PARAMS = {
    "out": jnp.asarray(RNG.normal(size=(LABELS, FEATURES))),
    "scale": jnp.asarray(0.7),
    "activation": jnp.tanh,
    "steps": 3,
}
OUT, SCALE = np.asarray(PARAMS["out"]), 0.7


def score(params: Any, x: Any) -> Any:
    return params["scale"] * params["activation"](params["out"] @ x)


MODEL = nb.ScoreModel(score, PARAMS)


def by_hand(x: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, float]:
    """d/d(out, scale) of sum_y row_y scale tanh(out_y x)."""
    z = np.tanh(OUT @ x)
    return np.outer(SCALE * row * (1 - z**2), x), float(row @ z)


def assert_gradient(found: Any, out: Any, scale: Any) -> None:
    np.testing.assert_allclose(found["out"], out, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["scale"], scale, rtol=1e-12)
    assert found["activation"] is found["steps"] is None


def test_scores_of_one_and_of_many():
    np.testing.assert_allclose(MODEL(X[0]), SCALE * np.tanh(OUT @ X[0]), rtol=1e-14)
    np.testing.assert_allclose(MODEL.scores(X), SCALE * np.tanh(X @ OUT.T), rtol=1e-14)


def test_params_are_parted_and_put_together():
    assert jax.tree.leaves(MODEL.trainable) == jax.tree.leaves([PARAMS["out"], PARAMS["scale"]])
    assert MODEL.fixed["activation"] is jnp.tanh
    assert MODEL.params == PARAMS
    with pytest.raises(AttributeError):
        MODEL.fixed = None  # pyright: ignore


def test_one_row():
    assert_gradient(nb.pull_back(MODEL, X[0], ROWS[0]), *by_hand(X[0], ROWS[0]))


def test_many_rows_add_up_by_their_weights():
    parts = [by_hand(x, row) for x, row in zip(X, ROWS, strict=True)]
    out, scale = np.stack([p[0] for p in parts]), np.array([p[1] for p in parts])
    assert_gradient(nb.pull_back(MODEL, X, ROWS), out.sum(0), scale.sum())
    weights = RNG.dirichlet(np.ones(INPUTS))
    found = nb.pull_back(MODEL, X, ROWS, weights=weights)
    assert_gradient(found, np.tensordot(weights, out, 1), weights @ scale)
    assert abs(weights @ scale - scale.mean()) > 0.01


def test_it_is_linear_in_rows():
    other = RNG.normal(size=ROWS.shape)
    both = nb.pull_back(MODEL, X, 2 * ROWS - 3 * other)
    a, b = nb.pull_back(MODEL, X, ROWS), nb.pull_back(MODEL, X, other)
    expected = jax.tree.map(lambda a, b: 2 * a - 3 * b, a, b)
    assert_gradient(both, expected["out"], expected["scale"])


def test_inputs_may_be_pytrees_and_all_of_it_may_be_traced():
    pair = nb.ScoreModel(lambda params, x: score(params, x["a"] + x["b"][0]), PARAMS)

    @jax.jit
    def compute(half, rows):
        return eqx.filter(nb.pull_back(pair, {"a": half, "b": (half,)}, rows), eqx.is_array)

    found = compute(X / 2, ROWS)
    expected = nb.pull_back(MODEL, X, ROWS)
    np.testing.assert_allclose(found["out"], expected["out"], rtol=1e-12)


def test_inputs_that_are_not_looked_at():
    """As in a model of one context: no input need be given."""
    table = nb.ScoreModel(lambda scores, _: scores, jnp.zeros(LABELS))
    np.testing.assert_array_equal(nb.pull_back(table, None, ROWS[0]), ROWS[0])


def test_it_is_the_bias_of_gradient_bias():
    population = RNG.dirichlet(np.ones(LABELS), size=INPUTS)
    weights = RNG.dirichlet(np.ones(INPUTS))
    found = nb.gradient_bias(
        MODEL, X, population, nb.iid(nb.uniform(), 2), weights=weights, variance=False
    )
    bias = nb.pull_back(MODEL, X, found.moments.bias, weights=weights)
    assert found.norm > 1e-3
    assert_gradient(found.bias, bias["out"], bias["scale"])


def test_single_precision_is_lifted_and_comes_back():
    """The scores are the engine's, the gradient the parameters'."""
    single = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, PARAMS
    )
    model = nb.ScoreModel(score, single)
    x = X.astype(np.float32)
    assert score(single, x[0]).dtype == jnp.float32
    assert model(x[0]).dtype == model.scores(x).dtype == jnp.float64
    found = nb.pull_back(model, x, ROWS)
    assert found["out"].dtype == found["scale"].dtype == jnp.float32
    np.testing.assert_allclose(found["out"], nb.pull_back(MODEL, X, ROWS)["out"], atol=1e-5)


def test_it_is_readable():
    assert repr(MODEL) == "ScoreModel(score, 13 parameters)"
    net = eqx.nn.Linear(2, 3, key=jax.random.key(0))
    assert repr(nb.ScoreModel(lambda net, x: net(x), net)) == "ScoreModel(<lambda>, 9 parameters)"


def shaped(shape: tuple[int, ...]) -> nb.ScoreModel:
    return nb.ScoreModel(lambda params, x: jnp.zeros(shape), PARAMS)


def no_vector(shape: str) -> str:
    return (
        f"score_fn: its scores of one input have shape {shape}; expected a vector [V], one score a "
        "label. score_fn(params, x) sees one input x without an axis of inputs: return scores[0] "
        "where a batch of one comes out."
    )


REFUSED: dict[str, Any] = {
    no_vector("()"): lambda: shaped(())(X[0]),
    no_vector("(1, 4)"): lambda: shaped((1, 4)).scores(X),
    no_vector("(2, 4)"): lambda: nb.pull_back(shaped((2, 4)), X, ROWS),
    no_vector("(5, 1)"): lambda: nb.gradient_bias(shaped((5, 1)), X, ROWS, nb.top(1)),
    "score_fn: got dict, which is not an array of numbers; expected an array of numbers (NumPy, "
    "JAX, PyTorch, pandas, nested lists of equal lengths). Convert it to a rectangular array of "
    "floats first.": lambda: nb.ScoreModel(lambda params, x: {"logits": x}, PARAMS)(X[0]),
    "score_fn: got dict, which cannot be called; expected a function of (params, x). "
    "nb.ScoreModel(lambda params, x: params @ x, params) is a linear model.": lambda: nb.ScoreModel(
        PARAMS, score
    ),
    "params: got float without any floating array, so nothing is trained; expected a pytree with "
    "floating arrays. Make arrays of numbers and lists of numbers: "
    "jnp.asarray(1.0).": lambda: nb.ScoreModel(score, 1.0),
    "rows: got shape (1, 5, 4); expected [V] for one input or [X, V] for many. Flatten all inputs "
    "into one leading axis.": lambda: nb.pull_back(MODEL, X, ROWS[None]),
    "rows: got shape (2, 4); expected the shape of the scores, (5, 4). Give one row for each "
    "input.": lambda: nb.pull_back(MODEL, X, ROWS[:2]),
    "weights: got shape (4,) for rows of shape (5, 4); expected [X] for rows [X, V]. One pop(x) "
    "per input.": lambda: nb.pull_back(MODEL, X, ROWS, weights=np.ones(4)),
    "weights: got shape (4,) for rows of shape (4,); expected [X] for rows [X, V]. One pop(x) "
    "per input.": lambda: nb.pull_back(MODEL, X[0], ROWS[0], weights=np.ones(4)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(ValueError) as error:
        REFUSED[message]()
    assert str(error.value) == message
