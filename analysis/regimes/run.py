"""The question: where do hard negatives have less bias than random ones.

Sixteen inputs whose populations go from nearly flat to nearly certain, a half-trained model, m
negatives from four distributions, independent and distinct, uncorrected: the bias of each input.
"""

import itertools
import pathlib

import numpy as np
from scipy.special import log_softmax
from scipy.stats import entropy

import nce_bias as nb
from analysis import problems, tables
from analysis.problems import KINDS

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 85, "quick": 20}

LABELS, SEED = 64, 0
TEMPERATURES = tuple(np.geomspace(0.3, 6, 16).round(4))
LEARNT, NOISE = 0.6, 0.5
SIZES, QUICK_SIZES = (1, 2, 4, 8, 16, 32), (2,)
TOLERANCE = 1e-6
DRAWS = {"independent": nb.iid, "distinct": nb.without_replacement}


def problem() -> nb.Problem:
    """One direction of logits, heated: population softmax(T xi), model 0.6 T xi + noise."""
    rng = np.random.default_rng(SEED)
    logits = np.outer(TEMPERATURES, rng.normal(size=LABELS))
    given = problems.half_trained(logits, rng, learnt=LEARNT, noise=NOISE)
    return nb.Problem(log_softmax(np.asarray(given.scores), axis=1), given.population)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv`` and ``meta.json`` to `out`."""
    given, sizes = problem(), QUICK_SIZES if quick else SIZES
    entropies = entropy(np.asarray(given.population), axis=1)
    cells = list(itertools.product(DRAWS.items(), sizes, KINDS))
    rows = []
    for (draws, sampler), m, kind in tables.progress(cells, "regimes"):
        found = nb.exact(
            given, sampler(problems.proposal(kind), m), split=False, tolerance=TOLERANCE
        )
        norms = np.linalg.norm(np.asarray(found.bias), axis=1)
        rows += [
            {"draws": draws, "m": m, "negatives": kind, "entropy": h, "bias_norm": norm}
            | {"error": float(found.error), "status": found.status}
            for h, norm in zip(entropies, norms, strict=True)
        ]
    tables.write(
        out,
        {"bias": rows},
        analysis="regimes",
        quick=quick,
        labels=LABELS,
        seed=SEED,
        temperatures=list(TEMPERATURES),
        learnt=LEARNT,
        noise=NOISE,
        sizes=list(sizes),
        tolerance=TOLERANCE,
    )
