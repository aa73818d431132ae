"""The question: how long does the first exact answer take, and the next that differs in one thing.

Fresh processes without a compilation cache (`analysis.benchmarks.fresh`), the problem there before
the clock starts. Each step is taken as `exact` chooses, and then by ``compiled=True``, which is how
problems too large for NumPy are answered; ratios are within a process.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd

from analysis.benchmarks.timing import FEWER_ROUNDS

COLUMNS = {
    "step": "step",
    "wall": "seconds",
    "jax": "× `import jax`",
    "compiled": "seconds with `compiled=True`",
    "ratio": "those are longer by ×",
}
#: Seconds that steps may take; `import nce_bias` has its own (`imports`).
TARGETS = {
    "first, V = 200, m = 16, uniform": 1.5,
    "then V = 201": 0.1,
    "then m = 64": 0.1,
    "then model negatives": 0.1,
    "then another loss": 0.1,
    "without replacement, m = 4": 4.0,
    "then m = 5": 0.5,
}
#: JAX keeps no compilation, whatever the shell says.
NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def run(*, count: int = FEWER_ROUNDS) -> pd.DataFrame:
    runs = [_fresh() for _ in range(count)]
    rows = []
    for step in runs[0]:
        taken = np.array([run[step] for run in runs])  # [rounds, 1 or 2]
        imported = np.array([run["import jax"] for run in runs])
        wall, ratio = np.median(taken, axis=0), np.median(taken / taken[:, :1], axis=0)
        both = len(wall) == 2  # an import has one way
        rows.append(
            {
                "step": step,
                "wall": wall[0],
                "jax": np.median(taken[:, :1] / imported),
                "compiled": wall[1] if both else np.nan,
                "ratio": ratio[1] if both else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _fresh() -> dict[str, list[float]]:
    """Seconds of each step in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "analysis.benchmarks.fresh"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | NO_CACHE,
    )
    return json.loads(done.stdout)
