r"""Products of many linear polynomials, and the product without each factor.

For factors a_y + k_y zeta + delta b_y with delta^2 = 0, the coefficient of delta zeta^d in the
product over y != g, for every g at once. All terms are non-negative, so every coefficient keeps its
relative precision, and nothing is ever divided.

**One axis a variable.** A truncated polynomial is an array with an axis for each variable: one of
length 2 for each marker, one of length d + 1 for zeta, and the nodes last. To multiply by a
variable is to shift along its axis.

**Order of work.** Labels are cut into blocks; the product of everything outside a block comes from
products before and after it, and inside the block two short scans leave out each label in turn: one
stores the products after each label, the other meets them with those before it. Work is O(V d),
memory O(V d / 32), and a block stays in cache.

**Derivative.** With a second marker eta (eta^2 = 0) and cotangents c_y, the pulled-back scalar
sum_g c_g out_g is the coefficient of delta eta zeta^d in prod_y (a_y + k_y zeta + delta b_y + eta
c_y): its derivative by a factor is again a product without that factor. So the reverse pass is the
same routine with one marker more.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, scan

#: Labels per block, at most.
BLOCK = 32
#: Up to this many coefficients a product of polynomials is written out; above, it is a convolution.
UNROLLED = 8

#: Axes: one of length 2 for each marker, the last marker first; powers of zeta; any of nodes.
Element = Float[Array, "..."]
Nodes = Float[Array, "..."]


def without_each_product(
    a: Float[Array, "V N"], k: Float[Array, "V N"], b: Float[Array, "V N"], degree: int
) -> Float[Array, "V N"]:
    """Coefficient of delta zeta^degree in prod_{y != g} (a_y + k_y zeta + delta b_y), for each g.

    The last axis runs over independent products (nodes of a quadrature).
    """
    if is_numpy(a, k, b):
        return _without_each(a, k, (b,), ((1, degree),), degree)[0]
    return _derivable(a, k, b, degree)


def pull_back_product(
    a: Float[Array, "V N"],
    k: Float[Array, "V N"],
    b: Float[Array, "V N"],
    cotangent: Float[Array, "V N"],
    degree: int,
) -> tuple[Float[Array, "V N"], Float[Array, "V N"], Float[Array, "V N"]]:
    """The derivatives of sum_g cotangent_g `without_each_product`_g by a, k and b."""
    wanted = ((1, 1, degree), (1, 1, degree - 1), (1, 0, degree))
    return _without_each(a, k, (b, cotangent), wanted, degree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _derivable(a, k, b, degree):
    return _without_each(a, k, (b,), ((1, degree),), degree)[0]


def _forward(a, k, b, degree):
    return _derivable(a, k, b, degree), (a, k, b)


def _backward(degree, factors, cotangent):
    a, k, b = factors
    return pull_back_product(a, k, b, cotangent, degree)


_derivable.defvjp(_forward, _backward)


def _without_each(a, k, marked, wanted, degree: int):
    """Coefficients of the `wanted` powers of all variables in the product without each label."""
    xp = namespace(a, k, *marked)
    labels, nodes = a.shape
    count = -(-labels // BLOCK)
    length = -(-labels // count)

    def cut(part, fill):
        padded = xp.pad(part, ((0, count * length - labels), (0, 0)), constant_values=fill)
        return padded.reshape(count, length, nodes)

    blocks = (cut(a, 1.0), cut(k, 0.0), tuple(cut(part, 0.0) for part in marked))
    powers = (*(2,) * len(marked), degree + 1)

    def whole(block):
        return scan(lambda p, f: (_times_factor(p, f), None), _one(powers, block[0][0]), block)[0]

    wholes = _in_blocks(whole, blocks)
    one = _one(powers, a[0])
    _, before = scan(lambda p, q: (_times(p, q, len(marked)), p), one, wholes)
    _, after = scan(lambda p, q: (_times(p, q, len(marked)), p), one, wholes, reverse=True)

    def inside(x):
        outside, block = _times(x[0], x[1], len(marked)), x[2]
        one = _one(powers, block[0][0])
        _, later = scan(lambda p, f: (_times_factor(p, f), p), one, block, reverse=True)

        def step(earlier, label):
            factor, later = label
            found = tuple(_coefficient(earlier, later, which) for which in wanted)
            return _times_factor(earlier, factor), found

        return scan(step, outside, (block, later))[1]

    found = _in_blocks(inside, (before, after, blocks))
    return tuple(part.reshape(count * length, nodes)[:labels] for part in found)


def _one(powers: tuple[int, ...], like: Nodes) -> Element:
    """The polynomial 1 at every node."""
    xp = namespace(like)
    is_one = np.arange(math.prod(powers)).reshape(*powers, *(1,) * like.ndim) == 0
    return xp.broadcast_to(xp.asarray(is_one, like.dtype), (*powers, *like.shape))


def _in_blocks(function, blocks):
    """`function` of every block: one after the other, or all at once where a call is what costs.

    It takes any axes of nodes, so for NumPy the axis of blocks becomes one.
    """
    if not is_numpy(*jax.tree.leaves(blocks)):
        return jax.lax.map(function, blocks)
    together = jax.tree.map(lambda x: np.moveaxis(x, 0, -2), blocks)
    return jax.tree.map(lambda x: np.moveaxis(x, -2, 0), function(together))


def _times_factor(product: Element, factor) -> Element:
    """One more factor a + k zeta + sum_i marker_i b_i."""
    a, k, marked = factor
    total = product * a
    first = product.ndim - a.ndim - 1
    for axis, by in zip(range(first, -1, -1), (k, *marked), strict=True):
        total = _add_shifted(total, product, by, axis)
    return total


def _add_shifted(total: Element, product: Element, by: Nodes, axis: int) -> Element:
    """total + product times `by` and the variable of an axis, cut at its highest power."""
    if is_numpy(total):  # its own array: changed in place
        all_before = (slice(None),) * axis
        total[(*all_before, slice(1, None))] += product[(*all_before, slice(-1))] * by
        return total
    shift = [(0, 0, 0)] * product.ndim
    shift[axis] = (1, -1, 0)
    return total + jax.lax.pad(product * by, jnp.zeros((), by.dtype), shift)


def _times(p: Element, q: Element, markers: int) -> Element:
    """The truncated product of two elements: markers square to zero."""
    if markers == 0:
        return _convolve(p, q)
    xp, rest = namespace(p, q), markers - 1
    mixed = _times(p[0], q[1], rest) + _times(p[1], q[0], rest)
    return xp.stack([_times(p[0], q[0], rest), mixed])


def _convolve(u: Element, v: Element) -> Any:
    size = u.shape[0]
    if is_numpy(u, v):
        return np.stack([np.sum(u[: n + 1] * v[n::-1], axis=0) for n in range(size)])
    if size <= UNROLLED:
        return jnp.stack([sum(u[i] * v[n - i] for i in range(n + 1)) for n in range(size)])
    shift = jnp.arange(size)[:, None] - jnp.arange(size)
    return jnp.einsum("nik,ik->nk", jnp.where(shift[..., None] >= 0, u[shift], 0.0), v)


def _coefficient(earlier: Element, later: Element, powers: tuple[int, ...]) -> Nodes:
    """The coefficient of one monomial in earlier * later."""
    xp = namespace(earlier, later)
    if min(powers) < 0:
        return xp.zeros_like(earlier[(0,) * len(powers)])
    up = earlier[tuple(slice(power + 1) for power in powers)]
    down = later[tuple(slice(power, None, -1) for power in powers)]
    return xp.sum(up * down, axis=tuple(range(len(powers))))
