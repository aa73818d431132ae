r"""From score space to parameters: one vector-Jacobian product.

Theorem 3.1 of Zhang & Stratos (2021):  b_i = sum_x pop(x) sum_y eps(y|x) ds(x, y)/dtheta_i, so the
bias of the gradient with respect to any parameters is the pull-back of the score-space bias. The
engine never sees the model, and the model never sees the sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from nce_bias._checks import refuse
from nce_bias.engine._exact import exact, is_separable, sized_for
from nce_bias.engine._monte_carlo import batch_means, jackknife, monte_carlo, unbiased_square
from nce_bias.engine.gradient_variance import second_moments
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, infonce
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Pairs of an input and a label up to which the variance is computed by default.
CHEAP = 2**16
#: The same where negatives are not independent.
CHEAP_MATRIX = 2**10


class GradientBias(eqx.Module):
    """The bias of a contrastive gradient over a model's parameters.

    Attributes
    ----------
    bias, exact_gradient : pytree like the parameters
        b = grad J_CE - grad J_h, and grad J_CE (None for leaves that are not floating arrays).
    norm : scalar
        ||b|| over all parameters (Monte Carlo: signed root of the unbiased square).
    relative_norm : scalar
        ||b|| / ||grad J_CE||.
    cosine : scalar
        Between grad J_h = grad J_CE - b and grad J_CE.
    standard_error : scalar
        Of `norm`; 0 for exact results.
    variance : scalar
        Trace of the covariance of one example's gradient within an input, averaged by pop(x): what
        the draw of gold and negatives adds. NaN where it was not computed.
    variance_error : scalar
        Standard error of `variance`; 0 for exact results.
    variance_inputs : scalar
        Trace of the covariance over inputs of the expected contrastive gradient: what the draw of
        x adds. A batch of B examples has mean squared error norm^2 + (variance + variance_inputs)
        / B against the cross-entropy gradient. (Monte Carlo: a plug-in, biased upwards.)
    moments : Moments
        The score-space result that was pulled back.
    """

    bias: PyTree
    exact_gradient: PyTree
    norm: Float[Array, ""]
    relative_norm: Float[Array, ""]
    cosine: Float[Array, ""]
    standard_error: Float[Array, ""]
    variance: Float[Array, ""]
    variance_error: Float[Array, ""]
    variance_inputs: Float[Array, ""]
    moments: Moments

    def __repr__(self) -> str:
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.bias))
        return (
            f"GradientBias over {parameters:,} parameters\n"
            f"  norm {self.norm:.6g}  relative {self.relative_norm:.6g}  cosine {self.cosine:.6g}"
            f"  variance {self.variance:.6g}\n"
            f"{self.moments!r}"
        )


def gradient_bias(
    score_fn: Callable[[PyTree, PyTree], Float[Array, " V"]],
    params: PyTree,
    inputs: PyTree,
    population: Any,
    sampler: Sampler,
    loss: Loss = infonce,
    weights: Any = None,
    *,
    popularity: Any = None,
    key: PRNGKeyArray | None = None,
    draws: int | None = None,
    variance: bool | None = None,
    **options: Any,
) -> GradientBias:
    """The bias of the contrastive gradient with respect to `params`.

    Parameters
    ----------
    score_fn : callable
        ``score_fn(params, x) -> scores [V]`` for one input x, differentiable by JAX: an Equinox
        module's call, a Flax function, plain pytrees.
    params : pytree
        Leaves that are not floating arrays (activation functions, sizes) are left alone.
    inputs : pytree
        One input for a `[V]` population, else leaves with a leading axis X.
    population, weights, popularity
        As for `Problem`.
    sampler, loss
        As for `exact`.
    key, draws
        Given both: by Monte Carlo. Not given: exactly.
    variance : bool, optional
        Whether to compute `variance`. It takes V vector-Jacobian products for each input, and one
        for each node of the integral. Default: for up to 2^16 pairs of an input and a label, and
        2^10 where negatives are drawn without replacement or from `poisson` (V second derivatives
        there, see `nce_bias.engine.gradient_variance`).
    **options
        `tolerance` and `split` of `exact`.

    Returns
    -------
    GradientBias

    Raises
    ------
    ValueError
        As for `Problem` and the engine; only one of `key` and `draws` given.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> linear = lambda params, x: params @ x
    >>> found = gradient_bias(
    ...     linear, jnp.eye(3), jnp.array([1., 0., 0.]), jnp.array([.5, .3, .2]), iid(uniform(), 2))
    >>> found.bias.shape
    (3, 3)
    """
    if (key is None) != (draws is None):
        raise refuse(
            "key, draws",
            "one of them is given",
            "both (Monte Carlo) or neither (exact)",
            "Pass key=jax.random.key(0), draws=10_000.",
        )
    trainable, fixed = eqx.partition(params, eqx.is_inexact_array)
    one = jnp.ndim(population) == 1
    rows_of = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], inputs) if one else inputs
    score_one = _Scores(score_fn, fixed)
    scores, pull_back = jax.vjp(
        lambda part: (
            score_one(part, inputs) if one else jax.vmap(lambda x: score_one(part, x))(inputs)
        ),
        trainable,
    )
    problem = Problem(scores, population, popularity, weights)

    def pull(rows: Float[Array, "X V"]) -> PyTree:
        cotangent = (problem.weights[:, None] * rows).reshape(problem.scores.shape)
        return pull_back(cotangent.astype(scores.dtype))[0]

    model = jnp.exp(jnp.atleast_2d(problem.log_model))
    exact_gradient = pull(model - problem.population_rows)
    wanted = _is_cheap(problem, sampler) if variance is None else variance
    examples = score_one, trainable, rows_of
    second = second_error = jnp.asarray(jnp.nan)
    if key is None:
        moments = exact(problem, sampler, loss, **options)
        bias = pull(jnp.atleast_2d(moments.bias))
        square, spread = _inner(bias, bias), jnp.zeros(())
        contrastive = jax.tree.map(jnp.subtract, exact_gradient, bias)
        gradient = jnp.atleast_2d(moments.gradient)
        each = _mean_inner(*examples, problem.weights, gradient, gradient)
        across, second_error = each - _inner(contrastive, contrastive), jnp.zeros(())
        if wanted:
            tolerance = options.get("tolerance", TOLERANCE)
            sized, nodes = sized_for(problem, sampler, loss, tolerance)
            second = second_moments(*examples, problem, sized, loss, nodes, tolerance)
            second = problem.weights @ second - each
    else:
        assert draws is not None
        moments = monte_carlo(problem, sampler, loss, key=key, draws=draws, **options)
        bias = pull(jnp.atleast_2d(moments.bias))
        contrastive = jax.tree.map(jnp.subtract, exact_gradient, bias)
        measure = _SquaredNorm(*examples[:2]) if wanted else None
        means = batch_means(problem, sampler, loss, key, draws, measure, rows_of)
        gradients = means.selection - problem.population_rows
        count, total = len(gradients), jnp.sum(gradients, axis=0)

        def products(gradient):
            part, whole = pull(model - problem.population_rows - gradient), pull(gradient)
            rows = (
                _mean_inner(*examples, problem.weights, gradient, other)
                for other in (total, gradient)
            )
            return (
                (count * _inner(part, bias), _inner(part, part)),
                (count * _inner(whole, contrastive), _inner(whole, whole)),
                tuple(rows),
            )

        squares = (unbiased_square(*pair) for pair in jax.lax.map(products, gradients))
        (square, without), (length, _), (each, each_without) = squares
        spread, across = jackknife(without), each - length
        if wanted:
            measured = means.measured @ problem.weights
            left_out = (jnp.sum(measured) - measured) / (count - 1)
            second, second_error = jnp.mean(measured) - each, jackknife(left_out - each_without)
    size = jnp.sqrt(jnp.abs(square))
    exact_size = jnp.sqrt(_inner(exact_gradient, exact_gradient))
    return GradientBias(
        bias=bias,
        exact_gradient=exact_gradient,
        norm=jnp.sign(square) * size,
        relative_norm=jnp.sign(square) * size / exact_size,
        cosine=_inner(contrastive, exact_gradient)
        / (exact_size * jnp.sqrt(_inner(contrastive, contrastive))),
        standard_error=jnp.sqrt(jnp.abs(square) + spread) - size,
        variance=second,
        variance_error=second_error,
        variance_inputs=across,
        moments=moments,
    )


class _Scores(eqx.Module):
    """score_fn as a function of the trainable part alone.

    Scores of lower precision than the engine's are lifted to it, so that a float32 model can be
    asked about in float64; what is pulled back returns to the parameters' own.
    """

    score_fn: Callable[[PyTree, PyTree], Float[Array, " V"]]
    fixed: PyTree

    def __call__(self, trainable: PyTree, x: PyTree) -> Float[Array, " V"]:
        scores = jnp.asarray(self.score_fn(eqx.combine(trainable, self.fixed), x))
        return scores.astype(jnp.promote_types(scores.dtype, jnp.result_type(float)))


class _SquaredNorm(eqx.Module):
    """||J^T a||^2 of one input."""

    score_one: _Scores
    trainable: PyTree

    def __call__(self, x: PyTree, cotangent: Float[Array, " V"]) -> Float[Array, ""]:
        pulled = jax.vjp(lambda part: self.score_one(part, x), self.trainable)[1](cotangent)
        return _inner(*pulled, *pulled)


@eqx.filter_jit
def _mean_inner(score_one, trainable, inputs, weights, a, b) -> Float[Array, ""]:
    """sum_x pop(x) <J_x^T a_x, J_x^T b_x>."""

    def row(entry):
        x, first, second = entry
        pull_back = jax.vjp(lambda part: score_one(part, x), trainable)[1]
        return _inner(*pull_back(first), *pull_back(second))

    return weights @ jax.lax.map(row, (inputs, a, b))


def _is_cheap(problem: Problem, sampler: Sampler) -> bool:
    pairs = problem.labels * problem.weights.shape[0]
    return pairs <= (CHEAP if is_separable(problem, sampler) else CHEAP_MATRIX)


def _inner(a: PyTree, b: PyTree) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), jnp.zeros(()))
