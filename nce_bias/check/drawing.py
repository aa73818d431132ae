"""What is drawn: labels by a law, or by a function of the user's, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import refuse
from nce_bias._reads import bind
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: ``(key, scores[V], popularity[V], gold) -> labels[m]`` or ``(labels[m], present[m])``.
Draw = Callable[..., Any]

#: Labels times sets that are drawn at once.
BLOCK = 2**20


class Counts(NamedTuple):
    """What was drawn for one gold, counted."""

    sets: int
    slots: int  # labels in a set at most
    copies: np.ndarray  # [V] of each label in all sets
    first: np.ndarray  # [V] the same of the first slot alone
    equal_pairs: np.ndarray  # [sets] pairs of equal labels in each set
    ordered: bool  # whether the first slot is the first draw


def count(labels: np.ndarray, vocabulary: int, *, ordered: bool) -> Counts:
    """The counts of `labels` `[sets, slots]`, -1 where there is none."""
    copies, first = (
        np.bincount(some[some >= 0], minlength=vocabulary).astype(float)
        for some in (labels, labels[:, 0])
    )
    sets, slot = np.nonzero(labels >= 0)
    groups, number = np.unique(sets * vocabulary + labels[sets, slot], return_counts=True)
    pairs = number * (number - 1) / 2
    equal = np.bincount(groups // vocabulary, weights=pairs, minlength=len(labels))
    return Counts(labels.shape[0], labels.shape[1], copies, first, equal, ordered)


def drawn(
    sampler: Sampler, problem: Problem, at: tuple[int, int], key: Any, sets: int, own: Draw | None
) -> Counts:
    """What `sampler`, or `own` in its place, draws for an input and a gold, counted."""
    inputs = problem.score_rows[at[0]], problem.popularity, jnp.asarray(at[1])
    seen = jax.tree.map(lambda leaf: leaf[at[0]], problem.seen_rows)
    keys, vocabulary = jax.random.split(key, sets), problem.labels
    width = sampler.slots(vocabulary)
    if own is None or hasattr(own, "lower"):
        block = min(sets, max(1, BLOCK // vocabulary))
        labels, present = map(
            np.asarray, _together(own or bind(sampler, seen, at[1]), inputs, keys, block)
        )
        filled = _filled(labels, present, vocabulary, width)
    else:
        scores, popularity, gold = np.asarray(inputs[0]), np.asarray(inputs[1]), at[1]
        words = np.asarray(jax.random.key_data(keys))
        each = (_pair(own(word, scores, popularity, gold), np) for word in words)
        filled = np.concatenate(
            [_filled(labels[None], present[None], vocabulary, width) for labels, present in each]
        )
    return count(filled, vocabulary, ordered=own is None)


@eqx.filter_jit
def _together(one, inputs, keys, block):
    scores, popularity, gold = inputs
    if isinstance(one, Sampler):
        law = one.law(scores, popularity)
        return jax.lax.map(lambda key: law.draw(key, gold), keys, batch_size=block)
    return jax.lax.map(lambda key: _pair(one(key, *inputs), jnp), keys, batch_size=block)


def _pair(returned: Any, xp: Any) -> tuple[Any, Any]:
    """Labels and which are present: all, where a function returns labels alone."""
    labels, present = returned if isinstance(returned, tuple) else (returned, None)
    labels = xp.asarray(labels)
    return labels, xp.ones(labels.shape, bool) if present is None else xp.asarray(present)


def _filled(labels: np.ndarray, present: np.ndarray, vocabulary: int, width: int) -> np.ndarray:
    """Labels `[sets, width]`, -1 where none is present; refused where they are no labels."""
    shape, whole = labels.shape[1:], labels.dtype.kind in "iu" and present.dtype == bool
    if len(shape) != 1 or labels.shape != present.shape or not whole:
        raise refuse(
            "draw",
            f"returned labels {labels.dtype}{[*shape]}, present {present.dtype}"
            f"{[*present.shape[1:]]}",
            "integers [m], or (integers [m], booleans [m]), False where a slot is empty",
            "Return the negatives of one set.",
        )
    if shape[0] > width:
        raise refuse(
            "draw",
            f"returned {shape[0]} labels",
            f"at most the {width} of the sampler",
            "Pass a sampler of that m, or draw fewer; do not return the gold with the negatives.",
        )
    wrong = labels[present & ((labels < 0) | (labels >= vocabulary))]
    if wrong.size:
        raise refuse(
            "draw",
            f"returned the label {wrong[0]}",
            f"labels from 0 to {vocabulary - 1}",
            "Mark what is no label by present = False.",
        )
    absent = np.full((len(labels), width - shape[0]), -1)
    return np.hstack([np.where(present, labels, -1), absent])
