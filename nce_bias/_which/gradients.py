"""A convention's own gradient on recorded sets against the recorded one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._reads import bind, reads_gold
from nce_bias._which.recorded import COMPARED, Recorded
from nce_bias.presets import Preset
from nce_bias.problem import Problem
from nce_bias.samplers import Law


class GradientVerdict(NamedTuple):
    """The relative error left by the best factor, and that factor; NaN where not compared."""

    error: float
    factor: float
    reason: str


#: Where the law was rejected.
NOT_COMPARED = GradientVerdict(np.nan, np.nan, "")


def compare(problem: Problem, seen: Recorded, known: np.ndarray, preset: Preset) -> GradientVerdict:
    """Over the first sets that have a gradient."""
    some = np.flatnonzero(np.all(np.isfinite(known), axis=-1))[:COMPARED]
    if not some.size:
        return GradientVerdict(np.nan, np.nan, "no gradients recorded")
    try:
        own = np.stack([_gradient(problem, seen, preset, int(number)) for number in some])
    except (NotImplementedError, ValueError) as error:
        return GradientVerdict(np.nan, np.nan, f"loss not compared: {error}")
    theirs = known[some]
    square = float(np.sum(own**2))
    factor = float(np.sum(own * theirs)) / square if square else np.nan
    size = float(np.sqrt(np.sum(theirs**2)))
    error = float(np.sqrt(np.sum((theirs - factor * own) ** 2))) / size if size else np.nan
    return GradientVerdict(error, factor, "")


def _gradient(problem: Problem, seen: Recorded, preset: Preset, number: int) -> np.ndarray:
    """On the labels `[V]`, from the labels of one recorded set."""
    row, gold = int(seen.inputs[number]), int(seen.golds[number])
    labels = np.maximum(seen.labels[number], 0)
    there = seen.labels[number] >= 0
    scores, sampler = problem.score_rows[row], preset.sampler
    at = jax.tree.map(lambda leaf: leaf[row], problem.seen_rows)
    law = bind(sampler, at, gold if reads_gold(sampler, problem.sides) else None).law(
        scores, problem.popularity
    )
    if law.scaled:
        raise NotImplementedError("a set does not say of which age its labels are")
    corrected = preset.loss.corrected(scores, law, sampler.m)
    plain = corrected.negatives is scores and not corrected.by_law
    if not plain and type(law).draw_by_lot is not Law.draw_by_lot:
        raise NotImplementedError("its corrections depend on how a set was drawn")
    value: Any = preset.loss.value
    by_gold, by_negatives = jax.grad(value, (0, 1))(
        corrected.gold[gold],
        corrected.negatives_of(gold)[labels],
        jnp.asarray(there),
        **corrected.read(jnp.asarray(gold), jnp.asarray(labels)),
    )
    on_labels = np.zeros(problem.labels)
    on_labels[gold] += float(by_gold)
    np.add.at(on_labels, labels[there], np.asarray(by_negatives)[there])
    return on_labels
