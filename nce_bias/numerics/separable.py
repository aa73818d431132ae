r"""Which labels are among the negatives: inclusion probabilities for every gold at once.

P(y in S | g) is a V x V array. For draws with replacement it is never formed: it is *separable*,

    P(y in S | g) = sum_c r[c, g] u[c, y],        y != g,

with one term where the gold leaves q alone. Where the gold is excluded, the chance that y is missed
is (1 - q_y / (1 - q_g))^m, a function of q_g alone: on [0, second largest q] it is expanded in
Chebyshev polynomials of q_g, and the most probable label, as a gold, has a term of its own. For
each y the function is bounded by 1 where |1 - q_y / (1 - rho)| <= 1, that is for Re rho <= 1 - q_y
/ 2. As q_y and the second largest q are at most 1/2, or sum to at most 1, a Bernstein ellipse of
parameter R = 2 + sqrt(3) fits in: with n = `TERMS` - 1 the error is at most 4 R^-n / (R - 1) =
6e-16.

Source: Trefethen, Approximation Theory and Approximation Practice (2013), theorem 8.2.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

#: (r, u), each of any number of rows.
Factors = tuple[Float[Array, "_ V"], Float[Array, "_ V"]]

#: Terms of the Chebyshev expansion.
TERMS = 28


def mix(factors: Factors, share: Float[Array, " V"]) -> Float[Array, " V"]:
    """sum_{g != y} share_g sum_c r[c, g] u[c, y] for every y."""
    r, u = factors
    return u.T @ (r @ share) - share * jnp.sum(r * u, axis=0)


def complement(factors: Factors) -> Factors:
    """The factors of 1 minus a separable array."""
    r, u = factors
    one = jnp.ones_like(r[:1])
    return jnp.concatenate([one, r]), jnp.concatenate([one, -u])


def times(a: Factors, b: Factors) -> Factors:
    """The factors of the product of two separable arrays, entry by entry."""
    r, u = (
        (first[:, None] * second).reshape(-1, first.shape[-1])
        for first, second in zip(a, b, strict=True)
    )
    return r, u


def expand(
    function: Callable[[Float[Array, ""]], Float[Array, " V"]],
    at: Float[Array, " V"],
    end: Float[Array, ""],
) -> Factors:
    """function(at_g)_y as a separable array, for a smooth function on [0, end].

    Points outside the interval are moved to its end.
    """
    angle = np.pi * (np.arange(TERMS) + 0.5) / TERMS
    end = jnp.maximum(end, jnp.finfo(at.dtype).tiny)
    values = jax.vmap(function)(0.5 * end * (1 + jnp.asarray(np.cos(angle), at.dtype)))
    transform = 2 / TERMS * np.cos(np.arange(TERMS)[:, None] * angle)
    transform[0] /= 2
    place = jnp.arccos(jnp.clip(2 * at / end - 1, -1.0, 1.0))
    orders = jnp.arange(TERMS, dtype=at.dtype)[:, None]
    return jnp.cos(orders * place), jnp.asarray(transform, at.dtype) @ values
