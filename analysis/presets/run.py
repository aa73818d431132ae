"""The question: what do the conventions of published code buy, in bias and in variance.

The common presets on one problem of 100 labels, K = m + 1 candidates from 2 to 65.
"""

import dataclasses
import itertools
import pathlib

import numpy as np

import nce_bias as nb
from analysis import problems, tables
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 250, "quick": 70}

#: Draws until 64 of 100 labels differ take hundreds of tries, an integral each: not waited for.
SLOW = {("tf_sampled_softmax", 64)}


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """A half-trained model, and the numbers of negatives."""

    labels: int = 100
    inputs: int = 8
    seed: int = 0
    learnt: float = 0.6
    noise: float = 0.6
    sizes: tuple[int, ...] = (1, 4, 16, 64)
    tolerance: float = 1e-6


FULL, QUICK = Design(), Design(quick=True, sizes=(4,))


def problem(design: Design = FULL) -> nb.Problem:
    """Zipf popularity times e^N(0, 1.5^2), and a model half way to it."""
    rng = np.random.default_rng(design.seed)
    logits = 1.5 * rng.normal(size=(design.inputs, design.labels))
    logits -= np.log(np.arange(1, design.labels + 1))
    return problems.half_trained(logits, rng, learnt=design.learnt, noise=design.noise)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``moments.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given, rows = problem(design), []
    cells = list(itertools.product(nb.presets.COMMON, design.sizes))
    cells = [cell for cell in cells if cell not in SLOW]
    for name, m in track(cells, "presets"):
        found = nb.preset(name, m).exact(given, split=False, tolerance=design.tolerance)
        rows.append({"preset": name, "m": m, "candidates": m + 1} | tables.scalars(found))
    tables.write(out, {"moments": rows}, design)
