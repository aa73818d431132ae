"""What is drawn: labels by a law, or by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import refuse
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: ``(key, scores[V], popularity[V], gold) -> labels[m]`` or ``(labels[m], present[m])``.
Draw = Callable[..., Any]

#: Labels times sets that are drawn at once.
BLOCK = 2**20


def slots(sampler: Sampler, problem: Problem) -> int:
    """How many labels one draw of `sampler` returns at most."""

    def one(scores, popularity, key):
        return sampler.law(scores, popularity).draw(key, jnp.asarray(0))[0]

    like = (problem.score_rows[0], problem.popularity, jax.random.key(0))
    return eqx.filter_eval_shape(one, *like).shape[0]


def drawn(
    sampler: Sampler, problem: Problem, row: int, gold: int, key: Any, sets: int, draw: Draw | None
) -> np.ndarray:
    """Labels `[sets, slots]` for one gold of one input, -1 where no label is present."""
    scores, popularity = problem.score_rows[row], problem.popularity
    most = slots(sampler, problem)
    if draw is not None and not hasattr(draw, "lower"):
        return _one_by_one(draw, key, sets, np.asarray(scores), np.asarray(popularity), gold, most)
    block = min(sets, max(1, BLOCK // problem.labels))
    one = sampler if draw is None else draw
    labels, present = _together(one, scores, popularity, jnp.asarray(gold), key, sets, block)
    _check(labels[0], present[0], problem.labels, most)
    absent = ~np.asarray(present)
    labels = np.where(absent, -1, np.asarray(labels))
    _check_range(labels, problem.labels, absent)
    return np.pad(labels, ((0, 0), (0, most - labels.shape[1])), constant_values=-1)


@eqx.filter_jit
def _together(one, scores, popularity, gold, key, sets, block):
    if isinstance(one, Sampler):
        draw = one.law(scores, popularity).draw
    else:

        def draw(key, gold):
            return _pair(one(key, scores, popularity, gold), jnp)

    keys = jax.random.split(key, sets)
    return jax.lax.map(lambda key: draw(key, gold), keys, batch_size=block)


def _one_by_one(draw, key, sets, scores, popularity, gold, most) -> np.ndarray:
    found = np.full((sets, most), -1)
    for place, own in enumerate(np.asarray(_words(key, sets))):
        labels, present = _pair(draw(own, scores, popularity, gold), np)
        _check(labels, present, len(scores), most)
        labels = np.where(present, labels, -1)
        _check_range(labels, len(scores), ~present)
        found[place, : len(labels)] = labels
    return found


@eqx.filter_jit
def _words(key, sets):
    keys = jax.random.split(key, sets)
    return jax.random.key_data(keys) if jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) else keys


def _pair(returned: Any, xp: Any) -> tuple[Any, Any]:
    """Labels and which are present: all, where a function returns labels alone."""
    labels, present = returned if isinstance(returned, tuple) else (returned, None)
    labels = xp.asarray(labels)
    present = xp.ones(labels.shape, bool) if present is None else xp.asarray(present)
    return labels, present


def _check(labels: Any, present: Any, vocabulary: int, most: int) -> None:
    what = f"labels [m], whole numbers below {vocabulary}, or (labels [m], present [m])"
    if labels.ndim != 1 or labels.shape != present.shape or labels.dtype.kind not in "iu":
        raise refuse(
            "draw",
            f"returned labels of shape {labels.shape} and dtype {labels.dtype}, "
            f"present of shape {present.shape}",
            what,
            "Return the negatives of one set.",
        )
    if present.dtype != bool:
        raise refuse("draw", f"returned present of dtype {present.dtype}", what, "Make it boolean.")
    if len(labels) > most:
        raise refuse(
            "draw",
            f"returned {len(labels)} labels",
            f"at most the {most} of the sampler",
            "Pass a sampler of that m, or draw fewer; do not return the gold with the negatives.",
        )


def _check_range(labels: np.ndarray, vocabulary: int, absent: np.ndarray) -> None:
    wrong = labels[~absent & ((labels < 0) | (labels >= vocabulary))]
    if wrong.size:
        raise refuse(
            "draw",
            f"returned the label {int(wrong.flat[0])}",
            f"labels from 0 to {vocabulary - 1}",
            "Mark what is no label by present = False.",
        )


def equal_pairs(labels: np.ndarray, vocabulary: int) -> np.ndarray:
    """Pairs of equal labels in each set `[sets]`."""
    places, position = np.nonzero(labels >= 0)
    groups, number = np.unique(places * vocabulary + labels[places, position], return_counts=True)
    pairs = number * (number - 1) / 2
    return np.bincount(groups // vocabulary, weights=pairs, minlength=len(labels))
