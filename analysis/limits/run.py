"""The question: does the bias of a contrastive gradient vanish as the number of negatives grows.

One input with V = 1000 labels, iid negatives from four distributions, with and without the logQ
correction, hits (negatives equal to the gold) excluded and kept; the exact bias norm at m = 1 to
4096 negatives, and the limit m -> infinity computed from its formula, which shares nothing with
the exact engine.
"""

import itertools
import pathlib
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from scipy.special import log_softmax, softmax

import nce_bias as nb
from analysis import problems
from analysis.problems import KINDS
from nce_bias.provenance import write_meta

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 35, "quick": 20}

LABELS = 1000
SEED = 0
SIZES = tuple(2**k for k in range(13))
QUICK_SIZES = (1, 64, 4096)
HITS = ("exclude", "keep")
LOSSES = (nb.infonce, nb.sampled_softmax)


def problem() -> nb.Problem:
    """Zipf popularity, an input that changes it by e^N(0,1), and a model half way to it."""
    return problems.zipf(LABELS, SEED)


def limit(scores: Any, population: Any, q: Any, *, corrected: bool, hits: str) -> np.ndarray:
    r"""Limit of the selection gamma(y) as m -> infinity, for iid draws from q, averaged over golds.

    The negatives' part of the candidate softmax becomes its own expectation. Uncorrected, their
    total weight grows like m and the one gold is lost among them:

        gamma(y|g) = q_y e^{s_y} / sum_{y'} q_{y'} e^{s_y'},       y' != g where hits are excluded.

    Corrected by log(m q) the total stays at the sum of e^s over what can be drawn, and the gold
    counts beside it. Hits excluded: e^{s_g} + sum_{y' != g} e^{s_y'} is the model's own
    denominator, and gamma = p. Hits kept: the gold counts twice,

        gamma(y|g) = (p_y + 1{y = g} p_g) / (1 + p_g).

    Arguments and result are arrays [V]; `population` and `q` are probabilities.
    """
    model = softmax(scores)
    if corrected:
        if hits == "exclude":
            return model
        each = population / (1 + model)
        return model * each.sum() + each * model
    drawn = softmax(log_softmax(scores) + np.log(q))
    if hits == "keep":
        return drawn
    each = population / (1 - drawn)
    return drawn * (each.sum() - each)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``limits.csv`` and ``meta.json`` to `out`."""
    given = problem()
    sizes = QUICK_SIZES if quick else SIZES
    cells = list(itertools.product(LOSSES, HITS, sizes, KINDS))
    rows = []
    console = Console(stderr=True)
    for loss, hits, m, kind in track(cells, "limits", console=console, transient=True):
        found = nb.exact(given, nb.iid(problems.proposal(kind), m, hits=hits), loss, split=False)
        rows.append(
            {
                "negatives": kind,
                "loss_name": loss.name,
                "hits": hits,
                "m": m,
                "bias_norm": float(found.bias_norm),
                "cosine": float(found.cosine),
                "error": float(found.error),
                "status": found.status,
            }
        )
    out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(out / "bias.csv", index=False)
    pd.DataFrame(_limits(given)).to_csv(out / "limits.csv", index=False)
    write_meta(
        out,
        analysis="limits",
        quick=quick,
        labels=LABELS,
        seed=SEED,
        sizes=list(sizes),
        entropy=float(given.entropy),
        cross_entropy=float(given.cross_entropy),
    )


def _limits(given: nb.Problem) -> list[dict[str, object]]:
    scores, population = np.asarray(given.scores), np.asarray(given.population)
    popularity, model = np.asarray(given.popularity), softmax(scores)
    flat = np.full(LABELS, 1 / LABELS)
    rows = []
    for loss, hits, (kind, (popular, hard)) in itertools.product(LOSSES, HITS, KINDS.items()):
        q = hard * model + (1 - hard) * (popular * popularity + (1 - popular) * flat)
        corrected = loss is nb.sampled_softmax
        selection = limit(scores, population, q, corrected=corrected, hits=hits)
        rows.append(
            {
                "negatives": kind,
                "loss_name": loss.name,
                "hits": hits,
                "bias_norm": float(np.linalg.norm(model - selection)),
            }
        )
    return rows
