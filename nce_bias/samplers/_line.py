"""Labels side by side on a line, each as long as it is probable: a draw is where a number falls.

In float32 the ends of the intervals and the numbers are pairs (`numerics.two_floats`).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias.numerics import two_floats as two

Levels = Float[Array, "*_"] | two.Pair


def uniform(key: PRNGKeyArray, count: int, dtype: jnp.dtype) -> Levels:
    """Independent numbers of [0, 1)."""
    if dtype == jnp.float32:
        return two.uniform(key, count)
    return jax.random.uniform(key, (count,), dtype)


class Line(eqx.Module):
    """The ends of the labels' intervals, in the labels' own order or in a given one.

    Attributes
    ----------
    ends : `[V]`
        Cumulative sums of chances, which need not add up to 1.
    order : int `[V]`, optional
        The labels from left to right.
    """

    ends: Levels
    order: Int[Array, " V"] | None

    def __init__(self, chances: Float[Array, " V"], order: Int[Array, " V"] | None = None) -> None:
        sorted_ = chances if order is None else chances[order]
        double = chances.dtype != jnp.float32
        self.ends = jnp.cumsum(sorted_) if double else two.cumulative_sum(sorted_)
        self.order = order

    def find(self, levels: Levels) -> Int[Array, " m"]:
        """The labels at these shares of the line's length."""
        if isinstance(self.ends, tuple):
            assert isinstance(levels, tuple)
            at = two.multiply(levels, two.take(self.ends, -1))
            return self._labels(two.invert(self.ends, at))
        assert not isinstance(levels, tuple)
        return self._labels(invert(self.ends, levels * self.ends[-1]))

    def find_without(self, levels: Levels, gold: Int[Array, ""]) -> Int[Array, " m"]:
        """The same of the line without the gold's interval, by jumping over it."""
        place = gold if self.order is None else jnp.argmax(self.order == gold)
        if isinstance(self.ends, tuple):
            assert isinstance(levels, tuple)
            return self._labels(two.invert(self.ends, _jumped(self.ends, levels, place)))
        assert not isinstance(levels, tuple)
        start, end = jnp.where(place == 0, 0.0, self.ends[place - 1]), self.ends[place]
        at = levels * (self.ends[-1] - (end - start))
        at = jnp.where(at < start, at, jnp.maximum(at + (end - start), end))
        return self._labels(invert(self.ends, at))

    def _labels(self, places: Int[Array, " m"]) -> Int[Array, " m"]:
        return places if self.order is None else self.order[places]


def _jumped(ends: two.Pair, levels: two.Pair, place: Int[Array, ""]) -> two.Pair:
    zero = two.pair(jnp.zeros((), ends[0].dtype))
    start = two.select(place == 0, zero, two.take(ends, place - 1))
    end = two.take(ends, place)
    width = two.add(end, two.negative(start))
    at = two.multiply(levels, two.add(two.take(ends, -1), two.negative(width)))
    after = two.add(at, width)
    after = two.select(two.less(after, end), end, after)
    return two.select(two.less(at, start), at, after)


def invert(ends: Float[Array, " V"], at: Float[Array, " m"]) -> Int[Array, " m"]:
    """Whose interval contains `at`; intervals of length 0 are never chosen."""
    labels = jnp.searchsorted(ends, at, side="right", method="scan_unrolled")
    return jnp.minimum(labels, jnp.searchsorted(ends, ends[-1], side="left"))
