"""The moments where one of several laws is drawn by lot, each with corrections of its own.

Given the lot everything is an `Expectation` as any; all moments are means over it. A lot is drawn
for each set, whatever the gold, so E[v | gold] is a mean over lots too.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nce_bias.integrals.expectation import Expectation, Gram, Sums
from nce_bias.samplers.base import Law, Lot


class Lottery(Expectation):
    """The mean over a lot of what `of` makes of each law. Weights may be those of a rule."""

    share: Float[Array, " V"]
    lot: Lot
    of: Callable[[Law], Expectation]

    @property
    def integrates(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As given a lot."""
        return self.of(self.lot.first).integrates

    @property
    def lines(self) -> int:
        """As given a lot, for each."""
        return self.of(self.lot.first).lines * len(self.lot.weights)

    @property
    def planes(self) -> int:
        """The same."""
        return self.of(self.lot.first).planes * len(self.lot.weights)

    @property
    def length(self) -> Float[Array, ""]:
        """The longest."""
        return jnp.max(self._each(lambda at: at.length))

    def sums(self) -> Sums:
        """See `Expectation`."""
        return self._mean(self._each(lambda at: at.sums()))

    def error(self) -> Float[Array, ""]:
        """The mean of the errors, and what the lot leaves out."""
        errors = self._each(lambda at: at.error())
        return jnp.abs(self.lot.weights) @ errors + 2 * self.lot.missing

    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """See `Expectation`."""
        return self._mean(self._each(lambda at: at.second_moment(gram)))

    def _each(self, function):
        return jax.lax.map(lambda law: function(self.of(law)), self.lot.laws)

    def _mean(self, by_lot):
        return jax.tree.map(lambda leaf: jnp.tensordot(self.lot.weights, leaf, 1), by_lot)
