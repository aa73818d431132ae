"""Two label spaces, and a model trained on them by a contrastive loss with its own negatives.

The model is that of `analysis.next_word.model` (two embedded inputs, a tanh layer, V scores) for
letters too.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import nce_bias as nb
from analysis.next_word import model as words
from analysis.problems import KINDS, blend
from nce_bias import train as training
from nce_bias.data import minibatches, next_letter, next_word

SEED = 0
CONTEXT = 2
BATCH = 128
LOSSES = {"infonce": nb.infonce, "sampled_softmax": nb.sampled_softmax}


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """A label space in the form that training and measuring need.

    Attributes
    ----------
    name
        "letters" or "words".
    candidates
        K, the gold and K - 1 negatives.
    popularity : float32 [V]
        pop(y) of the training part.
    input_ids
        Rows of the model's embedding.
    inputs, targets
        Training examples, or all pairs of a context and a letter with `shares`.
    shares
        Of those pairs in the training part; None where each example counts once.
    held_out : tuple
        Inputs [n, 2] and targets [n] (words), or inputs, pop(y|x) [n, V] and pop(x) [n] (letters).
    unigram_loss
        Held-out cross entropy of `popularity`, which ignores x, in nats.
    floor
        Least held-out cross entropy there is, in nats; NaN where it is not known.
    source, licence
        Of the text.
    """

    name: str
    candidates: int
    popularity: np.ndarray
    input_ids: int
    inputs: np.ndarray
    targets: np.ndarray
    shares: np.ndarray | None
    held_out: tuple[np.ndarray, ...]
    unigram_loss: float
    floor: float
    source: str
    licence: str

    @property
    def labels(self) -> int:
        """V."""
        return len(self.popularity)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`steps` batches (inputs, targets) or more."""
        if self.shares is None:
            yield from minibatches([self.inputs, self.targets], BATCH, seed=seed)  # pyright: ignore
            return
        generator = np.random.default_rng(seed)
        for rows in generator.choice(len(self.shares), (steps, BATCH), p=self.shares):
            yield self.inputs[rows], self.targets[rows]


def letters(candidates: int = 8) -> Space:
    """The next letter given two, counted."""
    seen, reserved = next_letter(CONTEXT), next_letter(CONTEXT, "held_out")
    contexts = _ids(seen)
    rows, targets = np.nonzero(seen.counts)
    return Space(
        "letters",
        candidates,
        seen.popularity.astype(np.float32),
        seen.labels,
        contexts[rows],
        targets.astype(np.int32),
        seen.counts[rows, targets] / seen.counts.sum(),
        (_ids(reserved), reserved.population, reserved.weights),
        -float(reserved.popularity @ np.log(seen.popularity)),
        reserved.conditional_entropy,
        seen.source,
        seen.licence,
    )


def _ids(space: nb.data.LabelSpace) -> np.ndarray:
    places = {letter: place for place, letter in enumerate(space.names)}
    return np.array([[places[letter] for letter in str(x)] for x in space.inputs], np.int32)


def next_words(labels: int = 1000, candidates: int = 64) -> Space:
    """The next word given two, as observed."""
    data = next_word(labels, CONTEXT)
    seen = -np.log(data.popularity[data.held_out_targets]).mean()
    return Space(
        "words",
        candidates,
        data.popularity.astype(np.float32),
        data.input_ids,
        data.inputs,
        data.targets,
        None,
        (data.held_out_inputs, data.held_out_targets),
        float(seen),
        float("nan"),
        data.source,
        data.licence,
    )


def candidate_loss(
    scores: Float[Array, "n V"],
    golds: Any,
    keys: Any,
    shares: tuple[Any, Any],
    popularity: Float[Array, " V"],
    loss: Any,
    m: int,
) -> Float[Array, ""]:
    """Mean contrastive loss with m negatives drawn for each row, not differentiated through."""
    sampler = nb.iid(blend(*shares), m)

    def one(row, gold, key):
        law = sampler.law(jax.lax.stop_gradient(row), popularity)
        labels, present = law.draw(key, gold)
        corrected = loss.corrected(row, law, m)
        own, others = corrected.gold[gold], corrected.negatives_of(gold)[labels]
        return loss.value(own, others, present)

    return jnp.mean(jax.vmap(one)(scores, golds, keys))


class Trainer:
    """All runs on one label space: those with the same loss share their compilation."""

    def __init__(self, space: Space, steps: int, checkpoints: tuple[int, ...]) -> None:
        self.space, self.steps, self.checkpoints = space, steps, checkpoints
        self._losses = {name: self._contrastive(loss) for name, loss in LOSSES.items()}

    def _contrastive(self, loss: Any) -> Any:
        m, popularity = self.space.candidates - 1, jnp.asarray(self.space.popularity)

        def of_batch(params, batch):
            inputs, targets, key, shares = batch
            scores = jax.vmap(params)(inputs)
            keys = jax.random.split(key, len(targets))
            return candidate_loss(scores, targets, keys, shares, popularity, loss, m)

        return of_batch

    def run(self, kind: str, loss: str, seed: int = SEED) -> dict[int, words.Model]:
        """Checkpoints of one run; `kind` is of `KINDS`, or "cross_entropy" whatever the loss.

        All runs of a seed start from the same weights and see the same batches.
        """
        batches: Any = self.space.batches(self.steps, seed)
        of_batch: Any = words.batch_loss
        if kind != "cross_entropy":
            of_batch = self._losses[loss]
            batches = _with_keys(batches, KINDS[kind], seed)
        start = words.Model(self.space.input_ids, self.space.labels, CONTEXT, jax.random.key(seed))
        fit = training.fit(
            of_batch,
            start,
            batches,
            words.OPTIMIZER,
            steps=self.steps,
            checkpoints=self.checkpoints,
            progress=False,
        )
        if fit.losses.size < self.steps:  # there are batches enough: only Ctrl-C ends training
            raise KeyboardInterrupt(fit.status)
        if fit.status != "ok":
            raise RuntimeError(f"{self.space.name}, {kind}, {loss}: {fit.status}")
        return {step: fit.at(step) for step in self.checkpoints}


def _with_keys(batches: Any, shares: tuple[float, float], seed: int) -> Iterator[Any]:
    key = jax.random.key(seed + 1)
    for step, (inputs, targets) in enumerate(batches):
        yield inputs, targets, jax.random.fold_in(key, step), shares
