"""The question: what do the negatives of least bias look like, and how many make it zero.

The proposal that minimises the bias of the uncorrected loss, against uniform, popularity and model
negatives; 50 labels, hits masked.
"""

import dataclasses
import pathlib

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import tables
from analysis.problems import proposal
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 40, "quick": 25}

OTHERS = ("uniform", "popularity", "model")


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """A model that has learnt nothing, and the numbers of negatives."""

    labels: int = 50
    seed: int = 0
    spread: float = 2.0
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


FULL, QUICK = Design(), Design(quick=True, sizes=(1, 16))


def problem(design: Design = FULL) -> nb.Problem:
    """Scores N(0, 1), drawn first; population softmax of N(0, 4)."""
    scores, logits = np.random.default_rng(design.seed).normal(size=(2, design.labels))
    return nb.Problem(scores, softmax(design.spread * logits))


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``proposals.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given = problem(design)
    model, population = softmax(np.asarray(given.scores)), np.asarray(given.population)
    rows, shapes = [], []
    for m in track(design.sizes, "optimal"):
        best = nb.optimal_proposal(given, m, hits="mask")
        rows.append(
            {"negatives": "optimal", "m": m, "bias_norm": float(best.bias_norm)}
            | {"status": best.status}
        )
        for name in OTHERS:
            found = nb.exact(given, nb.iid(proposal(name), m, hits="mask"), split=False)
            place = {"negatives": name, "m": m}
            rows.append(place | {"bias_norm": float(found.bias_norm), "status": found.status})
        q = np.exp(np.asarray(best.log_q))
        shapes += [
            {"m": m, "label": y, "q": q[y], "model": model[y], "population": population[y]}
            for y in range(design.labels)
        ]
    tables.write(out, {"bias": rows, "proposals": shapes}, design)
