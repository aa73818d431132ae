"""A retriever: two towers and a score between them."""

from __future__ import annotations

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nce_bias import scores
from nce_bias._checks import refuse
from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval.tower import Batch, Columns, Tower, tower
from nce_bias.text import Hashed

SCALE = 20.0  # at the start, of scores of unit vectors: that of the frozen encoder's own training
MENTION = 2  # roles of the tokens of an input: context, mention


class Kind(NamedTuple):
    """Columns of input and label: so many pooled ones, 0 for one each token."""

    inputs: int
    labels: int


def kind(score: scores.Score) -> Kind:
    """Which columns a score function reads."""
    if isinstance(score, scores.Dual):
        return Kind(1, 1)
    if isinstance(score, scores.Multi):
        return Kind(1, score.m)
    if isinstance(score, scores.Som):
        return Kind(0, 0)
    if isinstance(score, scores.Poly):
        return Kind(0, 1)
    raise refuse(
        "score",
        f"got {score!r}",
        "dual, multi, som or poly, which score from encodings of each side",
        "JOINT reads pairs and can re-rank, not retrieve.",
    )


class Retriever(eqx.Module):
    """Scores of inputs and labels: exp(log_scale) s(columns of the input, columns of the label).

    `words` is the table of learnt words, one for both sides, or None where states are frozen.
    """

    inputs: Tower
    labels: Tower
    score: scores.Score
    log_scale: Float[Array, ""]
    words: Hashed | None = None

    def encode_inputs(self, texts: Batch) -> Columns:
        """Columns of inputs, the scale in them: every score of this package is linear in E."""
        columns = self.inputs(self._read(texts))
        return Columns(columns.states * jnp.exp(self.log_scale), columns.mask)

    def encode_labels(self, texts: Batch) -> Columns:
        """Columns of labels."""
        return self.labels(self._read(texts))

    def _read(self, texts: Batch) -> Batch:
        if self.words is None or texts.word is None:
            return texts
        return texts._replace(states=self.words(jnp.asarray(texts.states))[texts.word])

    def candidates(self, inputs: Batch, labels: Batch) -> Float[Array, "B K"]:
        """Scores of B inputs with K candidates each; `labels` has B K texts, input by input."""
        E, F = self.encode_inputs(inputs), self.encode_labels(labels)
        F = jax.tree.map(lambda leaf: leaf.reshape(len(E.states), -1, *leaf.shape[1:]), F)
        return scores.pairs(self.score, E.states, E.mask, F.states, F.mask)

    def against(self, inputs: Columns, labels: Columns) -> Float[Array, "B V"]:
        """Scores of encoded inputs against encoded labels."""
        return scores.against(self.score, *inputs, *labels)


def retriever(corpus: Corpus, score: scores.Score, *, size: int = 64, seed: int = 0) -> Retriever:
    """An untrained retriever: both towers project alike, words weigh by how rare they are.

    Gates start at half the inverse document frequency among the entities of the training worlds,
    log((N + 1) / (n + 1/2)) / 2, so that a weight is about the square root of rarity; those of the
    mention's own words at 1 more.

    Parameters
    ----------
    corpus : Corpus
    score : nb.scores.Score
        Dual, Multi, Som or Poly (whose codes need width `size`).
    size : int
        d, width of the columns.
    seed : int
        Of the projections.

    Raises
    ------
    ValueError
        For a score that cannot retrieve.
    """
    reads = kind(score)
    gates, center = corpus.rarity() / 2, corpus.center()
    key = jax.random.key(seed)
    side = functools.partial(tower, key, gates, center, size=size)
    return Retriever(
        side(roles=MENTION, pooled=reads.inputs, gated=True),
        side(roles=1, pooled=reads.labels, gated=False),
        score,
        jnp.asarray(np.log(SCALE), jnp.float32),
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), corpus.words),
    )
