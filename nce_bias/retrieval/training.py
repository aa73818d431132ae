"""Training a retriever contrastively: mine, train an epoch, mine again.

An epoch begins by drawing the candidates of all its mentions with the model of that moment
(`negatives`), and is then plain minimisation by Optax over batches of them. Everything random
follows from one seed, the epoch and the mention, so a run that was stopped and goes on from its
checkpoint is the run that was not stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from nce_bias import scores
from nce_bias._checks import check_count, refuse
from nce_bias.losses import Loss, check_loss, infonce
from nce_bias.retrieval import checkpoint
from nce_bias.retrieval._corpus import LONGEST, Corpus
from nce_bias.retrieval._retriever import Retriever, retriever
from nce_bias.retrieval.mining import Mined, mine
from nce_bias.samplers import Sampler, top
from nce_bias.train.loop import Bar, update

LEARNING_RATE = 2e-3


class Run(eqx.Module):
    """What a training run left behind.

    Attributes
    ----------
    model : Retriever
        After the last completed step.
    losses : float `[steps]`
        Mean loss of each batch, before its update.
    kept : mapping of step to Retriever
        Models at the steps asked for; step 0 is the untrained one.
    status : str
        "ok", or what went wrong and what to do.
    """

    model: Retriever
    losses: np.ndarray
    kept: dict[int, Retriever]
    status: str = eqx.field(static=True)

    def __repr__(self) -> str:
        """How far it came, in one line."""
        last = f", last loss {self.losses[-1]:.4f}" if self.losses.size else ""
        return f"Run({self.losses.size} steps{last}, kept {[*self.kept]}, status={self.status!r})"


class State(eqx.Module):
    """All that a run is between two steps."""

    model: Retriever
    moments: Any
    losses: np.ndarray
    done: np.ndarray
    mined: Mined


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a run; part of the configuration of its checkpoint.

    Attributes
    ----------
    epochs, batch, mentions : int
        Times that negatives are mined, mentions a step, and mentions an epoch. Epochs take the
        training mentions in one random order, each where the one before ended, and begin again
        when all have been seen.
    learning_rate : float
        Of Adam.
    size : int
        d, width of columns.
    seed : int
    """

    epochs: int = 4
    batch: int = 32
    mentions: int = 1536
    learning_rate: float = LEARNING_RATE
    size: int = 64
    seed: int = 0


def link(
    corpus: Corpus,
    score: scores.Score,
    sampler: Sampler | None = None,
    loss: Loss = infonce,
    *,
    plan: Plan | None = None,
    keep: Iterable[int] = (),
    folder: str | pathlib.Path | None = None,
    every: int = 50,
    progress: bool = True,
) -> Run:
    """Train a retriever on the training worlds of a corpus.

    Parameters
    ----------
    corpus : Corpus
    score : nb.scores.Score
        Dual, Multi, Som or Poly.
    sampler : Sampler, optional
        Negatives, drawn once an epoch from the scores at its start (`mine`); default: `nb.top(63)`,
        the hardest of the mention's world.
    loss : Loss
        Of gold and negatives; corrections use q of the moment of drawing.
    plan : Plan, optional
        Epochs, batch, mentions, learning rate, width, seed.
    keep : steps
        Whose models the result has.
    folder : path, optional
        Where a checkpoint goes every `every` steps, and at Ctrl-C. If there is one, the run goes on
        from it.
    every : int
        Steps between checkpoints.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    Run
        Also when interrupted: `status` says so, and the same call goes on from there.

    Raises
    ------
    ValueError
        For numbers out of range, and a checkpoint that is damaged or of another configuration.
    """
    plan, sampler = plan or Plan(), sampler or top(63)
    check_loss(loss)
    for name in ("epochs", "batch", "mentions", "size"):
        check_count(name, getattr(plan, name))
    check_count("every", every)
    total = len(corpus.labels["train"])
    count = min(plan.mentions, total)
    steps_each = max(1, count // plan.batch)
    steps = plan.epochs * steps_each
    optimizer = _adam(plan.learning_rate)
    model = retriever(corpus, score, size=plan.size, seed=plan.seed)
    candidates = 1 + sampler.slots(len(corpus.label_space("train")))
    state = _start(model, optimizer, count, candidates, steps)
    path = None if folder is None else pathlib.Path(folder) / "checkpoint.npz"
    keep = sorted({int(step) for step in keep})
    if keep and not 0 <= keep[0] <= keep[-1] <= steps:
        raise refuse(
            "keep",
            f"got steps {keep}",
            f"steps from 0 to {steps}",
            "A run has epochs * (mentions // batch) steps.",
        )
    configuration = {
        **dataclasses.asdict(plan),
        "score": repr(score),
        "sampler": repr(sampler),
        "loss": loss.name,
        "arrays": _digest((score, sampler, loss)),
        "corpus": f"{corpus.name}; {len(corpus.entities)}, {total}",
    }
    if path is not None and path.exists():
        state = checkpoint.load(path, state, configuration)
    done = int(state.done)
    kept = {0: model} if 0 in keep and not done else {}
    bar, status = Bar(steps, enabled=progress), "ok"
    fixed = eqx.partition(state.model, eqx.is_inexact_array)[1]

    def store() -> None:
        if path is not None:
            # models first: a run goes on from the checkpoint, and would not come by them again
            for step, found in kept.items():
                checkpoint.save(path.with_name(f"model-{step}.npz"), found, configuration)
            checkpoint.save(path, state, configuration)

    try:
        while done < steps:
            epoch, place = divmod(done, steps_each)
            rows, seed = _rows(plan.seed, total, count, epoch), _seed(plan.seed, epoch)
            if place == 0:
                mined = mine(state.model, corpus, rows, sampler, loss, seed=seed)
                state = eqx.tree_at(lambda s: s.mined, state, mined)
                store()
            order = np.random.default_rng(seed).permutation(count)
            some = np.sort(order[place * plan.batch : (place + 1) * plan.batch])
            batch = _batch(corpus, rows[some], state.mined, some)
            arrays, _ = eqx.partition(state.model, eqx.is_inexact_array)
            trained, moments, value = update(
                _Objective(loss), optimizer, fixed, arrays, state.moments, batch
            )
            losses = state.losses.copy()
            losses[done] = float(value)
            done += 1
            trained: Any = eqx.combine(trained, fixed)
            state = State(trained, moments, losses, np.array(done), state.mined)
            if done in keep:
                kept[done] = state.model
            if done % every == 0:
                store()
            bar.advance(done, value)
    except KeyboardInterrupt:
        done = int(state.done)
        again = "the same call goes on from there" if path else "name a folder to be able to go on"
        status = f"interrupted at step {done} of {steps}: {again}"
    finally:
        bar.close()
    if done in keep:  # the interrupt may have come between a step and the keeping of it
        kept[done] = state.model
    store()
    if path is not None:
        for step in set(keep) - set(kept):
            file = path.with_name(f"model-{step}.npz")
            if file.exists():
                kept[step] = checkpoint.load(file, model, configuration)
    bad = np.flatnonzero(~np.isfinite(state.losses[:done]))
    if bad.size:
        trouble = f"loss is not finite at step {int(bad[0]) + 1}: lower the learning rate"
        status = trouble if status == "ok" else f"{status}; {trouble}"
    return Run(state.model, state.losses[:done], dict(sorted(kept.items())), status)


class _Objective(eqx.Module):
    """Mean loss of a batch; a pytree without arrays, so that all runs share its compilation."""

    loss: Any

    def __call__(self, model: Retriever, batch: Any) -> Float[Array, ""]:
        inputs, labels, present, offsets = batch
        scores = model.candidates(inputs, labels) + offsets
        return jnp.mean(jax.vmap(self.loss.value)(scores[:, 0], scores[:, 1:], present[:, 1:]))


def _batch(corpus: Corpus, rows: np.ndarray, epoch: Mined, some: np.ndarray) -> Any:
    """Texts of the mentions `rows`, which are rows `some` of what was mined."""
    mined = jax.tree.map(lambda leaf: leaf[some], epoch)
    texts = corpus.mentions["train"]
    inputs = texts.batch(rows, _length(texts.lengths[rows]))
    flat = mined.labels.ravel()
    labels = corpus.entities.batch(flat, _length(corpus.entities.lengths[flat]))
    return jax.tree.map(jnp.asarray, (inputs, labels, mined.present, mined.offsets))


def _rows(seed: int, total: int, count: int, epoch: int) -> np.ndarray:
    """The `count` training mentions of an epoch, in the order of `_batch`."""
    return np.random.default_rng(seed).permutation(total)[
        (epoch * count + np.arange(count)) % total
    ]


def _length(lengths: np.ndarray) -> int:
    """The longest, up to a multiple of 8: few shapes compile."""
    return min(LONGEST, int(-(-lengths.max() // 8) * 8))


def _start(model: Retriever, optimizer: Any, mentions: int, candidates: int, steps: int) -> State:
    """The untrained model; nothing is mined."""
    shape = mentions, candidates
    mined = Mined(np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, np.float32))
    arrays = eqx.filter(model, eqx.is_inexact_array)
    return State(model, optimizer.init(arrays), np.zeros(steps), np.array(0), mined)


@functools.cache
def _adam(learning_rate: float) -> optax.GradientTransformation:
    """One object for each rate: runs share their compilation."""
    return optax.adam(learning_rate)


def _digest(tree: Any) -> str:
    """Of the arrays that a repr does not show: codes, probabilities."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
