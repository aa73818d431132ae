r"""The moments of losses that add up over candidates, in closed form.

For a gold g the loss is h_+(s_g) + sum_y N_y h_y with N_y the copies of y among the negatives. With
h'_+ and h'_y the derivatives by the scores of the gold and of y, and e_y that of h_y by the gold's
score (0 where h does not read it), its gradient is

    r_g = h'_+ + S + N_g h'_g,      r_y = N_y h'_y,      S = sum_y N_y e_y.

Only the first two moments of the copies occur. E[N_y | g] is minus the derivative of log F_g at 0,
E[N_y (N_y - 1) | g] the coincidences there, Cov(N_y, N_z | g) the second derivative
(`samplers.base.Law`): every sampler has them. With mu_y = E[N_y | g],

    E[r_g] = h'_+ + mu.e + mu_g h'_g,         E[r_y] = mu_y h'_y,
    E||r||^2 = sum_y E[N_y^2] h'_y^2 + E(h'_+ + S)^2 + 2 h'_g E[(h'_+ + S) N_g],
    E[S^2] = (mu.e)^2 + e.c,    E[S N_g] = mu_g mu.e + c_g,    c_y = Cov(N_y, S | g).

c is what a pairwise h asks besides. Of independent draws it is mu_y (e_y - mu.e / m), and those of
the parts of a sum add up; of other laws it is the derivative of the copies along e.

Binary losses are those of h_+ = softplus(-D), h = softplus(D), without e.

Source: Gutmann & Hyvärinen (2010); THEORY of the documentation, section 4; the pairwise case is
derived here.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from nce_bias.integrals.block_rows import block_additive_rows
from nce_bias.integrals.expectation import Expectation, Gram, Pairs, Sums
from nce_bias.integrals.masked_rows import masked_additive_rows
from nce_bias.integrals.rows import additive_rows
from nce_bias.integrals.spread import covariance_along, pair_square, separable_squares
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers import BlocksLaw, Law


class ClosedForm(Expectation):
    """What the closed form needs of one input.

    Parameters
    ----------
    law : Law
        Of the negatives, given each gold.
    gold, negative : pair of [V]
        h_+ and h at the scores of all labels, and their derivatives by these.
    pair : [V], optional
        The derivative of h by the gold's score: `share` is then on one gold alone.
    share : [V]
        How often each label is the gold.
    """

    integrates: ClassVar[bool] = False

    share: Float[Array, " V"]
    law: Law
    gold: tuple[Float[Array, " V"], Float[Array, " V"]]
    negative: tuple[Float[Array, " V"], Float[Array, " V"]]
    pair: Float[Array, " V"] | None = None

    @property
    def length(self) -> Float[Array, ""]:
        """0: nothing is integrated."""
        return 0 * self.share[0]

    def error(self) -> Float[Array, ""]:
        """Rounding, and what the copies of a law with a rule of its own may miss."""
        xp, copies = namespace(self.share), self.law.counts(self.share)
        _, slope, e = self._slopes(copies)
        entry = xp.max(copies * xp.abs(slope))
        if self.pair is not None:
            entry = xp.maximum(entry, copies @ xp.abs(e))
        return 64 * jnp.finfo(self.share.dtype).eps + self.law.error * entry

    def _slopes(
        self, copies: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, " V"], Float[Array, " V"]]:
        """h'_+ of the golds that occur, h' and e of the labels that are drawn; 0 elsewhere.

        `copies` are those of the golds that occur. What a label that is never drawn would add may
        be infinite.
        """
        xp, drawn = namespace(self.share, copies, self.gold[1], self.negative[1]), copies > 0
        of_gold = xp.where(self.share > 0, self.gold[1], 0.0)
        slope = xp.where(drawn, self.negative[1], 0.0)
        return of_gold, slope, slope if self.pair is None else xp.where(drawn, self.pair, 0.0)

    def sums(self) -> Sums:
        """See `Expectation`; `concentration` is NaN: no softmax over the candidates."""
        law, share = self.law, self.share
        copies = law.counts(share)
        of_gold, slope, e = self._slopes(copies)
        xp = namespace(slope, of_gold, share)
        nothing = xp.zeros_like(slope)
        own_copies = law.own_hits(nothing)
        pairs, hit = law.coincidences(nothing, slope), 1 + of_gold
        by_gold, by_negative = share * of_gold, copies * slope
        square = xp.sum(copies * slope**2) + xp.sum(
            share * (pairs + hit**2 + 2 * hit * own_copies * slope)
        )
        if self.pair is not None:
            total = xp.sum(share)
            once = copies @ e / xp.where(total > 0, total, 1.0)  # E[S]
            along = covariance_along(law, share, e)
            square = square + 2 * once * xp.sum(share * (hit + own_copies * slope))
            square = square + e @ along + total * once**2
            square = square + 2 * xp.sum(xp.where(share > 0, along * slope, 0.0))
            by_gold = by_gold + share * once
        loss = xp.sum(xp.where(share > 0, share * self.gold[0], 0.0))
        return Sums(
            loss=loss + xp.sum(xp.where(copies > 0, copies * self.negative[0], 0.0)),
            by_gold=by_gold,
            by_negative=by_negative,
            own=xp.sum(by_gold) + xp.sum(share * own_copies * slope),
            square=square,
            concentration=xp.full((), xp.nan, square.dtype),
        )

    def two_rows(self, common: Law, crossed: bool, masked: bool = False) -> Pairs | None:
        """See `Expectation`; a few sums."""
        if self.pair is not None:
            return None
        of_gold, slope, _ = self._slopes(self.law.counts(self.share))
        if isinstance(common, BlocksLaw):
            rows = None if masked else block_additive_rows
        else:
            rows = masked_additive_rows if masked else additive_rows
        return None if rows is None else rows(common, crossed, (of_gold, slope), self.share)

    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """See `Expectation`; from the matrix itself where the law is not separable."""
        law, share = self.law, self.share
        of_gold, slope, e = self._slopes(law.counts(share))
        if self.pair is not None:
            return pair_square(gram, law, share, of_gold, (slope, e))
        nothing = jnp.zeros_like(slope)
        if law.separable(nothing) is not None:
            return share @ separable_squares(gram, law, nothing, slope, of_gold)[0]
        units = jnp.eye(len(share), dtype=share.dtype)
        means = jax.lax.map(law.counts, units) * slope + of_gold * units
        spread = -jax.jacrev(lambda z: law.tilted(z)[1](share))(nothing)
        second = jnp.einsum("g,ga,gb->ab", share, means, means)
        return jnp.sum(gram.to_dense() * (second + spread * slope[:, None] * slope))
