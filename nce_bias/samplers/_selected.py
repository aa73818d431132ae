"""The m best by a key of what another law draws; known by drawing.

A pool may have more slots than labels (dropped draws, sets of random size): what is there comes
before what is not, so a pool with fewer than m labels gives all of them and empty slots.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import NoExactMethod
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers.base import Labels, Law, Present


class SelectedLaw(Law):
    """The m labels of `pool` with the largest `key`, ties to the lower index."""

    pool: Law
    key: Float[Array, " V"]
    m: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.pool.size

    @property
    def selects(self) -> bool:
        return True

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        raise NoExactMethod(f"the best {self.m} of this pool have no exact law here")

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """The pool's draw, its best m in any order, so that the first slot may be any of them."""
        of_pool, of_order = jax.random.split(key)
        labels, present = self.pool.draw(of_pool, gold)
        slots = jnp.lexsort((labels, -jnp.asarray(self.key)[labels], ~present))[: self.m]
        slots = jax.random.permutation(of_order, slots)
        return labels[slots], present[slots]

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """The pool's: code that corrects scores does so before it selects."""
        return self.pool.log_proposal()


def best_first(key: Float[Array, " V"], last: Array | None) -> tuple[Array, Array]:
    """Labels in the order of the key, `last` behind all others, and the place of each label."""
    xp = namespace(key)
    if last is None:
        order = xp.argsort(-key, stable=True)
    else:
        order = xp.lexsort((xp.arange(len(key)), -key, last))
    return order, xp.argsort(order, stable=True)
