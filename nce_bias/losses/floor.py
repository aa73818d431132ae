r"""How often the floor of a debiased loss acts, and what that may change, bounded.

The estimate G of `nce_bias.losses.reweighted` is at its floor where

    sum_k x(y_k) <= 0,    x(y) = w_y^beta (w_y - c),    c = tau w_g + (1 - tau) e^{-1/temperature}.

**Chance.** 0 where w_y >= c for every label that may be drawn. For m independent draws Markov's
inequality gives, for every t > 0 (Chernoff),

    P(sum_k x(y_k) <= 0) <= ( sum_y q_y e^{-t x(y)} )^m,

and the best of `POINTS` values of t is taken. Other laws have no bound here: 1.

**What it changes.** Without the floor Z = w_g + m G = sum_k v_k (c_1 + c_2 w_k) with v_k the
self-normalised w_k^beta, c_1 = (1 - m tau / (1 - tau)) w_g, c_2 = m / (1 - tau); it must be
positive for every set, as it is where c_1 + c_2 w_y > 0 for every label that may be drawn. Put K =
max(0, -c_1) / min_y (c_1 + c_2 w_y), which bounds -c_1 / Z. The derivative of log Z by the
negatives' scores sums, in absolute values, to at most

    sum_k v_k (beta |c_1 + c_2 w_k - Z| + c_2 w_k) / Z <= 2 beta + 1 + K,

a positive variable being off its mean by twice it at most; that of the loss by the gold's own score
is c_1 / Z - 1, in [-1 - K, 0]. With the floor the negatives have no gradient and the gold's is in
[-1, 0]. So no entry of the gradient of one set is changed by more than 2 beta + 2 + 2 K, and none
of the expected gradient by more than that times the chance. (The chance alone bounds nothing.) The
*second* moment is changed by the chance times squares of such numbers.

Source: the bounds are derived here; Chernoff (1952).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import NoExactMethod
from nce_bias._reads import bind
from nce_bias.numerics.arrays import (
    Array,
    each,
    logsumexp,
    namespace,
    one_hot,
    to_numpy,
    top_k,
)
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler

#: What the floor may add to the error of an exact result.
MOST = 1e-3
#: Values of t, relative to the largest -x.
POINTS = 64
SMALLEST, LARGEST = 1e-3, 1e4


class Floor(NamedTuple):
    """A bound on the chance that the floor acts for a gold, and on what that adds to the error.

    `chance` is 1 where there is no better bound; `positive` says that Z is without the floor.
    """

    chance: Float[Array, ""]
    positive: Float[Array, ""]
    error: Float[Array, ""]


def floor_of(
    loss: tuple[float, float, float],
    law: Law,
    scores: Float[Array, " V"],
    gold: Int[Array, ""] | int,
    m: int | Float[Array, ""],
) -> Floor:
    """For one gold; `loss` is (tau, beta, temperature)."""
    tau, beta, temperature = loss
    xp = namespace(scores)
    unit = xp.asarray(xp.arange(len(scores)) == gold, scores.dtype)
    drawn = law.counts(unit) > 0
    own = scores[gold]
    if tau == 0:
        zero = xp.zeros((), scores.dtype)
        return Floor(zero, zero + 1, zero)
    log_c = xp.logaddexp(math.log(tau) + own, math.log1p(-tau) - 1 / temperature)
    rho = xp.where(drawn, scores - log_c, xp.inf)
    idle = xp.min(rho) >= 0
    share = xp.asarray(m * tau / (1 - tau), scores.dtype)  # c_1 = (1 - share) w_g
    # (c_1 + c_2 w_y) tau / (w_g share) = w_y / w_g - tau (1 - 1 / share)
    least = xp.min(xp.where(drawn, xp.exp(xp.minimum(scores - own, 50.0)), xp.inf))
    left = least - tau * (1 - 1 / share)
    positive = left > 0
    k = xp.maximum(0.0, tau * (1 - 1 / share)) / xp.where(positive, left, 1.0)
    chance = xp.where(idle, 0.0, 1.0)
    if law.independent:
        chance = xp.where(idle, 0.0, xp.minimum(1.0, _chernoff(law, rho, beta, gold, m)))
    error = xp.where(chance > 0, chance * (2 * beta + 2 + 2 * k), 0.0)
    return Floor(chance, positive * 1.0, xp.where(positive, error, xp.inf))


def _chernoff(
    law: Law,
    rho: Float[Array, " V"],
    beta: float,
    gold: Int[Array, ""] | int,
    m: int | Float[Array, ""],
) -> Float[Array, ""]:
    """min_t (sum_y q_y e^{-t x_y})^m with x in units of c^{1 + beta}."""
    xp = namespace(rho)
    log_q, log_rest = law.log_proposal()
    log_q = xp.where(xp.isfinite(rho), log_q - log_rest[gold], -xp.inf)
    safe = xp.where(xp.isfinite(rho), xp.minimum(rho, 50.0), 0.0)
    x = xp.exp(beta * safe) * xp.expm1(safe)
    most = xp.max(-x)
    t = xp.asarray(np.geomspace(SMALLEST, LARGEST, POINTS), rho.dtype) / xp.where(
        most > 0, most, 1.0
    )
    logs = logsumexp(log_q - t[:, None] * x)
    return xp.exp(xp.minimum(m * xp.min(logs), 0.0))


def certify(loss: Any, problem: Problem, sampler: Sampler) -> str:
    """Refuse what has no exact moments; what to say of the chance that the floor acts.

    Raises NoExactMethod where Z without the floor may not be positive, where the floor may change
    an entry of `selection` by more than `MOST`, and where the number of draws differs between sets
    and the loss needs it.
    """
    found = _rows_of(loss.parameters, problem, sampler.sized(problem, 1e-9))
    (chance, positive, error), share, number, inside = found
    occurs = share > 0
    slots = sampler.slots(problem.labels)
    random = bool(np.any(occurs & (np.abs(number - slots) > 1e-6 * slots)))
    if random and np.any(occurs & (~inside | (chance > 0) | (loss.beta > 0))):
        why = f"needs the number of negatives, which differs between the sets of {sampler!r}"
    elif np.any(occurs & (positive == 0)):
        why = "has a negative Z without its floor, for some labels and this many negatives"
    else:
        chance = np.where(occurs, chance, 0.0)
        rows = np.where(occurs, share * error, 0.0).sum(axis=-1)
        if rows.max() <= MOST:
            return _words(chance.max(), rows.max())
        why = (
            f"is at its floor with a chance of up to {chance.max():.1g} for a gold (bounded), "
            f"which may change selection by {min(rows.max(), 9.0):.1g}"
        )
    raise NoExactMethod(
        f"{loss.name} {why}: no exact moments. Use nb.monte_carlo(problem, sampler, loss, key=key, "
        "draws=100_000), which gives each number with its standard error."
    )


def _words(chance: float, error: float) -> str:
    if chance < 1e-14:
        return ""
    return (
        f"the floor acts with a chance of at most {chance:.1g}, without which it was computed; "
        f"`error` has {error:.1g} for that"
    )


def _rows_of(parameters: tuple[float, float, float], problem: Problem, sampler: Sampler) -> Any:
    """`_rows` of the golds that occur, by NumPy where that has the law."""
    golds = int(np.max(np.count_nonzero(np.asarray(problem.population_rows), axis=-1)))
    if sampler.portable:
        with np.errstate(all="ignore"):
            return _rows(parameters, to_numpy(problem), to_numpy(sampler), golds)
    return jax.tree.map(np.asarray, _compiled_rows(parameters, problem, sampler, golds))


def _rows(
    parameters: tuple[float, float, float], problem: Problem, sampler: Sampler, golds: int
) -> Any:
    """Of each input and gold: the floor, its share, the expected draws, whether w_y > tau w_+."""
    tau = parameters[0]

    def row(inputs):
        scores, population, seen = inputs
        xp = namespace(scores)

        def at(gold):
            law = bind(sampler, seen, gold).law(scores, problem.popularity).prepared()
            counts = law.counts(one_hot(gold, scores))
            least = xp.min(xp.where(counts > 0, scores, xp.inf))
            inside = least > scores[gold] + (math.log(tau) if tau else -math.inf)
            return floor_of(parameters, law, scores, gold, sampler.m), xp.sum(counts), inside

        share, which = top_k(population, golds)
        floor, number, inside = each(at, which)
        return floor, share, number, inside

    return each(row, (problem.score_rows, problem.population_rows, problem.seen_rows))


_compiled_rows = eqx.filter_jit(_rows)
