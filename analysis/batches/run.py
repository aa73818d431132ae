"""The question: up to which batch size does the bias of a contrastive gradient not matter.

A bilinear model, its parameter gradient from a batch of B examples against the gradient of cross
entropy: squared bias + (variance + variance between inputs) / B, all exact.
"""

import dataclasses
import itertools
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import problems, tables
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 16, "quick": 10}

BATCHES = tuple(10**k for k in range(7))
KINDS = ("uniform", "popularity", "model")
LOSSES = (nb.infonce, nb.sampled_softmax)


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """A bilinear model that has learnt a part of the truth, and the numbers of negatives."""

    labels: int = 100
    inputs: int = 24
    width: int = 8
    seed: int = 0
    learnt: float = 0.5
    sizes: tuple[int, ...] = (8, 64)


FULL, QUICK = Design(), Design(quick=True, sizes=(8,))


def score(params: Any, x: Any) -> Any:
    """One row of scores: labels' vectors against the input's."""
    return params["labels"] @ (params["inputs"] @ x)


def setting(design: Design = FULL) -> tuple[Any, np.ndarray, np.ndarray]:
    """Parameters half way to a bilinear truth, inputs, and the population of the truth."""
    rng, width = np.random.default_rng(design.seed), design.width
    labels, inputs = (rng.normal(size=(count, width)) for count in (design.labels, width))
    inputs /= width**0.5
    x = rng.normal(size=(design.inputs, width))
    population = softmax(x @ inputs.T @ labels.T, axis=1)
    params = {"labels": jnp.asarray(design.learnt * labels), "inputs": jnp.asarray(inputs)}
    return params, x, population


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``moments.csv``, ``error.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    params, x, population = setting(design)
    full = (design.labels - 1, "full softmax", nb.infonce)
    cells = [*itertools.product(design.sizes, KINDS, LOSSES), full]
    model = nb.ScoreModel(score, params)
    moments, errors = [], []
    for m, kind, loss in track(cells, "batches"):
        # all wrong labels leave the candidate softmax nothing to draw: it is the full one
        sampler = nb.iid(problems.proposal(kind), m) if kind in KINDS else nb.top(m)
        found = nb.gradient_bias(model, x, population, sampler, loss, variance=True)
        bias, noise = float(found.norm), float(found.variance + found.variance_inputs)
        place = {"negatives": kind, "loss_name": loss.name, "m": m}
        moments.append(
            place
            | {
                "bias_norm": bias,
                "relative_bias": float(found.relative_norm),
                "cosine": float(found.cosine),
                "variance": float(found.variance),
                "variance_inputs": float(found.variance_inputs),
                "overtaken_at": noise / bias**2 if bias > 1e-9 else float("inf"),
            }
        )
        errors += [place | {"batch": b, "mse": bias**2 + noise / b} for b in BATCHES]
    tables.write(out, {"moments": moments, "error": errors}, design)
