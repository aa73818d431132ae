"""When the m-th of exponential clocks has rung: the ends of the rule in log tau."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, each, logsumexp, namespace, scan
from nce_bias.numerics.leave_one_out import largest

#: Labels that `span` takes one by one, and bins of log q that it takes of more.
BINS = 4096
#: Chernoff's theta, and how many tau the right end is one of.
THETAS, GRID = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), 121


def span(
    log_q: Float[Array, " V"], m: int, tolerance: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Ends in log tau outside which the m-th ring falls with a chance below the tolerance.

    Right end: the first tau of a grid at which, for some theta,
    P(fewer than m rings) <= e^{theta (m - 1)} prod_y (x_y + (1 - x_y) e^{-theta}) < tolerance,
    the most probable label being a gold that never rings.
    """
    xp, dtype = namespace(log_q), log_q.dtype
    left = (math.log(tolerance) + math.lgamma(m + 1)) / m
    others = xp.where(largest(log_q), -xp.inf, log_q)
    rest = logsumexp(others)
    q = others - rest  # time in units of what is left without the gold
    rarest = xp.min(xp.where(xp.isneginf(q), 0.0, q))  # rings by 40 / q, whatever m
    q, counts = (q, xp.ones_like(q)) if len(q) <= BINS else binned(q, rarest)
    log_tau = math.log(m) + xp.linspace(0.0, xp.maximum(60.0, 8.0 - rarest), GRID, dtype=dtype)
    theta = xp.asarray(THETAS, dtype)[:, None]

    def halve(ends, _):
        """The bound falls with tau: the first that is small enough lies in (low, high]."""
        low, high = ends
        middle = (low + high) // 2
        age = xp.exp(xp.minimum(q + log_tau[middle], 50.0))
        log_gone = xp.log(-xp.expm1(-age))
        bound = theta[:, 0] * (m - 1) + xp.logaddexp(-age, log_gone - theta) @ counts
        enough = xp.min(bound) < math.log(tolerance)
        return (xp.where(enough, low, middle), xp.where(enough, middle, high)), None

    ends = xp.asarray(-1), xp.asarray(GRID - 1)
    (_, first), _ = scan(halve, ends, xp.arange(math.ceil(math.log2(GRID))))
    right = log_tau[first]
    return xp.asarray(left, dtype), right - rest


def binned(
    q: Float[Array, " V"], rarest: Float[Array, ""]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Logarithms of q rounded down to one of `BINS`, and how many are there: they ring later."""
    xp = namespace(q)
    width = xp.maximum(-rarest, 1.0) / (BINS - 1)
    place = xp.floor((q - rarest) / width)
    place = xp.where(xp.isneginf(q), BINS, xp.clip(place, 0, BINS - 1)).astype(np.int32)
    counts: Any
    if xp is np:
        counts = np.bincount(place, minlength=BINS + 1)[:BINS].astype(q.dtype)
    else:
        counts = jnp.zeros(BINS, q.dtype).at[place].add(1.0, mode="drop")
    return rarest + width * xp.arange(BINS, dtype=q.dtype), counts


def lengths(log_q, m: int, tolerance: float):
    """The length of the rule in log tau, for each input."""

    def length(row):
        left, right = span(row, m, tolerance)
        return right - left

    return each(length, log_q)


compiled_lengths = eqx.filter_jit(lengths)
