"""The question: which negatives bias the gradient least on real text, and does correcting help.

Next-word prediction with 1000 labels, K = 64 candidates, iid negatives with the gold excluded. At
steps of training by cross entropy: the exact bias of four kinds of negatives, uncorrected and
logQ-corrected, on held-out examples; of the mean gradient over parameters, and per example in score
space.
"""

import dataclasses
import itertools
import pathlib
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import nce_bias as nb
from analysis import tables
from analysis.estimators import named, relative_in_score_space, unbiased_norm
from analysis.next_word import model as words
from analysis.problems import KINDS, proposal
from nce_bias._progress import track
from nce_bias.data import NextWord, next_word

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 65, "quick": 10}


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """What is trained, and on how many held-out examples it is measured.

    Attributes
    ----------
    candidates
        K, the gold and K - 1 negatives.
    examples, gradient_examples
        Held-out ones whose bias is computed, and whose gradient alone is.
    tolerance
        Relative, of the quadrature. Scores are the model's own, hence float32, which ends there.
    """

    labels: int = 1000
    checkpoints: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000)
    examples: int = 384
    gradient_examples: int = 12_288
    candidates: int = 64
    seed: int = 0
    blocks: int = words.BLOCKS
    tolerance: float = 1e-6


FULL = Design()
QUICK = Design(100, (1, 30), 48, 480, quick=True)
LOSSES = (nb.infonce, nb.sampled_softmax)


class Examples(eqx.Module):
    """Held-out examples drawn once, the same for every step, kind and loss."""

    inputs: np.ndarray
    population: np.ndarray

    def first(self, count: int) -> "Examples":
        """The first `count` of them."""
        return Examples(self.inputs[:count], self.population[:count])

    def exact_gradient(self, params: words.Model) -> Float[Array, "n V"]:
        """p - pop of each example, the observed word being the whole of its pop(.|x)."""
        scores = words.scores(params, jnp.asarray(self.inputs))
        return jax.nn.softmax(scores) - self.population


def draw_examples(data: NextWord, count: int, seed: int = FULL.seed) -> Examples:
    """`count` held-out examples, uniformly and without repetition."""
    chosen = np.random.default_rng(seed).choice(len(data.held_out_targets), count, replace=False)
    population = data.population(data.held_out_targets[chosen])
    return Examples(data.held_out_inputs[chosen], population.astype(np.float32))


def bias_rows(
    models: dict[int, words.Model],
    examples: Examples,
    popularity: np.ndarray,
    kind: str,
    loss: Any,
    design: Design = FULL,
) -> list[dict[str, object]]:
    """Bias of one kind of negatives for one loss, on `examples`, at every step.

    The examples of all steps are the inputs of one problem, so that they are computed together.
    """
    scores = [words.scores(model, jnp.asarray(examples.inputs)) for model in models.values()]
    population = np.tile(examples.population, (len(models), 1))
    problem = nb.Problem(jnp.concatenate(scores), population, popularity)
    sampler = nb.iid(proposal(kind), design.candidates - 1)
    found = nb.exact(problem, sampler, loss, tolerance=design.tolerance, split=False)
    if found.status != "ok":
        raise RuntimeError(f"{kind}, {loss.name}: {found.status}")
    rows = []
    for (step, model), bias in zip(models.items(), jnp.split(found.bias, len(models)), strict=True):
        found_norm = unbiased_norm(words.block_means(model, jnp.asarray(examples.inputs), bias))
        rows.append(
            {
                "step": step,
                "negatives": kind,
                "loss_name": loss.name,
                **named("bias", found_norm),
                **relative_in_score_space(bias, examples.exact_gradient(model), words.BLOCKS),
                "error": float(found.error),
            }
        )
    return rows


def training_row(model: words.Model, examples: Examples, data: NextWord) -> dict[str, float]:
    """Losses on all held-out examples (nats), and the norm of the mean gradient over `examples`."""
    rows = examples.exact_gradient(model)
    found = unbiased_norm(words.block_means(model, jnp.asarray(examples.inputs), rows))
    return {
        "held_out_loss": words.held_out_loss(model, data),
        "unigram_loss": float(-np.log(data.popularity[data.held_out_targets]).mean()),
        **named("gradient", found),
    }


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``training.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    data = next_word(design.labels)
    last = max(design.checkpoints)
    fit = words.train(design.seed, data, steps=last, checkpoints=design.checkpoints)
    if fit.losses.size < last:  # batches are endless: only Ctrl-C ends training
        raise KeyboardInterrupt(fit.status)
    if fit.status != "ok":
        raise RuntimeError(f"next_word: {fit.status}")
    models = {step: fit.at(step) for step in design.checkpoints}
    examples = draw_examples(data, design.gradient_examples, design.seed)
    training = [
        {"step": step, **training_row(models[step], examples, data)}
        for step in track(design.checkpoints, "next_word: gradient")
    ]
    few, popularity = examples.first(design.examples), data.popularity.astype(np.float32)
    cells = itertools.product(KINDS, LOSSES)  # first one of each loss: what compiles
    tasks = [partial(bias_rows, models, few, popularity, *cell, design) for cell in cells]
    bias = [row for rows in tables.parallel(tasks, "next_word: bias") for row in rows]
    tables.write(
        out,
        {"bias": bias, "training": training},
        design,
        scores="float32",
        source=data.source,
        licence=data.licence,
    )
