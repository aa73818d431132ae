r"""What the rows of one batch have in common: their negatives, seen from two rows at once.

A `Law` is that of one row. Where rows of a batch share candidates their gradients depend on each
other, and the variance of their mean needs the joint law of two rows i and j with golds g and h:

    candidates of i   g, then h if `crossed`, and the common draws,
    candidates of j   h, then g if `crossed`, and the same draws.

`crossed` are in-batch negatives, where the common draws are the golds of the other B - 2 rows;
m negatives drawn once for the whole batch are common draws alone. `common` is their law, which must
not depend on any gold: it keeps all hits, and where it `drops_hits` each row then drops those that
equal its own gold. Where it is None the two-row law is only known by drawing.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array
from nce_bias.samplers._epoch import distinct_numbers
from nce_bias.samplers.base import Batch, Golds, Law, RowsDrawn


class SharedDraws(Batch):
    """One set of draws for all rows, from a law that may draw any gold.

    Where `masked`, a row drops those that equal its own gold.
    """

    law: Law
    masked: bool = eqx.field(static=True)

    @property
    def crossed(self) -> bool:
        return False

    @property
    def drops_hits(self) -> bool:
        return self.masked

    @property
    def common(self) -> Law | None:
        return self.law

    def draw(self, key: PRNGKeyArray, golds: Golds) -> RowsDrawn:
        labels, _ = self.law.draw(key, golds[0])
        rows = jnp.broadcast_to(labels, (len(golds), len(labels)))
        return rows, (rows != golds[:, None]) | (not self.masked)


class SideBySide(Batch):
    """Several kinds of negatives in every row, one of them crossed at most."""

    parts: tuple[Batch, ...]

    @property
    def crossed(self) -> bool:
        return any(part.crossed for part in self.parts)

    @property
    def drops_hits(self) -> bool:
        return any(part.drops_hits for part in self.parts)

    @property
    def common(self) -> Law | None:
        from nce_bias.samplers._concatenation import ConcatenationLaw

        if self.drops_hits:
            return None
        laws = [part.common for part in self.parts]
        known = tuple(law for law in laws if law is not None)
        return ConcatenationLaw(known) if len(known) == len(laws) else None

    def draw_golds(self, key: PRNGKeyArray, size: int, popularity: Float[Array, " V"]) -> Golds:
        """Those of the part in which rows meet each other's golds, if any."""
        for part in self.parts:
            if part.crossed:
                return part.draw_golds(key, size, popularity)
        return super().draw_golds(key, size, popularity)

    def draw(self, key: PRNGKeyArray, golds: Golds) -> RowsDrawn:
        keys = jax.random.split(key, len(self.parts))
        drawn = [part.draw(k, golds) for part, k in zip(self.parts, keys, strict=True)]
        labels, present = zip(*drawn, strict=True)
        return jnp.concatenate(labels, axis=1), jnp.concatenate(present, axis=1)


class OtherRows(Batch):
    """In-batch negatives: what the other rows bring, each a block of `views` labels.

    `others` is the law of the golds of the rows besides two, None where it depends on those. With
    `occurs` rows are distinct examples of an epoch of `total`, in which blocks occur that often.
    All rows bring `hard` labels besides, V for none.
    """

    others: Law | None
    occurs: Float[Array, " blocks"] | None
    hard: Int[Array, "V h"] | None
    views: int = eqx.field(static=True)
    total: int = eqx.field(static=True)
    masked: bool = eqx.field(static=True)

    @property
    def crossed(self) -> bool:
        return True

    @property
    def drops_hits(self) -> bool:
        return self.masked

    @property
    def common(self) -> Law | None:
        return self.others

    def draw_golds(self, key: PRNGKeyArray, size: int, popularity: Float[Array, " V"]) -> Golds:
        """Independent, or of distinct examples; a row's gold is any view of its block."""
        if self.occurs is None:
            return super().draw_golds(key, size, popularity)
        of_blocks, of_views = jax.random.split(key)
        numbers = distinct_numbers(of_blocks, self.total, size)
        last = jnp.cumsum(jnp.asarray(self.occurs).astype(int))
        blocks = jnp.searchsorted(last, numbers, side="right")
        log_views = jnp.log(jnp.asarray(popularity).reshape(-1, self.views))[blocks]
        return blocks * self.views + jax.random.categorical(of_views, log_views)

    def draw(self, key: PRNGKeyArray, golds: Golds) -> RowsDrawn:
        size, blocks = len(golds), golds // self.views
        others = blocks[(jnp.arange(size)[:, None] + jnp.arange(1, size)) % size]
        labels = (others[..., None] * self.views + jnp.arange(self.views)).reshape(size, -1)
        present = ~((labels // self.views == blocks[:, None]) & self.masked)
        if self.hard is None:
            return labels, present
        every = jnp.concatenate([blocks[:, None], others], axis=1)
        mined = jnp.asarray(self.hard)[every].reshape(size, -1)
        there = mined < self.hard.shape[0]
        together = jnp.concatenate([labels, jnp.where(there, mined, 0)], axis=1)
        return together, jnp.concatenate([present, there], axis=1)
