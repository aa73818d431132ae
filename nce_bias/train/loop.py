"""The training simulator: an Optax loop that keeps the parameters on the way.

How biased a contrastive gradient is depends on where in training the model stands.  This module
brings a model to those places: it minimises any loss by any Optax optimiser and hands back the
parameters at the steps asked for, so that the exact moments can be taken there afterwards.

Steps are counted from 1: ``losses[k - 1]`` is the loss of the k-th batch *before* its update, and
the checkpoint of step k holds the parameters *after* it.  Step 0 is the initial model.
"""

import operator
import time
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

PATIENCE = 2.0  # seconds of training before a progress bar appears
REFRESH = 0.2  # seconds between two updates of the bar; each waits for the device once
_NO_MORE = object()  # a batch may be anything, None included


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

    def at(self, step: int) -> PyTree:
        """Parameters at one of the checkpoints (not stacked)."""
        found = np.flatnonzero(self.steps == step)
        if not found.size:
            raise ValueError(
                f"no checkpoint at step {step}: this run kept steps {self.steps.tolist()}; "
                "name the step in fit(..., checkpoints=...)"
            )
        index = int(found[0])
        arrays, rest = eqx.partition(self.checkpoints, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[index], arrays), rest)

    def __repr__(self) -> str:
        """Say how far the run came, in one line."""
        last = f", last loss {self.losses[-1]:.4f}" if self.losses.size else ""
        return (
            f"Fit({self.losses.size} steps, {self.steps.size} checkpoints{last}, "
            f"status={self.status!r})"
        )


def cross_entropy(
    scores: Float[Array, "... labels"], targets: Int[Array, "..."]
) -> Float[Array, ""]:
    """Mean cross entropy −log p(target) of softmax scores, in nats.

    Scores may be −inf for labels other than the target.  A target of V or more gives NaN.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, 3]))), 4)  # log 4
    1.3863
    """
    return optax.softmax_cross_entropy_with_integer_labels(scores, targets).mean()


def fit(
    loss_fn: Callable[[Any, Any], Float[Array, ""]],
    params: PyTree,
    batches: Iterable[Any],
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    checkpoints: Iterable[int] = (),
    progress: bool = True,
) -> Fit:
    """Minimise a loss over batches and keep the parameters at chosen steps.

    One step is compiled once per `loss_fn` and `optimizer` *object* and per shape of the batch:
    several runs (seeds, learning-rate schedules) that share these objects share the compilation.

    Parameters
    ----------
    loss_fn
        ``loss_fn(params, batch) -> scalar``, differentiable in the floating-point array leaves of
        `params`; all other leaves stay as they are.  Nothing changes the leaves' dtypes.
    params
        Initial parameters, any pytree (Equinox modules included).
    batches
        An iterable of batches (pytrees of arrays), `steps` or more of them, such as
        `nce_bias.data.minibatches` gives.
    optimizer
        Any Optax gradient transformation.
    steps
        Number of updates, 0 or more.
    checkpoints
        Steps whose parameters are kept, each between 0 (the initial ones) and `steps`.
    progress
        Show a progress bar on a terminal once training has taken two seconds.

    Returns
    -------
    Fit
        Also when training ends early, with everything done so far and a `status` that says why:
        Ctrl-C, batches that ran out, or a loss that is no longer finite (training goes on then:
        nothing is repaired, and the status names the first such step).

    Raises
    ------
    ValueError
        If `steps` is negative, a checkpoint lies outside 0..steps, or no leaf can be trained.

    Examples
    --------
    >>> import itertools
    >>> import jax.numpy as jnp, optax
    >>> run = fit(lambda w, x: jnp.mean((w - x) ** 2), jnp.array(0.0),
    ...           itertools.repeat(jnp.array([1.0, 3.0])), optax.sgd(0.25),
    ...           steps=2, checkpoints=[0, 1, 2])
    >>> run.checkpoints.tolist()   # halves the distance to the mean, 2, each step
    [0.0, 1.0, 1.5]
    >>> run.losses.tolist()
    [5.0, 2.0]
    """
    steps, wanted = _checked_steps(steps, checkpoints)
    trainable, fixed = eqx.partition(params, eqx.is_inexact_array)
    if not jax.tree.leaves(trainable):
        raise ValueError(
            "params has no floating-point array to train; pass jax arrays as the leaves "
            "(Python numbers and integer arrays are taken as constants)"
        )
    # weak types (jnp.array(0.0) has one) would become strong in the first step: compiled twice
    trainable = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), trainable)
    state = (0, trainable, optimizer.init(trainable))
    kept = {0: trainable} if 0 in wanted else {}
    losses: list[Any] = []
    status = "ok"
    bar = Bar(steps, enabled=progress)
    source = iter(batches)
    try:
        while state[0] < steps:
            batch = next(source, _NO_MORE)
            if batch is _NO_MORE:
                status = (
                    f"batches ran out after {state[0]} of {steps} steps: "
                    "give an endless iterable, or ask for fewer steps"
                )
                break
            trained, moments, loss = update(
                loss_fn, optimizer, fixed, state[1], state[2], jax.tree.map(jnp.asarray, batch)
            )
            losses.append(loss)
            state = (state[0] + 1, trained, moments)  # one assignment: an interrupt splits nothing
            if state[0] in wanted:
                kept[state[0]] = trained
            bar.advance(state[0], loss)
    except KeyboardInterrupt:
        status = f"interrupted at step {state[0]} of {steps}: everything up to there is kept"
    finally:
        bar.close()
    done, trained, _ = state
    if done in wanted:  # the interrupt may have come between a step and the keeping of it
        kept[done] = trained
    return _collect(kept, trained, fixed, losses[:done], status)


def _checked_steps(steps: int, checkpoints: Iterable[int]) -> tuple[int, frozenset[int]]:
    steps = operator.index(steps)
    if steps < 0:
        raise ValueError(f"steps is {steps}, expected 0 or more")
    wanted = frozenset(operator.index(step) for step in checkpoints)
    outside = sorted(step for step in wanted if not 0 <= step <= steps)
    if outside:
        raise ValueError(
            f"checkpoints {outside} lie outside 0..{steps}; "
            "0 is the initial model, `steps` the last update"
        )
    return steps, wanted


@eqx.filter_jit
def update(loss_fn, optimizer, fixed, trainable, moments, batch):
    """One step: new parameters, new optimiser state, and the loss before it."""

    def loss_of(part):
        return loss_fn(eqx.combine(part, fixed), batch)

    loss, gradient = jax.value_and_grad(loss_of)(trainable)
    updates, moments = optimizer.update(gradient, moments, trainable)
    return optax.apply_updates(trainable, updates), moments, loss


def _collect(
    kept: dict[int, PyTree], trained: PyTree, fixed: PyTree, losses: list[Any], status: str
) -> Fit:
    order = sorted(kept)

    def stack(like: Any, *leaves: Any) -> Any:  # constant arrays gain the leading axis too
        if not eqx.is_array(like):
            return like
        return jnp.stack(leaves) if leaves else jnp.zeros((0, *like.shape), like.dtype)

    whole = eqx.combine(trained, fixed)
    stacked = jax.tree.map(stack, whole, *(eqx.combine(kept[k], fixed) for k in order))
    trace = np.array(jax.device_get(losses))
    reason = _trouble(trained, trace)
    if reason:
        status = reason if status == "ok" else f"{status}; {reason}"
    return Fit(whole, np.array(order, dtype=int), stacked, trace, status)


def _trouble(trained: PyTree, losses: np.ndarray) -> str:
    remedy = "lower the learning rate or check scores and targets"
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        step = int(bad[0]) + 1
        return (
            f"loss is {losses[step - 1]} at step {step}: do not use parameters after step "
            f"{step - 1} or later; {remedy}"
        )
    if any(np.isnan(leaf).any() for leaf in jax.tree.leaves(jax.device_get(trained))):
        return f"parameters are NaN after step {losses.size}: {remedy}"
    return ""


class Bar:
    """A rich progress bar that shows itself only when training takes longer than `PATIENCE`."""

    def __init__(self, total: int, *, enabled: bool) -> None:
        self._total, self._enabled = total, enabled
        self._start = self._last = time.monotonic()
        self._bar: Any = None

    def advance(self, done: int, loss: Array) -> None:
        """Show `done` steps, once there is something to wait for."""
        now = time.monotonic()
        if not self._enabled or now - self._start < PATIENCE or now - self._last < REFRESH:
            return
        self._last = now
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
            self._bar.add_task("training", total=self._total)
            self._bar.start()
        # reading the loss waits for the device: the bar shows steps done, not steps queued
        description = f"training, loss {float(loss):.4f}"
        self._bar.update(self._bar.task_ids[0], completed=done, description=description)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
