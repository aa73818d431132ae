"""The question: what do the negatives of least bias look like, and how many make it zero.

The proposal that minimises the bias of the uncorrected loss, against uniform, popularity and model
negatives; 50 labels, hits masked.
"""

import pathlib

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import tables
from analysis.problems import proposal

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 40, "quick": 25}

LABELS, SEED, SPREAD = 50, 0, 2.0
SIZES, QUICK_SIZES = (1, 2, 4, 8, 16, 32), (1, 16)
OTHERS = ("uniform", "popularity", "model")


def problem() -> nb.Problem:
    """Scores N(0, 1), drawn first; population softmax of N(0, 4)."""
    rng = np.random.default_rng(SEED)
    scores = rng.normal(size=LABELS)
    return nb.Problem(scores, softmax(SPREAD * rng.normal(size=LABELS)))


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``proposals.csv`` and ``meta.json`` to `out`."""
    given = problem()
    model, population = softmax(np.asarray(given.scores)), np.asarray(given.population)
    rows, shapes = [], []
    for m in tables.progress(QUICK_SIZES if quick else SIZES, "optimal"):
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
            for y in range(LABELS)
        ]
    tables.write(
        out,
        {"bias": rows, "proposals": shapes},
        analysis="optimal",
        quick=quick,
        labels=LABELS,
        seed=SEED,
        spread=SPREAD,
    )
