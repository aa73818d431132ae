r"""The moments of losses that add up over candidates, in closed form.

With D_+ the gold's corrected score, D_y a negative's, N_y its number of copies and sigma the
logistic function, the loss is softplus(-D_+) + sum_y N_y softplus(D_y) and its gradient

    v - e_g,      v_g = sigma(D_+) + N_g sigma(D_g),      v_y = N_y sigma(D_y).

Only the first two moments of the copies occur. E[N_y | g] is minus the derivative of log F_g at 0,
E[N_y (N_y - 1) | g] the coincidences there (`samplers.base.Law`), so every sampler has both.

Source: Gutmann & Hyvärinen (2010); THEORY of the documentation, section 4.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from nce_bias.integrals.expectation import Expectation, Gram, Sums
from nce_bias.integrals.spread import separable_squares
from nce_bias.numerics.arrays import Array, namespace, sigmoid, softplus
from nce_bias.samplers import Law


class ClosedForm(Expectation):
    """What the closed form needs of one input.

    Parameters
    ----------
    law : Law
        Of the negatives, given each gold.
    gold, negatives : [V]
        Corrected scores D of each label as the gold and as a negative.
    share : [V]
        How often each label is the gold.
    """

    integrates: ClassVar[bool] = False

    share: Float[Array, " V"]
    law: Law
    gold: Float[Array, " V"]
    negatives: Float[Array, " V"]

    @property
    def length(self) -> Float[Array, ""]:
        """0: nothing is integrated."""
        return 0 * self.share[0]

    def error(self) -> Float[Array, ""]:
        """Rounding alone."""
        xp = namespace(self.gold)
        return xp.asarray(64 * jnp.finfo(self.gold.dtype).eps, self.gold.dtype)

    def sums(self) -> Sums:
        """See `Expectation`; `concentration` is NaN: no softmax over the candidates."""
        law, share, gold = self.law, self.share, self.gold
        xp = namespace(gold, self.negatives, share)
        nothing = xp.zeros_like(self.negatives)
        picked, hit = sigmoid(self.negatives), sigmoid(gold)
        copies, gold_copies = law.counts(share), law.own_hits(nothing)
        pairs = law.coincidences(nothing, picked)
        by_gold = -share * sigmoid(-gold)
        gold_loss = xp.where(share > 0, share * softplus(-gold), 0.0)
        own = xp.sum(by_gold) + xp.sum(share * gold_copies * picked)
        square = xp.sum(copies * picked**2) + xp.sum(
            share * (pairs + hit**2 + 2 * hit * gold_copies * picked)
        )
        return Sums(
            loss=xp.sum(gold_loss) + xp.sum(copies * softplus(self.negatives)),
            by_gold=by_gold,
            by_negative=copies * picked,
            own=own,
            square=square,
            concentration=xp.full((), xp.nan, square.dtype),
        )

    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """See `Expectation`; from the matrix itself where the law is not separable."""
        law, share = self.law, self.share
        picked, missed = jax.nn.sigmoid(self.negatives), -jax.nn.sigmoid(-self.gold)
        nothing = jnp.zeros_like(picked)
        if law.separable(nothing) is not None:
            return share @ separable_squares(gram, law, nothing, picked, missed)[0]
        units = jnp.eye(len(share), dtype=share.dtype)
        means = jax.lax.map(law.counts, units) * picked + missed * units
        spread = -jax.jacrev(lambda z: law.tilted(z)[1](share))(nothing)
        second = jnp.einsum("g,ga,gb->ab", share, means, means)
        return jnp.sum(gram.to_dense() * (second + spread * picked[:, None] * picked))
