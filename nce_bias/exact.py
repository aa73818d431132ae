r"""Exact moments of a contrastive gradient: one integral per gold, shared by all golds.

**Definition.** For an input with scores s, a gold g ~ pop and negatives y_2..y_K from a sampler,
the candidate softmax has weights w_+ (gold) and w (negatives), Z = w_+ + sum_k w(y_k), and loss
log Z - log w_+. By Frullani's integral the expected loss is

    L_g = E[log(Z / w_+)] = int_0^inf e^{-t w_+} (1 - F_g(t w)) dt / t,

with F_g the sampler's Laplace functional: positive terms alone, so even a loss of 1e-12 keeps its
digits. As a function of the log-weights (lambda_+ of the gold, lambda of the negatives, all copies
of a label sharing one) L is a potential:

    expected gradient   dL_g/ds = dL_g/dlambda + e_g dL_g/dlambda_+ = gamma(.|g) - e_g.

So one reverse-mode derivative of sum_g pop_g L_g gives the gradient averaged over the gold; nothing
is derived again for any sampler, and no V x V array appears. The selection probability is gamma =
gradient + pop, the bias eps = (p - pop) - gradient (Theorem 3.1 of Zhang & Stratos, 2021).

**Cost.** O(V N) for N nodes and one input; N is about 160 and grows by 4 per unit of the range of
the log-weights. Nodes are summed in chunks, so memory does not depend on N.

**Accuracy.** `error` bounds the absolute error of `selection`: the rule's a-priori bound
(`nce_bias.quadrature`), a rounding term eps (64 + size of the logarithms), and the measured
deviation of sum_y gamma from 1. Within a user's own `jax.jit` the number of nodes is fixed and the
step may grow: `error` says so.

**Limits.** A gold with score -inf has an infinite loss and p = 0; its gradient is still exact as
long as some negative has a positive weight.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nce_bias._checks import concretely, is_traced, refuse
from nce_bias.integrals import BLOCK, integrate, integrate_each, squared_means
from nce_bias.losses import CandidateSoftmax, LogWeights, infonce
from nce_bias.moments import Moments, assemble
from nce_bias.problem import Problem
from nce_bias.quadrature import (
    CHUNK,
    TOLERANCE,
    TRACED_NODES,
    make_grid,
    nodes_for,
    span,
    step_for,
)
from nce_bias.samplers import Law, Sampler

#: Golds times labels up to which a law that is not separable has its variance split by default.
CHEAP = 4096
#: The same for a separable law, where the split is a matrix product.
MATRIX = 2**24


def exact(
    problem: Problem,
    sampler: Sampler,
    loss: CandidateSoftmax = infonce,
    *,
    tolerance: float = TOLERANCE,
    split: bool | None = None,
) -> Moments:
    """Exact moments of the contrastive gradient of `loss` with negatives from `sampler`.

    Parameters
    ----------
    problem : Problem
        Scores, population, popularity and input weights.
    sampler : Sampler
        `iid`, `without_replacement`, `top`, or sums of them.
    loss : CandidateSoftmax
        `infonce` (default), `sampled_softmax`, `sampled_softmax_both`, `ranking_nce`.

    tolerance : float
        Relative error allowed to the quadrature, in (0, 0.1). The default is exact to rounding; for
        a plot 1e-6 does, which makes sampling without replacement four times as fast.

    split : bool, optional
        Whether to split the variance into the negatives' and the gold's part. Default: where it is
        cheap, which it is but for many golds without replacement (NaN there; `method` says so).

    Returns
    -------
    Moments
        With `error`, a bound on the absolute error of `selection`.

    Raises
    ------
    ValueError
        A sampler or loss that does not fit the problem; the message says which argument and why.
    NoExactMethod
        A sampler without an exact Laplace functional; the message names `monte_carlo`.

    Examples
    --------
    Two labels, one iid negative from the model with hits kept, at p = pop = (a, 1 - a): the bias
    norm is sqrt(2) a (1 - a) |2 a - 1|, not zero.

    >>> import numpy as np
    >>> a = 0.8
    >>> problem = Problem(np.log([a, 1 - a]), [a, 1 - a])
    >>> moments = exact(problem, iid(model(), m=1, hits="keep"))
    >>> bool(np.isclose(moments.bias_norm, 2**.5 * a * (1 - a) * abs(2 * a - 1), rtol=1e-12))
    True
    """
    if not 0 < tolerance < 0.1:
        raise refuse(
            "tolerance",
            f"got {tolerance!r}",
            "a number in (0, 0.1)",
            f"Leave it out for {TOLERANCE:g}.",
        )
    tolerance = max(tolerance, float(jnp.finfo(problem.scores.dtype).eps) / 16)
    with concretely(problem, sampler, loss):
        sampler.check(problem)
        loss.check(problem, sampler)
        golds = _golds(problem, sampler, split)
        nodes, sized = TRACED_NODES, sampler.sized(problem, tolerance)
        if not is_traced(problem, sampler, loss):
            left, right = _spans(problem, sized, loss, tolerance)
            length = float(np.max(np.asarray(right - left)))
            nodes = nodes_for(length, step_for(tolerance))
    mean_loss, gradient, second, squares, error = _solve(
        problem, sized, loss, nodes, tolerance, golds
    )
    return assemble(
        problem,
        gradient,
        mean_loss,
        error,
        second_moments=second,
        squared_means=squares,
        method=f"exact, {nodes} nodes"
        + ("" if golds else ", variance not split (split=True does)"),
        sampler=sampler,
        loss=loss,
    )


def log_weights(
    scores: Float[Array, " V"], law: Law, loss: CandidateSoftmax, m: int | Float[Array, ""]
) -> LogWeights:
    """The log-weights of golds and negatives, scaled so that the largest negative weight is 1."""
    log_gold, log_negative = loss.log_weights(scores, law, m)
    top = jnp.max(log_negative)
    return log_gold - top, log_negative - top


@eqx.filter_jit
def _spans(problem, sampler, loss, tolerance):
    def row(scores, population):
        law = sampler.law(scores, problem.popularity)
        weights = log_weights(scores, law, loss, sampler.m)
        return span(*weights, population, sampler.m, tolerance)

    return jax.vmap(row)(problem.score_rows, problem.population_rows)


@eqx.filter_jit
def _solve(problem, sampler, loss, nodes, tolerance, golds):
    """Loss `[X]`, gradient `[X, V]`, both second moments `[X]`, error bound `[X]`."""

    def row(inputs):
        scores, population = inputs
        law = sampler.law(scores, problem.popularity).prepared()
        log_gold, log_negative = log_weights(scores, law, loss, sampler.m)
        log_gold = jnp.where(population > 0, log_gold, log_negative)
        ends = span(log_gold, log_negative, population, sampler.m, tolerance)
        grid = make_grid(*ends, nodes, tolerance)
        setting = (law, log_gold, log_negative, population, grid)
        if golds and not separable:
            sums, split = integrate_each(*setting, golds)
        else:
            sums, split = integrate(*setting), jnp.asarray(jnp.nan, scores.dtype)
        if golds and separable:
            split = squared_means(*setting, golds)
        second = sums.square - 2 * sums.own - 1  # E||v - e_gold||^2
        lost = jnp.any((population > 0) & jnp.isneginf(log_gold))
        error = grid.error() + law.error + _rounding(log_gold, log_negative, population)
        return jnp.where(lost, jnp.inf, sums.loss), sums.gradient, second, split, error

    separable = _is_separable(problem, sampler)
    rows = (problem.score_rows, problem.population_rows)
    block = max(1, BLOCK // (CHUNK * _law_size(problem, sampler)))
    return jax.lax.map(row, rows, batch_size=block if block > 1 else None)


def _golds(problem: Problem, sampler: Sampler, split: bool | None) -> int:
    """How many golds the split of the variance needs; 0 where it is left out."""
    if split is False:
        return 0
    if is_traced(problem):
        return problem.labels if split else 0
    population = np.atleast_2d(np.asarray(problem.population))
    occurs = population > np.finfo(population.dtype).eps / problem.labels
    most = int(np.max(np.count_nonzero(occurs, axis=-1)))
    golds = min(problem.labels, 2 ** math.ceil(math.log2(most)))
    limit = MATRIX if _is_separable(problem, sampler) else CHEAP
    if split is None and golds * problem.labels > limit:
        return 0
    return golds


def _is_separable(problem: Problem, sampler: Sampler) -> bool:
    def factors(scores):
        return sampler.law(scores, problem.popularity).separable(jnp.zeros_like(scores))

    return eqx.filter_eval_shape(factors, problem.score_rows[0]) is not None


def _law_size(problem: Problem, sampler: Sampler) -> int:
    return eqx.filter_eval_shape(sampler.law, problem.score_rows[0], problem.popularity).size


def _rounding(
    log_gold: Float[Array, " V"], log_negative: Float[Array, " V"], population: Float[Array, " V"]
) -> Float[Array, ""]:
    """Rounding of t w = exp(u + lambda): eps times the size of its logarithm, and of exp(-44)."""
    finite = jnp.where(jnp.isfinite(log_negative), jnp.abs(log_negative), 0.0)
    golds = jnp.where((population > 0) & jnp.isfinite(log_gold), jnp.abs(log_gold), 0.0)
    size = 64 + jnp.maximum(jnp.max(finite), jnp.max(golds))
    return jnp.finfo(log_gold.dtype).eps * size
