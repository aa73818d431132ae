"""The question: how long would Monte Carlo take to know as much as `exact` says it does.

One input with a whole pop(y|x), model negatives, m = 4, float64. Both give the selection
probabilities of all labels: `exact` with a bound on their error, `monte_carlo` with the largest of
their standard errors, which falls like one over the root of the sets. The sets that would bring it
to the bound, and the time they would take, follow from what is measured; so does the standard error
of ten sets, of which the published reference code takes means.
"""

import jax
import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, rounds
from analysis.problems import zipf

SIZES = (1000, 10_000)
DRAWS = 10_000
#: Sets in the reference code.
REFERENCE = 10
COLUMNS = {
    "labels": "V",
    "exact": "`exact`, s",
    "error": "its `error`",
    "sampled": "`monte_carlo`, s",
    "draws": "sets",
    "standard_error": "standard error",
    "of_ten": "of ten sets",
    "needed": "sets for the error of `exact`",
    "years": "years they take",
}
YEAR = 365.25 * 24 * 3600


def run(
    *, sizes: tuple[int, ...] = SIZES, draws: int = DRAWS, count: int = FEWER_ROUNDS
) -> pd.DataFrame:
    return pd.DataFrame([_row(labels, draws, count) for labels in sizes])


def _row(labels: int, draws: int, count: int) -> dict:
    problem, sampler = zipf(labels), nb.iid(nb.model(), 4)

    def sampled() -> nb.Moments:
        return nb.monte_carlo(problem, sampler, key=jax.random.key(0), draws=draws)

    def exact() -> nb.Moments:
        return nb.exact(problem, sampler, split=False)

    timed = rounds({"exact": lambda: exact().bias, "sampled": lambda: sampled().bias}, count)
    truth, estimate = exact(), sampled()
    sets = int(estimate.method.partition(" draws")[0].split()[-1])
    error, standard = float(truth.error), float(estimate.error)
    needed = sets * (standard / error) ** 2
    return {
        "labels": labels,
        "exact": median(timed, "exact"),
        "error": error,
        "sampled": median(timed, "sampled"),
        "draws": sets,
        "standard_error": standard,
        "of_ten": standard * np.sqrt(sets / REFERENCE),
        "needed": needed,
        "years": needed / sets * median(timed, "sampled") / YEAR,
    }
