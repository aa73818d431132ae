r"""The integral of one input at the cost of a few passes over the labels.

Independent draws see a label through q_y and its exposure t w_y alone. For a gold g,

    1 - phi_g(t) = sum_{y != g} q_y (1 - e^{-t w_y})  (+ the gold's own, where hits are kept),

over 1 - q_g where it is excluded; the sum is over a smooth function of lambda_y = log w_y, so q is
spread once on a grid of **atoms** (`nce_bias.numerics.interpolation`), and every node of the rule
in log t costs as many terms as there are atoms, not labels. The first moment of a label that is not
a gold is read back:

    E[v_a] = q_a G(lambda_a),   G(lambda) = sum_g share_g int e^{-z_+} F_g m / phi_g z e^{-z} dt/t,

with z = t e^lambda. Second moments need sums of q z^2 e^{-z}, on the same atoms, and of q^2 times
another function of lambda, for which q^2 is spread beside q.
A few golds are not spread (many are: `nce_bias.integrals.crowd`): their own terms are added one by
one, so that leaving one out subtracts nothing (all terms are positive).

**Derivatives.** As functions of u = log z, 1 - e^{-z} and z e^{-z} have Fourier transforms that
decay as |Gamma(1 + i w)| does, like e^{-pi |w| / 2}. So their p-th derivative is of the order of
p! (2 / pi)^p; for the p in use it is at most `DERIVATIVE` = 1.3 times that, times min(1, z)
(`tests/numerics/test_interpolation.py` computes it from the polynomials that (z d/dz)^p makes).
Along the p points of an interpolation min(1, z) changes by e^{p h / 2} at most. `M` = 8 holds both
for tolerances up to 1e-4; for coarser ones their product takes its place. Where a label's exposure
stays below e^-`NOTHING` times the tolerance at every node it counts for nothing and is put at the
grid's end.

**Error.** The relative error of 1 - phi is M times the bound of the interpolation, delta; that of
F = (1 - x)^m, absolute, at most M delta max_x m x (1 - x)^{m-1} <= M delta; G has the same. `error`
holds 4 M delta for the four places where one enters a moment, besides the rule and rounding. It is
that of `selection`: second moments are differences of terms that each have it a few times.

**Range.** A gold that is nearly all of q leaves 1e-200 of it to the others, whose squares are no
numbers: squares are taken in units of the largest q there is.

Source: the interpolation is Lagrange's; atoms as a fast transform in the log domain are derived
here.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from nce_bias.integrals.atom_parts import Nodes, OfCrowd, Taken
from nce_bias.integrals.expectation import Sums
from nce_bias.integrals.integrand import Integrand
from nce_bias.numerics.apart import Apart, spread_over
from nce_bias.numerics.arrays import Array, each, is_numpy, mask, namespace, put
from nce_bias.numerics.interpolation import Cells, Lattice, Steps, grid_for
from nce_bias.numerics.leave_one_out import best, exposure, sum_without_each
from nce_bias.numerics.quadrature import Grid, step_for

#: Largest p-th derivative of the functions that are summed, over p! (2 / pi)^p min(1, z).
DERIVATIVE = 1.3
#: The same with what min(1, z) changes along an interpolation; see the module.
M = 8.0
#: Nats below the tolerance from which on the largest exposure of a label counts for nothing.
NOTHING = 8.0
#: The tolerance below which rounding is no longer far from it.
FINEST = 1e-13
#: What one atom costs at a node, in points of an interpolation.
PRODUCTS = 2.0


class AtomIntegrand(Integrand):
    """An `Integrand` of independent draws whose labels are spread on atoms.

    `rule.atoms` is their grid, `rule.golds` how many labels have a share.
    """

    def error(self) -> Float[Array, ""]:
        """The bound of an `Integrand`, and the interpolation's."""
        lattice = self.lattice
        worst = max(M, DERIVATIVE * math.exp(lattice.points * lattice.spacing / 2))
        return super().error() + 4 * worst * lattice.error

    def sums(self) -> Sums:
        """See `Expectation`."""
        xp, law, rest = namespace(self.share), self._law, self._rest
        golds, cells = self._golds, self._cells()
        unit = xp.max(rest)
        spread, squared = cells.spread_rows(lambda q: (q, _in_units(q, unit) ** 2), rest)
        at = self._nodes(cells, spread, golds)
        beside = xp.exp(-at.z_gold) * -xp.expm1(at.log_f)
        without = xp.exp(-xp.exp(at.log_t))[:, None] - xp.exp(at.log_f)
        absent = xp.isneginf(golds.log_gold)
        loss = xp.sum(at.weight * xp.where(absent, without, beside))
        missed = xp.where(absent, golds.share, 0.0)
        by_gold = -xp.sum(at.weight * at.z_gold * beside, axis=0) - missed
        drawn, f_own = at.tilted * at.draws, xp.exp(-at.z_own)  # [N, G]
        own_terms = golds.q * at.z_own * f_own
        hits = xp.sum(drawn * own_terms * self._keeps, axis=0)
        first, crowd = at.z * at.f, self._crowded(cells, at)
        draws = xp.sum(drawn, axis=-1) + crowd.draws
        read = cells.read(draws @ first)
        among = self._others(drawn) + crowd.draws[:, None]  # of label h: golds that may draw it
        by_negative = _put(rest * read, golds, xp.sum(among * own_terms, axis=0))
        squares, own_squares = (at.z * first) @ spread, own_terms * at.z_own
        # one factor after the other: where z^2 overflows, tilted is 0 long since
        distinct = xp.sum(at.tilted * at.z_gold * at.z_gold) + xp.sum(
            drawn * (squares[:, None] + self._others(own_squares))
        )
        of_crowd = squares + xp.sum(own_squares, axis=-1)
        distinct = distinct + crowd.squared + crowd.draws @ of_crowd
        of_hits = 2 * at.z_gold * at.draws * own_terms * self._keeps
        twice = (1 - 1 / law.m) * xp.sum(at.tilted * (at.draws * unit) ** 2, axis=-1)
        together = xp.sum(at.tilted * of_hits) + (twice + crowd.pairs * unit**2) @ (
            first**2 @ squared
        )
        together = together + (1 - 1 / law.m) * xp.sum(
            at.tilted * self._own_pairs(at.draws, golds.q, own_terms)
        )
        together = together + crowd.pairs @ xp.sum(own_terms**2, axis=-1)
        return Sums(
            loss + crowd.loss + self.offset,
            _put(crowd.by_gold, golds, by_gold),
            by_negative,
            xp.sum(by_gold) + xp.sum(hits) + crowd.own,
            distinct + together + crowd.paired,
            distinct,
        )

    def _own_pairs(
        self, draws: Float[Array, "N G"], q: Float[Array, " G"], terms: Float[Array, "N G"]
    ) -> Float[Array, "N G"]:
        """draws_g^2 times the squares of the others' terms.

        Only the largest q may leave so little that the one overflows and the other underflows: for
        it both are in units of the largest q of the others.
        """
        xp = namespace(draws)
        usual = draws**2 * self._others(terms**2)
        if self._keeps:
            return usual
        top = xp.arange(len(q)) == xp.argmax(q)
        unit = xp.max(xp.where(top, 0.0, q))
        squares = _in_units(xp.where(top, 0.0, terms), unit) ** 2
        others = xp.sum(squares, axis=-1, keepdims=True)
        return xp.where(top, (draws * unit) ** 2 * others, usual)

    def _others(self, terms: Float[Array, "*N G"]) -> Float[Array, "*N _"]:
        """Sums over the labels taken, without the gold's own unless it is among its negatives."""
        if self._keeps:
            return namespace(terms).sum(terms, axis=-1, keepdims=True)
        return sum_without_each(terms)

    def _crowded(self, cells: Cells | Steps | Apart, at: Nodes) -> OfCrowd:
        """What golds on the grid add, if there are any."""
        return OfCrowd.none(self.share, len(at.missed))

    def squared_means(self, golds: int) -> Float[Array, ""] | None:
        """See `Expectation`: each gold's G, read back."""
        xp, rest, own, cells = namespace(self.share), self._rest, self._golds, self._cells()
        at = self._nodes(cells, cells.spread(rest), own)
        share = xp.where(own.share > 0, own.share, 1.0)
        drawn = at.tilted * at.draws / share
        g = drawn.T @ (at.z * at.f)  # [G, a]
        others = each(lambda on_grid: xp.sum((rest * cells.read(on_grid)) ** 2), g)
        own_terms = own.q * at.z_own * xp.exp(-at.z_own)
        one = xp.eye(len(share), dtype=share.dtype)
        on_golds = (drawn.T @ own_terms) * (1 - one * (1 - self._keeps))  # [g, h]
        beside = at.weight * at.z_gold * xp.exp(-at.z_gold) * -xp.expm1(at.log_f)
        missed = xp.sum(beside, axis=0) / share + xp.isneginf(own.log_gold)
        return xp.sum(own.share * (others + xp.sum((on_golds - one * missed) ** 2, axis=-1)))

    @property
    def _keeps(self) -> int:
        """1 where a gold is among its own negatives."""
        return int(self._law.hits == "keep")

    @property
    def _law(self) -> Any:
        return self.law

    @property
    def _golds(self) -> Taken:
        which = most_frequent(self.share, self.rule.golds)
        columns = (self.share, self._law.q, self.log_gold, self.log_negative)
        return Taken(which, which >= 0, *(column[which] for column in columns))

    @property
    def _rest(self) -> Float[Array, " V"]:
        """q without the golds, and without what weighs nothing."""
        xp = namespace(self.share)
        spread = ~self._taken & ~xp.isneginf(self.log_negative)
        return xp.where(spread, self._law.q, 0.0)

    @property
    def _taken(self) -> Bool[Array, " V"]:
        """The labels that are taken one by one."""
        return mask(most_frequent(self.share, self.rule.golds), len(self.share))

    @property
    def _spread(self) -> Bool[Array, " V"]:
        """The labels whose weights the grid has to reach."""
        return self._rest > 0

    def _cells(self) -> Cells | Steps | Apart:
        """From the largest exponent down; see `NOTHING`."""
        xp = namespace(self.share)
        usual = xp.where(self._spread, self.log_negative, -xp.inf)
        top = xp.max(usual)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        lattice = self.lattice
        low = top - lattice.spacing * (lattice.size - 1 - lattice.points // 2)
        x = xp.maximum(self.log_negative, low - 1)
        return spread_over(x, low, lattice, self.rule.mesh)

    @property
    def lattice(self) -> Lattice:
        """The grid of the atoms."""
        assert self.rule.atoms is not None
        return self.rule.atoms

    def _nodes(
        self, cells: Cells | Steps | Apart, spread: Float[Array, " a"], golds: Taken
    ) -> Nodes:
        xp, law, grid = namespace(self.share), self._law, self.grid
        index = xp.arange(grid.nodes, dtype=grid.left.dtype)
        log_t = grid.left + grid.step * index
        z, f, gone = self._on_atoms(grid, cells)
        z_gold, z_own = (exposure(log_t, at) for at in (golds.log_gold, golds.log_negative))
        terms = golds.q * -xp.expm1(-z_own)
        of_rest = gone @ spread
        left = xp.ones_like(golds.q)
        if law.hits == "exclude":
            left = xp.sum(xp.where(self._taken, 0.0, law.q)) + self._others(golds.q)
        missed = (of_rest[:, None] + self._others(terms)) / left
        missed = xp.minimum(missed, 1 - jnp.finfo(z.dtype).epsneg)
        log_f = law.m * xp.log1p(-missed)
        weight = grid.weight(index)[:, None] * golds.share
        tilted = weight * xp.exp(log_f - z_gold)
        draws = law.m / (1 - missed) / left
        every = of_rest + xp.sum(terms, axis=-1)
        return Nodes(z, f, gone, every, z_gold, z_own, weight, log_f, log_t, tilted, draws)

    def _on_atoms(self, grid: Grid, cells: Cells | Steps | Apart) -> tuple[Array, Array, Array]:
        """z, e^{-z} and 1 - e^{-z} of atoms at nodes `[N, a]`, by as many exponentials as N + a.

        The nodes' step is a multiple of the atoms' spacing, so log t + lambda takes few values.
        """
        lattice = self.lattice
        each_node, each_atom = np.arange(grid.nodes), np.arange(lattice.size)
        stride = round(step_for(grid.tolerance) / lattice.spacing)
        place = stride * each_node[:, None] + each_atom
        xp = namespace(self.share)
        along = xp.arange(int(place.max()) + 1, dtype=self.share.dtype)
        z = exposure(grid.left, cells.grid[0] + lattice.spacing * along)
        return z[place], xp.exp(-z)[place], -xp.expm1(-z)[place]


def atoms_for(length: float, tolerance: float, labels: int, nodes: int) -> Lattice:
    """The grid for a rule of this `length` in log t with so many nodes, and so many labels.

    It reaches from the largest weight to where exposures are nothing: at the last node the largest
    is at most e^length times that at the first, which is below the root of the tolerance.
    """
    reach = length - math.log(tolerance) + NOTHING
    step = step_for(tolerance)
    if tolerance > FINEST:  # so that what `error` adds is the tolerance, not 4 M times that
        tolerance = max(tolerance / (4 * M), FINEST)
    return grid_for(reach, tolerance, step, labels, PRODUCTS * nodes)


def most_frequent(share: Float[Array, " V"], golds: int) -> Int[Array, " G"]:
    """The labels with the largest shares: by as many maxima, which sorts nothing."""
    xp = namespace(share)
    if golds == 1:
        return xp.argmax(share)[None]
    if is_numpy(share):
        return xp.argpartition(-share, golds - 1)[:golds]
    return best(share, golds)[1]


def _in_units(values: Float[Array, "*_"], unit: Float[Array, ""]) -> Float[Array, "*_"]:
    """Values over a unit that is 0 where all of them are."""
    return values / namespace(values, unit).where(unit > 0, unit, 1.0)


def _put(values: Float[Array, " V"], golds: Taken, new: Float[Array, " G"]) -> Array:
    return put(values, golds.which, golds.meant, new)
