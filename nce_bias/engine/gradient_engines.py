"""Two engines for the gradient over a model's parameters: exactly, and by sampling.

Both answer one `Question` with the same record of `Parts`; a third would, too. All they know of a
model is its pull-back (`nce_bias.engine._pull_back`).
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import moments_of
from nce_bias.engine._pull_back import ScoreModel, inner, linearize_scores
from nce_bias.engine.moments import Moments
from nce_bias.engine.plan import Wish, plan_for
from nce_bias.engine.sampling import sample_means, sets_drawn
from nce_bias.engine.shape import Plan, ask, input_rows
from nce_bias.golds import share_of
from nce_bias.integrals import Gram
from nce_bias.losses import ExactLoss, Loss
from nce_bias.numerics.jackknife import jackknife, left_out_means, unbiased_square
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


class Question(eqx.Module):
    """What both engines are asked."""

    model: ScoreModel
    inputs: PyTree  # leaves with a leading axis X
    problem: Problem
    sampler: Sampler
    loss: Loss
    back: Callable[[Array], PyTree]  # the pull-back, inputs not weighted
    with_variance: bool

    def pull(self, rows: Float[Array, "X V"]) -> PyTree:
        """sum_x pop(x) J_x^T rows(x)."""
        return self.back((self.problem.weights[:, None] * rows).reshape(self.problem.scores.shape))

    def mean_inner(self, a: Float[Array, "X V"], b: Float[Array, "X V"]) -> Float[Array, ""]:
        """sum_x pop(x) <J_x^T a_x, J_x^T b_x>."""
        return _mean_inner(self.model, self.inputs, self.problem.weights, a, b)

    @property
    def exact_rows(self) -> Float[Array, "X V"]:
        """The gradient of cross entropy in score space, p - pop."""
        return jnp.exp(jnp.atleast_2d(self.problem.log_model)) - self.problem.population_rows


class Parts(eqx.Module):
    """What an engine finds; everything reported follows from it.

    `bias_square` is ||b||^2, by sampling its unbiased estimate.
    """

    moments: Moments
    bias: PyTree
    bias_square: Float[Array, ""]
    bias_square_error: Float[Array, ""]
    variance: Float[Array, ""]
    variance_error: Float[Array, ""]
    variance_inputs: Float[Array, ""]


def exactly(question: Question, tolerance: float, split: bool | None) -> Parts:
    """By integrals; `tolerance` and `split` as for `exact`."""
    problem, sampler, loss = question.problem, question.sampler, question.loss
    moments = exact(problem, sampler, loss, tolerance=tolerance, split=split)
    gradient = jnp.atleast_2d(moments.gradient)
    bias, mean = question.pull(jnp.atleast_2d(moments.bias)), question.pull(gradient)
    mean_square = question.mean_inner(gradient, gradient)
    variance = jnp.asarray(jnp.nan)
    if question.with_variance:
        assert isinstance(loss, ExactLoss)
        plan = plan_for(problem, sampler, loss, Wish(tolerance, False, "direct"))
        second = _second_moments(question.model, question.inputs, problem, loss, plan)
        variance = problem.weights @ second - mean_square
    return Parts(
        moments=moments,
        bias=bias,
        bias_square=inner(bias, bias),
        bias_square_error=jnp.zeros(()),
        variance=variance,
        variance_error=jnp.zeros(()),
        variance_inputs=mean_square - inner(mean, mean),
    )


def by_sampling(question: Question, key: PRNGKeyArray, draws: int) -> Parts:
    """By Monte Carlo: one draw, whose batches are independent estimates of everything."""
    problem, sampler, loss = question.problem, question.sampler, question.loss
    measure = _SquaredNorm(question.model, question.inputs) if question.with_variance else None
    means = sample_means(problem, sampler, loss, key=key, draws=draws, measure=measure)
    how = f"{sets_drawn(problem, sampler, draws)} draws per input"
    moments = moments_of(problem, sampler, loss, means, how)
    gradients = means.selection - problem.population_rows
    count, total = len(gradients), jnp.sum(gradients, axis=0)
    exact_rows = question.exact_rows
    bias, mean = question.pull(jnp.atleast_2d(moments.bias)), question.pull(total / count)

    def products(gradient):
        """For each square: the inner products of a batch with all batches and with itself."""
        batch_bias = question.pull(exact_rows - gradient)
        batch_mean = question.pull(gradient)
        return (
            (count * inner(batch_bias, bias), inner(batch_bias, batch_bias)),
            (count * inner(batch_mean, mean), inner(batch_mean, batch_mean)),
            (question.mean_inner(gradient, total), question.mean_inner(gradient, gradient)),
        )

    of_bias, of_mean, within = (unbiased_square(*pair) for pair in jax.lax.map(products, gradients))
    (bias_square, bias_without), (mean_square, within_without) = of_bias, within
    variance = variance_error = jnp.asarray(jnp.nan)
    if question.with_variance:
        measured = means.measured @ problem.weights
        variance = jnp.mean(measured) - mean_square
        variance_error = jackknife(left_out_means(measured) - within_without)
    return Parts(
        moments=moments,
        bias=bias,
        bias_square=bias_square,
        bias_square_error=jackknife(bias_without),
        variance=variance,
        variance_error=variance_error,
        variance_inputs=mean_square - of_mean[0],
    )


class _SquaredNorm(eqx.Module):
    """||J^T a||^2 of one candidate set's a = v - e_gold; see `sampling.Measure`."""

    model: ScoreModel
    inputs: PyTree

    def __call__(self, x: PyTree, residual: Float[Array, " V"]) -> Float[Array, ""]:
        pulled = linearize_scores(self.model, x, many=False)[1](residual)
        return inner(pulled, pulled)


@eqx.filter_jit
def _mean_inner(model, inputs, weights, a, b) -> Float[Array, ""]:
    def of_input(entry):
        x, first, second = entry
        _, back = linearize_scores(model, x, many=False)
        return inner(back(first), back(second))

    return weights @ jax.lax.map(of_input, (inputs, a, b))


@eqx.filter_jit
def _second_moments(
    model: ScoreModel, inputs: PyTree, problem: Problem, loss: ExactLoss, plan: Plan
) -> Float[Array, " X"]:
    """E||J^T (v - e)||^2 of each input; leaves of `inputs` have a leading axis X."""

    def row(entry):
        x, scores, targets, seen = entry
        population = share_of(targets, scores)
        _, pull_back = jax.vjp(lambda part: model.at(part, x), model.trainable)

        def gram_times(cotangent):
            (pulled,) = pull_back(cotangent)
            return jax.jvp(lambda part: model.at(part, x), (model.trainable,), (pulled,))[1]

        asked = ask(problem, loss, plan, (scores, seen), prepared=True)
        gram = Gram.of(gram_times, scores)

        def second_moment(gold, share):
            return asked.at(gold, share).second_moment(gram)

        if not asked.coupled:
            return second_moment(jnp.zeros((), int), population)
        golds = jnp.arange(len(scores))
        by_gold = jax.lax.map(lambda g: second_moment(g, population * (golds == g)), golds)
        return jnp.sum(by_gold)

    return jax.lax.map(row, (inputs, *input_rows(problem)))
