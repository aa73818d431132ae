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
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.progress import track

import nce_bias as nb
from analysis.next_word import model as words
from nce_bias.data import NextWord, next_word
from nce_bias.provenance import write_meta

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 65, "quick": 10}

SEED = 0
CANDIDATES = 64  # the gold and 63 negatives
BLOCKS = 24  # of examples, for the standard errors


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
#: Shares of (popularity against uniform) and of (model against those): all four kinds are one
#: proposal with two traced numbers, so that they share their compilation.
KINDS = {"uniform": (0.0, 0.0), "popularity": (1.0, 0.0), "mixed": (0.0, 0.5), "model": (0.0, 1.0)}


def proposal(popular: float, hard: float) -> Any:
    """hard * model + (1 - hard) * (popular * popularity + (1 - popular) * uniform)."""
    return nb.mixture(nb.model(), nb.mixture(nb.popularity(), nb.uniform(), popular), hard)


@eqx.filter_jit
def block_means(
    params: words.Model, inputs: Int[Array, "n context"], rows: Float[Array, "n V"]
) -> Float[Array, "blocks parameters"]:
    """Mean over each of `BLOCKS` blocks of examples of J^T row, J = ds/dtheta of that example."""
    arrays, rest = eqx.partition(params, eqx.is_inexact_array)

    def one(block):
        x, cotangent = block
        _, pull = jax.vjp(lambda part: jax.vmap(eqx.combine(part, rest))(x), arrays)  # pyright: ignore
        leaves = jax.tree.leaves(pull(cotangent / len(x))[0])
        return jnp.concatenate([leaf.ravel() for leaf in leaves])

    blocks = inputs.reshape(BLOCKS, -1, inputs.shape[-1]), rows.reshape(BLOCKS, -1, rows.shape[-1])
    return jax.lax.map(one, blocks)


def unbiased_norm(means: Any) -> dict[str, float]:
    r"""Norm of an expectation from independent estimates of it, between two limits.

    The norm of the mean of B estimates is too large by their noise. Products of *different* ones
    have no such excess: \|E\|^2 is estimated without bias by the mean of <a_i, a_j> over i != j,
    and its standard error by the jackknife over i.

    Parameters
    ----------
    means : array [B, d]
        Independent, with the same expectation.

    Returns
    -------
    dict
        ``norm``, the signed root of the square (negative: the data cannot tell it from 0), and
        ``low`` and ``high``, the roots of the square (if positive) less and plus two standard
        errors, at least 0.

    Source: U-statistics, Hoeffding (1948); jackknife, Efron & Stein (1981).
    """
    products = np.asarray(means, dtype=float) @ np.asarray(means, dtype=float).T
    count = len(products)
    own = np.diag(products)
    off = products.sum() - own.sum()
    square = off / (count * (count - 1))
    without = (off - 2 * (products.sum(axis=1) - own)) / ((count - 1) * (count - 2))
    error = np.sqrt((count - 1) * np.var(without))
    return {
        "norm": float(np.sign(square) * np.sqrt(np.abs(square))),
        "low": float(np.sqrt(max(square - 2 * error, 0))),
        "high": float(np.sqrt(max(square, 0) + 2 * error)),
    }


def named(prefix: str, found: dict[str, float]) -> dict[str, float]:
    """bias_norm, bias_norm_low, bias_norm_high from norm, low, high."""
    return {f"{prefix}_norm" + ("" if k == "norm" else f"_{k}"): v for k, v in found.items()}


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
    sampler = nb.iid(proposal(*KINDS[kind]), CANDIDATES - 1)
    found = nb.exact(problem, sampler, loss, tolerance=TOLERANCE, split=False)
    if found.status != "ok":
        raise RuntimeError(f"{kind}, {loss.name}: {found.status}")
    rows = []
    for (step, model), bias in zip(models.items(), jnp.split(found.bias, len(models)), strict=True):
        found_norm = unbiased_norm(block_means(model, jnp.asarray(examples.inputs), bias))
        rows.append(
            {
                "step": step,
                "negatives": kind,
                "loss_name": loss.name,
                **named("bias", found_norm),
                **relative_in_score_space(bias, examples.exact_gradient(model)),
                "error": float(found.error),
            }
        )
    return rows


def relative_in_score_space(bias: Any, exact: Any) -> dict[str, float]:
    """Root mean square of ||eps|| over that of ||p - pop||, with its jackknife standard error."""
    squares = np.stack([np.sum(np.asarray(a, dtype=float) ** 2, axis=1) for a in (bias, exact)])
    sums = squares.reshape(2, BLOCKS, -1).sum(axis=-1)
    left_out = sums.sum(axis=1, keepdims=True) - sums
    jackknife = np.sqrt(left_out[0] / left_out[1])
    return {
        "relative_score_bias": float(np.sqrt(squares[0].sum() / squares[1].sum())),
        "relative_score_bias_se": float(np.sqrt((BLOCKS - 1) * np.var(jackknife))),
    }


def training_row(model: words.Model, examples: Examples, data: NextWord) -> dict[str, float]:
    """Losses on all held-out examples (nats), and the norm of the mean gradient over `examples`."""
    rows = examples.exact_gradient(model)
    found = unbiased_norm(block_means(model, jnp.asarray(examples.inputs), rows))
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
        blocks=BLOCKS,
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
