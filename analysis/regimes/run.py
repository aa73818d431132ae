"""The question: where do hard negatives have less bias than random ones.

Sixteen inputs whose populations go from nearly flat to nearly certain, a half-trained model, m
negatives from four distributions, independent and distinct, uncorrected: the bias of each input.
"""

import dataclasses
import itertools
import pathlib

import numpy as np
from scipy.special import log_softmax
from scipy.stats import entropy

import nce_bias as nb
from analysis import problems, tables
from analysis.problems import KINDS
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 85, "quick": 20}

DRAWS = {"independent": nb.iid, "distinct": nb.without_replacement}


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """One direction of logits, heated, and the numbers of negatives."""

    labels: int = 64
    seed: int = 0
    temperatures: tuple[float, ...] = tuple(np.geomspace(0.3, 6, 16).round(4))
    learnt: float = 0.6
    noise: float = 0.5
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    tolerance: float = 1e-6


FULL, QUICK = Design(), Design(quick=True, sizes=(2,))


def problem(design: Design = FULL) -> nb.Problem:
    """One direction of logits, heated: population softmax(T xi), model 0.6 T xi + noise."""
    rng = np.random.default_rng(design.seed)
    logits = np.outer(design.temperatures, rng.normal(size=design.labels))
    given = problems.half_trained(logits, rng, learnt=design.learnt, noise=design.noise)
    return nb.Problem(log_softmax(np.asarray(given.scores), axis=1), given.population)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given = problem(design)
    entropies = np.atleast_1d(entropy(np.asarray(given.population), axis=1))
    cells = list(itertools.product(DRAWS.items(), design.sizes, KINDS))
    rows = []
    for (draws, sampler), m, kind in track(cells, "regimes"):
        found = nb.exact(
            given, sampler(problems.proposal(kind), m), split=False, tolerance=design.tolerance
        )
        norms = np.linalg.norm(np.asarray(found.bias), axis=1)
        rows += [
            {"draws": draws, "m": m, "negatives": kind, "entropy": h, "bias_norm": norm}
            | {"error": float(found.error), "status": found.status}
            for h, norm in zip(entropies, norms, strict=True)
        ]
    tables.write(out, {"bias": rows}, design)
