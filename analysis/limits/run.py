"""The question: does the bias of a contrastive gradient vanish as the number of negatives grows.

One input with V = 1000 labels, iid negatives from four distributions, with and without the logQ
correction, hits (negatives equal to the gold) excluded and kept; the exact bias norm at m = 1 to
4096 negatives, and the limit m -> infinity computed from its formula, which shares nothing with
the exact engine.
"""

import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

import nce_bias as nb
from analysis import problems, tables
from analysis.problems import KINDS
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 35, "quick": 20}

HITS = ("exclude", "keep")
LOSSES = (nb.infonce, nb.sampled_softmax)


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """One input of many labels, and the numbers of negatives."""

    labels: int = 1000
    seed: int = 0
    sizes: tuple[int, ...] = tuple(2**k for k in range(13))


FULL, QUICK = Design(), Design(quick=True, sizes=(1, 64, 4096))


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
    design = QUICK if quick else FULL
    given = problems.zipf(design.labels, design.seed)
    cells = list(itertools.product(LOSSES, HITS, design.sizes, KINDS))
    rows = []
    for loss, hits, m, kind in track(cells, "limits"):
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
    tables.write(
        out,
        {"bias": rows, "limits": _limits(given)},
        design,
        entropy=float(given.entropy),
        cross_entropy=float(given.cross_entropy),
    )


def _limits(given: nb.Problem) -> list[dict[str, object]]:
    scores, population = np.asarray(given.scores), np.asarray(given.population)
    popularity, model = np.asarray(given.popularity), softmax(scores)
    flat = np.full(len(model), 1 / len(model))
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
