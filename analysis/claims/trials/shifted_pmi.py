r"""Negative sampling: where its optimum is.

loss = softplus(-s_g) + sum_k softplus(s_k), k draws from pop(y). The expected gradient vanishes
where pop(y|x) sigma(-s) = E[n_y] sigma(s), that is e^s = pop(y|x) / E[n_y]. Hits kept: E[n_y] = k
pop(y), and s = PMI - log k. word2vec.c drops draws that are the gold: E[n_y] = k pop(y) (1 -
pop(y|x)), and s = PMI - log k - log(1 - pop(y|x)), which is larger the surer the label.
"""

import numpy as np

import nce_bias as nb
from analysis import problems
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 8, 5
CONDITIONS = {
    "keep": "draws equal to the word kept",
    "mask": "such draws dropped, as in word2vec.c",
}
CLAIM = Claim(
    title="The optimum of word2vec is PMI - log k",
    paper="Levy & Goldberg",
    year=2014,
    said=(
        "Skip-gram with k negative samples factorises the matrix of pointwise mutual "
        "information less log k."
    ),
    read="as it is usually cited; word2vec.c",
    measured="largest |score - (PMI - log k)| where the expected gradient vanishes, against 0",
    prediction=(
        "0 with hits kept. In word2vec.c a label of probability p is log 1/(1-p) too high."
    ),
    lesson=(
        "Right for rare words, which nearly all are. For a context that nearly settles the word "
        "the code's score runs away from the PMI."
    ),
)


def problem() -> nb.Problem:
    """One context, and word frequencies that are not its own."""
    return problems.zipf(LABELS)


def shifted_pmi(given: nb.Problem, k: int) -> np.ndarray:
    """log pop(y|x) - log pop(y) - log k."""
    ratio = np.log(np.asarray(given.population)) - np.log(np.asarray(given.popularity))
    return ratio - np.log(k)


def weigh(quick: bool = False) -> Evidence:
    """Fixed points with both rules for hits."""
    given, readings, details = problem(), [], []
    formula = shifted_pmi(given, DRAWS)
    for hits, condition in CONDITIONS.items():
        sampler = nb.iid(nb.popularity(), DRAWS, hits=hits)
        found = np.asarray(at_rest(given, sampler, nb.negative_sampling).scores)
        off = float(abs(found - formula).max())
        readings.append(Reading(condition, off, "=", 0.0, 1e-8, beyond=hits == "mask"))
        details += [
            {"line": f"hits {hits}", "population": p, "above": s - f}
            for p, s, f in zip(np.asarray(given.population), found, formula, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
