"""Sums of two float32 numbers as one of 48 bits: what inverting a cdf over many labels needs.

One float32 uniform has 2^23 values and a float32 cdf near 1 steps by 6e-8: of 2^24 labels alike
only every other one could be drawn, and a label rarer than that never. As a pair (high, low) of
float32 numbers whose sum is meant, both have 48 bits, whether or not JAX has float64.

Source: Dekker (1971), "A floating-point technique for extending the available precision".
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

#: high + low
Pair = tuple[Float[Array, "*_"], Float[Array, "*_"]]


def pair(high: Float[Array, "*_"]) -> Pair:
    """One number as a pair."""
    return high, jnp.zeros_like(high)


def _exact_sum(a: Float[Array, "*_"], b: Float[Array, "*_"]) -> Pair:
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def add(a: Pair, b: Pair) -> Pair:
    """a + b."""
    total, rest = _exact_sum(a[0], b[0])
    rest = rest + (a[1] + b[1])
    high = total + rest
    return high, rest - (high - total)


def negative(a: Pair) -> Pair:
    """The number of the other sign."""
    return -a[0], -a[1]


def multiply(a: Pair, b: Pair) -> Pair:
    """a b, by Dekker's halves of 12 bits."""

    def halves(x):
        scaled = 4097.0 * x
        top = scaled - (scaled - x)
        return top, x - top

    product = a[0] * b[0]
    (a_top, a_end), (b_top, b_end) = halves(a[0]), halves(b[0])
    rest = ((a_top * b_top - product) + a_top * b_end + a_end * b_top) + a_end * b_end
    return add(pair(product), pair(rest + (a[0] * b[1] + a[1] * b[0])))


def less(a: Pair, b: Pair) -> Array:
    """Whether a < b."""
    return (a[0] < b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))


def select(where: Array, a: Pair, b: Pair) -> Pair:
    """Entry by entry a where `where`, else b."""
    return jnp.where(where, a[0], b[0]), jnp.where(where, a[1], b[1])


def take(a: Pair, places: Int[Array, "*_"] | int) -> Pair:
    """Entries at `places`."""
    return a[0][places], a[1][places]


def cumulative_sum(values: Float[Array, " V"]) -> Pair:
    """Sums of the first 1, 2, ... values: within rows of sqrt(V), and over rows."""
    count = values.shape[-1]
    rows = math.isqrt(count - 1) + 1
    table = jnp.pad(values, (0, -count % rows)).reshape(rows, -1)

    def running(total: Pair, value: Array) -> tuple[Pair, Pair]:
        total = add(total, pair(value))
        return total, total

    of_rows, within = jax.lax.scan(running, pair(jnp.zeros_like(table[:, 0])), table.T)

    def before(total: Pair, row: Pair) -> tuple[Pair, Pair]:
        return add(total, row), total

    zero = pair(jnp.zeros((), values.dtype))
    _, offsets = jax.lax.scan(before, zero, of_rows)
    high, low = add(offsets, within)
    return high.T.ravel()[:count], low.T.ravel()[:count]


def uniform(key: PRNGKeyArray, count: int) -> Pair:
    """Uniform on [0, 1), of 56 random bits."""
    first, second = jax.random.bits(key, (2, count), jnp.uint32)
    parts = (
        (first >> 16, 2.0**-16),
        (first & 0xFFFF, 2.0**-32),
        (second >> 8, 2.0**-56),
    )
    high, middle, low = (bits.astype(jnp.float32) * jnp.float32(unit) for bits, unit in parts)
    return add(add(pair(high), pair(middle)), pair(low))


def invert(cdf: Pair, at: Pair) -> Int[Array, " m"]:
    """Labels whose interval of the cdf contains `at`; intervals of length 0 are never chosen."""
    last = len(cdf[0]) - 1
    # the first label at which the cdf is all there is
    ends = jnp.argmax((cdf[0] == cdf[0][last]) & (cdf[1] >= cdf[1][last]))
    first, after = jnp.zeros(at[0].shape, int), jnp.full(at[0].shape, last + 1)
    for _ in range((last + 1).bit_length()):
        middle = (first + after) // 2
        right = ~less(at, take(cdf, jnp.minimum(middle, last)))
        searching = first < after
        first = jnp.where(searching & right, middle + 1, first)
        after = jnp.where(searching & ~right, middle, after)
    return jnp.minimum(first, ends)
