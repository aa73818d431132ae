r"""The bias and variance of a contrastive gradient over a model's parameters.

Theorem 3.1 of Zhang & Stratos (2021):  b_i = sum_x pop(x) sum_y eps(y|x) ds(x, y)/dtheta_i, so the
bias of the gradient with respect to any parameters is the pull-back of the score-space bias. Two
engines answer, exactly or by sampling, with the same record of parts.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from nce_bias._checks import refuse
from nce_bias._gate import random_key, read
from nce_bias.engine._pull_back import ScoreModel, check_model, inner, linearize_scores
from nce_bias.engine.gradient_engines import Parts, Question, by_sampling, exactly
from nce_bias.engine.moments import Moments
from nce_bias.engine.shape import is_separable
from nce_bias.losses import Loss, infonce
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Pairs of an input and a label up to which the variance is computed by default.
CHEAP = 2**16
#: The same where negatives are not independent.
CHEAP_MATRIX = 2**10

F = TypeVar("F", bound=Callable[..., Any])


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
        / B against the cross-entropy gradient if every example has negatives of its own; what a
        shared set adds is not divided. (Monte Carlo: a plug-in, biased upwards.)
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


def _old_call_for_one_release(function: F) -> F:
    """Take ``(score_fn, params, inputs, population, sampler, loss, weights)`` too, and say so."""
    names = ("score_fn", "params", "inputs", "population", "sampler", "loss", "weights")

    @functools.wraps(function)
    def either(*arguments: Any, **options: Any) -> Any:
        old = dict(zip(names, arguments, strict=False)) | options
        if isinstance(old.get("sampler"), Sampler) and {"score_fn", "params"} <= set(old):
            new = (
                f"nb.{function.__name__}(nb.ScoreModel(score_fn, params), inputs, population, ...)"
            )
            warnings.warn(
                f"nb.{function.__name__}(score_fn, params, inputs, population, ...) is {new} now; "
                "the next release takes the old call no more",
                DeprecationWarning,
                stacklevel=2,
            )
            model = ScoreModel(old.pop("score_fn"), old.pop("params"))
            return function(model, **old)
        return function(*arguments, **options)

    return either  # type: ignore[return-value]


@_old_call_for_one_release
def gradient_bias(  # noqa: PLR0913
    model: ScoreModel,
    inputs: PyTree,
    population: Any,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    golds: Any = None,
    weights: Any = None,
    popularity: Any = None,
    key: PRNGKeyArray | int | None = None,
    draws: int | None = None,
    variance: bool | None = None,
    tolerance: float = TOLERANCE,
    split: bool | None = None,
) -> GradientBias:
    """The bias of the contrastive gradient with respect to a model's parameters.

    Parameters
    ----------
    model : ScoreModel
        ``nb.ScoreModel(score_fn, params)`` with ``score_fn(params, x) -> scores [V]``.
    inputs : pytree
        One input for a `[V]` population, else leaves with a leading axis X.
    population, weights, popularity
        As for `Problem`; None where golds are given.
    golds : integers [X], optional
        One observed label for each input, in place of a population (`Problem.from_golds`).
    sampler, loss
        As for `exact`.
    key, draws
        Given both: by Monte Carlo. Not given: exactly.
    variance : bool, optional
        Whether to compute `variance`. It takes V vector-Jacobian products for each input, and one
        for each node of the integral. Default: for up to 2^16 pairs of an input and a label, and
        2^10 where negatives are drawn without replacement or from `poisson` (V second derivatives
        there, see `nce_bias.engine.gradient_variance`).
    tolerance, split
        As for `exact`; Monte Carlo has no use for them.

    Returns
    -------
    GradientBias

    Raises
    ------
    ValueError
        As for `ScoreModel`, `Problem` and the engine; only one of `key` and `draws` given.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> linear = ScoreModel(lambda params, x: params @ x, jnp.eye(3))
    >>> found = gradient_bias(
    ...     linear, jnp.array([1., 0., 0.]), jnp.array([.5, .3, .2]), iid(uniform(), 2))
    >>> found.bias.shape
    (3, 3)
    """
    check_model(model)
    if (key is None) != (draws is None):
        raise refuse(
            "key, draws",
            "one of them is given",
            "both (Monte Carlo) or neither (exact)",
            "Pass key=jax.random.key(0), draws=10_000.",
        )
    if (population is None) == (golds is None):
        raise refuse(
            "population, golds",
            "both are given" if golds is not None else "both are None",
            "one of them",
            "Pass population=None, golds=labels for integer labels.",
        )
    observed = read("population", population, sparse=True) if golds is None else np.asarray(golds)
    many = observed.ndim != (1 if golds is None else 0)
    scores, back = linearize_scores(model, inputs, many=many)
    if golds is None:
        problem = Problem(scores, observed, popularity, weights)
    else:
        problem = Problem.from_golds(scores, observed, popularity, weights)
    question = Question(
        model=model,
        inputs=inputs if many else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], inputs),
        problem=problem,
        sampler=sampler,
        loss=loss,
        back=back,
        with_variance=_is_cheap(problem, sampler) if variance is None else variance,
    )
    if key is None or draws is None:
        return _report(question, exactly(question, tolerance, split))
    return _report(question, by_sampling(question, random_key(key), draws))


def _report(question: Question, parts: Parts) -> GradientBias:
    exact_gradient = question.pull(question.exact_rows)
    contrastive = jax.tree.map(jnp.subtract, exact_gradient, parts.bias)
    exact_size = jnp.sqrt(inner(exact_gradient, exact_gradient))
    size = jnp.sqrt(jnp.abs(parts.bias_square))
    norm = jnp.sign(parts.bias_square) * size
    return GradientBias(
        bias=parts.bias,
        exact_gradient=exact_gradient,
        norm=norm,
        relative_norm=norm / exact_size,
        cosine=inner(contrastive, exact_gradient)
        / (exact_size * jnp.sqrt(inner(contrastive, contrastive))),
        standard_error=jnp.sqrt(jnp.abs(parts.bias_square) + parts.bias_square_error) - size,
        variance=parts.variance,
        variance_error=parts.variance_error,
        variance_inputs=parts.variance_inputs,
        moments=parts.moments,
    )


def _is_cheap(problem: Problem, sampler: Sampler) -> bool:
    pairs = problem.labels * problem.weights.shape[0]
    return pairs <= (CHEAP if is_separable(problem, sampler) else CHEAP_MATRIX)
