r"""Separable arrays: V x V numbers, one for each gold and label, held as a few pairs of rows.

**What for.** Which labels are among the negatives, for every gold at once.

P(y in S | g) is a V x V array. For draws with replacement it is never formed: it is *separable*,

    P(y in S | g) = sum_c r[c, g] u[c, y],        y != g,

with one term where the gold leaves q alone. Where the gold is excluded, the chance that y is missed
is (1 - q_y / (1 - q_g))^m, a function of q_g alone: on [0, second largest q] it is expanded in
Chebyshev polynomials of q_g, and the most probable label, as a gold, has a term of its own. For
each y the function is bounded by 1 where |1 - q_y / (1 - rho)| <= 1, that is for Re rho <= 1 - q_y
/ 2. As q_y and the second largest q are at most 1/2, or sum to at most 1, a Bernstein ellipse of
parameter R = 2 + sqrt(3) fits in: with n = `TERMS` - 1 the error is at most 4 R^-n / (R - 1) =
6e-16.

Source: Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.leave_one_out import sum_without_each

#: Terms of the Chebyshev expansion.
TERMS = 28


class Separable(eqx.Module):
    """The array sum_c r[c, g] u[c, y] of golds g and labels y; its diagonal is never asked for.

    `a * b` is the product entry by entry, `1 - a` the complement.

    >>> import jax.numpy as jnp
    >>> a = Separable(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]]))
    >>> (1 - a * a).to_dense().tolist()
    [[-8.0, -15.0], [-35.0, -63.0]]
    """

    r: Float[Array, "*_ V"]
    u: Float[Array, "*_ V"]

    def average(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """sum_{g != y} share_g a[g, y] for every y."""
        whole = self.u.T @ (self.r @ share)
        return whole - share * namespace(self.r).sum(self.r * self.u, axis=0)

    def average_positive(self, share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """The same to full relative precision where r, u and share are not negative."""
        others = sum_without_each(self.r * share[..., None, :])
        return namespace(others).sum(self.u * others, axis=-2)

    def __mul__(self, other: Separable) -> Separable:
        def product(a, b):
            return (a[:, None] * b).reshape(-1, a.shape[-1])

        return Separable(product(self.r, other.r), product(self.u, other.u))

    def __rsub__(self, one: int | float) -> Separable:
        xp = namespace(self.r)
        first, ones = xp.full_like(self.r[:1], one), xp.ones_like(self.r[:1])
        return Separable(xp.concatenate([first, self.r]), xp.concatenate([ones, -self.u]))

    def to_dense(self) -> Float[Array, "V V"]:
        """The array itself, rows for golds; for tests."""
        return self.r.T @ self.u


def expand(
    function: Callable[[Float[Array, "N 1"]], Float[Array, "N V"]],
    at: Float[Array, " V"],
    end: Float[Array, ""],
) -> Separable:
    """function(at_g)_y as a separable array, for a smooth function on [0, end].

    The function takes points `[N, 1]` and gives rows `[N, V]`.

    Points outside the interval are moved to its end.
    """
    xp, orders = namespace(at), np.arange(TERMS)
    angle = np.pi * (orders + 0.5) / TERMS
    end = xp.maximum(end, jnp.finfo(at.dtype).tiny)
    points = 0.5 * end * (1 + xp.asarray(np.cos(angle), at.dtype))
    transform = 2 / TERMS * np.cos(orders[:, None] * angle)
    transform[0] /= 2
    place = xp.arccos(xp.clip(2 * at / end - 1, -1.0, 1.0))
    waves = xp.cos(xp.asarray(orders[:, None], at.dtype) * place)
    return Separable(waves, xp.asarray(transform, at.dtype) @ function(points[:, None]))
