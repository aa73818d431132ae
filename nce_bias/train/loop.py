"""The fit loop: one for everything that is trained here, from a tanh layer to a retriever.

How biased a contrastive gradient is depends on where in training the model stands.  `fit` brings a
model to those places: it minimises any loss by any Optax optimiser and hands back the parameters at
the steps asked for, so that the exact moments can be taken there afterwards.

Steps are counted from 1: ``losses[k - 1]`` is the loss of the k-th batch *before* its update, and
the checkpoint of step k holds the parameters *after* it.  Step 0 is the initial model.
"""

import functools
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from nce_bias._checks import check_count, refuse
from nce_bias._progress import Bar
from nce_bias.train.record import NO_MORE, Fit, Iterated, Record, State


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


def fit(  # noqa: PLR0913
    loss_fn: Callable[[Any, Any], Float[Array, ""]],
    params: PyTree,
    batches: Iterable[Any] | Callable[[int, Any], tuple[Any, Any]],
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    checkpoints: Iterable[int] = (),
    folder: str | os.PathLike[str] | None = None,
    every: int = 50,
    configuration: Mapping[str, Any] | None = None,
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
        `nce_bias.data.minibatches` gives.  Or a function ``batches(step, params)``, of the steps
        done and the parameters reached, that returns a batch and the function for the next one; if
        it is an Equinox module, its arrays are part of the run's checkpoint. If it has a function
        ``note() -> str``, the bar shows that behind the loss.
    optimizer
        Any Optax gradient transformation.
    steps
        Number of updates, 0 or more.
    checkpoints
        Steps whose parameters are kept, each between 0 (the initial ones) and `steps`.
    folder
        Where the run is written every `every` steps and when it ends, by Ctrl-C too.  The same call
        goes on from there, to the same bits; an iterable is taken from its beginning and advanced
        past the batches that are done.
    every
        Steps between two writes.
    configuration
        What else makes the run, for `json`: a file of another configuration is refused.
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
        If `steps` is negative, a checkpoint lies outside 0..steps, or no leaf can be trained; and
        for a file in `folder` that is damaged or of another run.

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
    check_count("every", every)
    trainable, constants = _split(params)
    record = Record(steps, wanted, folder, {**(configuration or {}), "checkpoints": wanted})
    following = batches if callable(batches) else Iterated(iter(batches))
    state = record.resumed(State(0, trainable, optimizer.init(trainable), following))
    status = "ok"
    try:
        with Bar(steps, "training", enabled=progress) as bar:
            bar.advance(state.step)
            while state.step < steps:
                batch, following = state.batches(state.step, eqx.combine(state.params, constants))
                if batch is NO_MORE:
                    status = (
                        f"batches ran out after {state.step} of {steps} steps: "
                        "give an endless iterable, or ask for fewer steps"
                    )
                    break
                batch = jax.tree.map(jnp.asarray, batch)
                trained, moments, loss = update(
                    loss_fn, optimizer, constants, state.params, state.moments, batch
                )
                record.losses.append(loss)
                # one assignment: an interrupt splits nothing
                state = State(state.step + 1, trained, moments, following)
                record.keep(state)
                if state.step % every == 0:
                    record.store(state)
                bar.advance(note=functools.partial(_note, loss, following))
    except KeyboardInterrupt:
        on = (
            "everything up to there is kept"
            if folder is None
            else "the same call goes on from there"
        )
        status = f"interrupted at step {state.step} of {steps}: {on}"
    record.keep(state)  # an interrupt may have come between a step and the keeping of it
    record.store(state)
    return record.result(state, constants, status)


def _note(loss: Any, batches: Any) -> str:
    """What stands behind a bar: the loss, and what the batches have to say."""
    more = getattr(batches, "note", None)
    return f"loss {float(loss):.4f}" + (f", {more()}" if callable(more) else "")


def _checked_steps(steps: int, checkpoints: Iterable[int]) -> tuple[int, list[int]]:
    steps = check_count("steps", operator.index(steps), least=0)
    wanted = sorted({operator.index(step) for step in checkpoints})
    outside = [step for step in wanted if not 0 <= step <= steps]
    if outside:
        raise refuse(
            "checkpoints",
            f"got steps {outside}",
            f"steps from 0 to {steps}",
            "0 is the initial model, the last number the last update.",
        )
    return steps, wanted


def _split(params: PyTree) -> tuple[PyTree, PyTree]:
    """What is trained, and what is constant."""
    trainable, constants = eqx.partition(params, eqx.is_inexact_array)
    if not jax.tree.leaves(trainable):
        raise refuse(
            "params",
            "got no floating-point array to train",
            "jax arrays as the leaves that are trained",
            "Python numbers and integer arrays are constants: pass jnp.asarray(value, float).",
        )
    # weak types (jnp.array(0.0) has one) would become strong in the first step: compiled twice
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), trainable), constants


@eqx.filter_jit
def update(loss_fn, optimizer, constants, trainable, moments, batch):
    """One step: new parameters, new optimiser state, and the loss before it."""

    def loss_of(part):
        return loss_fn(eqx.combine(part, constants), batch)

    loss, gradient = jax.value_and_grad(loss_of)(trainable)
    updates, moments = optimizer.update(gradient, moments, trainable)
    return optax.apply_updates(trainable, updates), moments, loss
