"""The cells of a sweep: one computation each, here or wherever an executor runs it."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from nce_bias._checks import refuse
from nce_bias._sweep import made
from nce_bias._sweep.made import MadeBy
from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.numerics.precision import precision
from nce_bias.presets import Preset

#: How the status of a failed cell begins.
FAILED = "failed: "
Row = dict[str, Any]
#: What is told of each finished cell: its place, and what the table says of it.
Done = Callable[[int, Row], None]


@dataclass
class Cell:
    """One computation; a process that receives it unpacks its arrays in the caller's precision.

    A process with another version of the library or of JAX refuses it, since nobody could tell its
    numbers from those of the caller's version.
    """

    arguments: Any  # of `_moments`; once sent, their pickle
    x64: bool
    sender: MadeBy | None = None  # None: it was never sent

    def __getstate__(self) -> tuple[bytes, bool, MadeBy]:
        if self.sender is not None:  # on its way through a scheduler, as with Dask: passed on
            return self.arguments, self.x64, self.sender
        return pickle.dumps(self.arguments), self.x64, made.made_by()

    def __setstate__(self, state: tuple[bytes, bool, MadeBy]) -> None:
        self.arguments, self.x64, self.sender = state

    def __call__(self) -> Row:
        """What the table says of this cell, also where it fails."""
        began = time.perf_counter()
        try:
            with precision(self.x64):
                found = _moments(*self._unpacked())
                row = found.to_frame().iloc[0].to_dict() | {"backend": jax.default_backend()}
        except Exception as error:
            row = failed(error)
        return row | {"seconds": time.perf_counter() - began}

    def __repr__(self) -> str:
        return "cell"  # what schedulers call it, in keys and dashboards

    def _unpacked(self) -> Any:
        if self.sender is None:
            return self.arguments
        if (here := made.made_by()) != self.sender:
            raise refuse(
                "executor",
                f"its worker has {here}",
                f"{self.sender}, which the sweep was called with",
                "Install the same versions where the workers run.",
            )
        return pickle.loads(self.arguments)


def _moments(problem, negatives, loss, method, options):
    if isinstance(negatives, Exception):  # it could not be built
        raise negatives
    if isinstance(negatives, Preset):
        return getattr(negatives, method)(problem, **options)
    engine = {"exact": exact, "monte_carlo": monte_carlo}[method]
    return engine(problem, negatives, loss, **options)


def failed(error: BaseException) -> Row:
    """What a failed cell says: our own messages as they are, others with their type."""
    own = type(error) is ValueError or isinstance(error, NotImplementedError)
    reason = str(error) if own else f"{type(error).__name__}: {error}"
    if isinstance(error, pickle.PicklingError | AttributeError) and "pickle" in reason:
        reason += ". Define it by name at the top of a module, or use a ThreadPoolExecutor"
    return {"status": f"{FAILED}{' '.join(reason.split())}", "seconds": math.nan}
