r"""In-batch negatives with log q taken off: what is learnt.

Ranking NCE, s - log q on gold and negatives. With m independent draws from q, hits kept, gold and
negatives are m + 1 candidates of which each is as likely the gold as pop/q says, and the gradient
vanishes at s = log pop(y|x) + c for every m (Ma & Collins, 2018). Dropping draws that equal the
gold, or never drawing it, takes candidates away from a gold's own rivals and moves that point.
"""

import numpy as np

import nce_bias as nb
from analysis import problems
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 8, 4
CONDITIONS = {
    "keep": "hits kept",
    "mask": "hits removed (the option remove_accidental_hits)",
    "exclude": "gold never drawn, q as it was",
}
CLAIM = Claim(
    title="log q makes in-batch negatives right",
    paper="Yi et al., streaming frequency estimation, and practice",
    year=2019,
    said=(
        "Taking log q off the scores removes the bias of in-batch negatives; accidental hits "
        "should be removed besides."
    ),
    read="formula as it is usually cited; public code for the option",
    measured="distance of the learnt probabilities from the population, against 0",
    prediction="0 with hits kept, at every m. Removing hits brings a bias back.",
    lesson=(
        "With log q off both sides leave accidental hits where they are. If they must go, take "
        "log q off the negatives alone, and many of them."
    ),
)


def problem() -> nb.Problem:
    """One input whose popularity is not its population."""
    return problems.zipf(LABELS)


def weigh(quick: bool = False) -> Evidence:
    """Fixed points with hits kept, masked and excluded."""
    given, readings, details = problem(), [], []
    population = np.asarray(given.population)
    for hits, condition in CONDITIONS.items():
        sampler = nb.iid(nb.popularity(), DRAWS, hits=hits)
        found = at_rest(given, sampler, nb.ranking_nce)
        beyond = hits == "exclude"
        readings.append(Reading(condition, float(found.distance), "=", 0.0, 1e-8, beyond))
        learnt = np.exp(np.asarray(found.scores))
        details += [
            {"line": f"hits {hits}", "population": p, "ratio": s / p}
            for p, s in zip(population, learnt, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
