r"""Honest Monte Carlo: sampled moments with standard errors, and a bias norm without a noise floor.

**Target.** eps(.|x) = p(.|x) - gamma(.|x) with gamma = E[v], v_y = sum_k pi(k) 1{y_k = y}.

**Estimator.** Each input gets R candidate sets (gold ~ pop(.|x), negatives from the sampler), in B
batches; e_b = p - mean of v over batch b. The plain estimate ||mean_b e_b||^2 overestimates
||eps||^2 by tr Cov(v) / R, so a curve of it flattens at a floor that is noise alone. The
U-statistic

    ||eps||^2  ~  1/(B (B - 1)) sum_{b != c} <e_b, e_c>

is unbiased for every B >= 2 and every R. It may be negative: `bias_norm` is then reported negative
(the signed square root), and clipped only when drawn. `bias_norm_plugin` is the plain estimate.

**Variance.** Candidate sets come in pairs that share their gold: <v - e, v' - e> within a pair is
unbiased for the gold's part of the second moment, which no single set can tell.

**Gradient.** Of any loss, by differentiating its value on a candidate set: v_y is the derivative by
all copies of y, plus 1 at the gold.

**Standard errors** are the jackknife's over the batches; that of `bias_norm` is the upper
half-width sqrt(U + se(U)) - sqrt(U), which stays finite where the bias is 0. Test hypotheses on
`bias_norm_squared`, whose error is symmetric. `cosine` and `effective_sample_size` are plug-ins
with a bias of order 1/R.

Source: U-statistics, Hoeffding (1948); jackknife, Efron & Stein (1981).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from nce_bias._gate import random_key
from nce_bias.engine.candidate_sets import Means
from nce_bias.engine.moments import Moments, Rows, assemble, weighted_inner
from nce_bias.engine.sampling import sample_means, sets_drawn
from nce_bias.losses import Loss, infonce
from nce_bias.numerics.jackknife import jackknife, left_out_means, unbiased_square
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


def monte_carlo(
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    key: PRNGKeyArray | int,
    draws: int,
    stratified: bool = False,
) -> Moments:
    """Estimate the moments of a contrastive gradient from sampled candidate sets.

    Parameters
    ----------
    problem, sampler, loss
        As for `exact`; every sampler that can draw works here, and every `Loss`.
    key : PRNG key or int
        ``jax.random.key(seed)``, or the seed alone. The same key gives the same result.
    draws : int
        Candidate sets per input, at least 2; rounded up to whole batches (see `method`).
    stratified : bool
        Place golds and negatives of a batch of sets by Latin hypercubes
        (`nce_bias.engine.candidate_sets`): as unbiased, with standard errors as honest, and
        smaller: ten thousand sets over 1,000 labels are worth 25 to 500 times as many for the
        loss, four to eight times as many for the squared bias (docs, benchmarks).
        For `iid` and `top` and their sums.

    Returns
    -------
    Moments
        With `standard_errors`; `error` is the largest standard error of `selection`.

    Raises
    ------
    ValueError
        As for `exact`, for draws < 2, and for `stratified` with another sampler.

    Examples
    --------
    >>> import jax
    >>> problem = Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
    >>> found = monte_carlo(problem, iid(uniform(), 2), key=jax.random.key(0), draws=10_000)
    >>> truth = exact(problem, iid(uniform(), 2))
    >>> bool(abs(found.loss - truth.loss) < 5 * found.standard_errors["loss"])
    True
    """
    problem = problem.dense()
    means = sample_means(
        problem, sampler, loss, key=random_key(key), draws=draws, stratified=stratified
    )
    count = sets_drawn(problem, sampler, draws)
    how = f"{count} {'stratified ' if stratified else ''}draws per input"
    return moments_of(problem, sampler, loss, means, how)


def moments_of(problem: Problem, sampler: Sampler, loss: Loss, means: Means, how: str) -> Moments:
    """Everything that follows from batch means; `how` says how many draws of which kind."""
    average = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), means)
    spread = jnp.std(means.selection, axis=0, ddof=1).max(axis=-1)
    rows = Rows(
        loss=average.loss,
        gradient=average.selection - problem.population_rows,
        second=average.second_moment,
        squared_means=average.same_gold,
        coverage=average.coverage,
        concentration=average.concentration,
        error=spread / math.sqrt(means.loss.shape[0]),
    )
    plain = assemble(
        problem,
        rows,
        sampler=sampler,
        loss=loss,
        method=f"monte carlo, {how}",
        sampled=True,
    )
    unbiased, of_inputs, standard_errors = _unbiased(problem, means)
    by_input = eqx.tree_at(
        lambda rows: [getattr(rows, name) for name in of_inputs],
        plain.by_input,
        [*of_inputs.values()],
    )
    return eqx.tree_at(
        lambda moments: [
            getattr(moments, name) for name in (*unbiased, "by_input", "standard_errors")
        ],
        plain,
        [*unbiased.values(), by_input, standard_errors],
    )


@eqx.filter_jit
def _unbiased(
    problem: Problem, means: Means
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Fields with unbiased squares, those of each input, and the errors of all scalars."""
    weights, population = problem.weights, problem.population_rows
    exact_gradient = jnp.exp(jnp.atleast_2d(problem.log_model)) - population
    gradients = means.selection - population
    count = len(gradients)

    def square(batches):
        each_with = jax.vmap(lambda a, b: weighted_inner(weights, a, b), (0, None))
        itself = jax.vmap(lambda a: weighted_inner(weights, a, a))(batches)
        return unbiased_square(each_with(batches, batches.sum(0)), itself)

    def square_of_inputs(batches):
        total = jnp.sum(batches.sum(0) ** 2, axis=-1) - jnp.sum(batches**2, axis=(0, -1))
        return total / (count * (count - 1))

    def without(values):
        """The mean over inputs and batches without each batch."""
        return left_out_means(values @ weights)

    def plugins_without(batch):
        gradient = (gradients.sum(0) - gradients[batch]) / (count - 1)
        bias = exact_gradient - gradient
        sizes = [weighted_inner(weights, a, a) for a in (gradient, exact_gradient)]
        cosine = weighted_inner(weights, gradient, exact_gradient) / jnp.sqrt(sizes[0] * sizes[1])
        return cosine, jnp.sqrt(weighted_inner(weights, bias, bias))

    bias_square, bias_without = square(exact_gradient - gradients)
    size, size_without = square(gradients)
    second, same_gold = (
        jnp.mean(values, axis=0) @ weights for values in (means.second_moment, means.same_gold)
    )
    cosine, plugin = jax.lax.map(plugins_without, jnp.arange(count))
    spread = jackknife(bias_without)
    root = jnp.sqrt(jnp.abs(bias_square))
    fields = {
        "bias_norm_squared": bias_square,
        "bias_norm": jnp.sign(bias_square) * root,
        "variance": second - size,
        "variance_gold": same_gold - size,
    }
    sizes = square_of_inputs(gradients)
    seconds, same_golds = (jnp.mean(v, axis=0) for v in (means.second_moment, means.same_gold))
    of_inputs = {
        "bias_square": square_of_inputs(exact_gradient - gradients),
        "gradient_square": sizes,
        "variance": seconds - sizes,
        "variance_gold": same_golds - sizes,
    }
    second_without, same_without = without(means.second_moment), without(means.same_gold)
    errors = {
        "loss": jackknife(without(means.loss)),
        "bias_norm": jnp.sqrt(jnp.abs(bias_square) + spread) - root,
        "bias_norm_squared": spread,
        "bias_norm_plugin": jackknife(plugin),
        "cosine": jackknife(cosine),
        "variance": jackknife(second_without - size_without),
        "variance_negatives": jackknife(second_without - same_without),
        "variance_gold": jackknife(same_without - size_without),
        "coverage": jackknife(without(means.coverage)),
        "effective_sample_size": jackknife(1 / without(means.concentration)),
    }
    return fields, of_inputs, errors
