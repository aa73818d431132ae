r"""Resampling a pool by corrected weights: how far the survivors are from the model.

A pool of M draws from q, weights r = e^s / q, one survivor drawn in proportion to them. Its law is

    E[ sum_k 1{y_k = y} r_k / sum_k r_k ],

which is the selection of a self-normalised loss with M negatives and hits kept: the same integral.
It tends to p like 1/M, and is q itself at M = 1.
"""

import nce_bias as nb
from analysis import problems
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS = 50
POOLS = {"pool of 16": 16, "pool of 256": 256}
CLAIM = Claim(
    title="Resampling corrects in-batch negatives",
    paper="Chen et al., cross-batch and in-batch resampling (XIR, BIR; AdaSIR)",
    year=2022,
    said=(
        "Resampling the batch's items by weights corrected for popularity gives negatives from "
        "the model, without the bias of in-batch draws."
    ),
    read="abstract",
    measured=(
        "distance of the law of a survivor from the model, against 0; and its slope in log M, "
        "at most -0.95"
    ),
    prediction="Never 0; slope -1. A batch of a few hundred leaves about a hundredth.",
    lesson=(
        "The bias is the pool's size, not the correction's. A large cache is worth more than a "
        "cleverer weight."
    ),
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def distance(m: int) -> float:
    """||law of one survivor - model|| for a pool of m popular items."""
    sampler = nb.iid(nb.popularity(), m, hits="keep")
    return float(nb.exact(problem(), sampler, nb.self_normalized, split=False).bias_norm)


def weigh(quick: bool = False) -> Evidence:
    """Distances at growing pools, and their slope."""
    sizes = (1, 16, 256, 512, 1024) if quick else tuple(2**k for k in range(11))
    values = {m: distance(m) for m in sizes}
    readings = [Reading(name, values[m], "=", 0.0, 1e-9) for name, m in POOLS.items()]
    rate = slope(sizes, list(values.values()))
    readings.append(Reading("as the pool grows (slope)", rate, "<=", -0.95))
    details = [{"line": "popularity", "m": m, "distance": v} for m, v in values.items()]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
