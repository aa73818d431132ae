"""The question: what do the conventions of published code buy, in bias and in variance.

All presets on one problem of 100 labels, K = m + 1 candidates from 2 to 65.
"""

import itertools
import pathlib

import numpy as np

import nce_bias as nb
from analysis import problems, tables

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 100, "quick": 35}

LABELS, INPUTS, SEED = 100, 8, 0
LEARNT, NOISE = 0.6, 0.6
SIZES, QUICK_SIZES = (1, 4, 16, 64), (4,)
TOLERANCE = 1e-6


def problem() -> nb.Problem:
    """Zipf popularity times e^N(0, 1.5^2), and a model half way to it."""
    rng = np.random.default_rng(SEED)
    logits = -np.log(np.arange(1, LABELS + 1)) + 1.5 * rng.normal(size=(INPUTS, LABELS))
    return problems.half_trained(logits, rng, learnt=LEARNT, noise=NOISE)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``moments.csv`` and ``meta.json`` to `out`."""
    given, rows = problem(), []
    cells = list(itertools.product(nb.presets.PRESETS, QUICK_SIZES if quick else SIZES))
    for name, m in tables.progress(cells, "presets"):
        found = nb.presets.PRESETS[name](m).exact(given, split=False, tolerance=TOLERANCE)
        rows.append({"preset": name, "m": m, "candidates": m + 1} | tables.scalars(found))
    tables.write(
        out,
        {"moments": rows},
        analysis="presets",
        quick=quick,
        labels=LABELS,
        inputs=INPUTS,
        seed=SEED,
        learnt=LEARNT,
        noise=NOISE,
        tolerance=TOLERANCE,
    )
