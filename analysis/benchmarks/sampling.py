"""The question: what does a candidate set cost by `monte_carlo`, and what by plain NumPy.

Ours returns standard errors and an unbiased bias norm; plain NumPy only the means.
"""

import jax
import numpy as np
import pandas as pd
from scipy.special import softmax

import nce_bias as nb
from analysis.benchmarks import plain_numpy
from analysis.benchmarks.timing import ROUNDS, median, ratio, rounds
from analysis.problems import zipf

LABELS = 1000
SIZES = (4, 64)
#: Candidate sets asked for, with replacement and without; `monte_carlo` rounds up to whole blocks,
#: and both sides draw what it says it drew.
DRAWS = {True: 2**16, False: 2**12}
COLUMNS = {
    "negatives": "negatives",
    "draws": "sets",
    "ours": "`monte_carlo`, µs a set",
    "numpy": "NumPy, µs a set",
    "ratio_wall": "ratio",
    "ratio_cpu": "ratio of processor seconds",
}


def run(
    *,
    labels: int = LABELS,
    sizes: tuple[int, ...] = SIZES,
    draws: dict[bool, int] = DRAWS,
    count: int = ROUNDS,
) -> pd.DataFrame:
    problem = zipf(labels)
    rows = []
    for replacement, many in draws.items():
        for m in sizes:
            ours, plain, sets = pair(problem, m, replacement=replacement, draws=many)
            timed = rounds({"ours": ours, "numpy": plain}, count)
            kind = "with" if replacement else "without"
            rows.append(
                {
                    "negatives": f"model, m = {m}, {kind} replacement",
                    "draws": sets,
                    "ours": median(timed, "ours") / sets * 1e6,
                    "numpy": median(timed, "numpy") / sets * 1e6,
                    "ratio_wall": ratio(timed, "ours", "numpy"),
                    "ratio_cpu": ratio(timed, "ours", "numpy", "cpu"),
                }
            )
    return pd.DataFrame(rows)


def pair(problem: nb.Problem, m: int, *, replacement: bool, draws: int):
    """Two calls that estimate the same thing, both (selection, loss), and the sets they draw."""
    make = nb.iid if replacement else nb.without_replacement
    key, rng = jax.random.key(0), np.random.default_rng(0)
    sampler = make(nb.model(), m)
    scores, population = np.asarray(problem.scores), np.asarray(problem.population)

    def sampled():
        return nb.monte_carlo(problem, sampler, key=key, draws=draws)

    sets = int(sampled().method.partition(" draws")[0].split()[-1])

    def ours():
        found = sampled()
        return found.selection, found.loss

    def plain():
        q = softmax(scores)
        return plain_numpy.estimate(
            scores, population, q, m, replacement=replacement, draws=sets, rng=rng
        )

    return ours, plain, sets
