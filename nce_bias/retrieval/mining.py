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

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.losses import Loss
from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval._retriever import Retriever
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


def mine(
    model: Retriever,
    corpus: Corpus,
    rows: Int[np.ndarray, " n"],
    sampler: Sampler,
    loss: Loss,
    *,
    seed: int,
    split: str = "train",
    distinct: bool = True,
) -> Mined:
    """Draw the candidates of an epoch.

    Parameters
    ----------
    model, corpus, split
        Whose scores, of which texts.
    rows : int `[n]`
        Mentions.
    sampler, loss
        Negatives, and the correction they get.
    seed : int
    distinct : bool
        A label drawn twice for one mention (by two parts of a sum, or with replacement) is
        replaced by one drawn uniformly from the rest, with its offset kept. A sampler that gives
        the gold keeps it.

    Raises
    ------
    ValueError
        If a mention stands twice in `rows`.
    """
    if len(np.unique(rows)) < len(rows):
        raise refuse(
            "rows",
            f"got {len(rows)} mentions, {len(np.unique(rows))} of them different",
            "each mention once",
            "For another draw of the same mention give another seed.",
        )
    space = corpus.label_space(split)
    places = np.full(len(corpus.entities), -1)
    places[space] = np.arange(len(space))
    popularity = (corpus.counts[space] + 1.0) / np.sum(corpus.counts[space] + 1.0)
    slots = sampler.slots(len(space))
    found = Mined(
        np.empty((len(rows), 1 + slots), np.int32),
        np.empty((len(rows), 1 + slots), bool),
        np.empty((len(rows), 1 + slots), np.float32),
    )
    order = np.full(len(corpus.labels[split]), -1)
    order[rows] = np.arange(len(rows))
    key = jax.random.key(seed)
    popularity = jnp.asarray(popularity, jnp.float32)
    blind = not reads_scores(sampler, loss, len(space))
    blocks = _unscored(rows, len(space)) if blind else _scored(model, corpus, split, rows, places)
    for some, scores in blocks:
        at, count = order[some], len(some)
        filled = np.resize(some, INPUTS)  # whole blocks: one shape compiles
        gold = places[corpus.labels[split][filled]]
        drawn = _draw(key, filled, scores, gold, popularity, sampler, loss)
        labels, present, offsets = (np.asarray(array)[:count] for array in drawn)
        found.labels[at] = np.concatenate([gold[:count, None], labels], axis=1)
        found.present[at] = np.concatenate([np.ones((count, 1), bool), present], axis=1)
        found.offsets[at] = offsets
    if distinct:
        _replace_repeats(found, len(space), rows, seed)
    found.labels[:] = space[found.labels]
    return found


def _scored(
    model: Retriever, corpus: Corpus, split: str, rows: np.ndarray, places: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Up to `INPUTS` mentions and their scores of the whole label space, -inf outside the world."""
    for part in world_scores(model, corpus, split, rows):
        scores = np.full((INPUTS, int(places.max()) + 1), -np.inf, np.float32)
        begin = places[part.first]
        scores[: len(part.rows), begin : begin + part.scores.shape[1]] = part.scores
        yield part.rows, scores


def _unscored(rows: np.ndarray, labels: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    scores = np.zeros((INPUTS, labels), np.float32)
    for start in range(0, len(rows), INPUTS):
        yield rows[start : start + INPUTS], scores


def reads_scores(sampler: Sampler, loss: Loss, labels: int) -> bool:
    """Whether a draw or its correction depends on the model, as far as the traced program tells.

    Scoring every mention against its world is most of the time of mining, and what uniform or
    popularity negatives do without. A program may read scores and not use them: then they are
    computed for nothing, and nothing else is lost.
    """
    popularity = jnp.full(labels, 1 / labels, jnp.float32)
    given = jax.ShapeDtypeStruct((labels,), np.float32)
    program = jax.make_jaxpr(
        lambda s: _one(jax.random.key(0), s, jnp.asarray(0), popularity, sampler, loss)
    )
    traced = program(given).jaxpr
    reached = {id(variable) for variable in traced.invars}
    for equation in traced.eqns:
        if reached & {id(variable) for variable in equation.invars}:
            reached |= {id(variable) for variable in equation.outvars}
    return bool(reached & {id(variable) for variable in traced.outvars})


@eqx.filter_jit
def _draw(
    key: PRNGKeyArray,
    rows: Int[Array | np.ndarray, " B"],
    scores: Float[Array | np.ndarray, "B V"],
    gold: Int[Array | np.ndarray, " B"],
    popularity: Float[Array, " V"],
    sampler: Sampler,
    loss: Loss,
):
    def one(entry):
        row, scores, gold = entry
        return _one(jax.random.fold_in(key, row), scores, gold, popularity, sampler, loss)

    return jax.lax.map(one, (rows, scores, gold))


def _one(key, scores, gold, popularity, sampler: Sampler, loss: Loss):
    """Labels, presence and offsets of one mention."""
    law = sampler.law(scores, popularity)
    labels, present = law.draw(key, gold)
    corrected = loss.corrected(jnp.zeros_like(scores), law, sampler.m)
    own, others = corrected.gold[gold], corrected.negatives_of(gold)[labels]
    return labels, present, jnp.concatenate([own[None], jnp.where(present, others, 0.0)])


def _replace_repeats(found: Mined, labels: int, rows: Int[np.ndarray, " n"], seed: int) -> None:
    """In place: what is present for the second time becomes a label that the row does not have."""
    # slots without a label repeat nothing: each has a number of its own
    absent = -1 - np.arange(found.labels.shape[1])
    shown = np.where(found.present, found.labels, absent)
    order = np.argsort(shown, axis=1, kind="stable")
    ranked = np.take_along_axis(shown, order, axis=1)
    again = np.zeros_like(found.present)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    again &= found.labels != found.labels[:, :1]  # a gold that the sampler gave
    for row in np.flatnonzero(again.any(axis=1)):
        taken = set(shown[row].tolist())
        generator = np.random.default_rng([seed, int(rows[row])])
        free = (label for label in generator.permutation(labels) if label not in taken)
        for place in np.flatnonzero(again[row]):
            found.labels[row, place] = next(free, found.labels[row, place])
