"""What a problem is made of, read and checked; every refusal names argument, place and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import floating, look_like_probabilities, normalised, read, remark
from nce_bias._reads import KNOWN
from nce_bias.golds import Golds
from nce_bias.numerics.devices import mesh_of

#: What to do about a row of zeros.
NO_ROW = "Leave that input out, in the scores too: pop(y|x) does not exist for it."
EQUAL = "Leave weights out for equal ones."
SEEN = "Leave popularity out for weights @ population."


def read_scores(scores: Any) -> Any:
    """Scores `[V]` or `[X, V]`: at least two labels, numbers or -inf, one finite in each row."""
    scores = read_shaped(scores)
    if is_traced(scores):
        return scores
    check_values(np.atleast_2d(scores))
    if look_like_probabilities(scores):
        remark(
            "scores: every row consists of probabilities that sum to 1, as after a softmax. Scores "
            "are logarithms up to a constant: pass the logits, or np.log(scores)."
        )
    return scores


def read_shaped(scores: Any) -> Any:
    """Scores of a legal shape, their values not looked at; those on devices stay there."""
    scores = read("scores", scores) if mesh_of(scores) is None else floating("scores", scores)
    if scores.ndim not in (1, 2):
        raise refuse(
            "scores",
            f"got shape {scores.shape}",
            "[V] or [X, V]",
            "Flatten all inputs into one leading axis.",
        )
    if scores.size == 0 or scores.shape[-1] < 2:
        raise refuse(
            "scores",
            f"got shape {scores.shape}",
            "at least one input and two labels",
            "With fewer than two labels there is no wrong label to draw.",
        )
    return scores


def check_values(rows: Any) -> Any:
    """The rows, if they are numbers or -inf and one of each is finite."""
    bad = ~(rows < np.inf)
    if bad.any():
        row, label = (int(i) for i in np.argwhere(bad)[0])
        raise refuse(
            "scores",
            f"got {rows[row, label]} at input {row}, label {label}",
            "finite numbers or -inf",
            "Find the overflow or the missing value upstream; nothing was computed.",
        )
    empty = np.flatnonzero(np.isneginf(rows.max(axis=-1)))
    if empty.size:
        raise refuse(
            "scores",
            f"every score of input {int(empty[0])} is -inf",
            "at least one finite score in each row",
            "Remove that input: its softmax does not exist.",
        )
    return rows


def read_population(population: Any, scores: Any) -> tuple[Any, float]:
    """Rows in the shape of the scores, or golds; and by how much the worst row missed 1.

    One input may have an axis of its own or not.
    """
    if isinstance(population, Golds):
        return population.normalised()
    population = read("population", population, sparse=True)
    if population.size == scores.size and {population.ndim, scores.ndim} == {1, 2}:
        if population.shape[-1] == scores.shape[-1]:
            population = population.reshape(scores.shape)
    if population.shape != scores.shape:
        numbers = not is_traced(population) and np.all(population == np.rint(population))
        raise refuse(
            "population",
            f"got shape {population.shape}",
            f"the shape of scores, {scores.shape}",
            "For integer golds use nb.Problem.from_golds(scores, golds)."
            if numbers and population.shape == scores.shape[:-1]
            else "Give one row pop(.|x) for each row of scores.",
        )
    return normalised("population", population, NO_ROW)


def read_weights(weights: Any, scores: Any) -> tuple[Any, float]:
    """One pop(x) for each input, equal ones by default; and by how much they missed 1."""
    inputs = 1 if scores.ndim == 1 else scores.shape[0]
    if weights is None:
        return np.full(inputs, 1 / inputs), 0.0
    weights = read("weights", weights)
    if weights.shape != (inputs,):
        raise refuse(
            "weights", f"got shape {weights.shape}", f"[X] = ({inputs},)", "One pop(x) per input."
        )
    return normalised("weights", weights, EQUAL)


def read_popularity(
    popularity: Any, weights: Any, population: Any, labels: int
) -> tuple[Any, float]:
    """What was given, or what the golds' frequencies are; and by how much it missed 1."""
    if popularity is None and isinstance(population, Golds):
        return population.popularity(weights, labels), 0.0
    if popularity is None:
        rows = population.reshape(-1, labels)
        return (jnp if is_traced(weights, rows) else np).matmul(weights, rows), 0.0
    popularity = read("popularity", popularity)
    check_popularity_shape(popularity, labels)
    return normalised("popularity", popularity, SEEN)


def check_popularity_shape(popularity: Any, labels: int) -> None:
    """One number for each label."""
    if popularity.shape != (labels,):
        raise refuse(
            "popularity",
            f"got shape {popularity.shape}",
            f"[V] = ({labels},)",
            "One pop(y) per label.",
        )


def read_sides(sides: Any, scores: Any) -> dict[str, Any]:
    """Arrays by name, one number for each label, or for each input and label."""
    if sides is None:
        return {}
    if not isinstance(sides, Mapping):
        raise refuse(
            "sides",
            f"got {type(sides).__name__}",
            "a mapping of names to arrays",
            "For example sides={'bm25': scores_of_bm25}.",
        )
    read_in = {}
    for name, side in sides.items():
        array = read(f"sides[{name!r}]", side)
        if name in KNOWN or not str(name).isidentifier():
            raise refuse(
                "sides",
                f"got the name {name!r}",
                f"a name of a parameter, other than {', '.join(KNOWN)}",
                "Rename it: a proposal reads a side by a parameter of that name.",
            )
        if array.shape not in {scores.shape, scores.shape[-1:]}:
            raise refuse(
                f"sides[{name!r}]",
                f"got shape {array.shape}",
                f"[V] = {scores.shape[-1:]}, or the shape of scores, {scores.shape}",
                "Give one number for each label, or for each input and label.",
            )
        read_in[str(name)] = jnp.asarray(array, jnp.result_type(float))
    return read_in
