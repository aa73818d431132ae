"""Many inputs block by block: the moments of each, without an array of inputs times labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from nce_bias._checks import is_traced
from nce_bias._progress import track
from nce_bias.engine.budget import fields_fit, scores_at_once
from nce_bias.engine.by_input import ByInput, average, scalars
from nce_bias.engine.moments import SCALARS, Moments
from nce_bias.numerics.arrays import to_jax
from nce_bias.numerics.devices import mesh_of
from nce_bias.problem import Problem
from nce_bias.streamed import Streamed

#: Streamed scores up to which `selection`, `gradient` and `bias` of all inputs are kept.
MOST_KEPT = 2**26


def goes_in_blocks(problem: Problem, memory: float | int | None) -> bool:
    """Whether inputs are too many, or scores too large, for one piece."""
    if isinstance(problem.kept, Streamed):
        return problem.kept.size > MOST_KEPT or not fields_fit(problem, memory)
    several = problem.kept.ndim == 2 and len(problem.kept) > 1
    if not several or is_traced(problem) or mesh_of(problem.kept) is not None:
        return False
    return not fields_fit(problem, memory)


def in_blocks(
    compute: Callable[[Problem], Moments], problem: Problem, memory: float | int | None = None
) -> Moments:
    """What `compute` gives for all inputs, block by block; without the `[X, V]` fields.

    As many inputs at a time as `memory` holds (`nce_bias.engine.budget`).

    Blocks are of one size, so that what one compiles serves all: the last is filled up with its
    own last input, whose copies are not counted.
    """
    blocks = problem.blocks(scores_at_once(problem.labels, memory))
    done = []
    for block in track(blocks, "blocks of inputs"):
        filled = np.pad(block, (0, len(blocks[0]) - len(block)), mode="edge")
        done.append(first_inputs(compute(problem.take(filled)), len(block)))
    return together(done, problem.weights)


def first_inputs(moments: Moments, count: int) -> Moments:
    """With the first inputs' numbers alone in `by_input`, and without the `[X, V]` fields."""
    by_input = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], moments.by_input)
    return dataclasses.replace(moments, by_input=by_input, fields=None)


def together(done: Sequence[Moments], weights: np.ndarray | jax.Array) -> Moments:
    """Moments of the inputs of all blocks; the words are the worst block's, or else the first's."""
    by_input: ByInput = jax.tree.map(
        lambda *leaves: np.concatenate(leaves), *[part.by_input for part in done]
    )
    weights = np.asarray(weights)
    found = scalars(average(by_input, weights / weights.sum()))
    fields = {name: np.asarray(found[name]) for name in SCALARS if name in found}
    fields["bias_norm_plugin"] = fields["bias_norm"]
    fields["error"] = np.max([np.asarray(part.error) for part in done])
    worst = next((part for part in done if part.status != "ok"), done[0])
    return dataclasses.replace(worst, **to_jax(fields), by_input=by_input, standard_errors={})
