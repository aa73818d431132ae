"""Points split over devices, spread on one grid and read back: devices exchange the grid.

Spreading is a sum over points, so each device spreads its own on a grid of its own, and the grids
are summed: some hundred or thousand numbers, however many points there are. Reading is a matter of
each point alone. A fine grid in between (`nce_bias.numerics.interpolation.Steps`) stays where it is
made.
"""

from __future__ import annotations

import equinox as eqx
from jax.sharding import Mesh
from jaxtyping import Float

from nce_bias.numerics.arrays import Array
from nce_bias.numerics.devices import where_labels_are
from nce_bias.numerics.interpolation import Cells, Lattice, Rows, Steps, cells_of


class Apart(eqx.Module):
    """Points `x` on a grid from `low`, split over the devices of `mesh`; used as `Cells` are."""

    x: Float[Array, " V"]
    low: Float[Array, ""]
    lattice: Lattice = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)

    @property
    def grid(self) -> Float[Array, " a"]:
        """Its points."""
        return cells_of(self.x[:1], self.low, self.lattice).grid

    def spread(self, values: Float[Array, " V"]) -> Float[Array, " a"]:
        """See `Cells`."""
        return self.spread_rows(lambda v: [v], values)[0]

    def spread_rows(self, rows: Rows, *columns: Float[Array, " V"]) -> Float[Array, "n a"]:
        """See `Cells`; the sum over devices of what each spreads."""

        def of_own(low, split):
            x, *columns = split
            return cells_of(x, low, self.lattice).spread_rows(rows, *columns)

        split = self.x, *columns
        return where_labels_are(of_own, self.mesh, self.low, split, summed=True)

    def read(self, on_grid: Float[Array, " a"]) -> Float[Array, " V"]:
        """See `Cells`."""
        return self.read_rows(on_grid[None], lambda values: values[0])

    def read_rows(
        self, on_grid: Float[Array, "n a"], of: Rows, *columns: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """See `Cells`; nothing is exchanged."""

        def of_own(whole, split):
            (low, on_grid), (x, *columns) = whole, split
            return cells_of(x, low, self.lattice).read_rows(on_grid, of, *columns)

        whole, split = (self.low, on_grid), (self.x, *columns)
        return where_labels_are(of_own, self.mesh, whole, split, summed=False)


def spread_over(
    x: Float[Array, " V"], low: Float[Array, ""], lattice: Lattice, mesh: Mesh | None
) -> Cells | Steps | Apart:
    """`cells_of`, where one device has all points or where they are split over several."""
    return cells_of(x, low, lattice) if mesh is None else Apart(x, low, lattice, mesh)
