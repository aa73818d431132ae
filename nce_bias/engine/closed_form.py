r"""The moments of losses that add up over candidates, in closed form.

With D_+ the gold's corrected score, D_y a negative's, N_y its number of copies and sigma the
logistic function, the loss is softplus(-D_+) + sum_y N_y softplus(D_y) and its gradient

    v - e_g,      v_g = sigma(D_+) + N_g sigma(D_g),      v_y = N_y sigma(D_y).

Only the first two moments of the copies occur. E[N_y | g] is minus the derivative of log F_g at 0,
E[N_y (N_y - 1) | g] the coincidences there (`samplers.base.Law`), so every sampler has both.

Source: Gutmann & Hyvärinen (2010); THEORY of the documentation, section 4.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nce_bias.engine.integrals import Sums
from nce_bias.samplers import Law


def add_up(
    law: Law,
    gold: Float[Array, " V"],
    negatives: Float[Array, " V"],
    population: Float[Array, " V"],
) -> Sums:
    """sum_g pop_g of the loss, its derivatives by both kinds of scores, and E[sum_a v_a^2].

    `concentration` is NaN: there is no softmax over the candidates.
    """
    nothing = jnp.zeros_like(negatives)
    picked, hit = jax.nn.sigmoid(negatives), jax.nn.sigmoid(gold)
    copies, own_copies = law.counts(population), law.own_hits(nothing)
    pairs = law.coincidences(nothing, picked)
    needed = population > 0
    by_gold = -population * jax.nn.sigmoid(-gold)
    own_loss = jnp.where(needed, population * jax.nn.softplus(-gold), 0.0)
    own = jnp.sum(by_gold) + jnp.sum(population * own_copies * picked)
    square = jnp.sum(copies * picked**2) + jnp.sum(
        population * (pairs + hit**2 + 2 * hit * own_copies * picked)
    )
    return Sums(
        loss=jnp.sum(own_loss) + jnp.sum(copies * jax.nn.softplus(negatives)),
        by_gold=by_gold,
        by_negative=copies * picked,
        own=own,
        square=square,
        concentration=jnp.full((), jnp.nan, square.dtype),
    )
