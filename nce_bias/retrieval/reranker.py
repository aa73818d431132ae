r"""JOINT: one encoder reads a mention and an entity together, and re-orders what was retrieved.

A pair is one text, ``[CLS] left [unused0] mention [unused1] right [SEP] title : definition [SEP]``,
its second part of token type 1. With h_1 the state of its first token the score is

    j(x, y) = w . h_1(x, y) + a s(x, y),

where s is the score of the retriever that proposed the entity: a = 0 is JOINT as published, a = 1
at the start adds what reading the pair says to what the retriever says, and a is trained.

Every pair is a pass of the encoder, so that k candidates of n mentions cost n k of them where a
retriever takes n + V: it can re-order a few, and retrieves nothing.

**Bias.** Trained with all k - 1 others of its gold's candidates, its cross entropy is that of what
is re-ranked, exactly. As an estimate of the cross entropy over the world it has the bias of
``nb.top(k - 1)`` by the retriever's scores; with fewer negatives, drawn uniformly of the k - 1,
what is estimated is the cross entropy over the k, with the bias of uniform negatives there.

Sources: Logeswaran et al. (2019), *Zero-Shot Entity Linking by Reading Entity Descriptions*; Zhang
& Stratos (2021), section 4, JOINT; `nce_bias.scores.Joint` is its formula.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nce_bias._checks import refuse
from nce_bias._progress import Bar
from nce_bias.retrieval._corpus import Corpus, Mentions
from nce_bias.retrieval.encoder import BertStates, EncoderRetriever, bert_states, check_encoder
from nce_bias.retrieval.ranking import Ranked, blocks, check_candidates
from nce_bias.retrieval.tokens import Packed, TokenTexts

PAIRS = 256  # of one block


class Reranker(eqx.Module):
    """Scores of pairs; made by `reranker`, used by `rerank`.

    Attributes
    ----------
    encoder : BertStates
    read : `[H]`
        w, what is read off the first state.
    prior : float or `[]`
        a, the weight of the retriever's score; an array is trained.
    """

    encoder: BertStates
    read: Float[Array, " H"]
    prior: float | Float[Array, ""]

    def __call__(self, texts: Packed) -> Float[Array, " B"]:
        """w . h_1 of B pairs, without what the retriever says of them."""
        return self.encoder(texts)[jnp.asarray(texts.at)[:, 0]] @ self.read


def reranker(
    corpus: Corpus,
    start: EncoderRetriever | None = None,
    *,
    joined: bool = True,
    dropout: float = 0.1,
    seed: int = 0,
) -> Reranker:
    """An untrained re-ranker.

    Parameters
    ----------
    corpus : Corpus
        Of `nb.retrieval.corpus` with learn=True and a BERT.
    start : EncoderRetriever, optional
        Whose encoder it begins from, that of inputs; default: the corpus's.
    joined : bool
        Whether the retriever's score is part of its own: a begins at 1 and is trained.
    dropout : float
        Rate while training.
    seed : int
        Of w, which begins as a normal vector of length about 1.

    Raises
    ------
    ValueError
        For a corpus that holds no tokens, and one whose pairs have more tokens than the encoder has
        positions.
    """
    base = check_encoder(corpus)
    positions, longest = base.config["max_position_embeddings"], 2 * base.max_tokens - 1
    if longest > positions:
        raise refuse(
            "corpus",
            f"got texts of up to {base.max_tokens} tokens, pairs of up to {longest}",
            f"pairs of {positions} or less, the positions of its encoder",
            f"Make the encoder with max_tokens={(positions + 1) // 2}.",
        )
    width = base.config["hidden_size"]
    read = jax.random.normal(jax.random.key(seed), (width,), jnp.float32) / width**0.5
    prior = jnp.ones((), jnp.float32) if joined else 0.0
    encoder = bert_states(base, rate=dropout)
    if start is not None:
        encoder = eqx.tree_at(lambda states: states.weights, encoder, start.encoder.weights)
    return Reranker(encoder, read, prior)


def pair_texts(mentions: Mentions | Any, labels: Int[np.ndarray, "n k"]) -> TokenTexts:
    """n k texts: each mention with each of its k entities, mention by mention."""
    firsts = [mentions.texts[row] for row in mentions.rows]
    entities = mentions.entities
    # the entity's own first mark is left out
    parts = [
        part
        for first, row in zip(firsts, labels, strict=True)
        for label in row
        for part in (first, entities[label][1:])
    ]
    lengths = np.array([len(part) for part in parts], np.int64).reshape(-1, 2)
    starts = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
    return TokenTexts(np.concatenate([np.zeros(0, np.int32), *parts]), starts, lengths[:, 0])


def rerank(
    model: Reranker | Any,
    mentions: Mentions | Any,
    candidates: Ranked | Any,
    *,
    progress: bool = True,
) -> Ranked:
    """Re-order the candidates of each mention.

    Parameters
    ----------
    model : Reranker
    mentions : Mentions
        n of them.
    candidates : Ranked
        Of `rank_candidates` of the same mentions, k entities each.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    Ranked
        `labels` and `scores` best first. `ranks` are those of the two stages together: the gold's
        place among the candidates, ties against it, where it is one of them, and where it is not
        the retriever's, which is behind them all. The share of ranks of 1 is thus the
        **unnormalised** accuracy, mentions whose gold was not retrieved counting as wrong; over
        those whose gold was, it is the **normalised** one.

    Raises
    ------
    ValueError
        For candidates of other mentions, and a model that is no re-ranker.

    Examples
    --------
    >>> import numpy as np
    >>> ranks, golds = np.array([1, 1, 2, 9]), np.array([True, True, True, False])
    >>> float(np.mean(ranks == 1)), round(float(np.mean(ranks[golds] == 1)), 3)
    (0.5, 0.667)
    """
    scores = pair_scores(model, mentions, candidates, progress=progress)
    prior = float(np.asarray(model.prior))
    if prior != 0:
        scores = np.where(candidates.labels >= 0, scores + prior * candidates.scores, -np.inf)
    return reordered(mentions, candidates, scores)


def pair_scores(
    model: Reranker | Any,
    mentions: Mentions | Any,
    candidates: Ranked | Any,
    *,
    progress: bool = True,
) -> Float[np.ndarray, "n k"]:
    """w . h_1 of each mention with each of its candidates, -inf where there is none.

    Arguments and errors as `rerank`, which adds the retriever's share.
    """
    check_candidates(mentions, candidates)
    _check(model)
    texts = pair_texts(mentions, np.maximum(candidates.labels, 0))
    there = np.flatnonzero(candidates.labels.ravel() >= 0)
    found = np.full(candidates.labels.size, -np.inf, np.float32)
    with Bar(len(there), "re-ranking", enabled=progress) as bar:
        for block in blocks(texts, there, PAIRS):
            scored = np.asarray(_score(model, block.texts))
            found[there[block.rows]] = scored[: len(block.rows)]
            bar.advance(len(block.rows))
    return found.reshape(candidates.labels.shape)


def reordered(
    mentions: Mentions | Any, candidates: Ranked, scores: Float[np.ndarray, "n k"]
) -> Ranked:
    """Candidates by other scores of them, best first; ranks as `rerank` says."""
    order = np.argsort(-scores, axis=1, kind="stable")
    labels, best = (np.take_along_axis(a, order, axis=1) for a in (candidates.labels, scores))
    return Ranked(_ranks(mentions, candidates, scores), labels, best.astype(np.float32))


@eqx.filter_jit
def _score(model: Reranker, texts: Any) -> Array:
    return model(texts)


def _ranks(
    mentions: Mentions | Any, candidates: Ranked, scores: np.ndarray
) -> Int[np.ndarray, " n"]:
    gold = candidates.labels == mentions.labels[:, None]
    of_gold = np.max(scores, axis=1, where=gold, initial=-np.inf)
    held = candidates.labels >= 0
    behind = np.sum(held & ~(scores < of_gold[:, None]), axis=1)
    missing = np.maximum(candidates.ranks, held.sum(axis=1) + 1)
    return np.where(gold.any(axis=1), behind, missing)


def _check(model: Any) -> None:
    if not isinstance(model, Reranker):
        raise refuse(
            "model",
            f"got {type(model).__name__}",
            "a Reranker, which reads pairs",
            "Make one by nb.retrieval.reranker, or rank with nb.retrieval.rank.",
        )
