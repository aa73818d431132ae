r"""From score space to parameters: a model's scores, and their pull-back J^T.

With J_x = ds(x, .)/dtheta `[V, d]` of one input, a row of score space c(x) `[V]` becomes a gradient
over the parameters as J_x^T c(x), one vector-Jacobian product; over inputs they add up:

    J^T c = sum_x weights(x) J_x^T c(x).

It is linear in c. The bias of a contrastive gradient over the parameters is the pull-back of the
score-space bias eps, the gradient of cross entropy that of p - pop (Theorem 3.1 of Zhang & Stratos,
2021). So a sampler never sees the model, and the model never sees a sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from nce_bias._checks import refuse
from nce_bias._gate import floating


class ScoreModel(eqx.Module):
    """A model as the library sees it: a function of parameters and one input that gives scores.

    (Not to be confused with `nb.model`, the proposal that draws negatives from p.)

    Parameters
    ----------
    score_fn : callable
        ``score_fn(params, x) -> scores [V]`` for one input x, differentiable by JAX: a Flax
        function, an Equinox module's call (``lambda net, x: net(x)``), plain pytrees.
    params : pytree
        Floating arrays are trained; other leaves (activation functions, sizes) are left alone.

    Attributes
    ----------
    trainable, fixed : pytree like the parameters
        The two parts of them, each with None where the other has a leaf.

    Raises
    ------
    ValueError
        A `score_fn` that cannot be called, parameters none of which is a floating array; when
        called, scores that are no vector `[V]`.

    Notes
    -----
    Scores of lower precision than JAX's default float are lifted to it, so that a float32 model can
    be asked about in float64; what is pulled back has the parameters' own precision.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> linear = ScoreModel(lambda params, x: params @ x, jnp.eye(3))
    >>> linear
    ScoreModel(<lambda>, 9 parameters)
    >>> linear(jnp.array([1., 0., 2.])).tolist()
    [1.0, 0.0, 2.0]
    >>> linear.scores(jnp.eye(3)[:2]).shape
    (2, 3)
    """

    score_fn: Callable[[PyTree, PyTree], Any]
    trainable: PyTree
    fixed: PyTree

    def __init__(self, score_fn: Any, params: PyTree) -> None:
        if not callable(score_fn):
            raise refuse(
                "score_fn",
                f"got {type(score_fn).__name__}, which cannot be called",
                "a function of (params, x)",
                "nb.ScoreModel(lambda params, x: params @ x, params) is a linear model.",
            )
        self.score_fn = score_fn
        self.trainable, self.fixed = eqx.partition(params, eqx.is_inexact_array)
        if not jax.tree.leaves(self.trainable):
            raise refuse(
                "params",
                f"got {type(params).__name__} without any floating array, so nothing is trained",
                "a pytree with floating arrays",
                "Make arrays of numbers and lists of numbers: jnp.asarray(1.0).",
            )

    @property
    def params(self) -> PyTree:
        """The parameters, both parts together."""
        return eqx.combine(self.trainable, self.fixed)

    def __call__(self, x: PyTree) -> Float[Array, " V"]:
        """Scores of one input."""
        return self.at(self.trainable, x)

    def scores(self, inputs: PyTree) -> Float[Array, "X V"]:
        """Scores of many: every leaf of `inputs` has a leading axis X."""
        return jax.vmap(self)(inputs)

    def at(self, trainable: PyTree, x: PyTree) -> Float[Array, " V"]:
        """Scores of one input at other values of the trained parameters."""
        scores = floating("score_fn", self.score_fn(eqx.combine(trainable, self.fixed), x))
        if scores.ndim != 1:
            raise refuse(
                "score_fn",
                f"its scores of one input have shape {scores.shape}",
                "a vector [V], one score a label",
                "score_fn(params, x) sees one input x without an axis of inputs: return "
                "scores[0] where a batch of one comes out.",
            )
        return lifted(scores)

    def __repr__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self.trainable))
        name = getattr(self.score_fn, "__name__", type(self.score_fn).__name__)
        return f"ScoreModel({name}, {count:,} parameters)"


def lifted(scores: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Scores in at least JAX's default precision."""
    return scores.astype(jnp.promote_types(scores.dtype, jnp.result_type(float)))


def linearize(
    function: Callable[[PyTree], Array], params: PyTree
) -> tuple[Array, Callable[[Array], PyTree]]:
    """The value of a function of the parameters, and its pull-back.

    Every pull-back of the library is this one; `pull_back` is it for a `ScoreModel`.

    Returns
    -------
    value : array
    back : callable
        rows shaped like the value -> sum of rows times derivative, a pytree like `params` with None
        for leaves that are not floating arrays.
    """
    trainable, fixed = eqx.partition(params, eqx.is_inexact_array)
    value, back = jax.vjp(lambda part: function(eqx.combine(part, fixed)), trainable)
    return value, lambda rows: back(jnp.asarray(rows).astype(value.dtype))[0]


def linearize_scores(
    model: ScoreModel, inputs: PyTree, *, many: bool
) -> tuple[Float[Array, "*X V"], Callable[[Array], PyTree]]:
    """Scores `[V]` of one input or `[X, V]` of many, and rows -> J^T rows."""

    def scores(trainable: PyTree) -> Array:
        if many:
            return jax.vmap(lambda x: model.at(trainable, x))(inputs)
        return model.at(trainable, inputs)

    return linearize(scores, model.trainable)


def pull_back(model: ScoreModel, inputs: PyTree, rows: Any, *, weights: Any = None) -> PyTree:
    """Rows of score space as one gradient over the parameters, sum_x weights(x) J_x^T rows(x).

    Parameters
    ----------
    model : ScoreModel
        Whose scores.
    inputs : pytree
        One input for rows `[V]`; for rows `[X, V]` every leaf has a leading axis X.
    rows : array [V] or [X, V]
        What each score weighs: the bias `eps` of `exact` gives the bias over the parameters, p -
        pop the gradient of cross entropy.
    weights : array [X], optional
        pop(x), as for `Problem`. Default: 1 for each input, the plain sum.

    Returns
    -------
    pytree like the parameters
        None for leaves that are not floating arrays.

    Raises
    ------
    ValueError
        Rows that are no `[V]` or `[X, V]` or not the shape of the scores; weights without an input
        each.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> linear = ScoreModel(lambda params, x: params @ x, jnp.zeros((2, 3)))
    >>> pull_back(linear, jnp.array([1., 2., 3.]), [1., -1.]).tolist()
    [[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]]

    Source: Zhang & Stratos (2021), Theorem 3.1.
    """
    check_model(model)
    rows = floating("rows", rows)
    if rows.ndim not in (1, 2):
        raise refuse(
            "rows",
            f"got shape {rows.shape}",
            "[V] for one input or [X, V] for many",
            "Flatten all inputs into one leading axis.",
        )
    scores, back = linearize_scores(model, inputs, many=rows.ndim == 2)
    if rows.shape != scores.shape:
        raise refuse(
            "rows",
            f"got shape {rows.shape}",
            f"the shape of the scores, {scores.shape}",
            "Give one row for each input.",
        )
    if weights is not None:
        weights = floating("weights", weights)
        if weights.shape != rows.shape[:1] or rows.ndim != 2:
            raise refuse(
                "weights",
                f"got shape {weights.shape} for rows of shape {rows.shape}",
                "[X] for rows [X, V]",
                "One pop(x) per input.",
            )
        rows = weights[:, None] * rows
    return back(rows)


def check_model(model: object) -> None:
    """Refuse what is no `ScoreModel`."""
    if not isinstance(model, ScoreModel):
        raise refuse(
            "model",
            f"got {model!r}",
            "a model nb.ScoreModel(score_fn, params)",
            "nb.ScoreModel(lambda params, x: params @ x, params) is a linear one.",
        )


def inner(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """<a, b> over all leaves, added up in float32 at least: half precision has no small squares."""

    def of_leaves(x: Array, y: Array) -> Array:
        dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
        return jnp.vdot(x.astype(dtype), y.astype(dtype))

    return sum(jax.tree.leaves(jax.tree.map(of_leaves, a, b)), jnp.zeros(()))
