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
from nce_bias.exact import exact
from nce_bias.losses import Loss, infonce
from nce_bias.moments import Moments
from nce_bias.monte_carlo import batch_means, jackknife, monte_carlo, unbiased_square
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


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
    moments : Moments
        The score-space result that was pulled back.
    """

    bias: PyTree
    exact_gradient: PyTree
    norm: Float[Array, ""]
    relative_norm: Float[Array, ""]
    cosine: Float[Array, ""]
    standard_error: Float[Array, ""]
    moments: Moments

    def __repr__(self) -> str:
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.bias))
        return (
            f"GradientBias over {parameters:,} parameters\n"
            f"  norm {self.norm:.6g}  relative {self.relative_norm:.6g}  cosine {self.cosine:.6g}\n"
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

    def all_scores(trainable):
        model = eqx.combine(trainable, fixed)
        if one:
            return score_fn(model, inputs)
        return jax.vmap(lambda x: score_fn(model, x))(inputs)

    scores, pull_back = jax.vjp(all_scores, trainable)
    problem = Problem(scores, population, popularity, weights)

    def pull(rows: Float[Array, "X V"]) -> PyTree:
        cotangent = (problem.weights[:, None] * rows).reshape(problem.scores.shape)
        return pull_back(cotangent.astype(scores.dtype))[0]

    model = jnp.exp(jnp.atleast_2d(problem.log_model))
    exact_gradient = pull(model - problem.population_rows)
    if key is None:
        moments = exact(problem, sampler, loss)
        bias = pull(jnp.atleast_2d(moments.bias))
        square, spread = _inner(bias, bias), jnp.zeros(())
    else:
        assert draws is not None
        moments = monte_carlo(problem, sampler, loss, key=key, draws=draws)
        bias = pull(jnp.atleast_2d(moments.bias))
        selections = batch_means(problem, sampler, loss, key, draws).selection

        def products(selection):
            part = pull(model - selection)
            return len(selections) * _inner(part, bias), _inner(part, part)

        square, without = unbiased_square(*jax.lax.map(products, selections))
        spread = jackknife(without)
    size = jnp.sqrt(jnp.abs(square))
    exact_size = jnp.sqrt(_inner(exact_gradient, exact_gradient))
    contrastive = jax.tree.map(jnp.subtract, exact_gradient, bias)
    return GradientBias(
        bias=bias,
        exact_gradient=exact_gradient,
        norm=jnp.sign(square) * size,
        relative_norm=jnp.sign(square) * size / exact_size,
        cosine=_inner(contrastive, exact_gradient)
        / (exact_size * jnp.sqrt(_inner(contrastive, contrastive))),
        standard_error=jnp.sqrt(jnp.abs(square) + spread) - size,
        moments=moments,
    )


def _inner(a: PyTree, b: PyTree) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)), jnp.zeros(()))
