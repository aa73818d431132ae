"""The label space and the population against which a contrastive gradient is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import check_distribution, floating, is_traced, refuse
from nce_bias.numerics.arrays import Array, log_softmax, namespace, to_jax, to_numpy


class Problem(eqx.Module):
    r"""Scores, population and popularity: everything an exact answer depends on.

    The cross entropy is J = sum_x pop(x) sum_y pop(y|x) (-log p(y|x)) with the model
    p(.|x) = softmax s(x, .), and its gradient with respect to the scores of x is p(.|x) - pop(.|x).

    Parameters
    ----------
    scores : array [V] or [X, V]
        s(x, y) in nats. -inf is legal: such a label has p = 0 and a proposal built on the scores
        never draws it. NaN and +inf are refused.
    population : array, same shape as `scores`
        pop(y|x); each row sums to 1. A one-hot row is one observed gold.
    popularity : array [V], optional
        pop(y), what popularity negatives are drawn from. Default: `weights @ population`.
    weights : array [X], optional
        pop(x). Default: uniform.

    Raises
    ------
    ValueError
        Shapes that do not match, fewer than two labels, NaN or +inf scores, a row without a finite
        score, rows that are no distributions. The message names the argument, what was given and
        what to do.

    Notes
    -----
    The dtype is that of the arguments (the widest of the floating ones): float32 input is computed
    in float32 and the `error` of each result says what that costs. Values are not checked inside
    a user's own `jax.jit`.

    Examples
    --------
    >>> problem = Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
    >>> problem
    Problem(3 labels, 1 input, entropy 0.802 nats, cross entropy 0.808 nats, float64)

    Source: Zhang & Stratos (2021), section 2.
    """

    scores: Float[Array, "*X V"]
    population: Float[Array, "*X V"]
    popularity: Float[Array, " V"]
    weights: Float[Array, " X_or_1"]

    def __init__(
        self, scores: Any, population: Any, popularity: Any = None, weights: Any = None
    ) -> None:
        scores = floating("scores", scores)
        population = floating("population", population)
        if scores.ndim not in (1, 2):
            raise refuse(
                "scores",
                f"got shape {scores.shape}",
                "[V] or [X, V]",
                "Flatten all inputs into one leading axis.",
            )
        if scores.shape != population.shape:
            raise refuse(
                "population",
                f"got shape {population.shape}",
                f"the shape of scores, {scores.shape}",
                "Give one row pop(.|x) for each row of scores.",
            )
        labels = scores.shape[-1]
        if scores.size == 0 or labels < 2:
            raise refuse(
                "scores",
                f"got shape {scores.shape}",
                "at least one input and two labels",
                "With fewer than two labels there is no wrong label to draw.",
            )
        rows = 1 if scores.ndim == 1 else scores.shape[0]
        if weights is None:
            weights = jnp.asarray(np.full(rows, 1 / rows, dtype=population.dtype))
        weights = floating("weights", weights)
        if weights.shape != (rows,):
            raise refuse(
                "weights", f"got shape {weights.shape}", f"[X] = ({rows},)", "One pop(x) per input."
            )
        _check_scores(scores)
        check_distribution("population", population)
        check_distribution("weights", weights)
        if popularity is None:
            factors = (weights, population.reshape(rows, labels))
            popularity = (
                np.matmul(*to_numpy(factors)) if not is_traced(*factors) else jnp.matmul(*factors)
            )
        else:
            popularity = floating("popularity", popularity)
            if popularity.shape != (labels,):
                raise refuse(
                    "popularity",
                    f"got shape {popularity.shape}",
                    f"[V] = ({labels},)",
                    "One pop(y) per label.",
                )
            check_distribution("popularity", popularity)
        dtype = jnp.result_type(scores, population, popularity, weights)
        self.scores = _cast(scores, dtype)
        self.population = _cast(population, dtype)
        self.popularity = _cast(popularity, dtype)
        self.weights = _cast(weights, dtype)

    @property
    def labels(self) -> int:
        """V, the number of labels."""
        return self.scores.shape[-1]

    @property
    def score_rows(self) -> Float[Array, "X V"]:
        """The scores with an axis of inputs, whether or not one was given."""
        return namespace(self.scores).atleast_2d(self.scores)

    @property
    def population_rows(self) -> Float[Array, "X V"]:
        """The population with an axis of inputs, whether or not one was given."""
        return namespace(self.population).atleast_2d(self.population)

    @property
    def log_model(self) -> Float[Array, "*X V"]:
        """log p(y|x), the log-softmax of the scores."""
        return self._at_once(lambda problem: log_softmax(problem.scores))

    @property
    def entropy(self) -> Float[Array, ""]:
        """Mean conditional entropy of the population in nats: the least cross entropy there is."""
        return self._at_once(_entropy)

    @property
    def cross_entropy(self) -> Float[Array, ""]:
        """E[-log p(y|x)] in nats; +inf where the population has a label with p = 0."""
        return self._at_once(_cross_entropy)

    def _at_once(self, function: Callable[[Problem], Array]) -> Array:
        """By NumPy, which compiles nothing, where the values are concrete."""
        if is_traced(self):
            return function(self)
        with np.errstate(all="ignore"):  # infinities, and what they make, are meant
            return _like(self.scores, function(to_numpy(self)))

    def __repr__(self) -> str:
        rows, labels = self.score_rows.shape
        inputs = "1 input" if rows == 1 else f"{rows} inputs"
        if is_traced(self):
            return f"Problem({labels} labels, {inputs}, traced, {self.scores.dtype})"
        return (
            f"Problem({labels} labels, {inputs}, entropy {float(self.entropy):.3f} nats, "
            f"cross entropy {float(self.cross_entropy):.3f} nats, {self.scores.dtype})"
        )


def _cast(array: Array, dtype: Any) -> jax.Array:
    """As a JAX array of that type, without compiling where the values are concrete."""
    return array.astype(dtype) if is_traced(array) else jnp.asarray(np.asarray(array).astype(dtype))


def _like(array: Array, value: Array) -> Array:
    return to_jax(value) if isinstance(array, jax.Array) else value


def _entropy(problem: Problem) -> Float[Array, ""]:
    rows, xp = problem.population_rows, namespace(problem.population)
    terms = xp.where(rows > 0, -rows * xp.log(xp.where(rows > 0, rows, 1.0)), 0.0)
    return problem.weights @ xp.sum(terms, axis=-1)


def _cross_entropy(problem: Problem) -> Float[Array, ""]:
    rows, xp = problem.population_rows, namespace(problem.population)
    log_model = log_softmax(problem.score_rows)
    terms = xp.where(rows > 0, -rows * xp.where(rows > 0, log_model, 0.0), 0.0)
    return problem.weights @ xp.sum(terms, axis=-1)


def _check_scores(scores: jax.Array) -> None:
    if is_traced(scores):
        return
    rows = np.atleast_2d(np.asarray(scores))
    bad = np.isnan(rows) | np.isposinf(rows)
    if bad.any():
        row, label = (int(i) for i in np.argwhere(bad)[0])
        raise refuse(
            "scores",
            f"got {rows[row, label]} at input {row}, label {label}",
            "finite numbers or -inf",
            "Find the overflow or the missing value upstream; nothing was computed.",
        )
    empty = np.flatnonzero(~np.isfinite(rows).any(axis=-1))
    if empty.size:
        raise refuse(
            "scores",
            f"every score of input {int(empty[0])} is -inf",
            "at least one finite score in each row",
            "Remove that input: its softmax does not exist.",
        )
