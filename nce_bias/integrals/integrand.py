r"""The integral of one input: moments of the candidate softmax, node by node.

With z = t w the exposures, z_+ = t w_+ and F_g the sampler's Laplace functional, for one gold g:

    loss             E[l]           = int e^{-z_+} (1 - F) dt/t,    or E[log Z] without the gold
                                      in Z: int (e^{-t} - F) dt/t
    first moment     E[v_a]         = int e^{-z_+} F (-dlog F/dz_a) z_a dt/t,            a != g
    second moment    E[sum_a v_a^2] = int e^{-z_+} F { z_+^2 + 2 z_+ z_g h_g
                                          + sum_a z_a (-dlog F/dz_a) z_a + C_g } dt/t

where v_a = sum_k pi(k) 1{y_k = a}, h_g is the tilted number of accidental hits and C_g the tilted
coincidences of negatives (`samplers.base.Law`), 0 for distinct ones. They come from 1/Z^n =
int t^{n-1} e^{-tZ} dt / (n - 1)!, and n_a^2 = n_a + n_a (n_a - 1) for the copies n_a of a label.

Another power of Z than its logarithm, (Z^k - 1) / k with k < 1, has t^{-k} / Gamma(1 - k) dt/t in
place of dt/t in the loss and in the first moment: both are integrals of e^{-tZ}, and

    (Z^k - c^k) / k = int (e^{-ct} - e^{-tZ}) t^{-k} / Gamma(1 - k) dt/t,

which is Frullani's for k = 0.

Nothing is differentiated here: a law gives -dlog F/dz summed over golds with any weights
(`Law.tilted`), in closed form where that is one line.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.integrals.block_rows import block_softmax_rows
from nce_bias.integrals.crowd import Crowding, crowding
from nce_bias.integrals.expectation import GOLDS, Expectation, Gram, Pairs, Rule, Sums
from nce_bias.integrals.masked_rows import masked_softmax_rows
from nce_bias.integrals.rows import softmax_rows
from nce_bias.integrals.spread import dense_square, separable_squares
from nce_bias.numerics.arrays import Array, at_nodes, each, is_numpy, namespace, sum_of_nodes, top_k
from nce_bias.numerics.gaps import Closed, close_gaps
from nce_bias.numerics.leave_one_out import LARGEST_LOG_EXPOSURE, exposure
from nce_bias.numerics.quadrature import CHUNK, Grid, make_grid, span, step_for
from nce_bias.samplers import BlocksLaw, Law

#: Elements of one [inputs, nodes, labels] block; small enough to stay in cache.
BLOCK = 2**17


class Integrand(Expectation):
    """What the integral needs of one input. The largest weight of a negative is 1.

    Parameters
    ----------
    law : Law
        Of the negatives, given each gold.
    log_gold, log_negative : [V]
        Log-weights log w_+ and log w of each label as the gold and as a negative; log_gold is -inf
        where the gold is no part of Z.
    share : [V]
        How often each label is the gold.
    offset : scalar
        What the loss has besides the integral.
    rule : Rule
        Nodes and tolerance.
    power : float
        k < 1. Where it is not 0, `sums` has (Z^k - w_+^k) / k in place of log Z - log w_+ and its
        derivatives, the largest weight of a negative being 1, and no second moments.
    """

    share: Float[Array, " V"]
    law: Law
    log_gold: Float[Array, " V"]
    log_negative: Float[Array, " V"]
    offset: Float[Array, ""]
    rule: Rule
    power: float = eqx.field(static=True, default=0.0)

    @classmethod
    def of(
        cls,
        law: Law,
        scores: tuple[Float[Array, " V"], Float[Array, " V"]],
        share: Float[Array, " V"],
        rule: Rule,
        *,
        competes: bool = True,
        power: float = 0.0,
    ) -> Integrand:
        """From the corrected scores of golds and negatives; `competes`: the gold is part of Z."""
        gold, negatives = scores
        xp = namespace(gold, negatives, share)
        top = xp.max(negatives)
        offset = xp.zeros_like(top)
        if not competes:
            offset = -xp.sum(xp.where(share > 0, share * (gold - top), 0.0))
            gold = xp.full_like(gold, -xp.inf)
        gold = xp.where(share > 0, gold, negatives)
        if rule.closes_gaps:  # before anything is subtracted from numbers of any size
            closed = close_gaps(gold, negatives)
            offset = offset + _across_gaps(law, share, (gold, negatives), closed)
            log_gold, log_negative = closed.log_gold, closed.log_negative
        else:
            log_gold, log_negative = gold - top, negatives - top
        return cls(
            share=share,
            law=law,
            log_gold=log_gold,
            log_negative=log_negative,
            offset=offset,
            rule=rule,
            power=power,
        )

    @property
    def takes_atoms(self) -> bool:
        """Whether its law does (`nce_bias.integrals.atoms`, `.distinct`)."""
        return self.law.takes_atoms

    def crowding(self) -> Crowding:
        """What a plan asks before golds are spread on atoms too."""
        return crowding(self.share, (self.log_gold, self.log_negative), self.law)

    @property
    def length(self) -> Float[Array, ""]:
        """Of the rule in log t."""
        left, right = self._ends(1.0)
        if self.power:  # in steps of the usual size
            wide = [self._needed(order * (1 - self.power)) for order in (1, 2)]
            return namespace(left).maximum(*wide)
        return right - left

    def _needed(self, shape: int | float) -> Float[Array, ""]:
        left, right = self._ends(shape)
        tolerance = self.rule.tolerance
        return (right - left) * (step_for(tolerance) / step_for(tolerance, shape))

    def _ends(self, shape: int | float) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """No derivative goes through them: the integral does not depend on where it is cut."""
        at = (self.log_gold, self.log_negative, self.share)
        if not is_numpy(*at):
            at = jax.lax.stop_gradient(at)
        left, right = span(*at, self.rule.m, self.rule.tolerance, shape)
        if self.law.scaled:  # without the gold it is the lightest copy that ends the integral
            xp = namespace(left, *at)
            absent = xp.any((at[2] > 0) & xp.isneginf(at[0]))
            right = right - xp.where(absent, self.law.lowest, 0.0)
        return left, right

    @property
    def grid(self) -> Grid:
        """The rule in log t."""
        return self.grid_for(1)

    def grid_for(self, order: int) -> Grid:
        """That for 1 / Z^{order (1 - power)}; with power 0, one for all orders."""
        shape = order * (1 - self.power) if self.power else 1.0
        ends, rise = self._ends(shape), -order * self.power
        return make_grid(*ends, self.rule.nodes, self.rule.tolerance, shape, rise)

    def error(self) -> Float[Array, ""]:
        """The bounds of both rules, and rounding: eps times the size of the logarithms of t w."""
        rounding = jnp.finfo(self.share.dtype).eps * self._logarithms
        return self.grid.error() + self.law.error + rounding

    @property
    def _logarithms(self) -> Float[Array, ""]:
        """The largest logarithm that is rounded; the rule's own reach 64.

        A negative whose exposure is below e^-64 at every node weighs nothing, rounded or not.
        """
        xp = namespace(self.share)
        counts = self.log_negative > -64 - self._ends(1 - self.power)[1]
        finite = xp.where(counts, xp.abs(self.log_negative), 0.0)
        counts = (self.share > 0) & xp.isfinite(self.log_gold)
        golds = xp.where(counts, xp.abs(self.log_gold), 0.0)
        return 64 + xp.maximum(xp.max(finite), xp.max(golds))

    def sums(self) -> Sums:
        """See `Expectation`. For a gold of weight 0 the loss is E[log Z] of the negatives alone."""
        grid, chunk = self.grid, nodes_at_a_time(self.law)
        sums = sum_of_nodes(lambda index: self._at_node(grid, index), grid.nodes, chunk, grid.left)
        missed = self._never_selected(self.share)
        return eqx.tree_at(
            lambda s: (s.loss, s.by_gold, s.own),
            sums,
            (sums.loss + self.offset, sums.by_gold - missed, sums.own - missed.sum()),
        )

    def _at_node(self, grid: Grid, index: Float[Array, "*N"]) -> Sums:
        xp, law = namespace(index, self.share), self.law
        log_t = grid.left + grid.step * index
        z_gold, z = exposure(log_t, self.log_gold), exposure(log_t, self.log_negative)
        weight = grid.weight(index)[..., None] * self.share
        log_f, copies = law.tilted(z)
        gold_survives = xp.exp(-z_gold)
        beside_gold = gold_survives * -xp.expm1(log_f)  # e^{-z_+} (1 - F)
        without_gold = xp.exp(-xp.exp(log_t))[..., None] - xp.exp(log_f)
        absent = xp.isneginf(self.log_gold)
        by_gold = -weight * z_gold * beside_gold
        tilted = weight * xp.exp(log_f - z_gold)
        by_negative = z * copies(tilted)
        z_hits = z * law.own_hits(z)
        own = xp.sum(by_gold, axis=-1) + xp.sum(tilted * z_hits, axis=-1)
        distinct = xp.sum(tilted * z_gold * z_gold, axis=-1) + xp.sum(z * by_negative, axis=-1)
        pairs = xp.sum(tilted * (2 * z_gold * z_hits + law.coincidences(z, z)), axis=-1)
        excess = xp.sum(tilted * law.excess(z, z), axis=-1) if law.scaled else 0.0
        loss = xp.sum(weight * xp.where(absent, without_gold, beside_gold), axis=-1)
        return Sums(loss, by_gold, by_negative, own, distinct + pairs, distinct + excess)

    def _never_selected(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """1 - E[pi(1)] = 1 of golds of weight 0, which the integrals of t w_+ = 0 leave out."""
        xp = namespace(self.log_gold, share)
        return xp.where(xp.isneginf(self.log_gold), share, 0.0)

    def squared_means(self, golds: int) -> Float[Array, ""] | None:
        """See `Expectation`. For a separable law, a product of two [nodes, labels] matrices.

        It is taken for a block of golds at a time. For another, NumPy sums the means themselves.
        """
        law, grid = self.law, self.grid
        if law.separable(self.log_negative) is None:
            return self._squares_of_means(golds) if is_numpy(self.share) else None
        xp = namespace(self.share)
        share, which = top_k(self.share, golds)

        def at_node(index):
            log_t = grid.left + grid.step * index
            z_gold, z = exposure(log_t, self.log_gold), exposure(log_t, self.log_negative)
            weight = grid.weight(index)[..., None] * xp.exp(-z_gold)
            log_f, factors = law.log_laplace(z), law.separable(z)
            assert factors is not None
            hits = weight * xp.exp(log_f) * z * law.own_hits(z)
            missed = weight * -xp.expm1(log_f) * z_gold  # 1 - E[pi(1)]
            left = (weight * xp.exp(log_f))[..., None, :] * factors.r
            return left[..., which], z[..., None, :] * factors.u, (hits - missed)[..., which]

        left, right, own = at_nodes(at_node, grid.nodes, nodes_at_a_time(law), grid.left)
        left, right = (part.reshape(-1, part.shape[-1]) for part in (left, right))
        own = xp.sum(own, axis=0) - self._never_selected(xp.ones_like(self.share))[which]

        def square(gold):
            row, label, on_gold = gold
            return xp.sum(xp.where(xp.arange(len(self.share)) == label, on_gold, row @ right) ** 2)

        squares = each(square, (left.T, which, own), batch_size=min(GOLDS, golds))
        return xp.sum(share * squares)

    def _squares_of_means(self, golds: int) -> Float[Array, ""]:
        """From E[v | g] of every gold, [golds, labels], by `Law.copies_by_gold`."""
        xp, law, grid = namespace(self.share), self.law, self.grid
        share, which = top_k(self.share, golds)

        def at_node(index):
            log_t = grid.left + grid.step * index
            z_gold, z = exposure(log_t, self.log_gold), exposure(log_t, self.log_negative)
            weight = grid.weight(index)[..., None] * xp.exp(-z_gold)
            log_f = law.log_laplace(z)
            survives = (weight * xp.exp(log_f))[..., which, None]
            means = survives * law.copies_by_gold(z, which) * z[..., None, :]
            return means, (-weight * xp.expm1(log_f) * z_gold)[..., which]

        means, missed = sum_of_nodes(at_node, grid.nodes, nodes_at_a_time(law), grid.left)
        missed = missed + self._never_selected(xp.ones_like(self.share))[which]
        at_gold = (np.arange(golds), which)
        means[at_gold] -= missed
        return xp.sum(share * xp.sum(means**2, axis=-1))

    def two_rows(self, common: Law, crossed: bool, masked: bool = False) -> Pairs | None:
        """See `Expectation`; a plane of nodes."""
        logs = self.log_gold, self.log_negative
        if isinstance(common, BlocksLaw):
            rows = None if masked else block_softmax_rows
        else:
            rows = masked_softmax_rows if masked else softmax_rows
        return None if rows is None else rows(common, crossed, logs, self.share, self.grid)

    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """See `Expectation`; from the matrix itself where the law is not separable."""
        law, grid = self.law, self.grid
        if law.separable(self.log_negative) is None:
            return self._dense_second_moment(gram)

        def at_node(index):
            log_t = grid.left + grid.step * index
            z_gold, z = exposure(log_t, self.log_gold), exposure(log_t, self.log_negative)
            weight = grid.weight(index) * self.share * jnp.exp(law.log_laplace(z) - z_gold)
            square, cross = separable_squares(gram, law, z, z, z_gold)
            return weight @ (square - 2 * cross)

        index = jnp.arange(grid.nodes, dtype=grid.left.dtype)
        nodes = jax.lax.map(at_node, index, batch_size=nodes_at_a_time(law))
        return jnp.sum(nodes) + self.share @ gram.diagonal

    def _dense_second_moment(self, gram: Gram) -> Float[Array, ""]:
        def gradient(shift, share):
            moved = (self.log_gold + shift, self.log_negative + shift, share)
            at = eqx.tree_at(lambda s: (s.log_gold, s.log_negative, s.share), self, moved)
            return at.sums().gradient

        return dense_square(gram, gradient, self.share)


def _across_gaps(
    law: Law,
    share: Float[Array, " V"],
    scores: tuple[Float[Array, " V"], Float[Array, " V"]],
    closed: Closed,
) -> Float[Array, ""]:
    """What the loss has from the gaps that were closed; see `nce_bias.numerics.gaps`."""
    gold, negatives = scores
    xp = namespace(share, gold)
    infinite = math.exp(LARGEST_LOG_EXPOSURE)

    def part(gap):
        height, below, above = gap
        negatives_above = negatives >= above
        log_none = law.log_laplace(xp.where(negatives_above, infinite, xp.zeros_like(share)))
        some = xp.where(gold <= below, -xp.expm1(log_none), 0.0)
        none = xp.where(xp.any(negatives_above), xp.exp(log_none), 0.0)
        chance = xp.sum(share * xp.where(xp.isneginf(gold), -none, some))
        return xp.where((height > 0) & (chance != 0), height * chance, 0.0)

    return xp.sum(each(part, (closed.heights, closed.below, closed.above)))


def nodes_at_a_time(law: Law) -> int:
    """Nodes of one block."""
    return max(1, min(CHUNK, BLOCK // law.size))
