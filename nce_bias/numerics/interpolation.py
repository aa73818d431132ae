r"""Local interpolation on a uniform grid: a million points become some hundred atoms and back.

With Lagrange's polynomials l_j of the p grid points around x, a smooth function of x is
f(x) = sum_j l_j(x) f(x_j) + error. Read from left to right this *reads* f at any x from its values
on the grid; summed over points x_y with weights c_y it *spreads* them,

    sum_y c_y f(x_y) = sum_a C_a f(x_a) + error,    C_a = sum_y c_y l_a(x_y),

so that sums over all y of any such f cost as many terms as the grid has points.

**Error.** The remainder is prod_j |x - x_j| |f^(p)| / p!. In the middle cell the product is at most
h^p prod_{k < p/2} (k + 1/2)^2. The functions here are analytic for |Im x| < pi/2, and their p-th
derivatives at most M p! (2 / pi)^p (`nce_bias.integrals.atoms`), so

    |error| <= M (2 h / pi)^p prod_{k < p/2} (k + 1/2)^2.

With 12 points a spacing of 0.055 makes that 1e-13, 0.21 makes it 1e-6; with 6 points it takes
0.009 for the former. Few points make a million of x cheap, many points a wide grid: `grid_for`
weighs them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias.numerics.arrays import Array, is_numpy, namespace

#: Points of an interpolation that may be taken.
CHOICES = (6, 8, 10, 12)
#: What one point of one x costs, in terms of a sum over the grid.
POINT = 1.0


class Lattice(NamedTuple):
    """A grid without its place: how many points, how far apart, and how many interpolate."""

    size: int
    spacing: float
    points: int

    @property
    def error(self) -> float:
        """The bound for M = 1, as a multiple of the function's size."""
        return _product(self.points) * (2 * self.spacing / math.pi) ** self.points


def grid_for(length: float, tolerance: float, xs: int, sums: int) -> Lattice:
    """The cheapest grid of that length and tolerance (M = 1), for so many x and sums over it."""

    def of(points: int) -> Lattice:
        spacing = math.pi / 2 * (tolerance / _product(points)) ** (1 / points)
        return Lattice(64 * -(-int(length / spacing + points) // 64), spacing, points)

    return min(map(of, CHOICES), key=lambda g: g.size * sums + POINT * g.points * xs)


def _product(points: int) -> float:
    """prod_{k < p/2} (k + 1/2)^2."""
    return math.prod((k + 0.5) ** 2 for k in range(points // 2))


class Cells(eqx.Module):
    """Where each of V points x lies on a grid from `low`.

    `first` is the first of the grid points that interpolate, `away` the distance from it in units
    of the spacing. Points beyond an end are put there.
    """

    first: Int[Array, " V"]
    away: Float[Array, " V"]
    low: Float[Array, ""]
    lattice: Lattice = eqx.field(static=True)

    @classmethod
    def of(cls, x: Float[Array, " V"], low: Float[Array, ""], lattice: Lattice) -> Cells:
        """For points x, most of them between low and the grid's end."""
        xp, half = namespace(x, low), lattice.points // 2
        ends = half - 1, lattice.size - half - 1
        at = xp.clip((x - low) / lattice.spacing, 1.0 * ends[0], 1.0 * ends[1] + 1)
        first = xp.minimum(xp.floor(at), 1.0 * ends[1]) - ends[0]
        return cls(first.astype(np.int32), at - first, low, lattice)

    @property
    def grid(self) -> Float[Array, " a"]:
        """Its points."""
        steps = namespace(self.low).arange(self.lattice.size, dtype=self.low.dtype)
        return self.low + self.lattice.spacing * steps

    @property
    def weights(self) -> list[Float[Array, " V"]]:
        """l_j = prod_{k != j} (u - k) / (j - k), by products from the left and from the right."""
        points, one = self.lattice.points, namespace(self.away).ones_like(self.away)
        left, right = [one], [one]
        for k in range(points - 1):
            left.append(left[-1] * (self.away - k))
            right.append(right[-1] * (self.away - (points - 1 - k)))
        last = points - 1
        return [
            left[j] * right[last - j] * ((-1) ** (last - j) / _factorials(j, last - j))
            for j in range(points)
        ]

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """C_a = sum_y values_y l_a(x_y)."""
        size = self.lattice.size
        if is_numpy(values, self.first):
            parts = [
                np.bincount(self.first + j, weight * values, size)
                for j, weight in enumerate(self.weights)
            ]
            return sum(parts[1:], start=parts[0]).astype(values.dtype)  # type: ignore[return-value]
        rows = jnp.stack(self.weights, axis=-1) * values[:, None]
        by_first = jnp.zeros((size, rows.shape[-1]), rows.dtype).at[self.first].add(rows)
        shifted = [jnp.roll(by_first[:, j], j) for j in range(rows.shape[-1])]
        return sum(shifted[1:], start=shifted[0])  # type: ignore[return-value]

    def read(self, on_grid: Float[Array, " a"]) -> Float[Array, " V"]:
        """f(x_y) from f on the grid."""
        terms = [on_grid[self.first + j] * weight for j, weight in enumerate(self.weights)]
        return sum(terms[1:], start=terms[0])  # type: ignore[return-value]


def _factorials(j: int, k: int) -> int:
    return math.factorial(j) * math.factorial(k)
