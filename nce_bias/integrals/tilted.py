r"""Products of two linear functions of the copies, under a tilted law, for one gold.

Let n be the copies of each label among the negatives of a gold, e its unit vector, and

    x = a e + (diag(A) + e u^T) n,        x' = a' e + (diag(A') + e u'^T) n'

where n and n' count groups of draws, some groups in both. With G a symmetric matrix (the identity,
or J J^T), mu the means and C the covariance of the groups that are in both,

    E[x^T G x'] = E[x]^T G E[x'] + tr(M^T G M' C),        M = diag(A) + e u^T.

C is minus the derivative of the means by the exposures. For independent draws it is diag(mu) - mu
mu^T / m, and those of the parts of a sum add up. Of another law its diagonal follows from the
coincidences, which is all that u = 0 and G = 1 ask; else it is taken as a matrix, by JAX, for few
labels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias.integrals.expectation import Gram
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers import Law


class Linear(NamedTuple):
    """x = at_gold e + (diag(along) + e pair^T) n; `pair` is None where it is 0."""

    at_gold: Float[Array, "*N"]
    along: Float[Array, "*N V"]
    pair: Float[Array, "*N V"] | None


class Group(NamedTuple):
    """Draws of one law at their exposures, and in which of the two they are counted."""

    law: Law
    exposures: Float[Array, "*N V"]
    first: bool
    second: bool


def identity(like: Float[Array, " V"]) -> Gram:
    """G = 1."""
    return Gram(lambda vector: vector, namespace(like).ones_like(like))


def product(
    groups: list[Group],
    first: Linear,
    second: Linear,
    unit: Float[Array, " V"],
    gram: Gram,
    dense: Float[Array, "V V"] | None,
) -> tuple[Float[Array, "*N"], Float[Array, "*N"]]:
    """log of the product of the groups' F, and E[x^T G x'] under the tilted laws.

    `unit` is e; `dense` is G itself, None for the identity.
    """
    xp = namespace(unit, groups[0].exposures)
    tilted = [group.law.tilted(group.exposures) for group in groups]
    here = xp.asarray(unit > 0)
    log_f = xp.zeros_like(first.at_gold)
    for log, _ in tilted:
        log_f = log_f + xp.sum(xp.where(here, log, 0.0), axis=-1)
    wide = xp.broadcast_to(unit, groups[0].exposures.shape)
    copies = [of(wide) for _, of in tilted]
    total = [xp.zeros_like(wide), xp.zeros_like(wide)]
    for group, n in zip(groups, copies, strict=True):
        counted = group.first, group.second
        total = [both + n if among else both for both, among in zip(total, counted, strict=True)]
    mean, other = (_moved(x, n, unit) for x, n in zip((first, second), total, strict=True))
    value = xp.sum(mean * gram.times(other), axis=-1)
    for group, n in zip(groups, copies, strict=True):
        if group.first and group.second:
            value = value + _spread(group, n, (first, second), here, (gram, dense))
    return log_f, value


def _moved(x: Linear, copies: Array, unit: Array, constant: bool = True) -> Array:
    """x for these copies; without its constant part, M n."""
    at_gold = x.at_gold if constant else 0.0 * x.at_gold
    if x.pair is not None:
        at_gold = at_gold + (x.pair * copies).sum(axis=-1)
    return at_gold[..., None] * unit + x.along * copies


def _spread(
    group: Group,
    copies: Array,
    both: tuple[Linear, Linear],
    here: Bool[Array, " V"],
    grams: tuple[Gram, Array | None],
) -> Array:
    """tr(M^T G M' C) of one group."""
    (first, second), (gram, dense) = both, grams
    law, z = group.law, group.exposures
    xp = namespace(z, copies)
    unit = here.astype(copies.dtype)
    pairs = first.pair is not None or second.pair is not None
    squares = first.along * second.along
    if law.separable(z) is not None:
        total = xp.zeros_like(first.at_gold)
        row = gram.times(unit)
        for part in law.repeated():
            n = part.tilted(z)[1](xp.broadcast_to(unit, z.shape))
            columns = squares * gram.diagonal
            if pairs:
                u, v = (xp.zeros_like(z) if x.pair is None else x.pair for x in both)
                columns = columns + (first.along * v + u * second.along) * row
                columns = columns + u * v * xp.sum(row * unit)
            a, b = (_moved(x, n, unit, constant=False) for x in both)
            less = xp.sum(a * gram.times(b), axis=-1) / xp.maximum(part.m, 1)
            total = total + xp.sum(n * columns, axis=-1) - less
        return total
    if not pairs and dense is None:
        plus, minus = (xp.sqrt(xp.maximum(sign * squares, 0.0)) for sign in (1, -1))
        again = law.coincidences(z, plus) - law.coincidences(z, minus)
        again = xp.sum(xp.where(here, again, 0.0), axis=-1)
        return xp.sum(squares * (copies - copies**2), axis=-1) + again
    covariance = -jax.jacrev(lambda at: law.tilted(at)[1](unit))(z)
    left, right = (_matrix(x, unit) for x in both)
    whole = left @ covariance @ right.T
    return jnp.trace(whole) if dense is None else jnp.sum(dense * whole)


def _matrix(x: Linear, unit: Array) -> Array:
    """M."""
    matrix = jnp.diag(x.along)
    return matrix if x.pair is None else matrix + unit[:, None] * x.pair
