"""The question: what do many labels cost with atoms, in softmaxes and against the direct rule.

One input with one observed gold, float64. A softmax is one compiled value and gradient of cross
entropy at the same V: what a training step without negatives would pay. `exact` is timed with all
it does besides the integral, checks among it.
"""

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
        for proposal in (nb.model(), nb.popularity()):
            rows.append(_row(labels, nb.iid(proposal, m), directly, count))
    return pd.DataFrame(rows)


def problem_of(labels: int) -> nb.Problem:
    """Normal scores over some 30 nats, Zipfian popularity, one gold."""
    scores = 3 * np.random.default_rng(0).normal(size=(1, labels))
    popularity = 1 / (10 + np.arange(labels))
    return nb.Problem.from_golds(scores, [labels // 2], popularity / popularity.sum())


def _row(labels: int, sampler: Sampler, directly: bool, count: int) -> dict:
    problem = problem_of(labels)
    scores = problem.scores[0]
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
