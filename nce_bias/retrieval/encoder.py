r"""A retriever all of which is trained: a BERT, a head for each side, and a score between them.

The encoder gives a state h_i to each token; both sides share its weights unless asked otherwise. A
head makes columns of them, as many as the score takes:

* **one**: the unit vector along the mean of h_i, the marks of the text included.
* **m**: column k is the unit vector along sum_i w_i h_i with w = softmax_i(q_k . h_i); q_1 = 0 at
  the start, the other q_k are small and seeded.
* **tokens**: column i is the unit vector along h_i, or along W h_i if a width is given. Inputs of
  SOM, which sums over them, have weights softmax_i(g . h_i), equal ones at the start (g = 0).

Scores are `scale` times what the score function makes of these: cosines times 20 for DUAL.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nce_bias import scores
from nce_bias._checks import check_count, refuse
from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval._retriever import SCALE, Retrieves, check_retrieves
from nce_bias.retrieval.tokens import Packed
from nce_bias.retrieval.tower import Columns, padded, softmax, unit
from nce_bias.text import Bert
from nce_bias.text.bert import Dropout, Form, Weights, depth, states

CELLS = 2048  # computed at a time: more fit no cache, and take twice as long a token


class BertStates(eqx.Module):
    """States of packed texts by weights that are trained; `rate` is that of dropout.

    `constant` is how many layers, and the embeddings, have no derivative: 0 is none of both.
    """

    weights: Weights
    form: Form = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    remat: bool = eqx.field(static=True)
    constant: int = eqx.field(static=True, default=0)

    def __call__(self, texts: Packed) -> Float[Array, "N H"]:
        """The state of each cell, row after row."""
        cells = jnp.stack([jnp.asarray(part) for part in texts.cells])  # [4, R, W]
        rows = cells.shape[1]
        key = None
        if texts.noise is not None and self.rate > 0:
            seed, step = jnp.asarray(texts.noise)
            key = jax.random.fold_in(jax.random.key(seed), step)

        def some(numbered: tuple[Array, Array]) -> Array:
            number, (ids, positions, numbers, types) = numbered
            dropout = key if key is None else Dropout(jax.random.fold_in(key, number), self.rate)
            return states(
                self.weights,
                (ids, positions, numbers, types),
                self.form,
                dropout=dropout,
                remat=self.remat,
                constant=self.constant,
            )

        most = max(1, CELLS // cells.shape[2])
        count = next(n for n in range(1, rows + 1) if rows % n == 0 and rows <= n * most)
        parts = jnp.moveaxis(cells.reshape(4, count, -1, cells.shape[2]), 1, 0)
        found = jax.lax.map(some, (jnp.arange(count), parts))
        return found.reshape(-1, found.shape[-1])


def bert_states(encoder: Bert, *, rate: float = 0.1, remat: bool = False) -> BertStates:
    """What a model trains, beginning from an encoder's weights."""
    return BertStates(encoder.weights, Form.of(encoder.config), rate, remat)


class Head(eqx.Module):
    """Columns of texts from their states; see the module.

    Attributes
    ----------
    project : `[H, d]`, optional
    queries : `[n, H]`
        What each of n > 1 pooled columns looks for; n = 0 for a mean or tokens.
    gate : `[H]`, optional
        What the weights of columns of tokens look for.
    mean : bool
        Whether there is one column, the mean.
    """

    project: Float[Array, "H d"] | None
    queries: Float[Array, "n H"]
    gate: Float[Array, " H"] | None
    mean: bool = eqx.field(static=True)

    def __call__(self, states: Float[Array, "N H"], texts: Packed) -> Columns:
        """Columns `[B, n, d]`, or `[B, T, d]` of tokens."""
        mask = texts.mask
        vectors = states if self.project is None else states @ self.project
        if self.mean:
            number = jnp.asarray(texts.texts).reshape(-1)
            # number 0 is no text; B may be some of the texts that stand in the rows
            sums = jax.ops.segment_sum(vectors, number, number.size + 1)
            return Columns(unit(sums[number[jnp.asarray(texts.at)[:, 0]]])[:, None], mask[:, :1])
        columns = padded(vectors, texts.at)
        if len(self.queries):
            logits = padded(states @ self.queries.T, texts.at)  # [B, T, n]
            pooled = jnp.einsum("btn,btd->bnd", softmax(logits, mask[..., None]), columns)
            return Columns(unit(pooled), jnp.broadcast_to(mask[:, :1], pooled.shape[:2]))
        columns = jnp.where(mask[..., None], unit(columns), 0.0)
        if self.gate is not None:
            weights = softmax(padded(states @ self.gate, texts.at), mask)
            columns = columns * weights[..., None]
        return Columns(columns, mask)


class EncoderRetriever(Retrieves):
    """Scores of inputs and labels, the encoder trained with them; made by `encoder_retriever`.

    It is used where a `Retriever` is: `rank`, `world_scores`, `mine_negatives`, `pull_back`.

    Attributes
    ----------
    encoder : BertStates
    label_encoder : BertStates, optional
        That of labels, where it is not the inputs'.
    inputs, labels : Head
    score : nb.scores.Score
    scale : float or `[]`
        A plain number is a constant, an array is trained.
    """

    encoder: BertStates
    label_encoder: BertStates | None
    inputs: Head
    labels: Head
    score: scores.Score
    scale: float | Float[Array, ""]

    def frozen(self, layers: int) -> EncoderRetriever:
        """The same model; its embeddings and first `layers` layers have the derivative 0.

        For what is pulled back to the layers above them alone, where the backward pass ends. Not
        for training: AdamW's weight decay moves what has no gradient, too.

        Raises
        ------
        ValueError
            For a number of layers that the encoder does not have.
        """
        held = depth(self.encoder.weights)
        if check_count("layers", layers, least=0) > held:
            given = f"got {layers}"
            raise refuse("layers", given, f"0 to {held}", "So many layers the encoder has.")

        def of(encoder: BertStates | None) -> BertStates | None:
            return None if encoder is None else dataclasses.replace(encoder, constant=layers)

        return dataclasses.replace(
            self, encoder=of(self.encoder), label_encoder=of(self.label_encoder)
        )

    def encode_inputs(self, texts: Packed) -> Columns:
        """Columns of inputs, the scale in them: every score of this package is linear in E."""
        return self._inputs(self.encoder(texts), texts)

    def encode_labels(self, texts: Packed) -> Columns:
        """Columns of labels."""
        return self.labels((self.label_encoder or self.encoder)(texts), texts)

    def _inputs(self, states: Array, texts: Packed) -> Columns:
        columns = self.inputs(states, texts)
        return Columns(columns.states * self.scale, columns.mask)

    def shared(self, texts: Packed, count: int) -> Float[Array, "B P"]:
        """Scores of the first `count` texts with all others, which they share as candidates.

        Where one encoder is both sides', it runs once over all texts.
        """
        inputs, labels = (texts._replace(at=at) for at in (texts.at[:count], texts.at[count:]))
        found = self.encoder(texts)
        E = self._inputs(found, inputs)
        if self.label_encoder is not None:
            found = self.label_encoder(texts)
        return self.against(E, self.labels(found, labels))


def encoder_retriever(  # noqa: PLR0913
    corpus: Corpus,
    score: scores.Score,
    *,
    dim: int | None = None,
    scale: float | Array = SCALE,
    shared: bool = True,
    dropout: float = 0.1,
    remat: bool = False,
    seed: int = 0,
) -> EncoderRetriever:
    """An untrained retriever on the encoder of a corpus of tokens.

    Parameters
    ----------
    corpus : Corpus
        Of `nb.retrieval.corpus` with learn=True and a BERT.
    score : nb.scores.Score
        Dual, Multi, Som or Poly (whose codes need the width of columns).
    dim : int, optional
        Width of the columns, by a linear map that begins orthogonal; default: the encoder's, no
        map.
    scale : float or array
        Of scores; an array is trained.
    shared : bool
        Whether both sides have one encoder; otherwise each begins from the same weights.
    dropout : float
        Rate while training, rounded to a multiple of 1/256.
    remat : bool
        Compute layers twice and keep less of them: about a third more time for a fraction of the
        memory.
    seed : int
        Seed of the map and of the queries.

    Raises
    ------
    ValueError
        For a score that cannot retrieve, and a corpus that holds no tokens.
    """
    columns = check_retrieves(score)
    base = check_encoder(corpus)
    encoder = bert_states(base, rate=dropout, remat=remat)
    key = jax.random.key(seed)
    summed = columns.labels == 0

    def head(pooled: int, gated: bool) -> Head:
        return _head(key, base.config["hidden_size"], dim, pooled, gated=gated)

    return EncoderRetriever(
        encoder=encoder,
        label_encoder=None if shared else encoder,
        inputs=head(columns.inputs, columns.inputs == 0 and summed),
        labels=head(columns.labels, False),
        score=score,
        scale=scale,
    )


def check_encoder(corpus: Corpus) -> Bert:
    """The encoder of a corpus of tokens; a corpus of frozen states is refused."""
    if not isinstance(corpus.words, Bert):
        raise refuse(
            "corpus",
            f"got {corpus!r}, which holds no tokens",
            "a corpus whose encoder is trained",
            "Make it by nb.retrieval.corpus(data, nb.text.minilm(), learn=True).",
        )
    return corpus.words


def _head(key: PRNGKeyArray, width: int, dim: int | None, pooled: int, *, gated: bool) -> Head:
    project = None
    if dim is not None:
        project = jnp.linalg.qr(jax.random.normal(key, (width, dim), jnp.float32))[0]
    several = pooled if pooled > 1 else 0
    queries = jax.random.normal(jax.random.fold_in(key, 1), (several, width), jnp.float32)
    size = jnp.where(jnp.arange(several) > 0, width**-0.5, 0.0).astype(jnp.float32)
    gate = jnp.zeros(width, jnp.float32) if gated else None
    return Head(project, queries * size[:, None], gate, pooled == 1)
