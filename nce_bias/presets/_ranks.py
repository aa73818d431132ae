"""What the proposals of conventions share: their words, ranks, and uniform laws over a set."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, namespace


class Named(eqx.Module):
    """A proposal with its words; written for NumPy arrays too."""

    portable: ClassVar[bool] = True
    words: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return self.words


def rank_of(key: Float[Array, " V"]) -> Array:
    """0 for the largest; ties by index."""
    xp = namespace(key)
    return xp.argsort(xp.argsort(-key, stable=True), stable=True)


def uniform_over(allowed: Array, like: Float[Array, " V"]) -> Array:
    """Log q, unnormalised."""
    xp = namespace(like)
    return xp.where(allowed, xp.zeros_like(like), -xp.inf)
