r"""The law of distinct draws at one node in t, from power sums of light labels (`.distinct`).

What a plan settles (which labels are light, how many sums and powers they take), the series of
these sums in powers of the rates, and the integral in tau of the coefficient that counts the rings.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias.integrals.crowd import PLACES, POWER, Crowd, basis_for
from nce_bias.numerics.arrays import Array, each

#: Labels that are taken one by one at most.
MOST_TAKEN = 2**12
#: What a label taken alone costs a pair of nodes and a power of zeta, in terms of an integral.
RING = 0.3
#: Limits of q tau that a plan may choose from.
LIMITS = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


class Series(NamedTuple):
    """How r^j is made of powers of q: `of_rings` `[I, J]` for p_j, `of_last` `[I, J]` for b_i."""

    of_rings: np.ndarray
    of_last: np.ndarray


def powers_for(kappa: float, m: int, tolerance: float) -> tuple[int, int]:
    """J and I: how many power sums, and how many powers of q in them."""
    sums = math.ceil(math.log(tolerance) / math.log(math.expm1(kappa))) + 1
    powers = math.ceil(math.log(tolerance) / math.log(kappa / math.log(2))) + 1
    return min(m, sums), powers


def series(count: int, powers: int) -> Series:
    """j! S(i, j) / i! for p_j (rows i = 1.., columns j = 1..), and i! S(k, i) / k! for b_i.

    Row k of `of_last` belongs to q^{k+1}, as row i - 1 of `of_rings` belongs to q^i.
    """
    # c[i, j] = j! S(i, j) / i!, by (i + 1) c[i + 1, j] = j (c[i, j] + c[i, j - 1])
    c = np.zeros((powers + 1, count + 1))
    c[0, 0] = 1.0
    for i in range(powers):
        for j in range(1, count + 1):
            c[i + 1, j] = j * (c[i, j] + c[i, j - 1]) / (i + 1)
    return Series(c[1:, 1:], c[:-1, :-1])


class Ringing(NamedTuple):
    """What a plan asks of one input: the last tau, and how many labels ring above each limit."""

    last: Float[Array, ""]
    above: Int[Array, " T"]


def ringing(law: Any) -> Ringing:
    """Of the law of distinct draws."""
    last = jnp.exp(law.ages()[0][-1])
    above = each(lambda limit: jnp.sum(law.q * last > limit), jnp.asarray(LIMITS, law.q.dtype))
    return Ringing(last, above)


def rings_for(
    found: Ringing, golds: int, m: int, sizes: tuple[int, int], tolerance: float
) -> tuple[Crowd, int, float] | None:
    """The cheapest limit for all inputs, how many labels it takes one by one, and the cost.

    `sizes`: labels, and pairs of nodes. The cost is that of an integral over so many labels.
    """
    labels, pairs = sizes
    tolerance = tolerance / PLACES
    last, above = float(np.max(found.last)), np.max(np.atleast_2d(found.above), axis=0)
    choices = []
    for kappa, count in zip(LIMITS, above, strict=True):
        taken = 2 ** math.ceil(math.log2(int(count) + golds))
        sums, powers = powers_for(kappa, m, tolerance)
        most = kappa / last
        weights = np.array([(kappa / math.log(2)) ** i for i in range(powers)])
        basis: Any = basis_for((0.0, most), weights, tolerance)
        cost = labels * POWER * basis.shape[1] + golds * pairs * m * RING * (taken + sums)
        limit: Any = np.float64(most)
        crowd = Crowd(limit, 0 * limit, limit, basis, 0, kappa, PLACES * tolerance)
        choices.append((cost, taken, crowd))
    cost, taken, crowd = min(choices, key=lambda choice: choice[0])
    return (crowd, taken, cost) if taken <= MOST_TAKEN else None


class Ages(eqx.Module):
    """The rule in log tau: nodes, and the weight of each, d tau included."""

    tau: Float[Array, " T"]
    weight: Float[Array, " T"]


def symmetric(
    p: Float[Array, "J T"], start: Float[Array, " T"], m: int, signs: Float[Array, " J"]
) -> Float[Array, "m T"]:
    """e_0..e_{m-1} times `start` from the power sums; with positive signs h_n."""
    signed = p * signs[:, None]

    def step(last, n):
        value = jnp.sum(signed * last, axis=0) / n
        return jnp.concatenate([value[None], last[:-1]]), value

    last = jnp.concatenate([start[None], jnp.zeros((len(p) - 1, len(start)), start.dtype)])
    _, rest = jax.lax.scan(step, last, jnp.arange(1, m, dtype=start.dtype))
    return jnp.concatenate([start[None], rest])


def with_last(e: Float[Array, "m T"], b: Float[Array, "J T"]) -> Float[Array, "m T"]:
    """sum_i (-1)^i b_i e_{n-i}."""

    def add(carry, b):
        total, shifted = carry
        return (total + b * shifted, -jnp.pad(shifted, ((1, 0), (0, 0)))[:-1]), None

    return jax.lax.scan(add, (jnp.zeros_like(e), e), b)[0][0]


class Node(NamedTuple):
    """What the law asks at one node in t: S_ij of light labels, f of those taken alone."""

    light: Float[Array, "I J"]
    taken: Float[Array, " G"]


class Rates(NamedTuple):
    """What it asks of tau: of light labels their sum and largest, of those taken alone each rate.

    `signs` are those of Newton's identities.
    """

    ages: Ages
    total: Float[Array, ""]
    most: Float[Array, ""]
    taken: Float[Array, " G"]
    signs: Float[Array, " J"]


def laplace_at(node: Node, rates: Rates, m: int) -> Float[Array, ""]:
    """The integral in tau, not yet divided by its value at z = 0."""
    powers, count = node.light.shape
    made, tau = series(count, powers), rates.ages.tau
    s = (rates.most * tau) ** jnp.arange(powers, dtype=tau.dtype)[:, None]  # [I, T]
    p = tau * ((made.of_rings * node.light).T @ s)
    b = (made.of_last * node.light).T @ s
    rings = symmetric(p, jnp.exp(-tau * rates.total), m, rates.signs)
    last = with_last(rings, jnp.asarray(b))

    def times(pair, label):
        """Both polynomials times x + k f zeta + delta q x f of one label."""
        rings, last = pair
        q, f = label
        x, rung = jnp.exp(-q * tau), -jnp.expm1(-q * tau) * f
        up, last_up = (jnp.pad(part, ((1, 0), (0, 0)))[:-1] for part in pair)
        return (x * rings + rung * up, x * last + rung * last_up + q * x * f * rings), None

    (_, last), _ = jax.lax.scan(times, (rings, last), (rates.taken, node.taken))
    return jnp.sum(rates.ages.weight * last[-1])
