"""A problem whose scores are split over devices by labels, read and checked where they are.

No process need have all labels: what leaves a device is whether something is wrong, and where. So a
mistake is named as it is for a problem in one place, with two exceptions: a popularity that misses
1 is believed by the type that it comes in, not by what its values could be
(`nce_bias._gate.distributions`), and no word is said about scores that look like probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

from nce_bias._checks import refuse
from nce_bias._gate import floating, normalised, read
from nce_bias._problem_input import SEEN, check_popularity_shape, read_weights
from nce_bias.golds import Golds
from nce_bias.numerics.arrays import Array
from nce_bias.numerics.devices import LABELS, mesh_of, put_split, put_whole, settled

#: Rounding errors of a sum over all labels that are left as they are.
ROUNDING = 16


class Split(NamedTuple):
    """What a problem keeps: scores and popularity split, golds and weights on every device."""

    scores: Float[Array, "*X V"]
    golds: Golds
    popularity: Float[Array, " V"]
    weights: Float[Array, " X_or_1"]
    missed: Float[Array, ""]


def read_split(
    scores: Any, mesh: Mesh, population: Any, given: tuple[Any, Any, Mapping[str, Any] | None]
) -> Split:
    """Scores, golds, and `given`: popularity, weights, sides. Raises ValueError as `Problem` does.

    Besides for a population that is no golds, and for sides.
    """
    popularity, weights, sides = given
    if not isinstance(population, Golds):
        raise refuse(
            "population",
            "got rows of V numbers beside scores that are split over devices",
            "observed golds",
            "Use nb.Problem.from_golds(scores, golds), or bring scores to one place by "
            "np.asarray(scores).",
        )
    if sides:
        raise refuse(
            "sides",
            f"got {', '.join(map(repr, sides))} beside scores that are split over devices",
            "none there",
            "Bring scores to one place by np.asarray(scores).",
        )
    dtype = jnp.result_type(float)
    scores = put_split(floating("scores", scores), mesh).astype(dtype)
    _check_scores(scores)
    golds, missed = population.normalised()
    weights, missed_weights = read_weights(weights, scores)
    popularity, missed_popularity = _popularity(popularity, weights, golds, scores.shape[-1], mesh)
    worst = np.max([missed, missed_weights, missed_popularity])

    def whole(values: Any) -> Any:
        values = np.asarray(values)
        return put_whole(values.astype(dtype) if values.dtype.kind == "f" else values, mesh)

    return Split(
        scores, jax.tree.map(whole, golds), popularity.astype(dtype), whole(weights), whole(worst)
    )


def check_whole(problem: Any, asked: str) -> None:
    """Refuse a problem whose labels are split over devices where one place is needed."""
    if mesh_of(getattr(problem, "kept", None)) is not None:
        raise refuse(
            "problem",
            f"its labels are split over devices, which {asked} does not take",
            "nb.exact there",
            "Bring it to one place: nb.Problem.from_golds(np.asarray(scores), golds).",
        )


@jax.jit
def _wrong(rows: Float[Array, "X V"]) -> tuple[Bool[Array, "X 2"], Int[Array, " X"], Array]:
    """Of each input: whether a score is no number, and whether none is finite; where, and which."""
    bad = ~(rows < jnp.inf)
    place = jnp.argmax(bad, axis=-1)
    value = jnp.sum(jnp.where(jnp.arange(rows.shape[-1]) == place[:, None], rows, 0.0), axis=-1)
    return jnp.stack([bad.any(axis=-1), jnp.isneginf(rows.max(axis=-1))], axis=-1), place, value


def _check_scores(scores: Float[Array, "*X V"]) -> None:
    """As `nce_bias._problem_input.check_values`."""
    wrong, places, values = (np.asarray(found) for found in settled(_wrong(jnp.atleast_2d(scores))))
    for row in np.flatnonzero(wrong.any(axis=-1)):
        if wrong[row, 0]:
            raise refuse(
                "scores",
                f"got {values[row]} at input {row}, label {places[row]}",
                "finite numbers or -inf",
                "Find the overflow or the missing value upstream; nothing was computed.",
            )
        raise refuse(
            "scores",
            f"every score of input {row} is -inf",
            "at least one finite score in each row",
            "Remove that input: its softmax does not exist.",
        )


def _popularity(
    popularity: Any, weights: Any, golds: Golds, labels: int, mesh: Mesh
) -> tuple[jax.Array, float]:
    """Split over the devices, and by how much it missed 1."""
    if popularity is None:
        dtype = jnp.result_type(float)
        mass = (np.asarray(weights)[:, None] * golds.shares).astype(dtype).ravel()
        count = _frequencies(mesh, labels)
        return settled(count(np.asarray(golds.labels).ravel(), mass)), 0.0
    if mesh_of(popularity) is None:
        popularity = read("popularity", popularity)
        check_popularity_shape(popularity, labels)
        popularity, missed = normalised("popularity", popularity, SEEN)
        return put_split(popularity, mesh), missed
    eps = float(jnp.finfo(jnp.promote_types(popularity.dtype, jnp.float32)).eps)
    popularity = put_split(floating("popularity", popularity), mesh)
    check_popularity_shape(popularity, labels)
    negative, total = (float(found) for found in settled(_total(popularity)))
    missed = abs(total - 1)
    if negative or not missed <= eps**0.5:
        raise refuse(
            "popularity",
            f"it sums to {total:.9g}" + (" and has negative entries" if negative else ""),
            "finite probabilities >= 0 that sum to 1",
            f"Normalise it: popularity / popularity.sum(). {SEEN}",
        )
    if missed <= ROUNDING * jnp.finfo(jnp.result_type(float)).eps:
        return popularity, 0.0
    return popularity.astype(jnp.result_type(float)) / total, missed


@jax.jit
def _total(popularity: Float[Array, " V"]) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether an entry is negative, and the sum."""
    return jnp.any(popularity < 0), jnp.sum(popularity.astype(jnp.result_type(float)))


def _frequencies(mesh: Mesh, labels: int) -> Any:
    """How often each label is a gold, made where it stays."""

    def count(golds: Int[Array, " G"], mass: Float[Array, " G"]) -> Float[Array, " V"]:
        return jnp.zeros(labels, mass.dtype).at[golds].add(mass)

    return jax.jit(count, out_shardings=NamedSharding(mesh, PartitionSpec(LABELS)))
