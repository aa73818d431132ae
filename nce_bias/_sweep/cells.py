"""The cells of a sweep: one computation each, here or wherever an executor runs it."""

from __future__ import annotations

import math
import pickle
import time
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import jax

from nce_bias._progress import Bar
from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.presets import Preset

#: How the status of a failed cell begins.
FAILED = "failed: "


@dataclass
class Cell:
    """One computation; a process that receives it unpacks its arrays in the caller's precision."""

    arguments: Any  # of `_moments`; once sent, their pickle
    x64: bool

    def __getstate__(self) -> tuple[bytes, bool]:
        return pickle.dumps(self.arguments), self.x64

    def __setstate__(self, state: tuple[bytes, bool]) -> None:
        self.arguments, self.x64 = state

    def __call__(self) -> dict[str, Any]:
        """What the table says of this cell, also where it fails."""
        began = time.perf_counter()
        try:
            with _precision(self.x64):
                sent = isinstance(self.arguments, bytes)
                found = _moments(*(pickle.loads(self.arguments) if sent else self.arguments))
                row = found.to_frame().iloc[0].to_dict()
        except Exception as error:
            row = _failed(error)
        return row | {"seconds": time.perf_counter() - began}


def _precision(x64: bool) -> AbstractContextManager[Any]:
    """JAX's switch for one thread; its place changed after jax 0.6."""
    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    return home.enable_x64(x64)


def _moments(problem, negatives, loss, method, options):
    if isinstance(negatives, Exception):  # it could not be built
        raise negatives
    if isinstance(negatives, Preset):
        return getattr(negatives, method)(problem, **options)
    engine = {"exact": exact, "monte_carlo": monte_carlo}[method]
    return engine(problem, negatives, loss, **options)


def _failed(error: BaseException) -> dict[str, Any]:
    """What a failed cell says: our own messages as they are, others with their type."""
    own = type(error) is ValueError or isinstance(error, NotImplementedError)
    reason = str(error) if own else f"{type(error).__name__}: {error}"
    if isinstance(error, pickle.PicklingError | AttributeError) and "pickle" in reason:
        reason += ". Define it by name at the top of a module, or use a ThreadPoolExecutor"
    return {"status": f"{FAILED}{' '.join(reason.split())}", "seconds": math.nan}


def compute(
    cells: list[Cell], executor: Executor | None, rows: dict[int, dict[str, Any]], bar: Bar
) -> None:
    """Fill `rows`; after an exception they hold every cell that was finished."""
    if executor is None:
        for place, cell in enumerate(cells):
            rows[place] = cell()
            bar.advance()
        return
    futures: dict[Future, int] = {}
    try:
        for place, cell in enumerate(cells):
            try:
                futures[executor.submit(cell)] = place
            except BrokenExecutor as error:
                rows[place] = _failed(error)
        for future in as_completed(futures):
            rows[futures[future]] = _received(future)
            bar.advance()
    finally:
        for future, place in futures.items():
            if not future.cancel() and future.done() and place not in rows:
                if not isinstance(future.exception(), KeyboardInterrupt):
                    rows[place] = _received(future)


def _received(future: Future) -> dict[str, Any]:
    try:
        return future.result()
    except Exception as error:
        return _failed(error)
