r"""Products of many linear polynomials, and the product without each factor.

For factors a_y + k_y zeta + delta b_y with delta^2 = 0, the coefficient of delta zeta^d in the
product over y != g, for every g at once. All terms are non-negative, so every coefficient keeps its
relative precision, and nothing is ever divided.

**Order of work.** Polynomials are truncated at zeta^d. Labels are cut into blocks; the product of
everything outside a block comes from products before and after it, and inside the block two short
scans leave out each label in turn: one stores the products after each label, the other meets them
with those before it. Work is O(V d), memory O(V d / 32), and a block stays in cache.

**Derivative.** With a second marker eta (eta^2 = 0) and cotangents c_y, the pulled-back scalar
sum_g c_g out_g is the coefficient of delta eta zeta^d in prod_y (a_y + k_y zeta + delta b_y + eta
c_y): its derivative by a factor is again a product without that factor. So the reverse pass is the
same routine with one marker more.
"""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

#: Labels per block.
BLOCK = 32
#: Up to this many coefficients a product of polynomials is written out; above, it is a convolution.
UNROLLED = 8

#: Entry s of an element is the polynomial [degree + 1, N] at the markers in the bit set s.
Element = tuple[Float[Array, "D N"], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def without_each_product(
    a: Float[Array, "V N"], k: Float[Array, "V N"], b: Float[Array, "V N"], degree: int
) -> Float[Array, "V N"]:
    """Coefficient of delta zeta^degree in prod_{y != g} (a_y + k_y zeta + delta b_y), for each g.

    The last axis runs over independent products (nodes of a quadrature).
    """
    return _without_each(a, k, (b,), ((1, degree),), degree)[0]


def _forward(a, k, b, degree):
    return without_each_product(a, k, b, degree), (a, k, b)


def _backward(degree, factors, cotangent):
    a, k, b = factors
    wanted = ((3, degree), (3, degree - 1), (2, degree))
    return _without_each(a, k, (b, cotangent), wanted, degree)


without_each_product.defvjp(_forward, _backward)


def _without_each(a, k, marked, wanted, degree: int):
    """Coefficients (marker set, power of zeta) in `wanted` of the product without each label."""
    labels, nodes = a.shape
    count = -(-labels // BLOCK)

    def cut(part, fill):
        padded = jnp.pad(part, ((0, count * BLOCK - labels), (0, 0)), constant_values=fill)
        return padded.reshape(count, BLOCK, nodes)

    blocks = (cut(a, 1.0), cut(k, 0.0), tuple(cut(part, 0.0) for part in marked))
    zero = jnp.zeros((degree + 1, nodes), a.dtype)
    one: Element = (zero.at[0].set(1.0), *(zero,) * (2 ** len(marked) - 1))

    def whole(block):
        return jax.lax.scan(lambda p, f: (_times_factor(p, f), None), one, block)[0]

    wholes = jax.lax.map(whole, blocks)
    _, before = jax.lax.scan(lambda p, q: (_times(p, q), p), one, wholes)
    _, after = jax.lax.scan(lambda p, q: (_times(p, q), p), one, wholes, reverse=True)

    def inside(x):
        outside, block = _times(x[0], x[1]), x[2]
        _, later = jax.lax.scan(lambda p, f: (_times_factor(p, f), p), one, block, reverse=True)

        def step(earlier, label):
            factor, later = label
            found = tuple(_coefficient(earlier, later, *which) for which in wanted)
            return _times_factor(earlier, factor), found

        return jax.lax.scan(step, outside, (block, later))[1]

    found = jax.lax.map(inside, (before, after, blocks))
    return tuple(part.reshape(count * BLOCK, nodes)[:labels] for part in found)


def _times_factor(product: Element, factor) -> Element:
    """One more factor a + k zeta + sum_i marker_i b_i."""
    a, k, marked = factor
    zero = jnp.zeros((), a.dtype)

    def at(s: int):
        times_zeta = jax.lax.pad(product[s], zero, ((1, -1, 0), (0, 0, 0)))
        total = product[s] * a + times_zeta * k
        for i, b in enumerate(marked):
            if s >> i & 1:
                total = total + product[s ^ (1 << i)] * b
        return total

    return tuple(at(s) for s in range(len(product)))


def _times(p: Element, q: Element) -> Element:
    """The truncated product of two elements: markers square to zero, so their sets are disjoint."""

    def at(s: int):
        subsets = [r for r in range(1, s + 1) if r & s == r]
        return functools.reduce(
            operator.add, (_convolve(p[r], q[s ^ r]) for r in subsets), _convolve(p[0], q[s])
        )

    return tuple(at(s) for s in range(len(p)))


def _convolve(u: Float[Array, "D N"], v: Float[Array, "D N"]) -> Float[Array, "D N"]:
    size = u.shape[0]
    if size <= UNROLLED:
        return jnp.stack([sum(u[i] * v[n - i] for i in range(n + 1)) for n in range(size)])
    shift = jnp.arange(size)[:, None] - jnp.arange(size)
    return jnp.einsum("nik,ik->nk", jnp.where(shift[..., None] >= 0, u[shift], 0.0), v)


def _coefficient(earlier: Element, later: Element, markers: int, power: int) -> Float[Array, " N"]:
    """One coefficient of earlier * later."""
    if power < 0:
        return jnp.zeros_like(earlier[0][0])
    terms = (
        earlier[r][: power + 1] * later[markers ^ r][power::-1]
        for r in range(markers + 1)
        if r & markers == r
    )
    return jnp.sum(sum(terms), axis=0)
