"""Training a retriever contrastively: mine negatives, train an epoch, mine again.

An epoch begins by drawing the candidates of all its mentions with the model of that moment
(`mine_negatives`), and is then plain minimisation by Optax over batches of them (`nb.train.fit`).
Everything random follows from one seed, the epoch and the mention, so a run that was stopped and
goes on from its checkpoint is the run that was not stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from nce_bias import scores
from nce_bias._checks import check_count, refuse
from nce_bias.losses import Loss, check_loss, infonce
from nce_bias.retrieval._corpus import Corpus, Mentions
from nce_bias.retrieval._retriever import Retriever, retriever
from nce_bias.retrieval.mining import Mined, mine_negatives
from nce_bias.retrieval.texts import LONGEST, Texts
from nce_bias.samplers import Sampler, top
from nce_bias.train.loop import fit
from nce_bias.train.record import Fit


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The numbers of a training run; part of the configuration of its checkpoint.

    Attributes
    ----------
    epochs : int
        How often negatives are mined.
    batch : int
        Mentions a step.
    mentions : int
        Mentions an epoch. Epochs take the training mentions in one random order, each where the one
        before ended, and begin again when all have been seen.
    learning_rate : float
        The step size of Adam.
    dim : int
        d, width of the columns that the score takes.
    seed : int
        Fixes the initial model, the order of the mentions and all draws.
    """

    epochs: int = 4
    batch: int = 32
    mentions: int = 1536
    learning_rate: float = 2e-3
    dim: int = 64
    seed: int = 0


def train_retriever(  # noqa: PLR0913
    corpus: Corpus,
    score: scores.Score,
    sampler: Sampler | None = None,
    loss: Loss = infonce,
    *,
    config: TrainingConfig | None = None,
    checkpoints: Iterable[int] = (),
    folder: str | os.PathLike[str] | None = None,
    every: int = 50,
    progress: bool = True,
) -> Fit:
    """Train a retriever on the training worlds of a corpus.

    Parameters
    ----------
    corpus : Corpus
    score : nb.scores.Score
        Dual, Multi, Som or Poly.
    sampler : Sampler, optional
        Negatives, drawn once an epoch from the scores at its start (`mine_negatives`); default:
        `nb.top(63)`, the hardest of the mention's world.
    loss : Loss
        Taken over gold and negatives; corrections use q of the moment of drawing.
    config : TrainingConfig, optional
        Epochs, batch, mentions, learning rate, width, seed.
    checkpoints : steps
        Steps whose models the result has; 0 is the untrained one.
    folder, every, progress
        As in `nb.train.fit`: the same call goes on from what is in the folder.

    Returns
    -------
    nb.train.Fit
        Its `model`, those at the checkpoints (`at`), losses and status; also when interrupted.

    Raises
    ------
    ValueError
        For numbers out of range, a loss that reads more than scores, and a checkpoint that is
        damaged or of another configuration.
    """
    config, sampler = config or TrainingConfig(), sampler or top(63)
    check_trainable(loss)
    for name in ("epochs", "batch", "mentions", "dim"):
        check_count(name, getattr(config, name))
    epochs = _Epochs(corpus["train"], sampler, loss, config)
    return fit(
        _Objective(loss),
        retriever(corpus, score, dim=config.dim, seed=config.seed),
        _Batches(epochs, epochs.unmined()),
        _adam(config.learning_rate),
        steps=config.epochs * epochs.steps,
        checkpoints=checkpoints,
        folder=folder,
        every=every,
        configuration=described(config, score, sampler, loss, corpus),
        progress=progress,
    )


def check_trainable(loss: Loss) -> None:
    """Refuse what is no loss, and one whose value reads more than scores: m, or numbers of labels.

    Raises
    ------
    ValueError
        Which names the loss and what it reads.
    """
    check_loss(loss)
    gold, others = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    try:
        jax.eval_shape(loss.value, gold, others, jax.ShapeDtypeStruct((2,), jnp.bool_))
    except KeyError as missing:  # by its name, as `Corrected.besides` would give it
        raise refuse(
            "loss",
            f"got {loss.name}, which reads {missing.args[0]!r} beside the scores",
            "one of scores alone, such as nb.infonce",
            "nb.exact has its bias; retrievers are trained with losses of scores.",
        ) from None


class _Objective(eqx.Module):
    """Mean loss of a batch; a pytree without arrays, so that all runs share its compilation."""

    loss: Any

    def __call__(self, model: Retriever, batch: Any) -> Float[Array, ""]:
        inputs, labels, present, offsets = batch
        scores = model.candidates(inputs, labels) + offsets
        return jnp.mean(jax.vmap(self.loss.value)(scores[:, 0], scores[:, 1:], present[:, 1:]))


@dataclasses.dataclass(frozen=True, eq=False)
class _Epochs:
    """Which mentions each epoch takes, with which negatives."""

    mentions: Mentions
    sampler: Sampler
    loss: Loss
    config: TrainingConfig

    @property
    def count(self) -> int:
        """Mentions of an epoch."""
        return min(self.config.mentions, len(self.mentions))

    @property
    def steps(self) -> int:
        """Steps of an epoch: a remainder smaller than a batch is left out."""
        return max(1, self.count // self.config.batch)

    def of(self, epoch: int) -> Mentions:
        """The mentions of an epoch, in the order of what is mined for it."""
        total = len(self.mentions)
        order = np.random.default_rng(self.config.seed).permutation(total)
        return self.mentions[order[(epoch * self.count + np.arange(self.count)) % total]]

    def seed(self, epoch: int) -> int:
        """What the draws and the order of the batches of an epoch follow from."""
        return int(np.random.SeedSequence((self.config.seed, epoch)).generate_state(1)[0])

    def mine(self, model: Retriever, epoch: int) -> Mined:
        """Candidates of an epoch's mentions, drawn with the model at its start."""
        given = model, self.of(epoch), self.sampler, self.loss
        return mine_negatives(*given, seed=self.seed(epoch), progress=False)

    def unmined(self) -> Mined:
        """Arrays of the shapes of what is mined."""
        shape = self.count, 1 + self.sampler.slots(len(self.mentions.space))
        return Mined(np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, np.float32))

    def batch(self, epoch: int, place: int, mined: Mined) -> Any:
        """The texts of the `place`-th batch of an epoch, with what was mined for them."""
        order = np.random.default_rng(self.seed(epoch)).permutation(self.count)
        some = np.sort(order[place * self.config.batch : (place + 1) * self.config.batch])
        return _batch(self.of(epoch)[some], jax.tree.map(lambda leaf: leaf[some], mined))


class _Batches(eqx.Module):
    """Batches for `nb.train.fit`: negatives are mined where an epoch begins, and kept for it."""

    epochs: _Epochs
    mined: Mined

    def __call__(self, step: int, model: Retriever) -> tuple[Any, _Batches]:
        epoch, place = divmod(step, self.epochs.steps)
        mined = self.mined if place else self.epochs.mine(model, epoch)
        return self.epochs.batch(epoch, place, mined), _Batches(self.epochs, mined)


def _batch(mentions: Mentions, mined: Mined) -> Any:
    """Texts of some mentions and of their candidates, which of them are there, and offsets."""
    inputs = _padded(mentions.texts, mentions.rows)
    return inputs, _padded(mentions.entities, mined.labels.ravel()), mined.present, mined.offsets


def _padded(texts: Texts, rows: np.ndarray) -> Any:
    """A batch of the length of its longest text, up to a multiple of 8: few shapes compile."""
    return texts.batch(rows, min(LONGEST, int(-(-texts.lengths[rows].max() // 8) * 8)))


@functools.cache
def _adam(learning_rate: float) -> optax.GradientTransformation:
    """One object for each rate: runs share their compilation."""
    return optax.adam(learning_rate)


def described(
    config: Any, score: scores.Score, sampler: Sampler | None, loss: Loss, corpus: Corpus
) -> dict[str, Any]:
    """What makes a run: a checkpoint of another one is refused."""
    return {
        **dataclasses.asdict(config),
        "score": repr(score),
        "sampler": repr(sampler),
        "loss": loss.name,
        "arrays": digest((score, sampler, loss)),
        "corpus": f"{corpus.name}; {len(corpus.entities)}, {len(corpus['train'])}",
    }


def digest(tree: Any) -> str:
    """A digest of the arrays that a repr does not show: codes, probabilities."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array)):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
