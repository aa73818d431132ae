r"""Uninformative negatives: size and variance of their gradients.

One right passage for each query, well scored; negatives are other passages at random (as in a batch
of them) or hard ones, drawn from the model's own softmax. Two estimators: InfoNCE as it is, and
sampled softmax, whose negatives are weighted by 1 / (m q) and whose mean is that of cross entropy
up to O(1/m). *Size* is the root of E|g|^2 of one example, *variance* the trace of the covariance
given the query: E|g|^2 = |E g|^2 + variance, so small gradients bound the variance of the same
estimator from above.
"""

import itertools

import numpy as np

import nce_bias as nb
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, QUERIES, SEED, LEAD = 40, 8, 1, 4.0
DRAWS = (1, 8)
NEGATIVES = {"random": nb.uniform(), "hard": nb.model()}
LOSSES = {"InfoNCE": nb.infonce, "sampled softmax": nb.sampled_softmax}
CLAIM = Claim(
    title="Random negatives: small, noisy gradients",
    paper="Xiong et al., ANCE",
    year=2021,
    said=(
        "In-batch negatives are uninformative: their gradients are small, the variance of the "
        "stochastic gradient is large; hard negatives come near the best importance sampler."
    ),
    read="text",
    measured=(
        "for random negatives divided by that for hard ones: size at most 1; variance at least 1"
    ),
    prediction=(
        "Smaller gradients, yes. But less variance with them in the plain loss, whose small "
        "gradients are small in all directions; more only in the corrected one."
    ),
    lesson=(
        "With one negative a small gradient is a quiet one. With several, hard negatives agree "
        "with one another and random ones do not: only then is it random negatives that are "
        "noisy."
    ),
)


def problem() -> nb.Problem:
    """Random scores, the gold's ahead of the mean; passages equally popular."""
    rng = np.random.default_rng(SEED)
    golds = np.arange(QUERIES)
    scores = 2 * rng.normal(size=(QUERIES, LABELS))
    scores[golds, golds] += LEAD
    return nb.Problem(scores, np.eye(LABELS)[golds], np.full(LABELS, 1 / LABELS))


def measure(loss: nb.Loss, kind: str, m: int) -> dict[str, float]:
    """Size and variance."""
    found = nb.exact(problem(), nb.iid(NEGATIVES[kind], m), loss, split=False)
    mean = float(np.mean(np.sum(np.asarray(found.gradient) ** 2, axis=1)))
    variance = float(found.variance)
    return {"size": (mean + variance) ** 0.5, "variance": variance}


def weigh(quick: bool = False) -> Evidence:
    """Ratios of random to hard negatives."""
    readings, details = [], []
    for (name, loss), m in itertools.product(LOSSES.items(), DRAWS):
        at = {kind: measure(loss, kind, m) for kind in NEGATIVES}
        ratio = {key: at["random"][key] / at["hard"][key] for key in at["random"]}
        place = f"{name}, m = {m}"
        readings += [
            Reading(f"{place}: small gradients", ratio["size"], "<=", 1.0),
            Reading(f"{place}: large variance", ratio["variance"], ">=", 1.0),
        ]
    for kind in NEGATIVES:
        for m in (1, 8, 32) if quick else (1, 2, 4, 8, 16, 32):
            values = measure(nb.infonce, kind, m)
            for key in ("size", "variance"):
                details.append({"line": f"{kind}: {key}", "m": m, "value": values[key]})
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
