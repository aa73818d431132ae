r"""Debiased contrastive loss: whether it finds the loss of true negatives, and how fast.

Negatives are drawn from all labels, gold and all. The debiased loss takes tau e^{s_g} / (1 - tau)
off their mean, tau the chance that a draw is a positive in disguise. Uniform draws of V labels with
the gold as the only positive have tau = 1 / V, and the loss aimed at is InfoNCE with m draws that
never are the gold. Both Z are means of m draws, so for smooth losses the two gradients differ by
O(1/m); with another tau by a constant.

The scores are such that the loss's floor is idle (`nce_bias.losses.floor`).
"""

import numpy as np

import nce_bias as nb
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, SEED, SPREAD = 20, 0, 0.4
SHARES = {
    "tau is the chance of a hit": 1.0,
    "tau is half of it": 0.5,
    "tau = 0, no debiasing": 0.0,
}
CLAIM = Claim(
    title="Debiasing is consistent",
    paper="Chuang et al., debiased contrastive learning (also HCL)",
    year=2020,
    said=(
        "The debiased loss approaches the one with true negatives as draws are added, with an "
        "error of the order of one over the root of their number."
    ),
    read="formula and public code; the theorem as it is usually cited",
    measured=("slope of log difference of the two expected gradients against log m, at most -1/2"),
    prediction=(
        "Slope -1, faster than the bound, where tau is the chance of a hit; near 0 for every "
        "other tau, which no number of draws mends."
    ),
    lesson=(
        "The correction works and its guarantee is pessimistic; the number to worry about is "
        "tau, not m."
    ),
)


def problem() -> nb.Problem:
    """Scores that are close together, so that the floor is idle."""
    rng = np.random.default_rng(SEED)
    logits = rng.normal(size=LABELS)
    return nb.Problem(SPREAD * rng.normal(size=LABELS), np.exp(logits) / np.exp(logits).sum())


def difference(m: int, share: float) -> float:
    """Between the gradients of debiased draws from all labels and of draws without the gold."""
    given = problem()
    aimed = nb.exact(given, nb.iid(nb.uniform(), m), nb.infonce, split=False)
    loss = nb.debiased(share / LABELS) if share else nb.infonce
    found = nb.exact(given, nb.iid(nb.uniform(), m, hits="keep"), loss, split=False)
    return float(np.linalg.norm(np.asarray(found.gradient) - np.asarray(aimed.gradient)))


def weigh(quick: bool = False) -> Evidence:
    """Differences at growing m, and their slope over the last doubling."""
    sizes = (32, 64) if quick else (8, 16, 32, 64)
    readings, details = [], []
    for condition, share in SHARES.items():
        values = [difference(m, share) for m in sizes]
        readings.append(Reading(condition, slope(sizes, values), "<=", -0.5, beyond=share != 1))
        details += [
            {"line": condition, "m": m, "difference": value}
            for m, value in zip(sizes, values, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
