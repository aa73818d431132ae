r"""One-vs-each: whether it finds the softmax's solution.

sum_k softplus(s_k - s_g). Where labels have free scores the gradient vanishes if every pair is in
balance, pop_g r(y|g) sigma(s_y - s_g) = pop_y r(g|y) sigma(s_g - s_y), r(y|g) the expected copies
of y beside the gold g, each with its weight. r the same for all pairs: e^{s_y - s_g} = pop_y /
pop_g, the population. That is so for uniform draws, and for draws from any q weighted by one over
their expected copies (`nb.one_vs_each`). Unweighted draws from q, hits kept (`nb.bpr`): r = m q_y,
and s = log pop - log q.
"""

import numpy as np

import nce_bias as nb
from analysis import problems
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 8, 3
UNWEIGHTED = "popular draws, unweighted"
SETTINGS = {
    "all other labels": (nb.top(LABELS - 1), nb.bpr),
    "uniform draws": (nb.iid(nb.uniform(), DRAWS), nb.bpr),
    "popular draws, weighted by 1/q": (nb.iid(nb.popularity(), DRAWS), nb.one_vs_each),
    UNWEIGHTED: (nb.iid(nb.popularity(), 1, hits="keep"), nb.bpr),
}
CLAIM = Claim(
    title="One-vs-each recovers the softmax",
    paper="Titsias, one-vs-each approximation",
    year=2016,
    said=(
        "Where labels have free scores, maximising the one-vs-each bound gives the same "
        "probabilities as maximising the softmax likelihood, also with subsampled labels."
    ),
    read="the claim as it is usually cited",
    measured="distance of the learnt probabilities from the population, against 0",
    prediction=(
        "0 for all labels and for uniform draws of any number; not for popular draws, unless "
        "each pair is weighted by one over the chance of its draw."
    ),
    lesson=(
        "A pairwise loss with uniform negatives is consistent for free scores, whatever m. Feed "
        "it popular negatives and it learns log pop(y|x) - log pop(y) instead, unless the pairs "
        "are weighted."
    ),
)


def problem() -> nb.Problem:
    """One input whose popularity is not its population."""
    return problems.zipf(LABELS)


def weigh(quick: bool = False) -> Evidence:
    """Fixed points under each sampler."""
    given, readings, details = problem(), [], []
    population = np.asarray(given.population)
    for name, (sampler, loss) in SETTINGS.items():
        found = at_rest(given, sampler, loss)
        readings.append(
            Reading(name, float(found.distance), "=", 0.0, 1e-8, beyond=name == UNWEIGHTED)
        )
        learnt = np.exp(np.asarray(found.scores))
        details += [
            {"line": name, "population": p, "ratio": s / learnt.sum() / p}
            for p, s in zip(population, learnt, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
