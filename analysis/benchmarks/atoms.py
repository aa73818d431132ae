"""The question: what do many labels cost with atoms, in softmaxes and against the direct rule.

One input, float64, with one observed gold or a whole population. A softmax is one compiled value
and gradient of cross entropy at the same V: what a training step without negatives would pay.
`exact` is timed with all it does besides the integral, checks among it.
"""

import itertools

import jax
import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, ratio, rounds
from nce_bias.samplers import Sampler

#: V, m, and whether the direct rule is timed too.
SIZES = (
    (10_000, 4, True),
    (100_000, 4, True),
    (100_000, 65_536, False),
    (1_000_000, 4, False),
    (1_000_000, 65_536, False),
)
COLUMNS = {
    "golds": "golds",
    "negatives": "negatives",
    "labels": "V",
    "m": "m",
    "method": "atoms",
    "softmax": "softmax, ms",
    "atoms": "`exact` with atoms, ms",
    "ratio": "in softmaxes",
    "direct": "direct rule, ms",
    "error": "`error`",
}


def run(
    *, sizes: tuple[tuple[int, int, bool], ...] = SIZES, count: int = FEWER_ROUNDS
) -> pd.DataFrame:
    rows = []
    for labels, m, directly in sizes:
        for golds, proposal in itertools.product(("one", "all"), (nb.model(), nb.popularity())):
            alone = directly and golds == "one"  # for all golds it takes minutes
            rows.append(_row(problem_of(labels, golds), nb.iid(proposal, m), alone, count))
    return pd.DataFrame(rows)


def problem_of(labels: int, golds: str) -> nb.Problem:
    """Normal scores over some 30 nats, Zipfian popularity; one gold, or a population near p."""
    rng = np.random.default_rng(0)
    scores = 3 * rng.normal(size=(1, labels))
    popularity = 1 / (10 + np.arange(labels))
    if golds == "all":
        near = scores + rng.normal(size=scores.shape)
        population = np.exp(near - near.max())
        return nb.Problem(scores, population / population.sum(), popularity / popularity.sum())
    return nb.Problem.from_golds(scores, [labels // 2], popularity / popularity.sum())


def _row(problem: nb.Problem, sampler: Sampler, directly: bool, count: int) -> dict:
    scores, labels = problem.scores[0], problem.labels
    softmax = jax.jit(jax.value_and_grad(lambda s: -jax.nn.log_softmax(s)[labels // 2]))
    calls = {
        "softmax": lambda: softmax(scores),
        "atoms": lambda: nb.exact(problem, sampler, engine="atoms", compiled=True).bias,
    }
    if directly:
        calls["direct"] = lambda: nb.exact(problem, sampler, engine="direct", compiled=True).bias
    found = nb.exact(problem, sampler, engine="atoms", compiled=True)
    timed = rounds(calls, count)
    return {
        "golds": "all" if "not split" in found.method else "one",
        "negatives": repr(sampler).split("(")[1].split(",")[0],
        "labels": labels,
        "m": int(sampler.m),
        "method": int(found.method.split(", ")[2].split()[0]),
        "softmax": 1e3 * median(timed, "softmax"),
        "atoms": 1e3 * median(timed, "atoms"),
        "ratio": ratio(timed, "atoms", "softmax"),
        "direct": 1e3 * median(timed, "direct") if directly else np.nan,
        "error": float(found.error),
    }
