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
coarse one; the fine points divide its cells alike, so that is one small matrix. Reading goes the
same way back. The first step enlarges the error of the second by the
Lebesgue constant of 4 points, 5/4, at most. `grid_for` weighs one step against two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace

#: Several values of each point from some of it, a block of points at a time.
Rows: TypeAlias = Callable[..., Any]
#: Points of an interpolation that may be taken.
CHOICES = (6, 8, 10, 12)
#: Points on the fine grid, and on the coarse one after it.
FINE, COARSE = 4, 12
#: The largest sum of |l_j| between the middle two of four points.
LEBESGUE = 1.25
#: Rows of values whose spreading and reading is written out.
FEW_ROWS = 6
#: What one point of one x costs, in terms of a sum over the grid.
POINT = 1.0
#: Points x that JAX takes at a time: what is made of them stays in cache and is never allocated.
BLOCK = 2**13


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
            spread = POINT * (grid.fine.points * xs + grid.fine.size)
        return grid.size * sums + spread

    coarse = of(COARSE, 0.5 / LEBESGUE)
    parts = math.ceil(coarse.spacing / of(FINE, 0.5).spacing)
    fine = Lattice(parts * (coarse.size - COARSE), coarse.spacing / parts, FINE)
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
        return self.spread_rows(lambda v: [v], values)[0]

    def spread_rows(self, rows: Rows, *columns: Float[Array, " V"]) -> Float[Array, "n a"]:
        """The same of several values, made from columns where they are needed: `rows(*blocks)`.

        Arrays of V numbers that live for a moment cost more than what they hold: the system gives
        their memory page by page, every time anew.
        """
        size = self.lattice.size
        if is_numpy(*columns, self.at):
            first, weights = _points(self.at, self.lattice)

            def row(values):
                parts = [np.bincount(first + j, w * values, size) for j, w in enumerate(weights)]
                return sum(parts[1:], start=parts[0]).astype(values.dtype)  # type: ignore[union-attr]

            spread: Any = np.stack([row(values) for values in rows(*columns)])
            return spread

        def add(grids, _, fresh, at, *blocks):
            first, weights = _points(at, self.lattice)

            def onto(on_grid, row):
                for j, weight in enumerate(weights):
                    on_grid = on_grid.at[first + j].add(weight * row)
                return on_grid

            made = [jnp.where(fresh, row, 0.0) for row in rows(*blocks)]
            return _for_rows(onto, grids, made)

        count = len(jax.eval_shape(lambda *columns: tuple(rows(*columns)), *columns))
        nothing = [jnp.zeros(size, self.at.dtype)] * count
        return jnp.stack(_by_block(add, nothing, self.at, *columns))

    def read(self, on_grid: Float[Array, " a"]) -> Float[Array, " V"]:
        """f(x_y) from f on the grid."""
        return self.read_rows(on_grid[None], lambda values: values[0])

    def read_rows(
        self, on_grid: Float[Array, "n a"], of: Rows, *columns: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """`of([f(x), ...], *columns)`, of several f at the points, block by block."""

        def block(at, *columns):
            first, weights = _points(at, self.lattice)

            def value(row):
                terms = [row[first + j] * weight for j, weight in enumerate(weights)]
                return sum(terms[1:], start=terms[0])

            return of(_for_rows(value, list(on_grid)), *columns)

        if is_numpy(on_grid, self.at, *columns):
            return block(self.at, *columns)

        def put(found, place, _, *blocks):
            return jax.lax.dynamic_update_slice(found, block(*blocks), (place,))

        return _by_block(put, jnp.zeros_like(self.at), self.at, *columns)


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


def _for_rows(function: Callable[..., Array], *columns: list[Array]) -> list[Array]:
    """The function of each row, written out for a few; many would be compiled for long."""
    if len(columns[0]) <= FEW_ROWS or is_numpy(*columns[0]):
        return [function(*row) for row in zip(*columns, strict=True)]
    stacked = [jnp.stack(column) for column in columns]
    return list(jax.lax.map(lambda row: function(*row), stacked))


def _by_block(step: Callable[..., Any], start: Any, *columns: Float[Array, " V"]) -> Any:
    """`step(found, place, fresh, *blocks)` for one block of the columns after the other.

    The last one reaches back to have the size of the others: `fresh` says what was not there yet.
    """
    labels = len(columns[0])
    size = min(labels, BLOCK)
    index = jnp.arange(size)

    def at_block(found, first):
        place = jnp.minimum(first, labels - size)
        blocks = [jax.lax.dynamic_slice(column, (place,), (size,)) for column in columns]
        return step(found, place, place + index >= first, *blocks), None

    return jax.lax.scan(at_block, start, jnp.arange(0, labels, size))[0]


class Steps(eqx.Module):
    """From x to a fine grid, and from its points to a coarse one; used as `Cells` are.

    Fine points divide the cells of the coarse grid alike, so the second step is a small matrix
    `[parts, points]` for all of them. The outermost cells of the coarse grid stay empty.
    """

    fine: Cells
    low: Float[Array, ""]
    lattice: Lattice = eqx.field(static=True)

    @property
    def grid(self) -> Float[Array, " a"]:
        """The coarse one."""
        steps = namespace(self.low).arange(self.lattice.size, dtype=self.low.dtype)
        return self.low + self.lattice.spacing * steps

    @property
    def _weights(self) -> Float[Array, "parts p"]:
        """l_j at the fine points of one cell."""
        assert self.lattice.fine is not None
        points, cells = self.lattice.points, self.lattice.size - self.lattice.points
        parts = self.lattice.fine.size // cells
        at: Any = points // 2 - 1 + np.arange(parts) / parts
        weights = np.stack(_points(at, self.lattice)[1], axis=-1)
        return namespace(self.low).asarray(weights, self.low.dtype)

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """See `Cells`."""
        return self.spread_rows(lambda v: [v], values)[0]

    def spread_rows(self, rows: Rows, *columns: Float[Array, " V"]) -> Float[Array, "n a"]:
        """See `Cells`."""
        xp, weights, points = namespace(self.low), self._weights, self.lattice.points
        fine = self.fine.spread_rows(rows, *columns)
        by_point = fine.reshape(len(fine), -1, len(weights)) @ weights  # [n, cells, p]
        shifted: Any = [
            xp.pad(by_point[..., j], ((0, 0), (1 + j, points - 1 - j))) for j in range(points)
        ]
        return sum(shifted[1:], start=shifted[0])  # type: ignore[return-value]

    def read(self, on_grid: Float[Array, " a"]) -> Float[Array, " V"]:
        """See `Cells`."""
        return self.read_rows(on_grid[None], lambda values: values[0])

    def read_rows(
        self, on_grid: Float[Array, "n a"], of: Rows, *columns: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """See `Cells`."""
        xp, points, cells = namespace(on_grid), self.lattice.points, self.lattice.size
        cells = cells - points
        by_point = xp.stack([on_grid[:, 1 + j : 1 + j + cells] for j in range(points)], axis=-1)
        fine = (by_point @ self._weights.T).reshape(len(on_grid), -1)
        return self.fine.read_rows(fine, of, *columns)


def cells_of(x: Float[Array, " V"], low: Float[Array, ""], lattice: Lattice) -> Cells | Steps:
    """Where points x lie on a grid from `low`, in one step or two."""
    if lattice.fine is None:
        return Cells.of(x, low, lattice)
    start = low + lattice.spacing * (lattice.points // 2)
    return Steps(Cells.of(x, start, lattice.fine), low, lattice)


def _factorials(j: int, k: int) -> int:
    return math.factorial(j) * math.factorial(k)
