r"""What the bias of a batch vanishes against.

The gradient of InfoNCE with m popular negatives, hits kept, against two full objectives. One has
infinitely many negatives in place of m: its selection is softmax(s + log q), as the mean over the
draws becomes its expectation. The other is cross entropy over all labels.
"""

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial
from analysis.limits.run import limit

LABELS = 60
CROSS_ENTROPY = "against cross entropy"
CLAIM = Claim(
    title="The bias of a batch vanishes with its size",
    paper="Chen et al., why small batches hurt contrastive learning",
    year=2022,
    said=(
        "The gradient of a contrastive loss over a batch is a biased estimate of the full one, "
        "with a bias that vanishes as the batch grows."
    ),
    read="abstract",
    measured="slope of log bias norm against log m over the last doubling, at most -0.95",
    prediction="-1 against the loss with infinitely many negatives; 0 against cross entropy.",
    lesson=(
        "Ask what a large batch converges to. With popular negatives it is a softmax over s + "
        "log pop, and only a correction makes that the model."
    ),
)


def objectives(given: nb.Problem) -> dict[str, np.ndarray]:
    """The selection of each full objective."""
    rows = (np.asarray(x) for x in (given.scores, given.population, given.popularity))
    return {
        "against infinitely many negatives": limit(*rows, corrected=False, hits="keep"),
        CROSS_ENTROPY: softmax(np.asarray(given.scores)),
    }


def weigh(quick: bool = False) -> Evidence:
    """Distances to both objectives."""
    sizes = (1, 64, 512, 1024) if quick else tuple(2**k for k in range(11))
    given, readings, details = problems.zipf(LABELS), [], []
    samplers = [nb.iid(nb.popularity(), m, hits="keep") for m in sizes]
    found = [np.asarray(nb.exact(given, s, nb.infonce, split=False).selection) for s in samplers]
    for name, full in objectives(given).items():
        values = [float(np.linalg.norm(full - selection)) for selection in found]
        readings.append(
            Reading(name, slope(sizes, values), "<=", -0.95, beyond=name == CROSS_ENTROPY)
        )
        details += [
            {"line": name, "m": m, "distance": v} for m, v in zip(sizes, values, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
