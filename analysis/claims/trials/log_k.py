r"""InfoNCE's estimate of mutual information against log K and against the truth.

With K = m + 1 candidates the estimate is log K - E[loss]. The loss is -log of a probability, so it
is at least 0 and the estimate at most log K. With the gold and m independent draws from pop(y),
hits kept, it is a lower bound on the mutual information whatever the scores (Poole et al., 2019).
If draws equal to the gold are taken out, the negatives are no longer draws from pop(y) and the
second bound is lost.
"""

import numpy as np

import nce_bias as nb
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, SHARE = 20, 0.95  # the probability of the right label
CLAIM = Claim(
    title="InfoNCE is at most log K and at most the MI",
    paper="Poole et al., variational bounds of mutual information",
    year=2019,
    said=(
        "The InfoNCE estimate is a lower bound on the mutual information and cannot exceed the "
        "log of the number of candidates."
    ),
    read="formula; the theorem as it is usually cited",
    measured=(
        "estimate with the best critic, against log K and against the true mutual information"
    ),
    prediction=(
        "Both hold with hits kept. With hits removed log K still holds, and the truth is passed "
        "as soon as log K is above it."
    ),
    lesson=(
        "An estimate from code that removes accidental hits is no lower bound. Keep them to "
        "estimate, whatever is done for training."
    ),
)


def problem() -> nb.Problem:
    """One input of several that are alike but for their right label, which are equally popular.

    Scores are log pop(y|x) - log pop(y), the best critic.
    """
    population = np.full(LABELS, (1 - SHARE) / (LABELS - 1))
    population[0] = SHARE
    popularity = np.full(LABELS, 1 / LABELS)
    return nb.Problem(np.log(population / popularity), population, popularity)


def information(given: nb.Problem) -> float:
    """sum_y pop(y|x) log pop(y|x) / pop(y), the same for every input."""
    population = np.asarray(given.population)
    ratios = np.log(population / np.asarray(given.popularity))
    return float(np.sum(population * ratios))


def estimate(given: nb.Problem, m: int, hits: str) -> float:
    """log K - E[InfoNCE]."""
    found = nb.exact(given, nb.iid(nb.popularity(), m, hits=hits), nb.infonce, split=False)
    return float(np.log1p(m) - found.loss)


def weigh(quick: bool = False) -> Evidence:
    """Estimates against both bounds, at few and many candidates."""
    given, readings, details = problem(), [], []
    truth, sizes = information(given), (3, 63)
    for hits, words in {"keep": "hits kept", "exclude": "hits removed"}.items():
        for m in sizes:
            found, beyond = estimate(given, m, hits), hits == "exclude"
            readings += [
                Reading(
                    f"{words}, K = {m + 1}: log K", found, "<=", float(np.log1p(m)), 1e-9, beyond
                ),
                Reading(
                    f"{words}, K = {m + 1}: mutual information", found, "<=", truth, 1e-9, beyond
                ),
            ]
    for m in (1, 7, 63, 255) if quick else tuple(2**k - 1 for k in range(1, 10)):
        lines = {"log K": float(np.log1p(m)), "mutual information": truth} | {
            words: estimate(given, m, hits)
            for hits, words in {"keep": "hits kept", "exclude": "hits removed"}.items()
        }
        details += [{"line": line, "k": m + 1, "estimate": v} for line, v in lines.items()]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
