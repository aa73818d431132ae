r"""Candidates that a batch shares: the golds of its mentions, and what was mined for each of them.

A batch has B mentions with golds g_1 .. g_B, and m labels mined for each (`mine_negatives`). All of
them are one pool of B (1 + m) texts, encoded once, and every mention is scored against all of it.
The candidates of mention b are

    g_b,  and every entry of the pool whose label is not g_b.

A label that two mentions bring is there twice, for every mention; a repeat of a mention's own gold,
from another mention or mined, is masked. m = 0 is in-batch training.

**Law.** Without mined labels it is ``nb.in_batch(B, hits="mask")``, in an epoch with ``counts``.
With them it is that of in-batch negatives with hard ones, ``nb.in_batch(B, hard=...)``, but for the
hits that are masked here and kept there, and for what is mined: it depends on the mention, not on
its gold alone, and on the model at the last mining. Pairs (gold, mined) of the other B - 1 mentions
are independent draws of mentions from the training set, up to drawing without replacement; one's
own mined labels are candidates for certain. Hard negatives of one mention are thus easy negatives
of the others: of B m mined candidates, m were mined for the mention that is scored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nce_bias.retrieval._corpus import Mentions
from nce_bias.retrieval.mining import Mined
from nce_bias.retrieval.tokens import Packed, packed, rounded

LEAST = 32  # tokens that the texts of a batch are padded to: few shapes compile


class Pool(NamedTuple):
    """A batch of B mentions and the P texts they share; the first B of those are their golds.

    Attributes
    ----------
    texts : Packed
        Those of the mentions, then those of the pool.
    present : bool `[B, P]`
        Which texts of the pool are negatives of a mention.
    """

    texts: Packed
    present: Bool[np.ndarray, "B P"]


def negatives(
    golds: Int[np.ndarray, " B"], mined: Mined | None
) -> tuple[Int[np.ndarray, " P"], Bool[np.ndarray, "B P"]]:
    """Labels of the pool, and which of them are negatives of each mention.

    Examples
    --------
    >>> import numpy as np
    >>> mined = Mined(np.array([[5, 7], [6, 5]]), np.ones((2, 2), bool), np.zeros((2, 2)))
    >>> pool, present = negatives(np.array([5, 6]), mined)
    >>> pool.tolist()
    [5, 6, 7, 5]
    >>> present.tolist()  # the 5 mined for the second mention is no negative of the first
    [[False, True, True, False], [True, False, True, True]]
    """
    pool, there = golds, np.ones(len(golds), bool)
    if mined is not None:
        pool = np.concatenate([golds, mined.labels[:, 1:].ravel()])
        there = np.concatenate([there, mined.present[:, 1:].ravel()])
    return pool, there & (pool != golds[:, None])


def batch(mentions: Mentions | Any, mined: Mined | None, noise: Any = None) -> Pool:
    """The texts of some mentions and of the pool they share."""
    pool, present = negatives(mentions.labels, mined)
    texts, entities = mentions.texts, mentions.entities
    found = [texts[row] for row in mentions.rows] + [entities[label] for label in pool]
    names = np.concatenate([-1 - mentions.rows, pool])  # mentions are no entities
    both = packed(found, names, rounded(max(map(len, found)), LEAST))
    noise = None if noise is None else np.asarray(noise, np.uint32)
    return Pool(both._replace(noise=noise), present)


class PoolLoss(eqx.Module):
    """Mean loss of a batch; a pytree without arrays, so that all runs share its compilation."""

    loss: Any

    def __call__(self, model: Any, batch: Pool) -> Float[Array, ""]:
        """Of B mentions, whose golds are on the diagonal of their scores with the pool."""
        scores = model.shared(batch.texts, len(batch.present))
        return jnp.mean(jax.vmap(self.loss.value)(jnp.diagonal(scores), scores, batch.present))
