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

With 12 points a spacing of 0.055 makes that 1e-13, 0.21 makes it 1e-6; with 4 points it takes
0.001 for the former. Few points make a million of x cheap, many points a short grid, and both can
be had: x is spread with 4 points on a **fine** grid, whose own points are spread with 12 on a
coarse one. Reading goes the same way back. The first step enlarges the error of the second by the
Lebesgue constant of 4 points, 5/4, at most. `grid_for` weighs one step against two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace

#: Points of an interpolation that may be taken.
CHOICES = (6, 8, 10, 12)
#: Points on the fine grid, and on the coarse one after it.
FINE, COARSE = 4, 12
#: The largest sum of |l_j| between the middle two of four points.
LEBESGUE = 1.25
#: What one point of one x costs, in terms of a sum over the grid.
POINT = 1.0
#: Points x that JAX takes at a time.
BLOCK = 2**15


class Lattice(NamedTuple):
    """A grid without its place: how many points, how far apart, and how many interpolate.

    With `fine`, x is put on that grid first, and its points on this one.
    """

    size: int
    spacing: float
    points: int
    fine: Lattice | None = None

    @property
    def error(self) -> float:
        """The bound for M = 1, as a multiple of the function's size."""
        own = _product(self.points) * (2 * self.spacing / math.pi) ** self.points
        return own if self.fine is None else LEBESGUE * own + self.fine.error


def grid_for(length: float, tolerance: float, step: float, xs: int, sums: float) -> Lattice:
    """The cheapest grid of that length and tolerance (M = 1), for so many x and sums over it.

    Its spacing divides `step`.
    """

    def of(points: int, share: float = 1.0) -> Lattice:
        error = share * tolerance / _product(points)
        spacing = step / math.ceil(step / (math.pi / 2 * error ** (1 / points)))
        return Lattice(64 * -(-int(length / spacing + points) // 64), spacing, points)

    def cost(grid: Lattice) -> float:
        spread = POINT * grid.points * xs
        if grid.fine is not None:
            spread = POINT * (grid.fine.points * xs + grid.points * grid.fine.size)
        return grid.size * sums + spread

    coarse = of(COARSE, 0.5 / LEBESGUE)
    fine = of(FINE, 0.5)
    fine = fine._replace(size=int(coarse.size * coarse.spacing / fine.spacing) + FINE)
    return min([*map(of, CHOICES), coarse._replace(fine=fine)], key=cost)


def _product(points: int) -> float:
    """prod_{k < p/2} (k + 1/2)^2."""
    return math.prod((k + 0.5) ** 2 for k in range(points // 2))


class Cells(eqx.Module):
    """Where each of V points x lies on a grid from `low`: `at`, in units of the spacing.

    Points beyond an end are put there. JAX takes the points block by block: in one piece XLA would
    compute the weights of each anew for every grid point that it touches.
    """

    at: Float[Array, " V"]
    low: Float[Array, ""]
    lattice: Lattice = eqx.field(static=True)

    @classmethod
    def of(cls, x: Float[Array, " V"], low: Float[Array, ""], lattice: Lattice) -> Cells:
        """For points x, most of them between low and the grid's end."""
        xp, half = namespace(x, low), lattice.points // 2
        first, last = half - 1.0, lattice.size - half * 1.0
        return cls(xp.clip((x - low) / lattice.spacing, first, last), low, lattice)

    @property
    def grid(self) -> Float[Array, " a"]:
        """Its points."""
        steps = namespace(self.low).arange(self.lattice.size, dtype=self.low.dtype)
        return self.low + self.lattice.spacing * steps

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """C_a = sum_y values_y l_a(x_y)."""
        size = self.lattice.size
        if is_numpy(values, self.at):
            first, weights = _points(self.at, self.lattice)
            parts = [
                np.bincount(first + j, weight * values, size) for j, weight in enumerate(weights)
            ]
            return sum(parts[1:], start=parts[0]).astype(values.dtype)  # type: ignore[return-value]

        def block(by_first, part):
            first, weights = _points(part[0], self.lattice)
            terms = zip(by_first, weights, strict=True)
            return tuple(c.at[first].add(weight * part[1]) for c, weight in terms), None

        nothing = tuple(jnp.zeros(size, values.dtype) for _ in range(self.lattice.points))
        parts = _blocks(self.at, self.at[:1]), _blocks(values, jnp.zeros_like(values[:1]))
        by_first, _ = jax.lax.scan(block, nothing, parts)
        return sum(jnp.roll(c, j) for j, c in enumerate(by_first))  # type: ignore[return-value]

    def read(self, on_grid: Float[Array, "*n a"]) -> Float[Array, "*n V"]:
        """f(x_y) from f on the grid, of one f or several."""

        def block(at):
            first, weights = _points(at, self.lattice)
            terms = [on_grid[..., first + j] * weight for j, weight in enumerate(weights)]
            return sum(terms[1:], start=terms[0])

        if is_numpy(on_grid, self.at):
            return block(self.at)  # type: ignore[return-value]
        found = jax.lax.map(block, _blocks(self.at, self.at[:1]))
        whole = jnp.moveaxis(found, 0, -2).reshape(*found.shape[1:-1], -1)
        return whole[..., : len(self.at)]


def _points(at: Array, lattice: Lattice) -> tuple[Array, list[Array]]:
    """The first grid point that interpolates, and l_j of it and the next ones.

    l_j = prod_{k != j} (u - k) / (j - k), by products from the left and from the right.
    """
    xp, points, half = namespace(at), lattice.points, lattice.points // 2
    cell = xp.minimum(xp.floor(at), 1.0 * (lattice.size - half - 1)) - (half - 1)
    away, one, last = at - cell, xp.ones_like(at), points - 1
    left, right = [one], [one]
    for k in range(points - 1):
        left.append(left[-1] * (away - k))
        right.append(right[-1] * (away - (last - k)))
    weights = [
        left[j] * right[last - j] * ((-1) ** (last - j) / _factorials(j, last - j))
        for j in range(points)
    ]
    return cell.astype(np.int32), weights


def _blocks(values: Array, filling: Array) -> Array:
    """In rows of `BLOCK`, the last filled up."""
    count = -(-len(values) // BLOCK)
    size = BLOCK if count > 1 else len(values)
    filled = jnp.broadcast_to(filling, count * size - len(values))
    return jnp.concatenate([values, filled]).reshape(count, size)


class Steps(eqx.Module):
    """From x to a fine grid, and from its points to a coarse one; used as `Cells` are."""

    fine: Cells
    coarse: Cells

    @property
    def grid(self) -> Float[Array, " a"]:
        """The coarse one."""
        return self.coarse.grid

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """sum_y values_y times the weights of both steps."""
        return self.coarse.spread(self.fine.spread(values))

    def read(self, on_grid: Float[Array, "*n a"]) -> Float[Array, "*n V"]:
        """f(x_y) from f on the coarse grid."""
        return self.fine.read(self.coarse.read(on_grid))


def cells_of(x: Float[Array, " V"], low: Float[Array, ""], lattice: Lattice) -> Cells | Steps:
    """Where points x lie on a grid from `low`, in one step or two."""
    if lattice.fine is None:
        return Cells.of(x, low, lattice)
    inside = low + lattice.spacing * (lattice.points // 2 - 1)  # a cell of the coarse grid
    start = inside - lattice.fine.spacing * (lattice.fine.points // 2 - 1)
    fine = Cells.of(x, start, lattice.fine)
    return Steps(fine, Cells.of(fine.grid, low, lattice._replace(fine=None)))


def _factorials(j: int, k: int) -> int:
    return math.factorial(j) * math.factorial(k)
