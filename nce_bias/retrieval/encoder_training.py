"""Training a retriever and its encoder: candidates shared by a batch, mined every so many steps."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from nce_bias import scores
from nce_bias._checks import check_count, refuse
from nce_bias.losses import Loss, infonce
from nce_bias.retrieval import pool
from nce_bias.retrieval._corpus import Corpus, Mentions
from nce_bias.retrieval.encoder import (
    BertStates,
    EncoderRetriever,
    check_encoder,
    encoder_retriever,
)
from nce_bias.retrieval.mining import Mined, mine_negatives
from nce_bias.retrieval.ranking import out_of_memory
from nce_bias.retrieval.training import check_trainable, described, digest
from nce_bias.samplers import Sampler
from nce_bias.text.bert import Weights, depth
from nce_bias.train.loop import fit
from nce_bias.train.record import Fit


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The numbers of a run that trains an encoder; part of the configuration of its checkpoint.

    Attributes
    ----------
    epochs : int
        Passes over the training mentions, each in a random order of its own; a remainder smaller
        than a batch is left out.
    batch : int
        Mentions a step, B.
    mine_every : int
        Steps from one mining to the next; negatives are mined where an epoch begins, too.
    learning_rate, warm_up : float, int
        The step size of AdamW rises linearly for `warm_up` updates, then falls linearly to 0.
    weight_decay : float
        Of matrices; biases, layer norms and the scale have none.
    clip : float
        Largest norm of a gradient.
    accumulate : int
        Steps whose gradients are averaged into one update.
    mentions : int, optional
        Mentions an epoch, the first ones of its order; default: all.
    dim, scale, dropout, remat
        As `encoder_retriever` takes them; of a model that training goes on from, the latter two.
    seed : int
        Fixes the initial heads, the order of the mentions, dropout and all draws.
    """

    epochs: int = 1
    batch: int = 64
    mine_every: int = 100
    learning_rate: float = 5e-5
    warm_up: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    mentions: int | None = None
    dim: int | None = None
    scale: float = 20.0
    dropout: float = 0.1
    remat: bool = False
    seed: int = 0


def train_encoder(  # noqa: PLR0913
    corpus: Corpus,
    score: scores.Score,
    sampler: Sampler | None = None,
    loss: Loss = infonce,
    *,
    config: EncoderConfig | None = None,
    start: EncoderRetriever | None = None,
    checkpoints: Iterable[int] = (),
    folder: str | os.PathLike[str] | None = None,
    every: int = 50,
    progress: bool = True,
) -> Fit:
    r"""Train a retriever end to end: encoder, heads and, if it is an array, the scale.

    The candidates of a mention are its gold and the negatives that its batch shares: the golds of
    the other mentions, and the labels mined for every mention of the batch, itself included; what
    repeats its own gold is masked. That is the law of ``nb.in_batch(batch, hits="mask")`` without a
    sampler, and of in-batch training with hard negatives with one: see `nce_bias.retrieval.pool`.
    Each mention brings `sampler.m` labels, drawn with the model at the last mining (all entities of
    the training worlds are encoded then, and the mentions that come until the next are scored).

    Parameters
    ----------
    corpus : Corpus
        Of `nb.retrieval.corpus` with learn=True and a BERT.
    score : nb.scores.Score
        Dual, Multi, Som or Poly.
    sampler : Sampler, optional
        What is mined for each mention, such as ``nb.top(2)``, ``nb.iid(nb.uniform(), 2)`` or a sum;
        default: nothing, the golds of the batch alone.
    loss : Loss
        Taken over gold and negatives, one that does not correct: the pool has no one q.
    config : EncoderConfig, optional
    start : EncoderRetriever, optional
        What training goes on from, such as the model of a run with easier negatives; its score is
        of `score`'s kind, with the codes that it has learnt. All its layers are trained; AdamW, its
        warm-up and its decay begin anew. Default: `encoder_retriever`'s.
    checkpoints : steps
        Steps whose models the result has; 0 is the one before training.
    folder, every, progress
        As in `nb.train.fit`: the same call goes on from what is in the folder, to the same bits.

    Returns
    -------
    nb.train.Fit
        Its `model`, those at the checkpoints (`at`), losses and status; also when interrupted.

    Raises
    ------
    ValueError
        For numbers out of range, a corpus without tokens, a loss that corrects, a start of another
        score or with tensors of other shapes than the corpus's encoder, and a checkpoint that is
        damaged or of another configuration.
    jax.errors.JaxRuntimeError
        Where a step does not fit the memory, with a note of what helps.
    """
    config = config or EncoderConfig()
    check_trainable(loss)
    check_numbers(config, ("epochs", "batch", "mine_every", "accumulate"), loss)
    if not 0 <= config.dropout < 1:
        given = f"got {config.dropout!r}"
        raise refuse("dropout", given, "a number in [0, 1)", "Pass dropout=0.1, or 0 for none.")
    model = _begun(corpus, score, config, start)
    plan = _Plan(corpus["train"], sampler, loss, config)
    configuration = described(config, score, sampler, loss, corpus)
    if start is not None:
        configuration["start"] = digest(start)
        if not eqx.is_array(start.scale):  # a constant, no array that the digest has
            configuration["scale"] = float(start.scale)
    updates = config.epochs * plan.steps // config.accumulate
    with advice_on_memory(config):
        return fit(
            pool.PoolLoss(loss),
            model,
            _Batches(plan, plan.unmined(), Speed()),
            optimizer(config, updates),
            steps=config.epochs * plan.steps,
            checkpoints=checkpoints,
            folder=folder,
            every=every,
            configuration=configuration,
            progress=progress,
        )


def _begun(
    corpus: Corpus, score: scores.Score, config: EncoderConfig, start: EncoderRetriever | None
) -> EncoderRetriever:
    """The model of step 0: a new one, or all of `start` with the run's own dropout."""
    if start is None:
        return encoder_retriever(
            corpus,
            score,
            dim=config.dim,
            scale=config.scale,
            dropout=config.dropout,
            remat=config.remat,
            seed=config.seed,
        )
    if repr(start.score) != repr(score):  # its codes have learnt
        given, other = f"got a model of {start.score!r}", f"one of {score!r}, as `score` says"
        raise refuse("start", given, other, "Pass score=start.score, or another start.")
    held, expected = start.encoder.weights, check_encoder(corpus).weights
    if jax.tree.map(np.shape, held) != jax.tree.map(np.shape, expected):
        raise refuse(
            "start",
            f"got an encoder of {_sizes(held)}",
            f"{_sizes(expected)}, as the corpus's has",
            "It reads the corpus's tokens: make the corpus with the BERT it began from.",
        )

    def going_on(encoder: BertStates) -> BertStates:
        return dataclasses.replace(encoder, rate=config.dropout, remat=config.remat, constant=0)

    both = None if start.label_encoder is None else going_on(start.label_encoder)
    return dataclasses.replace(start, encoder=going_on(start.encoder), label_encoder=both)


def _sizes(weights: Weights) -> str:
    words, positions = (len(weights[name]) for name in ("words", "positions"))
    width, inner = weights["layers"]["inner"][0].shape[-2:]
    return (
        f"{depth(weights)} layers of {width} and {inner} columns, {words} words, "
        f"{positions} positions"
    )


@contextlib.contextmanager
def advice_on_memory(config: Any) -> Iterator[None]:
    """Adds to an error of a device that has no memory left what makes a step smaller."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if out_of_memory(error):
            error.add_note(
                f"A step of batch={config.batch} does not fit the memory. Half the batch with "
                f"accumulate={2 * config.accumulate} makes updates of as many mentions; an encoder "
                "of remat=True keeps less of each layer."
            )
        raise


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """Which mentions each step takes, and with which negatives."""

    mentions: Mentions
    sampler: Sampler | None
    loss: Loss
    config: EncoderConfig

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        count = min(self.config.mentions or len(self.mentions), len(self.mentions))
        return max(1, count // self.config.batch)

    def place(self, step: int) -> tuple[int, int, int]:
        """Epoch of a step, how many steps of it are done, and how many since the last mining."""
        epoch, done = divmod(step, self.steps)
        return epoch, done, done % self.config.mine_every

    def seed(self, *numbers: int) -> int:
        """What is random of some part of the run follows from it."""
        return int(np.random.SeedSequence((self.config.seed, *numbers)).generate_state(1)[0])

    def coming(self, epoch: int, first: int, steps: int) -> Mentions:
        """Mentions of some steps of an epoch."""
        order = np.random.default_rng(self.seed(epoch)).permutation(len(self.mentions))
        end = min(first + steps, self.steps)
        return self.mentions[order[first * self.config.batch : end * self.config.batch]]

    def unmined(self) -> Mined | None:
        """Arrays of the shapes of what is mined."""
        if self.sampler is None:
            return None
        steps = min(self.config.mine_every, self.steps)
        shape = steps * self.config.batch, 1 + self.sampler.slots(len(self.mentions.space))
        return Mined(np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, np.float32))

    def mine(self, model: EncoderRetriever, epoch: int, done: int) -> Mined | None:
        """Negatives of the mentions that come until the next mining."""
        if self.sampler is None:
            return None
        coming = self.coming(epoch, done, self.config.mine_every)
        seed = self.seed(epoch, done)
        given = model, coming, self.sampler, self.loss
        found = mine_negatives(*given, seed=seed, progress=False)
        filled = self.unmined()
        jax.tree.map(lambda into, part: into.__setitem__(slice(len(part)), part), filled, found)
        return filled

    def batch(self, step: int, mined: Mined | None) -> pool.Pool:
        """The pool of a step."""
        epoch, done, since = self.place(step)
        count = self.config.batch
        if mined is not None:
            mined = jax.tree.map(lambda leaf: leaf[since * count : (since + 1) * count], mined)
        noise = (self.config.seed % 2**32, step) if self.config.dropout else None
        return pool.batch(self.coming(epoch, done, 1), mined, noise)


class Speed:
    """Tokens read, and how many a second since it was first asked."""

    def __init__(self) -> None:
        self.tokens, self.began = 0, time.monotonic()

    def add(self, tokens: int) -> None:
        """Count some more."""
        self.tokens += tokens

    def __call__(self) -> str:
        """In words."""
        return f"{self.tokens / max(time.monotonic() - self.began, 1e-9):.0f} tokens a second"


class _Batches(eqx.Module):
    """Batches for `nb.train.fit`; what is mined is part of the run's checkpoint."""

    plan: _Plan
    mined: Mined | None
    note: Speed

    def __call__(self, step: int, model: EncoderRetriever) -> tuple[Any, _Batches]:
        epoch, done, since = self.plan.place(step)
        mined = self.mined if since else self.plan.mine(model, epoch, done)
        found = self.plan.batch(step, mined)
        self.note.add(int(np.sum(np.asarray(found.texts.texts) > 0)))
        return found, _Batches(self.plan, mined, self.note)


@functools.lru_cache(maxsize=16)
def _optimizer(numbers: Any, accumulate: int) -> Any:
    learning_rate, warm_up, updates, weight_decay, clip = numbers
    warm_up = min(int(warm_up), int(updates))
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, learning_rate, max(1, warm_up)),
            optax.linear_schedule(learning_rate, 0.0, max(1, int(updates) - warm_up)),
        ],
        [warm_up],
    )
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=_matrices)
    chained = optax.chain(optax.clip_by_global_norm(clip), adam)
    if accumulate == 1:
        return chained
    return optax.MultiSteps(chained, accumulate).gradient_transformation()


def optimizer(config: Any, updates: int) -> Any:
    """AdamW with warm-up, linear decay and clipping; one object for each setting."""
    names = ("learning_rate", "warm_up", "weight_decay", "clip")
    rate, warm_up, decay, clip = (getattr(config, name) for name in names)
    return _optimizer((rate, warm_up, updates, decay, clip), config.accumulate)


def _matrices(params: Any) -> Any:
    """True for what decays: matrices, of which those of layers are stacked."""

    def decays(path: Any, leaf: Any) -> bool:
        stacked = any(getattr(entry, "key", None) == "layers" for entry in path)
        return leaf.ndim >= 2 + stacked

    return jax.tree_util.tree_map_with_path(decays, params)


def check_numbers(config: Any, counts: Iterable[str], loss: Loss) -> None:
    """Counts of a configuration, each 1 or more, and a loss that no one q could correct."""
    for name in counts:
        check_count(name, getattr(config, name))
    if getattr(loss, "corrects", False):
        raise refuse(
            "loss",
            f"got {loss.name}, which takes log q off",
            "one that does not correct, such as nb.infonce",
            "These candidates have no one q; train_retriever draws for each mention alone.",
        )
