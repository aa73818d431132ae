"""The question: what do many labels cost with atoms, in softmaxes and against the direct rule.

One input with one observed gold, or with a whole pop(y|x), float64. A softmax is one compiled value
and gradient of cross entropy at the same V: what a training step without negatives would pay.
`exact` is timed with all it does besides the integral, checks among it. The direct rule is timed
where it takes seconds at most.
"""

from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, ratio, rounds
from nce_bias.samplers import Sampler

#: Rounds where a call takes many seconds, the most labels for which that is not so.
FEWEST_ROUNDS, QUICK = 3, 10**6


class Cell(NamedTuple):
    """A row of the table; `golds` is "one" or "all", `draws` "independent" or "distinct"."""

    golds: str
    draws: str
    negatives: str
    labels: int
    m: int
    directly: bool = False


CELLS = (
    *(
        Cell("one", "independent", negatives, 10**k, 4, k < 6)
        for k in (3, 4, 5, 6, 7)
        for negatives in ("model", "popularity")
    ),
    *(Cell("one", "independent", "model", 10**5, m) for m in (1, 64, 1024, 65_536)),
    Cell("one", "independent", "model", 4 * 10**6, 4),
    Cell("one", "independent", "model", 10**6, 65_536),
    Cell("one", "independent", "popularity", 10**6, 65_536),
    *(Cell("all", "independent", "model", 10**k, 4, k == 4) for k in (4, 5, 6)),
    Cell("all", "independent", "model", 4 * 10**6, 4),
    Cell("all", "independent", "model", 10**6, 65_536),
    Cell("all", "independent", "popularity", 10**6, 4),
    *(Cell("one", "distinct", "model", 10**5, m) for m in (1, 4, 16, 64, 256)),
    *(Cell("one", "distinct", "model", 10**k, 64) for k in (4, 6)),
)
COLUMNS = {
    "golds": "golds",
    "draws": "draws",
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


def run(*, cells: tuple[Cell, ...] = CELLS, count: int = FEWER_ROUNDS) -> pd.DataFrame:
    rows = []
    for cell in cells:
        rows.append(_row(cell, count if cell.labels <= QUICK else min(count, FEWEST_ROUNDS)))
    return pd.DataFrame(rows)


def problem_of(labels: int, golds: str = "one") -> nb.Problem:
    """Normal scores over some 30 nats, Zipfian popularity, and golds one or like the popularity."""
    scores = 3 * np.random.default_rng(0).normal(size=(1, labels))
    popularity = 1 / (10 + np.arange(labels))
    popularity /= popularity.sum()
    if golds == "all":
        return nb.Problem(scores, popularity[None], popularity)
    return nb.Problem.from_golds(scores, [labels // 2], popularity)


def sampler_of(cell: Cell) -> Sampler:
    """What draws the negatives of a row."""
    proposal = {"model": nb.model(), "popularity": nb.popularity()}[cell.negatives]
    draws = nb.iid if cell.draws == "independent" else nb.without_replacement
    return draws(proposal, cell.m)


def _row(cell: Cell, count: int) -> dict:
    problem, sampler = problem_of(cell.labels, cell.golds), sampler_of(cell)
    scores, population = problem.scores[0], problem.population_rows[0]
    softmax = jax.jit(jax.value_and_grad(lambda s, pop: -pop @ jax.nn.log_softmax(s)))

    def exact(engine: str) -> nb.Moments:
        split = None if cell.golds == "one" else False  # of many golds on atoms it is not
        return nb.exact(problem, sampler, engine=engine, compiled=True, split=split)

    calls = {"softmax": lambda: softmax(scores, population), "atoms": lambda: exact("atoms").bias}
    if cell.directly:
        calls["direct"] = lambda: exact("direct").bias
    found = exact("atoms")
    timed = rounds(calls, count)
    return cell._asdict() | {
        "method": int(found.method.split(" atoms")[0].split()[-1]),
        "softmax": 1e3 * median(timed, "softmax"),
        "atoms": 1e3 * median(timed, "atoms"),
        "ratio": ratio(timed, "atoms", "softmax"),
        "direct": 1e3 * median(timed, "direct") if cell.directly else np.nan,
        "error": float(found.error),
    }
