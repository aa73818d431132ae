r"""Negatives mined with the model as it stands: any sampler of the library, once an epoch.

Scores of every training mention against its world are taken at the start of an epoch, by the
model of that moment; a sampler draws from them. Its label space is all N training entities, of
which those outside the mention's world have the score -inf: uniform negatives come from everywhere,
hard ones and those of the model from the world, where the mention will be linked.

A loss that corrects takes log q off: q is that of the moment of drawing. It is kept beside the
labels, as the amount to add to a score that is computed later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.losses import Loss
from nce_bias.retrieval._corpus import Mentions, check_mentions
from nce_bias.retrieval._retriever import Retrieves
from nce_bias.retrieval.ranking import INPUTS, world_scores
from nce_bias.samplers import Sampler


class Mined(eqx.Module):
    """Candidates of n mentions: column 0 is the gold.

    Attributes
    ----------
    labels : int `[n, K]`
        Entities.
    present : bool `[n, K]`
        False where the sampler gave no label.
    offsets : `[n, K]`
        What the loss's correction adds to the score: -log q, or 0.
    """

    labels: Int[np.ndarray, "n K"]
    present: Bool[np.ndarray, "n K"]
    offsets: Float[np.ndarray, "n K"]


def mine_negatives(  # noqa: PLR0913
    model: Retrieves,
    mentions: Mentions | Any,
    sampler: Sampler,
    loss: Loss,
    *,
    seed: int,
    distinct: bool = True,
    progress: bool = True,
) -> Mined:
    """Draw the candidates of an epoch.

    Parameters
    ----------
    model : Retriever or EncoderRetriever
        What scores.
    mentions : Mentions
        Each of them once, such as ``corpus["train"][rows]``. Negatives are of all worlds of their
        split.
    sampler, loss
        Negatives, and the correction they get.
    seed : int
    distinct : bool
        A label drawn twice for one mention (by two parts of a sum, or with replacement) is
        replaced by one drawn uniformly from the rest, with its offset kept. A sampler that gives
        the gold keeps it.
    progress : bool
        Show a bar on a terminal.

    Raises
    ------
    ValueError
        If a mention is there twice.
    """
    if len(np.unique(check_mentions(mentions).rows)) < len(mentions):
        raise refuse(
            "mentions",
            f"got {len(mentions)} mentions, {len(np.unique(mentions.rows))} of them different",
            "each mention once",
            "For another draw of the same mention give another seed.",
        )
    space = mentions.space
    places = np.full(len(mentions.entities), -1)
    places[space] = np.arange(len(space))
    counts = mentions.counts[space] + 1.0
    popularity = jnp.asarray(counts / np.sum(counts), jnp.float32)
    shape = len(mentions), 1 + sampler.slots(len(space))
    mined = Mined(np.empty(shape, np.int32), np.empty(shape, bool), np.empty(shape, np.float32))
    key = jax.random.key(seed)
    reads_scores = getattr(sampler, "reads_scores", True)
    blocks = _scored(model, mentions, places, progress) if reads_scores else _unscored(mentions)
    for some, scores in blocks:
        count = len(some)
        filled = np.resize(some, INPUTS)  # whole blocks: one shape compiles
        golds = places[mentions.labels[filled]]
        inputs = mentions.rows[filled], scores, golds
        drawn = _draw(key, inputs, popularity, sampler, loss)
        labels, present, offsets = (np.asarray(array)[:count] for array in drawn)
        mined.labels[some] = np.concatenate([golds[:count, None], labels], axis=1)
        mined.present[some] = np.concatenate([np.ones((count, 1), bool), present], axis=1)
        mined.offsets[some] = offsets
    if distinct:
        _replace_repeats(mined, len(space), mentions.rows, seed)
    mined.labels[:] = space[mined.labels]
    return mined


def _scored(
    model: Retrieves, mentions: Mentions, places: np.ndarray, progress: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Up to `INPUTS` mentions and their scores of the whole label space, -inf outside the world."""
    for part in world_scores(model, mentions, progress=progress):
        scores = np.full((INPUTS, len(mentions.space)), -np.inf, np.float32)
        begin = places[part.first]
        scores[: len(part.rows), begin : begin + part.scores.shape[1]] = part.scores
        yield part.rows, scores


def _unscored(mentions: Mentions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same without scores, which are most of the time of mining and not always read."""
    scores = np.zeros((INPUTS, len(mentions.space)), np.float32)
    for start in range(0, len(mentions), INPUTS):
        yield np.arange(start, min(start + INPUTS, len(mentions))), scores


@eqx.filter_jit
def _draw(
    key: PRNGKeyArray,
    inputs: tuple[Any, Any, Any],
    popularity: Float[Array, " V"],
    sampler: Sampler,
    loss: Loss,
):
    """Labels, presence and offsets of mentions: their rows `[B]`, scores `[B, V]`, golds `[B]`."""

    def one(mention):
        row, scores, gold = mention
        law = sampler.law(scores, popularity)
        labels, present = law.draw(jax.random.fold_in(key, row), gold)
        corrected = loss.corrected(jnp.zeros_like(scores), law, sampler.m)
        of_negatives = jnp.where(present, corrected.negatives_of(gold)[labels], 0.0)
        return labels, present, jnp.concatenate([corrected.gold[gold][None], of_negatives])

    return jax.lax.map(one, inputs)


def _replace_repeats(mined: Mined, labels: int, rows: Int[np.ndarray, " n"], seed: int) -> None:
    """In place: what is present for the second time becomes a label that the row does not have."""
    # slots without a label repeat nothing: each has a number of its own
    absent = -1 - np.arange(mined.labels.shape[1])
    shown = np.where(mined.present, mined.labels, absent)
    order = np.argsort(shown, axis=1, kind="stable")
    ranked = np.take_along_axis(shown, order, axis=1)
    again = np.zeros_like(mined.present)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    again &= mined.labels != mined.labels[:, :1]  # a gold that the sampler gave
    for row in np.flatnonzero(again.any(axis=1)):
        taken = set(shown[row].tolist())
        generator = np.random.default_rng([seed, int(rows[row])])
        free = (label for label in generator.permutation(labels) if label not in taken)
        for place in np.flatnonzero(again[row]):
            mined.labels[row, place] = next(free, mined.labels[row, place])
