"""Inputs split over devices: each does its own, by any engine, and what meets is means over inputs.

The plan is made in one place, from the widest input: every device takes the rule that one would
take, and the numbers are those of one device. Popularity and what else inputs share lies whole on
each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from nce_bias.engine.shape import Plan
from nce_bias.losses import ExactLoss
from nce_bias.numerics.devices import put_as, settled
from nce_bias.problem import Problem

#: The axis of devices.
INPUTS = "inputs"


def splits_inputs(problem: Problem, devices: Sequence[Any] | None) -> bool:
    """Whether inputs are as many as the devices, or some times as many."""
    inputs = len(problem.weights)
    return bool(devices) and len(devices) > 1 and inputs % len(devices) == 0


def by_input(
    solve: Callable[..., Any], asked: tuple[Problem, ExactLoss, Plan], devices: Sequence[Any]
) -> tuple[Problem, Any]:
    """The problem with its inputs split over devices, and what `solve` finds of them."""
    problem, loss, plan = asked
    mesh = Mesh(np.array(list(devices), dtype=object), (INPUTS,))
    numbered = eqx.tree_at(
        lambda p: p.numbers,
        problem,
        np.asarray(problem.input_numbers),
        is_leaf=lambda leaf: leaf is None,
    )
    split = jax.tree.map(lambda leaf, spec: put_as(leaf, mesh, spec), numbered, _specs(numbered))
    return split, settled(_solved(solve, split, (loss, plan), mesh))


@eqx.filter_jit
def _solved(solve: Callable[..., Any], problem: Problem, asked: Any, mesh: Mesh) -> Any:
    arrays, rest = eqx.partition(asked, eqx.is_array)

    def of_own(problem: Problem, arrays: Any) -> Any:
        return solve(problem, *eqx.combine(arrays, rest))

    mapped = jax.shard_map(
        of_own,
        mesh=mesh,
        in_specs=(_specs(problem), PartitionSpec()),
        out_specs=PartitionSpec(INPUTS),
        check_vma=False,  # what a loop carries is each device's own from its first step on
    )
    return mapped(problem, arrays)


def _specs(problem: Problem) -> Any:
    """Which leaves of a problem have a row for each input."""
    whole, own = PartitionSpec(), PartitionSpec(INPUTS)

    def rows(tree: Any) -> Any:
        return jax.tree.map(lambda _: own, tree)

    sides = {name: own if side.ndim == 2 else whole for name, side in problem.sides.items()}
    return eqx.tree_at(
        lambda p: (p.kept, p.targets, p.weights, p.numbers, p.sides),
        jax.tree.map(lambda _: whole, problem),
        (own, rows(problem.targets), own, own, sides),
    )
