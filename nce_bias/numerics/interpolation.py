r"""Local interpolation on a uniform grid: a million points become some hundred atoms and back.

With Lagrange's polynomials l_j of the `POINTS` grid points around x, a smooth function of x is
f(x) = sum_j l_j(x) f(x_j) + error. Read from left to right this *reads* f at any x from its values
on the grid; summed over points x_y with weights c_y it *spreads* them,

    sum_y c_y f(x_y) = sum_a C_a f(x_a) + error,    C_a = sum_y c_y l_a(x_y),

so that sums over all y of any such f cost as many terms as the grid has points.

**Error.** The remainder is prod_j |x - x_j| |f^(p)| / p!. In the middle cell the product is at most
h^p prod_{k < p/2} (k + 1/2)^2, and where |f| <= M within a distance r of the real axis Cauchy gives
|f^(p)| / p! <= M / r^p. The functions here are analytic for |Im x| < pi/2 and of size 1 relative to
themselves (`nce_bias.integrals.atoms`), so

    |error| <= M (2 h / pi)^p prod_{k < p/2} (k + 1/2)^2.

With 12 points a spacing of 0.055 makes that 1e-13, 0.21 makes it 1e-6.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias.numerics.arrays import Array, is_numpy, namespace

#: Points of the interpolation.
POINTS = 12
#: prod_{k < p/2} (k + 1/2)^2.
_PRODUCT = math.prod((k + 0.5) ** 2 for k in range(POINTS // 2))


def spacing_for(tolerance: float) -> float:
    """The largest spacing whose error bound (for M = 1) is `tolerance`."""
    return math.pi / 2 * (tolerance / _PRODUCT) ** (1 / POINTS)


def error_of(spacing: float) -> float:
    """The bound for M = 1, as a multiple of the function's size."""
    return _PRODUCT * (2 * spacing / math.pi) ** POINTS


class Cells(eqx.Module):
    """Where each of V points lies on a grid of `size` points from `low`, `spacing` apart.

    `first` is the first of the `POINTS` grid points around it, `weights` their l_j. Points beyond
    an end are put there.
    """

    first: Int[Array, " V"]
    weights: Float[Array, "V p"]
    low: Float[Array, ""]
    spacing: float = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @classmethod
    def of(cls, x: Float[Array, " V"], low: Float[Array, ""], spacing: float, size: int) -> Cells:
        """For points x, most of them between low and low + spacing (size - 1)."""
        xp = namespace(x, low)
        ends = POINTS // 2 - 1, size - POINTS // 2 - 1
        at = xp.clip((x - low) / spacing, 1.0 * ends[0], 1.0 * ends[1] + 1)
        first = xp.minimum(xp.floor(at), 1.0 * ends[1]) - ends[0]
        away = at - first
        # l_j = prod_{k != j} (u - k) / (j - k), by products from the left and from the right
        left, right = [xp.ones_like(away)], [xp.ones_like(away)]
        for k in range(POINTS - 1):
            left.append(left[-1] * (away - k))
            right.append(right[-1] * (away - (POINTS - 1 - k)))
        scale = [
            (-1) ** (POINTS - 1 - j) / (math.factorial(j) * math.factorial(POINTS - 1 - j))
            for j in range(POINTS)
        ]
        weights = xp.stack(
            [left[j] * right[POINTS - 1 - j] * scale[j] for j in range(POINTS)], axis=-1
        )
        return cls(first.astype(np.int32), weights, low, spacing, size)

    @property
    def points(self) -> Float[Array, " a"]:
        """The grid."""
        xp = namespace(self.low)
        return self.low + self.spacing * xp.arange(self.size, dtype=self.low.dtype)

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """C_a = sum_y values_y l_a(x_y)."""
        rows = self.weights * values[:, None]
        if is_numpy(rows, self.first):
            by_start = [
                np.bincount(self.first, rows[:, j], self.size - POINTS + 1) for j in range(POINTS)
            ]
            total = np.zeros(self.size, rows.dtype)
            for j, part in enumerate(by_start):
                total[j : j + len(part)] += part
            return total
        starts = self.size - POINTS + 1
        by_start = jnp.zeros((starts, POINTS), rows.dtype).at[self.first].add(rows)
        total = jnp.zeros(self.size, rows.dtype)
        for j in range(POINTS):
            total = total.at[j : j + starts].add(by_start[:, j])
        return total

    def read(self, on_grid: Float[Array, " a"]) -> Float[Array, " V"]:
        """f(x_y) from f on the grid."""
        xp = namespace(on_grid, self.weights)
        starts = self.size - POINTS + 1
        windows = xp.stack([on_grid[j : j + starts] for j in range(POINTS)], axis=-1)
        return xp.sum(windows[self.first] * self.weights, axis=-1)
