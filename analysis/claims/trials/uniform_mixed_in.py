r"""Mixed negative sampling: what a uniform half does to the bias.

Half of the negatives from popularity, half uniform, log q off negatives and gold. What is taken off
decides: the mixture that was drawn from, or, as in public code, the items' frequency for all of
them. A loss that takes log f off both sides and draws from q is InfoNCE at the scores s - log f, so
its selection is exact too.
"""

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial
from nce_bias.proposals import Proposal

LABELS, DRAWS = 60, (4, 64)
CODE = "item frequency taken off, as in public code"
MIXED = nb.mixture(nb.popularity(), nb.uniform())
CLAIM = Claim(
    title="Mixing uniform in counters selection bias",
    paper="Yang et al., mixed negative sampling",
    year=2020,
    said=(
        "Adding uniform negatives to those of the batch counters the selection bias against "
        "rare items."
    ),
    read="the claim as it is usually cited; public code",
    measured=(
        "bias norm with the mixture divided by that with popularity alone, both corrected; below 1"
    ),
    prediction=(
        "Less bias where the mixture itself is taken off; more where the item frequency is."
    ),
    lesson=(
        "Mixing helps if the correction knows of it. Corrected by item frequency, uniform draws "
        "come in with the wrong weight and no number of them mends it."
    ),
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def bias(q: Proposal, correction: np.ndarray, m: int) -> float:
    """||p - gamma|| with log `correction` off all scores and m draws from q, hits kept."""
    given = problem()
    shifted = nb.Problem(
        np.asarray(given.scores) - np.log(correction), given.population, given.popularity
    )
    found = nb.exact(shifted, nb.iid(q, m, hits="keep"), nb.infonce, split=False)
    model = softmax(np.asarray(given.scores))
    return float(np.linalg.norm(model - np.asarray(found.selection)))


def weigh(quick: bool = False) -> Evidence:
    """Ratios to popularity negatives, by what is taken off."""
    popularity = np.asarray(problem().popularity)
    mixed = (popularity + 1 / LABELS) / 2
    ways = {
        "popularity alone": (nb.popularity(), popularity),
        "the mixture taken off": (MIXED, mixed),
        CODE: (MIXED, popularity),
    }
    sizes = (1, 4, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128)
    found = {name: {m: bias(q, taken, m) for m in sizes} for name, (q, taken) in ways.items()}
    base = found["popularity alone"]
    readings = [
        Reading(f"{name}, {m} draws", values[m] / base[m], "<=", 1.0, beyond=name == CODE)
        for name, values in found.items()
        if values is not base
        for m in DRAWS
    ]
    details = [
        {"line": name, "m": m, "bias_norm": value}
        for name, values in found.items()
        for m, value in values.items()
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
