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
(`nce_bias.numerics.quadrature`), a rounding term eps (64 + size of the logarithms), and the
measured deviation of sum_y gamma from 1. Within a user's own `jax.jit` the number of nodes is fixed
and the step may grow: `error` says so.

**Limits.** A gold with score -inf has an infinite loss and p = 0; its gradient is still exact as
long as some negative has a positive weight.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import NoExactMethod, concretely, is_traced, refuse
from nce_bias.engine.closed_form import add_up
from nce_bias.engine.integrals import BLOCK, for_each_gold, integrate, squared_means
from nce_bias.engine.integrand import logarithms, setting
from nce_bias.engine.moments import Moments, Rows, assemble
from nce_bias.losses import Binary, CandidateSoftmax, Loss, check_loss, infonce
from nce_bias.numerics.quadrature import (
    CHUNK,
    TOLERANCE,
    TRACED_NODES,
    make_grid,
    nodes_for,
    step_for,
)
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Golds times labels up to which a law that is not separable has its variance split by default.
CHEAP = 4096
#: The same for a separable law, where the split is a matrix product.
MATRIX = 2**24


def exact(
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
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
        `iid`, `without_replacement`, `poisson`, `top`, or sums of them.
    loss : Loss
        Any of `LOSSES`, or one of them `with_inclusion`; default `infonce`.
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
        A loss of another family, or a sampler whose exact law would take hours; the message names
        `monte_carlo`.

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
    check_loss(loss)
    if not isinstance(loss, CandidateSoftmax | Binary):
        raise NoExactMethod(
            f"{loss.name} has no exact moments: its expectation follows from no "
            "Laplace functional. Use nb.monte_carlo(problem, sampler, loss, key=key, "
            "draws=100_000), which gives each number with its standard error."
        )
    tolerance = _allowed(problem, tolerance)
    with concretely(problem, sampler, loss):
        sampler.check(problem)
        loss.check(problem, sampler)
        golds = _golds(problem, sampler, loss, split)
        sized, nodes = sized_for(problem, sampler, loss, tolerance)
    how = f"exact, {nodes} nodes" if nodes else "exact, closed form"
    return assemble(
        problem,
        _solve(problem, sized, loss, nodes, tolerance, golds),
        method=how + ("" if golds else ", variance not split (split=True does)"),
        sampler=sampler,
        loss=loss,
        normalized=isinstance(loss, CandidateSoftmax),
    )


def _allowed(problem: Problem, tolerance: float) -> float:
    return max(tolerance, float(jnp.finfo(problem.scores.dtype).eps) / 16)


def sized_for(
    problem: Problem, sampler: Sampler, loss: Loss, tolerance: float
) -> tuple[Sampler, int]:
    """The sampler with its inner rule, and the nodes of the rule in t that the widest input needs.

    No nodes for a closed form.
    """
    tolerance = _allowed(problem, tolerance)
    with concretely(problem, sampler, loss):
        sized = sampler.sized(problem, tolerance)
        if isinstance(loss, Binary):
            return sized, 0
        if is_traced(problem, sampler, loss):
            return sized, TRACED_NODES
        golds = _golds(problem, sized, loss, None)
        lengths = _lengths(problem, sized, loss, tolerance, golds)
    return sized, nodes_for(float(np.max(np.asarray(lengths))), step_for(tolerance))


@eqx.filter_jit
def _lengths(problem, sampler, loss, tolerance, golds):
    """The lengths of the rule in log t, for each input and, where they differ, each gold."""

    def row(inputs):
        scores, population = inputs
        law = sampler.law(scores, problem.popularity)
        corrected = loss.corrected(scores, law, sampler.m)

        def length(gold, share):
            left, right = setting(loss, corrected, gold, share, sampler.m, tolerance).ends
            return right - left

        if corrected.by_gold is None:
            return length(jnp.zeros((), int), population)
        which = jax.lax.top_k(population, golds)[1]
        return jnp.max(jax.lax.map(lambda g: length(g, jnp.zeros_like(scores).at[g].set(1)), which))

    return jax.lax.map(row, (problem.score_rows, problem.population_rows))


@eqx.filter_jit
def _solve(problem, sampler, loss, nodes, tolerance, golds) -> Rows:
    def row(inputs):
        scores, population = inputs
        law = sampler.law(scores, problem.popularity).prepared()
        corrected = loss.corrected(scores, law, sampler.m)
        eps = jnp.finfo(scores.dtype).eps

        def moments(gold, share):
            if isinstance(loss, Binary):
                found = add_up(law, corrected.gold, corrected.negatives_of(gold), share)
                return found, jnp.asarray(64 * eps, scores.dtype)
            at = setting(loss, corrected, gold, share, sampler.m, tolerance)
            grid = make_grid(*at.ends, nodes, tolerance)
            found = integrate(law, at.log_gold, at.log_negative, share, grid)
            found = eqx.tree_at(lambda f: f.loss, found, found.loss + at.offset)
            return found, grid.error() + law.error + eps * logarithms(at, share)

        together = corrected.by_gold is None
        if golds and not (together and separable):
            (sums, error), split = for_each_gold(moments, population, golds)
        else:
            (sums, error), split = moments(jnp.zeros((), int), population), jnp.nan
        if golds and together and separable:
            at = setting(loss, corrected, jnp.zeros((), int), population, sampler.m, tolerance)
            grid = make_grid(*at.ends, nodes, tolerance)
            split = squared_means(law, at.log_gold, at.log_negative, population, grid, golds)
        lost = jnp.any((population > 0) & jnp.isneginf(corrected.gold))
        model = jax.nn.softmax(scores)
        return Rows(
            loss=jnp.where(lost, jnp.inf, sums.loss),
            gradient=sums.gradient,
            second=sums.square - 2 * sums.own - 1,  # E||v - e||^2
            squared_means=jnp.asarray(split, scores.dtype),
            coverage=model @ (population + law.included(population)),
            concentration=sums.concentration,
            error=error,
        )

    separable = is_separable(problem, sampler) and not isinstance(loss, Binary)
    rows = (problem.score_rows, problem.population_rows)
    block = max(1, BLOCK // (CHUNK * _law_size(problem, sampler)))
    return jax.lax.map(row, rows, batch_size=block if block > 1 else None)


def _golds(problem: Problem, sampler: Sampler, loss: Loss, split: bool | None) -> int:
    """How many golds take moments of their own; 0 where all are taken together."""
    coupled = _is_coupled(problem, sampler, loss)
    if split is False and not coupled:
        return 0
    if is_traced(problem):
        return problem.labels if split or coupled else 0
    population = np.atleast_2d(np.asarray(problem.population))
    occurs = population > np.finfo(population.dtype).eps / problem.labels
    most = int(np.max(np.count_nonzero(occurs, axis=-1)))
    golds = min(problem.labels, 2 ** math.ceil(math.log2(most)))
    cheap = isinstance(loss, Binary) or is_separable(problem, sampler)
    if split is None and not coupled and golds * problem.labels > (MATRIX if cheap else CHEAP):
        return 0
    return golds


def _is_coupled(problem: Problem, sampler: Sampler, loss: Loss) -> bool:
    """Whether the corrected scores of negatives depend on the gold."""

    def by_gold(scores):
        law = sampler.law(scores, problem.popularity)
        return loss.corrected(scores, law, sampler.m).by_gold

    return eqx.filter_eval_shape(by_gold, problem.score_rows[0]) is not None


def is_separable(problem: Problem, sampler: Sampler) -> bool:
    """Whether the negatives' law is (`samplers.base.Law.separable`)."""

    def factors(scores):
        return sampler.law(scores, problem.popularity).separable(jnp.zeros_like(scores))

    return eqx.filter_eval_shape(factors, problem.score_rows[0]) is not None


def _law_size(problem: Problem, sampler: Sampler) -> int:
    return eqx.filter_eval_shape(sampler.law, problem.score_rows[0], problem.popularity).size
