"""A retriever: two towers and a score between them."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nce_bias import scores
from nce_bias._checks import refuse
from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval.tower import Batch, Columns, Side, Tower, tower
from nce_bias.scores.base import Pooled
from nce_bias.text import Bert, Hashed

SCALE = 20.0  # at the start, of scores of unit vectors: that of the frozen encoder's own training
MENTION = 2  # roles of the tokens of an input: context, mention


class Retrieves(eqx.Module):
    """What ranks, is mined from and measured: columns of each side, and a score between them."""

    score: eqx.AbstractVar[scores.Score]

    @abstractmethod
    def encode_inputs(self, texts: Any) -> Columns:
        """Columns of inputs, the scale in them."""

    @abstractmethod
    def encode_labels(self, texts: Any) -> Columns:
        """Columns of labels."""

    def candidates(self, inputs: Any, labels: Any) -> Float[Array, "B K"]:
        """Scores of B inputs with K candidates each; `labels` has B K texts, input by input."""
        E, F = self.encode_inputs(inputs), self.encode_labels(labels)
        F = jax.tree.map(lambda leaf: leaf.reshape(len(E.states), -1, *leaf.shape[1:]), F)
        return scores.pairs(self.score, E.states, E.mask, F.states, F.mask)

    def against(self, inputs: Columns, labels: Columns) -> Float[Array, "B V"]:
        """Scores of encoded inputs against encoded labels."""
        return scores.against(self.score, *inputs, *labels)


class Retriever(Retrieves):
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
        if self.words is None or texts.bags is None:
            return texts
        states = self.words(jnp.asarray(texts.bags))[texts.word]
        return Batch(states, texts.ids, texts.roles, texts.at)


def retriever(corpus: Corpus, score: scores.Score, *, dim: int = 64, seed: int = 0) -> Retriever:
    """An untrained retriever: both towers project alike, words weigh by how rare they are.

    Gates start at half the inverse document frequency among the entities of the training worlds,
    log((N + 1) / (n + 1/2)) / 2, so that a weight is about the square root of rarity; those of the
    mention's own words at 1 more.

    Parameters
    ----------
    corpus : Corpus
    score : nb.scores.Score
        Dual, Multi, Som or Poly (whose codes need width `dim`).
    dim : int
        d, width of the columns.
    seed : int
        Seed of the projections.

    Raises
    ------
    ValueError
        For a score that cannot retrieve.
    """
    columns = check_retrieves(score)
    if isinstance(corpus.words, Bert):
        raise refuse(
            "corpus",
            f"got {corpus!r}, which holds tokens and no states",
            "a corpus of frozen states or learnt words",
            "Pass it to nb.retrieval.encoder_retriever or train_encoder, or leave learn out.",
        )
    gates, center = corpus.rarity() / 2, corpus.center()
    side = functools.partial(tower, jax.random.key(seed), gates, center, dim=dim)
    return Retriever(
        inputs=side(Side(MENTION, columns.inputs, gated=True)),
        labels=side(Side(1, columns.labels, gated=False)),
        score=score,
        log_scale=jnp.asarray(np.log(SCALE), jnp.float32),
        words=jax.tree.map(lambda leaf: leaf.astype(jnp.float32), corpus.words),
    )


def check_retrieves(score: Any) -> Pooled:
    """How many columns a score takes of each side; one that reads pairs is refused."""
    columns = getattr(score, "columns", None)
    if columns is None:
        raise refuse(
            "score",
            f"got {score!r}",
            "dual, multi, som or poly, which score from encodings of each side",
            "JOINT reads pairs and can re-rank, not retrieve.",
        )
    return columns
