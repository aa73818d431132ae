"""Scoring every input against all labels of its world, in blocks of few shapes.

Texts are sorted by length and padded to one of a few lengths, inputs come 64 at a time and labels
1024: few programs are compiled, little is computed for padding, and no array is larger than one
block of inputs x labels x tokens x tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import check_count, refuse
from nce_bias._progress import Bar
from nce_bias.retrieval._corpus import Mentions, check_mentions
from nce_bias.retrieval._retriever import Retrieves
from nce_bias.retrieval.texts import Texts
from nce_bias.retrieval.tokens import TokenTexts
from nce_bias.retrieval.tower import Columns
from nce_bias.retrieval.worlds import worlds_of

INPUTS, LABELS = 64, 1024  # of one block


class Scored(NamedTuple):
    """Scores of the mentions `rows` against the labels first, first + 1, ... of their world."""

    rows: Int[np.ndarray, " B"]
    first: int
    scores: Float[np.ndarray, "B V"]


class Block(NamedTuple):
    """Texts of about one length, the last repeated to fill the block, and which of those given."""

    rows: Int[np.ndarray, " B"]
    texts: Any  # Batch or Packed


class Encoded(NamedTuple):
    """Columns of a block, and which of the texts given they are of."""

    rows: Int[np.ndarray, " B"]
    columns: Columns


@eqx.filter_jit
def _encode_inputs(model: Retrieves, texts: Any) -> Columns:
    return model.encode_inputs(texts)


@eqx.filter_jit
def _encode_labels(model: Retrieves, texts: Any) -> Columns:
    return model.encode_labels(texts)


@eqx.filter_jit
def _against(model: Retrieves, inputs: Columns, labels: Columns) -> Any:
    return model.against(inputs, labels)


def blocks(texts: Texts | TokenTexts, rows: Int[np.ndarray, " n"], size: int) -> Iterator[Block]:
    """Some texts, `size` at a time, short ones first."""
    bucket = np.searchsorted(texts.buckets, texts.lengths[rows])
    for index, length in enumerate(texts.buckets):
        inside = np.flatnonzero(bucket == index)
        for start in range(0, len(inside), size):
            some = inside[start : start + size]
            filled = np.concatenate([some, np.repeat(some[-1:], size - len(some))])
            yield Block(some, texts.batch(rows[filled], length))


def encode(
    model: Retrieves,
    texts: Texts | TokenTexts,
    rows: Int[np.ndarray, " n"],
    side: str,
    size: int | None = None,
) -> Iterator[Encoded]:
    """Columns of some texts, block by block; `side` is "inputs" or "labels".

    A block that does not fit the memory is halved, and so are those behind it; a warning says so.
    """
    encoder, usual = (_encode_inputs, INPUTS) if side == "inputs" else (_encode_labels, LABELS)
    size, left = size or usual, np.ones(len(rows), bool)
    try:
        for block in blocks(texts, rows, size):
            columns = jax.block_until_ready(encoder(model, block.texts))
            left[block.rows] = False
            yield Encoded(block.rows, columns)
    except jax.errors.JaxRuntimeError as error:
        if not out_of_memory(error) or size == 1:
            raise
    # not in the handler: the error keeps what the failed call held
    rest = np.flatnonzero(left)
    if len(rest):
        smaller = size // 2
        said = f"{side}: {size} texts at a time do not fit the memory; going on with {smaller}."
        warnings.warn(said, stacklevel=2)
        for found in encode(model, texts, rows[rest], side, smaller):
            yield found._replace(rows=rest[found.rows])


def out_of_memory(error: Exception) -> bool:
    """Whether that is what a device said."""
    return "RESOURCE_EXHAUSTED" in str(error)


def world_scores(
    model: Retrieves | Any, mentions: Mentions | Any, *, progress: bool = False
) -> Iterator[Scored]:
    """Scores of mentions against the labels of their worlds.

    Worlds come in order, the mentions of a world in blocks sorted by length; `rows` of what is
    given counts the mentions given: ``mentions[scored.rows]`` are those scored. With `progress` a
    bar counts the texts that are encoded.

    Raises
    ------
    ValueError
        For a model that reads pairs: it cannot retrieve.
    """
    if not hasattr(model, "encode_labels"):
        raise refuse(
            "model",
            f"got {type(model).__name__}, which encodes no label alone",
            "a retriever",
            "JOINT re-ranks what a retriever found: nb.retrieval.rerank(model, mentions, found).",
        )
    worlds = worlds_of(check_mentions(mentions).spans)
    texts = sum(world.end - world.first for world in worlds) + len(mentions)
    with Bar(texts, "scoring", enabled=progress) as bar:
        for first, end, inside in worlds:
            labels = []
            for label in encode(model, mentions.entities, np.arange(first, end), "labels"):
                labels.append(label)
                bar.advance(len(label.rows))
            for block in encode(model, mentions.texts, mentions.rows[inside], "inputs"):
                scores = np.empty((len(block.rows), end - first), np.float32)
                # all blocks are dispatched before the first is waited for
                parts = [_against(model, block.columns, label.columns) for label in labels]
                for label, part in zip(labels, parts, strict=True):
                    scores[:, label.rows] = np.asarray(part)[: len(block.rows), : len(label.rows)]
                bar.advance(len(block.rows))
                yield Scored(inside[block.rows], first, scores)


class Ranked(NamedTuple):
    """Ranks of n mentions, and the k best entities of each.

    Attributes
    ----------
    ranks : int `[n]`
        As `rank` gives them.
    labels : int `[n, k]`
        Best first, -1 where the world has fewer; of equal scores those that come first in the
        world.
    scores : `[n, k]`
        Theirs; -inf where there is none.
    """

    ranks: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, "n k"]
    scores: Float[np.ndarray, "n k"]


def check_candidates(mentions: Mentions | Any, candidates: Any) -> None:
    """That candidates are those of some mentions, as far as their number tells."""
    count = len(check_mentions(mentions))
    if isinstance(candidates, Ranked) and len(candidates.labels) == count:
        return
    given = type(candidates).__name__
    if isinstance(candidates, Ranked):
        given = f"candidates of {len(candidates.labels)} mentions"
    raise refuse(
        "candidates",
        f"got {given} for {count} mentions",
        "the Ranked of these mentions",
        "Pass nb.retrieval.rank_candidates(retriever, mentions, 64).",
    )


def rank_candidates(
    model: Retrieves | Any, mentions: Mentions | Any, count: int, *, progress: bool = True
) -> Ranked:
    """Ranks as `rank`, and the `count` best entities of each mention: what a re-ranker reads."""
    return ranked(world_scores(model, mentions, progress=progress), mentions, count)


def ranked(parts: Iterable[Scored], mentions: Mentions | Any, count: int) -> Ranked:
    """As `rank_candidates`, of scores that are there, of any source.

    Raises
    ------
    ValueError
        Where some mentions have no scores.
    """
    shape = len(check_mentions(mentions)), check_count("count", count)
    labels, best = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    ranks = np.zeros(shape[0], int)
    for part in parts:
        ranks[part.rows] = gold_ranks(part, mentions.labels)
        order = np.argsort(-part.scores, axis=1, kind="stable")[:, :count]
        held = order.shape[1]
        labels[part.rows, :held] = part.first + order
        best[part.rows, :held] = np.take_along_axis(part.scores, order, axis=1)
    if not ranks.all():
        given = f"got none of {np.sum(ranks == 0)} mentions"
        raise refuse("parts", given, f"scores of all {shape[0]}", "Pass all that world_scores has.")
    return Ranked(ranks, labels, best)


def rank(
    model: Retrieves | Any, mentions: Mentions | Any, *, progress: bool = True
) -> Int[np.ndarray, " n"]:
    """Rank of each mention's entity among those of its world: 1 is best, ties count against it."""
    ranks = np.zeros(len(check_mentions(mentions)), int)
    for part in world_scores(model, mentions, progress=progress):
        ranks[part.rows] = gold_ranks(part, mentions.labels)
    return ranks


def gold_ranks(part: Scored, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " B"]:
    """Rank of the gold of each mention of a block, whose `rows` say which of n `labels` it is."""
    golds = labels[part.rows] - part.first
    gold_scores = part.scores[np.arange(len(golds)), golds]
    return np.sum(~(part.scores < gold_scores[:, None]), axis=1)
