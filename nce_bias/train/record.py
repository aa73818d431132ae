"""What a training run leaves behind, and what it leaves on disk on the way."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from nce_bias._checks import refuse
from nce_bias.train import checkpoint

FILE = "checkpoint.eqx"
REMEDY = "lower the learning rate or check scores and targets"
NO_MORE = object()  # a batch may be anything, None included


class Fit(eqx.Module):
    """What a training run left behind.

    Attributes
    ----------
    params : pytree
        The parameters after the last completed step.
    steps : int array [C]
        The checkpoints reached, in increasing order.
    checkpoints : pytree
        ``params`` at those steps: every array leaf gains a leading axis of length C.  Leaves that
        are not arrays (activation functions, sizes) are left as they are.
    losses : float array [n]
        Loss of each of the n completed steps, on its batch, before the update.
    status : str
        "ok", or what went wrong, at which step, and what to do.
    """

    params: PyTree
    steps: np.ndarray
    checkpoints: PyTree
    losses: np.ndarray
    status: str = eqx.field(static=True)

    @property
    def model(self) -> PyTree:
        """`params`, where they are a whole model."""
        return self.params

    def at(self, step: int) -> PyTree:
        """Parameters at one of the checkpoints (not stacked)."""
        places = np.flatnonzero(self.steps == step)
        if not places.size:
            raise refuse(
                "step",
                f"got {step}",
                f"one of the steps that this run kept, {self.steps.tolist()}",
                "Name the step in checkpoints=... of the call that trains.",
            )
        arrays, constants = eqx.partition(self.checkpoints, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[int(places[0])], arrays), constants)

    @property
    def kept(self) -> dict[int, PyTree]:
        """Models by step, the former name of `at`."""
        warnings.warn("run.kept[step] is run.at(step) now", DeprecationWarning, stacklevel=2)
        return {step: self.at(step) for step in self.steps.tolist()}

    def __repr__(self) -> str:
        """Say how far the run came, in one line."""
        last = f", last loss {self.losses[-1]:.4f}" if self.losses.size else ""
        return (
            f"Fit({self.losses.size} steps, {self.steps.size} checkpoints{last}, "
            f"status={self.status!r})"
        )


class State(NamedTuple):
    """All that a run is between two steps; `batches` gives the next batch."""

    step: int
    params: PyTree
    moments: PyTree
    batches: Any


@dataclasses.dataclass(frozen=True)
class Iterated:
    """The batches of an iterator, as a function of step and parameters that returns itself."""

    batches: Iterator[Any]

    def __call__(self, step: int, params: Any) -> tuple[Any, Any]:
        """The next batch, or `NO_MORE`, and the function for the one after it."""
        return next(self.batches, NO_MORE), self


class Record:
    """Losses and kept parameters of a run, and its file if there is a folder.

    Parameters
    ----------
    steps, wanted
        How many steps the run has, and which of them are kept.
    folder
        Where its file is, or None.
    configuration
        What makes the run besides its number of steps.
    """

    def __init__(
        self,
        steps: int,
        wanted: Sequence[int],
        folder: str | os.PathLike[str] | None,
        configuration: Mapping[str, Any],
    ) -> None:
        self.losses: list[Any] = []
        self._kept: dict[int, PyTree] = {}
        self._steps, self._wanted = steps, wanted
        self._path = None if folder is None else pathlib.Path(folder) / FILE
        self._configuration = {**configuration, "steps": steps, "checkpoints": [*wanted]}

    def keep(self, state: State) -> None:
        """Keep the parameters of a step, if it is one of those wanted."""
        if state.step in self._wanted:
            self._kept[state.step] = state.params

    def store(self, state: State) -> None:
        """Write the run as it is, if it has a folder."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(self._path, self._tree(state), self._configuration)

    def resumed(self, state: State) -> State:
        """Go on from the run's file, if there is one, or begin with `state`."""
        if self._path is not None and self._path.exists():
            tree = checkpoint.load(self._path, self._tree(state), self._configuration)
            step, params, moments, batches, losses, kept = tree
            if isinstance(batches, Iterated):
                next(itertools.islice(batches.batches, int(step), int(step)), None)
            state = State(int(step), params, moments, batches)
            self.losses = [*losses[: state.step]]
            self._kept = {k: found for k, found in kept.items() if k <= state.step}
        self.keep(state)
        return state

    def _tree(self, state: State) -> Any:
        """A pytree of the same shapes at all steps: what is not reached is filled up."""
        losses = np.zeros(self._steps)
        losses[: state.step] = jax.device_get(self.losses[: state.step])
        kept = {step: self._kept.get(step, state.params) for step in self._wanted}
        return np.array(state.step), *state[1:], losses, kept

    def result(self, state: State, constants: PyTree, status: str) -> Fit:
        """The run up to `state`; a loss that is not finite joins the status."""
        order = sorted(self._kept)

        def stack(like: Any, *leaves: Any) -> Any:  # constant arrays gain the leading axis too
            if not eqx.is_array(like):
                return like
            return jnp.stack(leaves) if leaves else jnp.zeros((0, *like.shape), like.dtype)

        whole = eqx.combine(state.params, constants)
        kept = (eqx.combine(self._kept[step], constants) for step in order)
        losses = np.array(jax.device_get(self.losses[: state.step]), float)
        trouble = _trouble(state.params, losses)
        if trouble:
            status = trouble if status == "ok" else f"{status}; {trouble}"
        stacked = jax.tree.map(stack, whole, *kept)
        return Fit(whole, np.array(order, dtype=int), stacked, losses, status)


def _trouble(params: PyTree, losses: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        step = int(bad[0]) + 1
        return (
            f"loss is {losses[step - 1]} at step {step}: do not use parameters after step "
            f"{step - 1} or later; {REMEDY}"
        )
    if any(np.isnan(leaf).any() for leaf in jax.tree.leaves(jax.device_get(params))):
        return f"parameters are NaN after step {losses.size}: {REMEDY}"
    return ""
