r"""The chance to be among the negatives, averaged over a whole population of golds, in O(V).

For m draws from what a gold leaves of q, with nu_g = q_g / (1 - q_g) and r_y = q_y / (1 - q_y),

    P(y drawn | g) = 1 - (1 - q_y (1 + nu_g))^m = 1 - (1 - q_y)^m (1 - r_y nu_g)^m.

Most labels have a small m q_y: there it is a polynomial in q_y whose coefficients are the sums
sum_g share_g (1 + nu_g)^k, a dozen numbers. For the few with a large one it is a polynomial in nu_g
for the other golds, and a separable array among themselves (`numerics.separable`). A label with
q_y > 1/2, of which there is one at most, takes a pass over all as the gold and one as a label.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from nce_bias.integrals.crowd import odds, places
from nce_bias.integrals.expectation import Rule
from nce_bias.numerics.arrays import Array, is_numpy, namespace, put, scan
from nce_bias.numerics.powers import binomials, taylor_terms
from nce_bias.numerics.separable import expand
from nce_bias.samplers import Law


def included_by_many(law: Law, share: Float[Array, " V"], rule: Rule) -> Float[Array, " V"]:
    """sum_{g != y} share_g P(y among the negatives | g) of independent draws."""
    draws: Any = law
    if draws.hits != "exclude":
        return law.included(share)
    assert rule.crowd is not None
    xp, q, m = namespace(share, draws.q), draws.q, rule.m
    top = xp.arange(len(q)) == xp.argmax(q)
    big = top & (q > 0.5)
    without = xp.where(big, 0.0, share)
    most = _for_most(q, without, m, rule)

    def with_big(_: Array) -> Array:
        """Passes over labels with the big one as the gold, and over golds with it as the label."""
        rest = q / xp.maximum(xp.sum(xp.where(big, 0.0, q)), jnp.finfo(q.dtype).tiny)
        as_gold = xp.sum(xp.where(big, share, 0.0)) * _chance(rest, m)
        as_label = xp.sum(without * _chance(xp.max(q) / (1 - xp.where(big, 0.0, q)), m))
        return xp.where(big, as_label, most + as_gold)

    if is_numpy(share, q):
        return with_big(most) if big.any() else most
    return jax.lax.cond(jnp.any(big), with_big, lambda most: most, most)


def _chance(q: Float[Array, "*_"], m: int | Float[Array, ""]) -> Float[Array, "*_"]:
    """1 - (1 - q)^m."""
    xp = namespace(q)
    return -xp.expm1(m * xp.log1p(-xp.minimum(q, 1.0)))


def _for_most(
    q: Float[Array, " V"], share: Float[Array, " V"], m: int | Float[Array, ""], rule: Rule
) -> Float[Array, " V"]:
    """For golds and labels with q <= 1/2; what it says of another label counts for nothing."""
    xp, crowd = namespace(q), rule.crowd
    assert crowd is not None
    q = xp.minimum(q, 0.5)
    nu = odds(q, "exclude")
    alone = nu > crowd.limit
    which, meant = places(alone, rule.taken)
    taken_q, taken_share = (xp.where(meant, column[which], 0.0) for column in (q, share))
    light = xp.where(alone, 0.0, share)
    few, many = (taylor_terms(factor * crowd.kappa, rule.tolerance) for factor in (1, 2))
    sums = _power_sums(light, xp.where(alone, 0.0, nu), few)
    # golds by sum_g share_g (1 + nu_g)^k, for labels with small m q
    taken_nu = odds(taken_q, "exclude")
    coefficients, by_k = [], taken_share
    pascal = [1.0]
    for _ in range(many):
        of_light = sum(c * s for c, s in zip(pascal, sums, strict=False))
        coefficients.append(of_light + xp.sum(by_k))
        by_k = by_k * (1 + taken_nu)
        pascal = [1.0, *(a + b for a, b in itertools.pairwise(pascal)), 1.0]
    signs = _alternating(m, many, q)
    small = xp.where(alone, 0.0, q)
    drawn = -_polynomial(small, [c * s for c, s in zip(coefficients, signs, strict=True)])
    own = -_polynomial(xp.where(alone, 0.0, nu), signs)
    on_light = drawn - light * own
    # labels taken one by one: the other golds by powers of nu, each other as a separable array
    rows = binomials(xp.asarray(m, q.dtype), few, xp.log1p(-taken_q))
    missed = sum(
        row * (-taken_q) ** j * total for j, (row, total) in enumerate(zip(rows, sums, strict=True))
    )
    pairs = expand(lambda rho: _chance(taken_q / (1 - rho), m), taken_q, xp.max(taken_q))
    on_taken = sums[0] - missed + pairs.average(taken_share)
    return put(on_light, which, meant, on_taken)


def _power_sums(share: Float[Array, " V"], nu: Float[Array, " V"], terms: int) -> list[Array]:
    """sum_g share_g nu_g^j."""
    xp = namespace(share)
    return list(scan(lambda power, _: (power * nu, xp.sum(power)), share, xp.arange(terms))[1])


def _alternating(m: int | Float[Array, ""], terms: int, like: Array) -> list[Array]:
    """C(m, k) (-1)^k, without k = 0."""
    xp = namespace(m, like)
    rows = binomials(xp.asarray(m, like.dtype), terms, xp.zeros_like(like[0]), -1.0)
    return [xp.zeros_like(rows[0]), *rows[1:]]


def _polynomial(x: Float[Array, " V"], coefficients: list[Array]) -> Float[Array, " V"]:
    value = coefficients[-1] + 0 * x
    for c in reversed(coefficients[:-1]):
        value = c + x * value
    return value
