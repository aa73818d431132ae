"""Training a re-ranker on what its retriever finds: hard negatives by construction."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nce_bias._checks import refuse
from nce_bias.losses import Loss, infonce
from nce_bias.retrieval._corpus import Mentions
from nce_bias.retrieval.encoder_training import (
    Speed,
    advice_on_memory,
    check_numbers,
    optimizer,
)
from nce_bias.retrieval.ranking import Ranked, check_candidates
from nce_bias.retrieval.reranker import Reranker, pair_texts
from nce_bias.retrieval.tokens import Packed, packed, rounded
from nce_bias.retrieval.training import check_trainable, digest
from nce_bias.train.loop import fit
from nce_bias.train.record import Fit

LEAST = 64  # tokens that the pairs of a batch are padded to


@dataclasses.dataclass(frozen=True)
class RerankerConfig:
    """The numbers of a run that trains a re-ranker; part of the configuration of its checkpoint.

    Attributes
    ----------
    epochs : int
        Passes over the mentions whose gold was retrieved, each in a random order of its own.
    batch : int
        Mentions a step.
    negatives : int
        Of each mention, drawn for each pass among its other candidates, distinct.
    learning_rate, warm_up, weight_decay, clip, accumulate
        As `EncoderConfig` has them.
    seed : int
        Fixes the order, dropout and the draws.
    """

    epochs: int = 1
    batch: int = 16
    negatives: int = 7
    learning_rate: float = 5e-5
    warm_up: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    seed: int = 0


def train_reranker(  # noqa: PLR0913
    model: Reranker,
    mentions: Mentions | Any,
    candidates: Ranked,
    loss: Loss = infonce,
    *,
    config: RerankerConfig | None = None,
    checkpoints: Iterable[int] = (),
    folder: str | os.PathLike[str] | None = None,
    every: int = 50,
    progress: bool = True,
) -> Fit:
    """Train a re-ranker on candidates of training mentions.

    A mention whose gold is not among its candidates could only be taught what it will not be asked,
    and is left out.

    Parameters
    ----------
    model : Reranker
        Where it begins, of `reranker`.
    mentions : Mentions
        Such as ``corpus["train"]``, or some of them.
    candidates : Ranked
        Of `rank_candidates` of these mentions.
    loss : Loss
        Taken over the gold and its negatives, one that does not correct.
    config : RerankerConfig, optional
    checkpoints : steps
        Steps whose models the result has; 0 is the untrained one.
    folder, every, progress
        As in `nb.train.fit`: the same call goes on from what is in the folder, to the same bits.

    Returns
    -------
    nb.train.Fit
        Its `model`, those at the checkpoints (`at`), losses and status; also when interrupted.

    Raises
    ------
    ValueError
        For numbers out of range, candidates of other mentions, fewer candidates than one negative
        asks for, too few mentions for a batch, and a loss that corrects.

    Warns
    -----
    UserWarning
        With the number of mentions that are left out.
    """
    config = config or RerankerConfig()
    check_trainable(loss)
    check_numbers(config, ("epochs", "batch", "negatives", "accumulate"), loss)
    check_candidates(mentions, candidates)
    plan = _Plan(mentions, candidates, config, _usable(mentions, candidates))
    if len(plan.usable) < config.batch:
        raise refuse(
            "candidates",
            f"got the golds of {len(plan.usable)} of {len(mentions)} mentions",
            f"those of a batch, {config.batch}, or more",
            "Retrieve more candidates, give more mentions, or pass a smaller batch.",
        )
    if len(plan.usable) < len(mentions):
        warnings.warn(
            f"train_reranker: {len(mentions) - len(plan.usable)} of {len(mentions)} mentions are "
            "left out: their gold is not among their candidates, or nothing else is.",
            stacklevel=2,
        )
    steps = config.epochs * plan.steps
    with advice_on_memory(config):
        return fit(
            PairLoss(loss),
            model,
            _Batches(plan, Speed()),
            optimizer(config, steps // config.accumulate),
            steps=steps,
            checkpoints=checkpoints,
            folder=folder,
            every=every,
            configuration={
                **dataclasses.asdict(config),
                "loss": loss.name,
                "arrays": digest((model, loss, mentions.rows, *candidates)),
            },
            progress=progress,
        )


class Pairs(NamedTuple):
    """B (1 + m) pairs, mention by mention, the gold's first, and what the retriever says of them.

    Attributes
    ----------
    texts : Packed
    prior : `[B, 1 + m]`
        Scores of the retriever; -inf where a mention has fewer candidates.
    """

    texts: Packed
    prior: Float[np.ndarray, "B K"]


class PairLoss(eqx.Module):
    """Mean loss of a batch of pairs."""

    loss: Any

    def __call__(self, model: Reranker, batch: Pairs) -> Float[Array, ""]:
        """Over B mentions."""
        present = jnp.isfinite(batch.prior)
        scores = model(batch.texts).reshape(present.shape)
        scores = scores + model.prior * jnp.where(present, batch.prior, 0.0)
        return jnp.mean(jax.vmap(self.loss.value)(scores[:, 0], scores[:, 1:], present[:, 1:]))


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """Which mentions each step takes, and with which candidates."""

    mentions: Mentions
    candidates: Ranked
    config: RerankerConfig
    usable: Int[np.ndarray, " u"]

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.usable) // self.config.batch

    def pairs(self, step: int) -> Pairs:
        """The batch of a step; its draws follow from the seed, the epoch and the mention."""
        epoch, done = divmod(step, self.steps)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(self.usable)
        rows = order[done * self.config.batch :][: self.config.batch]
        mentions = self.mentions[rows]
        each = [self._row(epoch, row) for row in rows.tolist()]
        labels, prior = map(np.stack, zip(*each, strict=True))
        texts = pair_texts(mentions, labels)
        length = rounded(int(texts.lengths.max()), LEAST)
        # names by mention and label: what fills a short row is computed once
        names = (np.arange(len(rows))[:, None] * len(mentions.entities) + labels).ravel()
        found = packed([texts[i] for i in range(len(texts))], names, length, texts.firsts)
        noise = np.array([self.config.seed % 2**32, step], np.uint32)
        return Pairs(found._replace(noise=noise), prior)

    def _row(self, epoch: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Entities of one mention, gold first, and their retriever's scores."""
        labels, scores = self.candidates.labels[row], self.candidates.scores[row]
        gold = labels == self.mentions.labels[row]
        others = np.flatnonzero((labels >= 0) & ~gold)
        random = np.random.default_rng([self.config.seed, epoch, int(self.mentions.rows[row])])
        some = random.choice(others, min(len(others), self.config.negatives), replace=False)
        taken = np.concatenate([np.flatnonzero(gold), some])
        missing = 1 + self.config.negatives - len(taken)
        filled = np.concatenate([labels[taken], np.repeat(labels[taken[:1]], missing)])
        return filled, np.concatenate([scores[taken], np.full(missing, -np.inf, np.float32)])


class _Batches(eqx.Module):
    """Batches for `nb.train.fit`; they depend on the step alone."""

    plan: _Plan
    note: Speed

    def __call__(self, step: int, model: Any) -> tuple[Any, _Batches]:
        found = self.plan.pairs(step)
        self.note.add(int(np.sum(np.asarray(found.texts.texts) > 0)))
        return found, self


def _usable(mentions: Mentions, candidates: Ranked) -> Int[np.ndarray, " u"]:
    """Mentions with their gold and something else among their candidates."""
    gold = candidates.labels == mentions.labels[:, None]
    return np.flatnonzero(gold.any(axis=1) & ((candidates.labels >= 0) & ~gold).any(axis=1))
