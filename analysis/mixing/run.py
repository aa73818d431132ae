"""The question: what share of hard negatives is best, and does it matter how they are mixed.

m = 16 negatives of which a share is from the model (or the top), the rest uniform: each draw from
a mixture, or two sets of fixed sizes. Bias, variance, and mean squared error at two batch sizes.
"""

import dataclasses
import pathlib
from functools import partial
from typing import Any

import numpy as np

import nce_bias as nb
from analysis import problems, tables
from nce_bias._progress import track
from nce_bias.samplers import Sampler

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 60, "quick": 20}


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """A half-trained model, the number of negatives, and the shares of hard ones."""

    labels: int = 100
    inputs: int = 8
    seed: int = 0
    learnt: float = 0.6
    noise: float = 0.6
    m: int = 16
    shares: tuple[float, ...] = tuple(k / 8 for k in range(9))
    tolerance: float = 1e-6


FULL, QUICK = Design(), Design(quick=True, shares=(0.0, 0.5, 1.0))
#: A share for which the sets drawn without replacement are taken: each is compiled for itself.
FEW_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def problem(design: Design = FULL) -> nb.Problem:
    """Logits N(0, 2^2), and a model half way to them."""
    rng = np.random.default_rng(design.seed)
    logits = 2 * rng.normal(size=(design.inputs, design.labels))
    return problems.half_trained(logits, rng, learnt=design.learnt, noise=design.noise)


def joined(hard: Any, easy: Any, share: float, m: int) -> Sampler:
    """share * m of one kind and the rest of the other, as two sets."""
    count = round(share * m)
    if count in (0, m):
        return easy(m) if count == 0 else hard(m)
    return hard(count) + easy(m - count)


def samplers(share: float, m: int) -> dict[str, Sampler]:
    """Every kind of mixing at this share; in the mixture, each draw is hard with that chance."""
    model, uniform = partial(nb.iid, nb.model()), partial(nb.iid, nb.uniform())
    found = {
        "mixture": nb.iid(nb.mixture(nb.model(), nb.uniform(), share), m),
        "two sets": joined(model, uniform, share, m),
    }
    if share in FEW_SHARES:
        distinct = partial(nb.without_replacement, nb.uniform())
        found["top and distinct"] = joined(nb.top, distinct, share, m)
    return found


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``moments.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given, rows = problem(design), []
    for share in track(design.shares, "mixing"):
        for mixing, sampler in samplers(share, design.m).items():
            for loss in (nb.infonce, nb.sampled_softmax):
                if loss is nb.sampled_softmax and mixing != "mixture":
                    continue  # two sets have no q
                found = nb.exact(given, sampler, loss, split=False, tolerance=design.tolerance)
                place = {"mixing": mixing, "loss_name": loss.name, "share": share}
                rows.append(place | tables.scalars(found))
    tables.write(out, {"moments": rows}, design)
