"""The question: which negatives bias the gradient least on real text, and does correcting help.

Next-word prediction with 1000 labels, K = 64 candidates, iid negatives with the gold excluded. At
steps of training by cross entropy: the exact bias of four kinds of negatives, uncorrected and
logQ-corrected, on held-out examples; of the mean gradient over parameters, and per example in score
space.
"""

import dataclasses
import itertools
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from rich.console import Console
from rich.progress import track

import nce_bias as nb
from analysis.estimators import named, relative_in_score_space, unbiased_norm
from analysis.next_word import model as words
from analysis.problems import KINDS, proposal
from nce_bias.data import NextWord, next_word
from nce_bias.provenance import write_meta

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 65, "quick": 10}

SEED = 0
CANDIDATES = 64  # the gold and 63 negatives


@dataclasses.dataclass(frozen=True)
class Size:
    """Labels, steps, held-out examples whose bias is computed, and whose gradient alone is."""

    labels: int
    checkpoints: tuple[int, ...]
    examples: int
    gradient_examples: int


FULL = Size(1000, (1, 3, 10, 30, 100, 300, 1000), 384, 12_288)
QUICK = Size(100, (1, 30), 48, 480)
#: Relative, of the quadrature. The scores are the model's own, hence float32, which ends there too.
TOLERANCE = 1e-6
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


def draw_examples(data: NextWord, count: int) -> Examples:
    """`count` held-out examples, uniformly and without repetition."""
    chosen = np.random.default_rng(SEED).choice(len(data.held_out_targets), count, replace=False)
    population = data.population(data.held_out_targets[chosen])
    return Examples(data.held_out_inputs[chosen], population.astype(np.float32))


def bias_rows(
    models: dict[int, words.Model], examples: Examples, popularity: Any, kind: str, loss: Any
) -> list[dict[str, object]]:
    """Bias of one kind of negatives for one loss, on `examples`, at every step.

    The examples of all steps are the inputs of one problem, so that they are computed together.
    """
    scores = [words.scores(model, jnp.asarray(examples.inputs)) for model in models.values()]
    population = np.tile(examples.population, (len(models), 1))
    problem = nb.Problem(jnp.concatenate(scores), population, popularity)
    sampler = nb.iid(proposal(kind), CANDIDATES - 1)
    found = nb.exact(problem, sampler, loss, tolerance=TOLERANCE, split=False)
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
    console = Console(stderr=True)
    size = QUICK if quick else FULL
    with console.status("next_word: data and training"):
        data = next_word(size.labels)
        fit = words.train(SEED, data, steps=max(size.checkpoints), checkpoints=size.checkpoints)
    if fit.losses.size < max(size.checkpoints):  # batches are endless: only Ctrl-C ends training
        raise KeyboardInterrupt(fit.status)
    if fit.status != "ok":
        raise RuntimeError(f"next_word: {fit.status}")
    models = {step: fit.at(step) for step in size.checkpoints}
    examples = draw_examples(data, size.gradient_examples)
    steps = track(models.items(), "next_word: gradient", console=console, transient=True)
    training = [{"step": step, **training_row(model, examples, data)} for step, model in steps]
    bias = _all_bias(models, examples.first(size.examples), data.popularity, console)
    out.mkdir(parents=True, exist_ok=True)
    bias.to_csv(out / "bias.csv", index=False)
    pd.DataFrame(training).to_csv(out / "training.csv", index=False)
    write_meta(
        out,
        analysis="next_word",
        quick=quick,
        candidates=CANDIDATES,
        seed=SEED,
        **dataclasses.asdict(size),
        blocks=words.BLOCKS,
        tolerance=TOLERANCE,
        scores="float32",
        source=data.source,
        licence=data.licence,
    )


def _all_bias(
    models: dict[int, words.Model], examples: Examples, popularity: Any, console: Console
) -> pd.DataFrame:
    """Every kind and loss, one thread for each core."""
    cells = list(itertools.product(KINDS, LOSSES))  # first one of each loss: what compiles
    popularity = popularity.astype(np.float32)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        futures = [
            pool.submit(bias_rows, models, examples, popularity, kind, loss) for kind, loss in cells
        ]
        done = as_completed(futures)
        try:
            for _ in track(done, "next_word: bias", len(cells), console=console, transient=True):
                pass
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pd.DataFrame([row for future in futures for row in future.result()])
