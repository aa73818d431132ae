"""The question: how does the cost of `exact` grow with labels and negatives.

One input. With replacement the number of negatives enters by the nodes of the quadrature alone;
without, the cost is proportional to it. Splitting the variance into its two parts is what grows
with the square of the labels, so it is timed apart.
"""

import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, rounds
from analysis.problems import zipf
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.samplers import Sampler

WITH = ((100, 4), (1000, 4), (10_000, 4), (100_000, 4), (1000, 64), (1000, 4096))
#: The same with the variance split.
SPLIT = ((1000, 4), (10_000, 4))
WITHOUT = ((1000, 4),)
TOLERANCES = (TOLERANCE, 1e-6)
COLUMNS = {
    "negatives": "negatives",
    "labels": "V",
    "m": "m",
    "tolerance": "tolerance",
    "split": "variance split",
    "method": "nodes",
    "wall": "seconds per input",
    "cpu": "processor seconds",
    "error": "`error`",
}


def run(
    *,
    with_replacement: tuple[tuple[int, int], ...] = WITH,
    split: tuple[tuple[int, int], ...] = SPLIT,
    without: tuple[tuple[int, int], ...] = WITHOUT,
    count: int = FEWER_ROUNDS,
) -> pd.DataFrame:
    cells = [("with", nb.iid, *size, TOLERANCE, False) for size in with_replacement]
    cells += [("with", nb.iid, *size, TOLERANCE, True) for size in split]
    cells += [
        ("without", nb.without_replacement, *size, tolerance, False)
        for size in without
        for tolerance in TOLERANCES
    ]
    rows, calls = [], {}
    for kind, make, labels, m, tolerance, halved in cells:
        call = _call(zipf(labels), make(nb.model(), m), tolerance, halved)
        found = call()
        name = f"{kind} {labels} {m} {tolerance} {halved}"
        calls[name] = lambda call=call: call().bias
        rows.append(
            {
                "negatives": f"model, {kind} replacement",
                "labels": labels,
                "m": m,
                "tolerance": tolerance,
                "split": "yes" if halved else "no",
                "method": int(found.method.split()[1]),
                "error": float(found.error),
                "call": name,
            }
        )
    timed = rounds(calls, count)
    table = pd.DataFrame(rows)
    for clock in ("wall", "cpu"):
        table[clock] = [median(timed, name, clock) for name in table["call"]]
    return table.drop(columns="call")


def _call(problem: nb.Problem, sampler: Sampler, tolerance: float, split: bool):
    return lambda: nb.exact(problem, sampler, tolerance=tolerance, split=split)
