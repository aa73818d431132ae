"""The question: how large is the bias of model negatives where everything can be done by hand.

Two labels at p = pop = (a, 1 - a), m independent negatives from the model, uncorrected, hits kept,
masked or excluded; closed forms at m = 1 and m -> infinity beside the exact engine.
"""

import dataclasses
import itertools
import pathlib

import numpy as np

import nce_bias as nb
from analysis import tables

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 5, "quick": 5}

HITS = ("keep", "mask", "exclude")


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """Numbers of negatives, and how many values of a."""

    sizes: tuple[int, ...] = (1, 2, 8, 64)
    points: int = 99


def shares(points: int = Design.points) -> np.ndarray:
    """The values of a: the middles of equal parts of (0, 1)."""
    return (np.arange(points) + 0.5) / points


def closed_form(a: np.ndarray, m: float, hits: str) -> np.ndarray:
    """Bias norm for m = 1 and m = infinity (docs/theory has the proofs)."""
    if hits == "exclude":  # the other label, m times
        kept, other = a / (a + m * (1 - a)), (1 - a) / (1 - a + m * a)
        if np.isinf(m):
            kept, other = np.zeros_like(a), np.zeros_like(a)
        return np.sqrt(2) * np.abs(a - (a * kept + (1 - a) * (1 - other)))
    if m == 1:
        return np.sqrt(2) * a * (1 - a) * np.abs(2 * a - 1)
    if np.isinf(m):
        limit = a**2 / (a**2 + (1 - a) ** 2) if hits == "keep" else 1 - a
        return np.sqrt(2) * np.abs(a - limit)
    raise ValueError(f"no closed form for m = {m}")


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``closed_form.csv`` and ``meta.json`` to `out`."""
    design = Design(quick=quick)
    rows, formulas, a = [], [], shares(design.points)
    problem = nb.Problem(np.log(np.stack([a, 1 - a], 1)), np.stack([a, 1 - a], 1))
    for hits, m in itertools.product(HITS, design.sizes):
        found = nb.exact(problem, nb.iid(nb.model(), m, hits=hits), split=False)
        norms = np.linalg.norm(np.asarray(found.bias), axis=1)
        rows += [
            {"hits": hits, "m": m, "a": x, "bias_norm": norm, "error": float(found.error)}
            for x, norm in zip(a, norms, strict=True)
        ]
    for hits, m in itertools.product(HITS, (1, np.inf)):
        norms = closed_form(a, m, hits)
        formulas += [
            {"hits": hits, "m": m, "a": x, "bias_norm": norm}
            for x, norm in zip(a, norms, strict=True)
        ]
    tables.write(out, {"bias": rows, "closed_form": formulas}, design)
