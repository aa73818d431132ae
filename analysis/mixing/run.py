"""The question: what share of hard negatives is best, and does it matter how they are mixed.

m = 16 negatives of which a share is from the model (or the top), the rest uniform: each draw from
a mixture, or two sets of fixed sizes. Bias, variance, and mean squared error at two batch sizes.
"""

import pathlib
from typing import Any

import numpy as np

import nce_bias as nb
from analysis import problems, tables

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 60, "quick": 20}

LABELS, INPUTS, SEED = 100, 8, 0
LEARNT, NOISE = 0.6, 0.6
SIZE = 16
SHARES, QUICK_SHARES = tuple(k / 8 for k in range(9)), (0.0, 0.5, 1.0)
#: A share for which the sets drawn without replacement are taken: each is compiled for itself.
FEW_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
TOLERANCE = 1e-6


def problem() -> nb.Problem:
    """Logits N(0, 2^2), and a model half way to them."""
    rng = np.random.default_rng(SEED)
    logits = 2 * rng.normal(size=(INPUTS, LABELS))
    return problems.half_trained(logits, rng, learnt=LEARNT, noise=NOISE)


def mixed(share: float) -> nb.samplers.Sampler:
    """Each draw from the model with chance `share`."""
    return nb.iid(nb.mixture(nb.model(), nb.uniform(), share), SIZE)


def joined(hard: Any, easy: Any, share: float) -> nb.samplers.Sampler:
    """share * m of one kind and the rest of the other, as two sets."""
    count = round(share * SIZE)
    if count in (0, SIZE):
        return easy(SIZE) if count == 0 else hard(SIZE)
    return hard(count) + easy(SIZE - count)


def samplers(share: float) -> dict[str, nb.samplers.Sampler]:
    """Every kind of mixing at this share."""
    found = {
        "mixture": mixed(share),
        "two sets": joined(
            lambda m: nb.iid(nb.model(), m), lambda m: nb.iid(nb.uniform(), m), share
        ),
    }
    if share in FEW_SHARES:
        distinct = joined(nb.top, lambda m: nb.without_replacement(nb.uniform(), m), share)
        found["top and distinct"] = distinct
    return found


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``moments.csv`` and ``meta.json`` to `out`."""
    given, rows = problem(), []
    for share in tables.progress(QUICK_SHARES if quick else SHARES, "mixing"):
        for mixing, sampler in samplers(share).items():
            for loss in (nb.infonce, nb.sampled_softmax):
                if loss is nb.sampled_softmax and mixing != "mixture":
                    continue  # two sets have no q
                found = nb.exact(given, sampler, loss, split=False, tolerance=TOLERANCE)
                place = {"mixing": mixing, "loss_name": loss.name, "share": share}
                rows.append(place | tables.scalars(found))
    tables.write(
        out,
        {"moments": rows},
        analysis="mixing",
        quick=quick,
        labels=LABELS,
        inputs=INPUTS,
        seed=SEED,
        learnt=LEARNT,
        noise=NOISE,
        m=SIZE,
        tolerance=TOLERANCE,
    )
