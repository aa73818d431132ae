r"""Distinct negatives for a few golds: labels on atoms, at a cost that hardly knows their number.

The law is that of `nce_bias.samplers._without_replacement`: clocks that ring at rates q_y, the
first m are the sample. With x = e^{-q tau}, r = e^{q tau} - 1 and f = e^{-z}, given one gold,

    F = int dtau [zeta^{m-1}] sum_j q_j x_j f_j prod_{y != j} (x_y + zeta (1 - x_y) f_y).

**Light labels.** Where q tau <= kappa at every node, the product is e^{-tau Q} prod (1 + zeta r f),
whose coefficients follow from its power sums by Newton's identities,

    n e_n = sum_j (-1)^{j-1} p_j e_{n-j},        p_j = sum_y (r_y f_y)^j,

and the factor of the m-th ring, sum_y q_y f_y / (1 + zeta r_y f_y), is a series in zeta with the
coefficients (-1)^i b_i, b_i = sum_y q_y r_y^i f_y^{i+1}. Both are sums over labels of q^i e^{-j z}:

    (e^u - 1)^j = sum_{i >= j} j! S(i, j) u^i / i!        (Stirling numbers of the second kind)

so q^i is spread on a grid of log-weights, as Chebyshev polynomials of q (`integrals.crowd`), and a
pair of nodes (t, tau) costs m powers of zeta, whatever V is. Labels with larger rates, at most
tau_max / kappa of them, and the golds are multiplied on one by one.

**First moments.** F is a function of the sums S_ij(t) = sum_y q_y^i e^{-j z_y} and of the f of
labels taken alone. Its derivatives by them, in reverse mode node by node, are all that is needed:
-dF/dz_y = sum_ij dF/dS_ij q_y^i j e^{-j z_y} is read back from the grid.

**Error.** Powers beyond J = min(m - 1, terms) are dropped, where r^J is below the tolerance. The
signs of Newton's identities cost digits: e_n is smaller than h_n, the same with all signs positive,
by about exp(sum (n q)^2), and what is wrong with a power sum, rounding, interpolation and powers
left out, is multiplied by h / e, which is measured at z = 0. Interpolation is exact for constants,
so that of e^{-j z} is relative to 1 - e^{-j z}, as for independent draws. `error` has all of it.

**Limits.** One gold after the other, so a few; m up to 256 (64 in float32), as e^{-tau} must not
underflow; the softmax losses whose corrections do not read the gold. The variance of several golds
is not split.

Source: Newton's identities as in Macdonald, Symmetric Functions and Hall Polynomials, I.2; their
use here is derived above.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias.integrals.atoms import AtomIntegrand, M, most_frequent
from nce_bias.integrals.crowd import PLACES, Crowd, places
from nce_bias.integrals.expectation import Sums
from nce_bias.integrals.rings import Ages, Node, Rates, laplace_at, powers_for
from nce_bias.numerics.arrays import Array, mask
from nce_bias.numerics.leave_one_out import exposure

#: Nodes in t whose derivatives are held at a time.
NODES = 8


class Reader(NamedTuple):
    """What the nodes give one gold: F and its derivatives, over F at z = 0."""

    f: Float[Array, " N"]
    by_light: Float[Array, "N I J"]
    by_taken: Float[Array, "N G"]


class DistinctIntegrand(AtomIntegrand):
    """The integral for few golds of distinct draws; `rule.crowd` says which labels are light."""

    def error(self) -> Float[Array, ""]:
        """See the module."""
        digits = jnp.finfo(self.share.dtype).eps * self._law.m
        left_out = self.crowd.error + 4 * M * self.lattice.error
        return super().error() + self._amplified() * (digits + left_out)

    @property
    def crowd(self) -> Crowd:
        """Which labels are light, and the waves of their q."""
        assert self.rule.crowd is not None
        return self.rule.crowd

    @property
    def _named(self) -> Bool[Array, " V"]:
        """The golds."""
        return mask(most_frequent(self.share, self.rule.golds), len(self.share))

    @property
    def _taken(self) -> Bool[Array, " V"]:
        return (self._law.q > self.crowd.limit) | self._named

    @property
    def _sets(self) -> tuple[int, int]:
        return powers_for(self.crowd.kappa, self._law.m, self.crowd.error / PLACES)

    def sums(self) -> Sums:
        """See `Expectation`; one gold after the other."""
        cells, grid = self._cells(), self.grid
        z, f, _ = self._on_atoms(grid, cells)
        moments = self._moments(cells)
        log_t = grid.left + grid.step * jnp.arange(grid.nodes, dtype=grid.left.dtype)
        weight = grid.weight(jnp.arange(grid.nodes, dtype=grid.left.dtype))
        count = self._sets[0]
        _, light = jax.lax.scan(lambda g, _: (g * f, g @ moments.T), f, length=count)
        light = jnp.moveaxis(light, 0, -1)  # [N, I, J]
        which, meant = places(self._taken, self.rule.taken)
        q = jnp.where(meant, self._law.q[which], 0.0)
        z_taken = jnp.where(meant, exposure(log_t, self.log_negative[which]), 0.0)
        shares = jnp.where(meant, self.share[which], 0.0)

        def alone(gold):
            """Of the gold in place `gold` of those taken."""
            share, own = shares[gold], which[gold]
            z_gold = exposure(log_t, self.log_gold[own][None])[:, 0]
            found = self._nodes_of(q.at[gold].set(0.0), light, jnp.exp(-z_taken), moments)
            absent = jnp.isneginf(self.log_gold[own])
            survives = jnp.exp(-z_gold)
            without = jnp.exp(-jnp.exp(log_t)) - found.f
            missed = weight * z_gold * survives * (1 - found.f)
            tilted = share * weight * survives
            by_light = tilted[:, None, None] * found.by_light
            by_taken = tilted[:, None] * z_taken * jnp.exp(-z_taken) * found.by_taken
            return (
                share * jnp.sum(weight * jnp.where(absent, without, survives * (1 - found.f))),
                -share * (jnp.sum(missed) + absent),
                # one factor after the other: where z^2 overflows, tilted is 0 long since
                jnp.sum(tilted * found.f * z_gold * z_gold) + jnp.sum(by_taken * z_taken),
                jnp.sum(by_taken, axis=0),
                by_light,
                own,
            )

        golds = jnp.argsort(-shares)[: self.rule.golds]
        parts = jax.lax.map(alone, golds)
        by_own, by_taken = parts[1], jnp.sum(parts[3], axis=0)
        loss, square = jnp.sum(parts[0]), jnp.sum(parts[2])
        by_light = jnp.sum(parts[4], axis=0)

        def slopes(carry, part):
            """-z times that of e^{-j z}, and z times that, on the grid."""
            on_grid, twice, power = carry
            j, slope = part
            first = j * z * power
            return (on_grid + slope.T @ first, twice + slope.T @ (z * first), power * f), None

        nothing = jnp.zeros_like(moments)
        orders = jnp.arange(1, count + 1, dtype=z.dtype)
        (on_grid, twice, _), _ = jax.lax.scan(
            slopes, (nothing, nothing, f), (orders, jnp.moveaxis(by_light, -1, 0))
        )
        by_negative = self._read(cells, on_grid)
        by_negative = by_negative.at[jnp.where(meant, which, len(by_negative))].add(
            by_taken, mode="drop"
        )
        by_gold = jnp.zeros_like(self.share).at[parts[5]].add(by_own)
        total = square + jnp.sum(moments * twice)
        return Sums(loss + self.offset, by_gold, by_negative, jnp.sum(by_own), total, total)

    def included(self) -> Float[Array, " V"]:
        """sum_{g != y} share_g P(y among the negatives | g): -dF/dz at z = 0."""
        cells = self._cells()
        moments, count = self._moments(cells), self._sets[0]
        which, meant = places(self._taken, self.rule.taken)
        q = jnp.where(meant, self._law.q[which], 0.0)
        shares = jnp.where(meant, self.share[which], 0.0)
        light = jnp.sum(moments, axis=-1)[:, None] * jnp.ones((1, count), moments.dtype)

        def alone(gold):
            node = light[None], jnp.ones((1, len(q)), q.dtype)
            found = self._nodes_of(q.at[gold].set(0.0), *node, moments)
            by_power = found.by_light[0] @ jnp.arange(1, count + 1, dtype=q.dtype)
            return shares[gold] * by_power, shares[gold] * found.by_taken[0]

        by_power, by_taken = jax.lax.map(alone, jnp.argsort(-shares)[: self.rule.golds])
        basis = jnp.asarray(self.crowd.basis, q.dtype)
        waves = self.crowd.waves(self._law.q)
        of_waves = basis.T @ jnp.sum(by_power, axis=0)
        on_light = self._rest * sum(w * c for w, c in zip(waves, of_waves, strict=True))
        target = jnp.where(meant, which, len(on_light))
        return on_light.at[target].add(jnp.sum(by_taken, axis=0), mode="drop")

    def squared_means(self, golds: int) -> None:
        """Not for several golds; for one it is that of all."""
        return None

    def _moments(self, cells: Any) -> Float[Array, "I a"]:
        """sum_y q (q / most)^{i-1} on the atoms."""
        crowd = self.crowd

        def rows(rest, q):
            return [rest * wave for wave in crowd.waves(q)]

        spread = cells.spread_rows(rows, self._rest, self._law.q)
        return jnp.asarray(crowd.basis, spread.dtype) @ spread

    def _read(self, cells: Any, on_grid: Float[Array, "I a"]) -> Float[Array, " V"]:
        crowd = self.crowd
        of_waves = jnp.asarray(crowd.basis, on_grid.dtype).T @ on_grid

        def of(values, rest, q):
            terms = zip(values, crowd.waves(q), strict=True)
            return rest * sum(value * wave for value, wave in terms)

        return cells.read_rows(of_waves, of, self._rest, self._law.q)

    def _rates(self, taken: Float[Array, " G"], moments: Array, signs: Array) -> Rates:
        clocks = self._law.ages()
        ages = Ages(jnp.exp(clocks[0]), clocks[1] * jnp.exp(clocks[0]))
        return Rates(ages, jnp.sum(moments[0]), self.crowd.most, taken, signs)

    def _alternate(self) -> Float[Array, " J"]:
        return jnp.asarray([(-1.0) ** j for j in range(self._sets[0])], self.share.dtype)

    def _nodes_of(self, q: Array, light: Array, f: Array, moments: Array) -> Reader:
        """At all nodes, for the rates `q` of labels taken alone, the gold's own being 0."""
        rates, m = self._rates(q, moments, self._alternate()), self._law.m
        origin = jnp.sum(moments, axis=-1)[:, None] * jnp.ones((1, light.shape[-1]), q.dtype)
        at_zero = laplace_at(Node(origin, jnp.ones_like(q)), rates, m)
        value = jax.value_and_grad(lambda node: laplace_at(node, rates, m) / at_zero)
        found, slopes = jax.lax.map(value, Node(light, f), batch_size=NODES)
        return Reader(found, slopes.light, slopes.taken)

    def _amplified(self) -> Float[Array, ""]:
        """h / e at z = 0, all golds left in."""
        moments = self._moments(self._cells())
        which, meant = places(self._taken, self.rule.taken)
        q = jnp.where(meant, self._law.q[which], 0.0)
        origin = jnp.sum(moments, axis=-1)[:, None] * jnp.ones((1, self._sets[0]), q.dtype)
        node, signs = Node(origin, jnp.ones_like(q)), self._alternate()
        ours, plain = (
            laplace_at(node, self._rates(q, moments, s), self._law.m) for s in (signs, abs(signs))
        )
        return plain / ours
