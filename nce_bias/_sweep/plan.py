"""The cells of a sweep in order, each with what is known of its row before it is computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nce_bias._checks import refuse
from nce_bias._sweep import made
from nce_bias._sweep.cells import Cell, Row
from nce_bias._sweep.grid import Ready
from nce_bias._sweep.identity import Unidentified, digest
from nce_bias.engine.moments import SCALARS
from nce_bias.losses import Loss
from nce_bias.presets import Preset
from nce_bias.problem import Problem

#: Settings of JAX that change numbers by more than the precision, which is known of each cell.
SETTINGS = ("jax_default_matmul_precision", "jax_threefry_partitionable")


class How(NamedTuple):
    """What all cells of a sweep share: the engine, and the key and draws of Monte Carlo."""

    method: str
    key: Any
    draws: int | None

    def options(self, number: int) -> dict[str, Any]:
        """Those of one cell: its key depends on its place alone."""
        if self.key is None:
            return {}
        return {"key": jax.random.fold_in(self.key, number), "draws": self.draws}


class Planned(NamedTuple):
    """A cell and the beginning of its row."""

    cell: Cell
    head: Row


def planned(
    problems: Mapping[str, Problem],
    negatives: Sequence[tuple[str, int | float, Ready | Exception]],
    losses: Sequence[Loss],
    how: How,
) -> list[Planned]:
    """The product of all, in the order of the table."""
    x64 = jnp.result_type(float) == jnp.float64
    cells: list[Planned] = []
    for (problem_name, problem), (name, m, drawn) in itertools.product(problems.items(), negatives):
        for loss in [drawn.loss] if isinstance(drawn, Preset) else losses:
            arguments = (problem, drawn, loss, how.method, how.options(len(cells)))
            head = {"problem": problem_name, "negatives": name, "m": m}
            head["sampler"] = name if isinstance(drawn, Exception) else repr(sampler_of(drawn))
            head |= {"loss_name": loss.name} | dict.fromkeys(SCALARS, math.nan)
            head |= {"method": how.method, "dtype": str(problem.scores.dtype)}
            cells.append(Planned(Cell(arguments, x64), head))
    if not cells:
        raise refuse(
            "problems, samplers, losses",
            f"got {len(problems)}, {len(negatives)} and {len(losses)} of them",
            "at least one of each",
            "nb.sweep(problem, nb.iid(nb.model(), m=16)) is the shortest sweep.",
        )
    return cells


def sampler_of(drawn: Ready) -> Any:
    """The sampler itself, of a preset too."""
    return drawn.sampler if isinstance(drawn, Preset) else drawn


class Fingerprints:
    """Digests of all that determines a cell's numbers; of each problem and sampler once."""

    def __init__(self) -> None:
        settings = [str(getattr(jax.config, name, None)) for name in SETTINGS]
        self._made = [*made.made_by(), jax.default_backend(), *settings]
        self._known: dict[int, tuple[Any, str]] = {}  # the object too, so that its id stays its own

    def of(self, planned: Planned) -> str | None:
        """That of one cell; None where there is nothing to keep, because it cannot be built.

        Raises ValueError for what cannot be identified.
        """
        problem, drawn, loss, method, options = planned.cell.arguments
        if isinstance(drawn, Exception):
            return None
        named = {
            "problems": (planned.head["problem"], problem),
            "samplers": (planned.head["negatives"], drawn),
            "losses": (loss.name, loss),
        }
        parts = [self._digest(argument, *thing) for argument, thing in named.items()]
        said = repr(sampler_of(drawn)), loss.name, method, planned.cell.x64
        return digest([self._made, parts, said, options])

    def _digest(self, argument: str, name: str, thing: Any) -> str:
        if id(thing) not in self._known:
            try:
                self._known[id(thing)] = thing, digest(thing)
            except Unidentified as error:
                raise refuse(
                    argument,
                    f"{name!r} holds {error}",
                    "with folder=, what can be told from another by its code and values: a cell is "
                    "kept under a digest of all that determines its numbers",
                    "Give that object an attribute fingerprint, a string that changes whenever "
                    "what it computes does; or leave folder out.",
                ) from error
        return self._known[id(thing)][1]
