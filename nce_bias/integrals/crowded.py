"""The integral of one input with a whole population of golds on atoms (`nce_bias.integrals.crowd`).

Labels with a large chance to be drawn are taken one by one, as golds and as negatives; all others
are spread, as negatives by q and as golds by the powers of nu.
"""

from __future__ import annotations

import math

from jaxtyping import Bool, Float

from nce_bias.integrals.atom_parts import Nodes, OfCrowd, Taken
from nce_bias.integrals.atoms import AtomIntegrand, M
from nce_bias.integrals.crowd import Crowd, Light, crowded, odds, places
from nce_bias.numerics.apart import Apart
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.interpolation import Cells, Lattice, Steps, cells_of


class CrowdIntegrand(AtomIntegrand):
    """An `AtomIntegrand` with golds on the atoms: `rule.crowd` says which and how."""

    def error(self) -> Float[Array, ""]:
        """The bound of an `AtomIntegrand`, of golds on the grid, and of the powers left out."""
        extra = 4 * M * (self.crowd.growth - 1) * self.lattice.error
        return super().error() + extra + self.crowd.error

    @property
    def crowd(self) -> Crowd:
        """How golds are spread."""
        assert self.rule.crowd is not None
        return self.rule.crowd

    @property
    def _nu(self) -> Float[Array, " V"]:
        return odds(self._law.q, self._law.hits)

    @property
    def _taken(self) -> Bool[Array, " V"]:
        return self._nu > self.crowd.limit

    @property
    def _golds(self) -> Taken:
        xp = namespace(self.share)
        which, meant = places(self._taken, self.rule.taken)
        nothing = xp.zeros_like(self.share[0])
        share, q = (xp.where(meant, x[which], nothing) for x in (self.share, self._law.q))
        log_gold = xp.where(meant, self.log_gold[which], nothing)
        return Taken(which, meant, share, q, log_gold, log_gold)

    @property
    def _light(self) -> Float[Array, " V"]:
        """How often each label is the gold, without those taken one by one."""
        return namespace(self.share).where(self._taken, 0.0, self.share)

    @property
    def _spread(self) -> Bool[Array, " V"]:
        return (self._rest > 0) | (self._light > 0)

    def _crowded(self, cells: Cells | Steps | Apart, at: Nodes) -> OfCrowd:
        xp, law, crowd, lattice = namespace(self.share), self._law, self.crowd, self.lattice
        low = cells.grid[-crowd.atoms] + lattice.spacing * lattice.points
        of_golds = cells_of(xp.maximum(self.log_negative, low), cells.grid[0], lattice)
        light, nu = self._light, self._nu

        def as_golds(share, nu):
            return [share * wave for wave in crowd.waves(nu)]

        spread = of_golds.spread_rows(as_golds, light, nu)
        z, f, gone = (part[:, -crowd.atoms :] for part in (at.z, at.f, at.gone))
        weight = self.grid.weight(xp.arange(len(at.missed), dtype=self.share.dtype))
        of_light = Light(weight, at.missed, z, f, gone)
        found = crowded(of_light, spread[:, -crowd.atoms :], crowd, law.m, law.hits)
        hits = self._keeps
        absent = xp.zeros((len(spread), lattice.size - crowd.atoms), light.dtype)

        def own(values, share, nu):
            terms = [value * wave for value, wave in zip(values, crowd.waves(nu), strict=True)]
            return share * sum(terms[1:], start=terms[0])

        on_grid = xp.concatenate([absent, found.by_gold], axis=-1)
        return OfCrowd(
            loss=found.loss,
            own=hits * found.own_first - found.lost,
            squared=found.squared - (1 - hits) * found.own_second,
            paired=2 * hits * found.own_second - (1 - hits) * found.own_pairs,
            draws=found.draws,
            pairs=found.pairs,
            by_gold=of_golds.read_rows(on_grid, own, light, nu),
        )


def atoms_of_golds(length: float, lattice: Lattice, ends: tuple[float, float], m: float) -> int:
    """How many atoms from the top reach the least gold, for a rule of this length.

    The rule goes from where m + 1 of the largest weight are nothing to where the least gold is
    everything, so that between the two weights lie `length` less what both ends and m take.
    """
    first, last = ends
    nats = max(length - (last - first) - math.log1p(m), 0.0)
    return min(lattice.size, math.ceil(nats / lattice.spacing) + 3 * lattice.points)
