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
same routine with one marker more. So is the derivative in a direction, where the factors themselves
become a_y + (1 + eta v_y) (k_y zeta + delta b_y).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, scan

#: Labels per block, at most.
BLOCK = 32

#: Axes: one of length 2 for each marker, the last marker first; powers of zeta; any of nodes.
Element = Float[Array, "..."]
Nodes = Float[Array, "..."]
#: Of every label, at any nodes.
Cells = Float[Array, "V ..."]
#: The power, 0 or 1, of every variable, in the order of the axes.
Monomial = tuple[int, ...]
#: Of a factor, one for each of its coefficients: 1, zeta and the marker; with a marker eta besides.
PLAIN = ((0, 0), (0, 1), (1, 0))
PULLED = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
MOVED = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 1), (1, 1, 0))


def without_each_product(
    a: Float[Array, "V N"], k: Float[Array, "V N"], b: Float[Array, "V N"], degree: int
) -> Float[Array, "V N"]:
    """Coefficient of delta zeta^degree in prod_{y != g} (a_y + k_y zeta + delta b_y), for each g.

    The last axis runs over independent products (nodes of a quadrature).
    """
    if is_numpy(a, k, b):
        return _without_each((a, k, b), PLAIN, ((1, degree),))[0]
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
    return _without_each((a, k, b, cotangent), PULLED, wanted)


def push_forward_product(
    a: Float[Array, "V N"],
    k: Float[Array, "V N"],
    b: Float[Array, "V N"],
    direction: Float[Array, "V N"],
    degree: int,
) -> Float[Array, "V N"]:
    """The derivative of each `without_each_product` where every k and b grows by `direction` of it.

    >>> import numpy as np
    >>> a, k, b = np.full((3, 3, 1), 0.5)
    >>> push_forward_product(a, k, b, np.array([[1.0], [10.0], [100.0]]), 1).ravel().tolist()
    [55.0, 50.5, 5.5]
    """
    factors = (a, k, b, direction * k, direction * b)
    return _without_each(factors, MOVED, ((1, 1, degree),))[0]


class Products(NamedTuple):
    """Clocks at an age: the coefficient of zeta^degree by products, for few negatives.

    What `transform.Transform` is for many, with the same methods.
    """

    degree: int

    def factors(self, log_age: Cells, z: Cells, last: Cells) -> tuple[Cells, Cells, Cells]:
        """a, k, b of each label: not rung, rung, about to ring, with e^{-z} and e^{-last}."""
        xp = namespace(log_age, z)
        age = xp.exp(log_age)
        kept = xp.exp(-age)
        f = xp.exp(-z)
        rung, ringing = -xp.expm1(-age) * f, age * kept * (f if last is z else xp.exp(-last))
        return xp.broadcast_to(kept, rung.shape), rung, ringing

    def value(self, factors: tuple[Nodes, Nodes, Nodes]) -> Nodes:
        """The coefficient without each label."""
        return without_each_product(*factors, self.degree)

    def pull_back(self, factors: tuple[Nodes, Nodes, Nodes], cotangent: Nodes) -> Nodes:
        """Minus the derivatives of sum_g cotangent_g value_g by every z = last."""
        _, by_k, by_b = pull_back_product(*factors, cotangent, self.degree)
        return by_k * factors[1] + by_b * factors[2]

    def push_forward(self, factors: tuple[Nodes, Nodes, Nodes], direction: Nodes) -> Nodes:
        """Minus the derivative of each value along a direction of z = last."""
        return push_forward_product(*factors, direction, self.degree)

    def passes(self, labels: int) -> float:
        """Numbers that NumPy handles, for a label and node: in time, not in number."""
        return (self.degree + 1) / 2

    def arrays(self, labels: int) -> float:
        """Numbers that are held, for a label and node."""
        return 4 * (self.degree + 1) * min(BLOCK, labels) / labels


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _derivable(a, k, b, degree):
    return _without_each((a, k, b), PLAIN, ((1, degree),))[0]


def _forward(a, k, b, degree):
    return _derivable(a, k, b, degree), (a, k, b)


def _backward(degree, factors, cotangent):
    a, k, b = factors
    return pull_back_product(a, k, b, cotangent, degree)


_derivable.defvjp(_forward, _backward)


def _without_each(
    factors: tuple[Float[Array, "V N"], ...],
    monomials: tuple[Monomial, ...],
    wanted: tuple[tuple[int, ...], ...],
):
    """Coefficients of the `wanted` powers of all variables in the product without each label.

    A label's factor is the sum of `factors` times `monomials`, the first of which is 1.
    """
    xp = namespace(*factors)
    labels, nodes = factors[0].shape
    count = -(-labels // BLOCK)
    length = -(-labels // count)

    def cut(part, fill):
        padded = xp.pad(part, ((0, count * length - labels), (0, 0)), constant_values=fill)
        return padded.reshape(count, length, nodes)

    blocks = tuple(cut(part, 0.0 if place else 1.0) for place, part in enumerate(factors))
    markers, degree = len(monomials[0]) - 1, max(powers[-1] for powers in wanted)
    powers = (*(2,) * markers, degree + 1)

    def times_factor(product, factor):
        return _times_factor(product, factor, monomials)

    def inside(x):
        outside, block = _times(x[0], x[1], markers) if count > 1 else x[0], x[-1]
        one = _one(powers, block[0][0])
        _, later = scan(lambda p, f: (times_factor(p, f), p), one, block, reverse=True)

        def step(earlier, label):
            factor, later = label
            found = tuple(_coefficient(earlier, later, which) for which in wanted)
            return times_factor(earlier, factor), found

        return scan(step, outside, (block, later))[1]

    if count == 1:  # nothing is outside
        return inside((_one(powers, factors[0][0]), tuple(part[0] for part in blocks)))

    def whole(block):
        return scan(lambda p, f: (times_factor(p, f), None), _one(powers, block[0][0]), block)[0]

    wholes = _in_blocks(whole, blocks)
    both_ways = xp.concatenate([wholes, wholes[::-1]], axis=-1)
    one = _one(powers, both_ways[0][(0,) * len(powers)])
    _, products = scan(lambda p, q: (_times(p, q, markers), p), one, both_ways)
    before, after = products[..., :nodes], products[::-1, ..., nodes:]
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


def _times_factor(
    product: Element, factor: tuple[Nodes, ...], monomials: tuple[Monomial, ...]
) -> Element:
    """One more factor, the sum of its coefficients times the monomials, the first of which is 1."""
    total = product * factor[0]
    for by, powers in zip(factor[1:], monomials[1:], strict=True):
        if is_numpy(total):  # its own array: changed in place
            up, cut = _shifted_places(powers)
            total[up] += product[cut] * by
        else:
            total = total + _shifted(product * by, powers)
    return total


def _shifted_places(powers: Monomial) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the product with a monomial goes, and what is left of it below the highest powers."""
    return tuple(slice(n, None) for n in powers), tuple(slice(-n or None) for n in powers)


def _shifted(product: Element, powers: Monomial) -> Any:
    """The product with a monomial, cut at the highest power of every variable."""
    if is_numpy(product):
        up, cut = _shifted_places(powers)
        moved = np.zeros_like(product)
        moved[up] = product[cut]
        return moved
    nodes = product.ndim - len(powers)
    shift = [*((power, -power, 0) for power in powers), *[(0, 0, 0)] * nodes]
    return jax.lax.pad(product, jnp.zeros((), product.dtype), shift)


def _times(p: Element, q: Element, markers: int) -> Element:
    """The truncated product of two elements: one power of zeta in p after the other."""
    xp, zeta = namespace(p, q), (*(0,) * markers, 1)

    def add(carry, coefficient):
        total, shifted = carry
        total = total + _times_markers(coefficient, shifted, markers)
        return (total, _shifted(shifted, zeta)), None

    by_power = xp.expand_dims(xp.moveaxis(p, markers, 0), markers + 1)
    return scan(add, (xp.zeros_like(q), q), by_power)[0][0]


def _times_markers(p: Element, q: Element, markers: int) -> Element:
    """The product of two elements whose powers of zeta, if any, are multiplied one by one."""
    if markers == 0:
        return p * q
    xp, rest = namespace(p, q), markers - 1
    mixed = _times_markers(p[0], q[1], rest) + _times_markers(p[1], q[0], rest)
    return xp.stack([_times_markers(p[0], q[0], rest), mixed])


def _coefficient(earlier: Element, later: Element, powers: tuple[int, ...]) -> Nodes:
    """The coefficient of one monomial in earlier * later."""
    xp = namespace(earlier, later)
    if min(powers) < 0:
        return xp.zeros_like(earlier[(0,) * len(powers)])
    up = earlier[tuple(slice(power + 1) for power in powers)]
    down = later[tuple(slice(power, None, -1) for power in powers)]
    return xp.sum(up * down, axis=tuple(range(len(powers))))
