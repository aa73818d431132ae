"""The question: what does `import nce_bias` cost beside `import jax`, and what comes with it.

Fresh interpreters, in turn; what starting Python itself takes is timed too and taken off neither.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from analysis.benchmarks.timing import ROUNDS

HEAVY = ("matplotlib", "pandas", "optax")
#: What `import nce_bias` may cost, in times `import jax`.
TARGET = 1.3
COLUMNS = {
    "program": "program",
    "wall": "seconds",
    "cpu": "processor seconds",
    "ratio_wall": "× `import jax`",
    "ratio_cpu": "× in processor seconds",
    "heavy": "of matplotlib, pandas, optax",
}
PROGRAMS = ("pass", "import jax", "import jax, equinox", "import nce_bias")


def run(*, count: int = ROUNDS, programs: tuple[str, ...] = PROGRAMS) -> pd.DataFrame:
    for program in programs:
        _seconds(program)  # compiles .pyc files, fills the file cache
    seconds = np.array([[_seconds(program) for program in programs] for _ in range(count)])
    base = seconds[:, [programs.index("import jax")]]
    middle, ratios = np.median(seconds, axis=0), np.median(seconds / base, axis=0)
    return pd.DataFrame(
        {
            "program": programs,
            "wall": middle[:, 0],
            "cpu": middle[:, 1],
            "ratio_wall": ratios[:, 0],
            "ratio_cpu": ratios[:, 1],
            "heavy": [_heavy(program) for program in programs],
        }
    )


def _seconds(program: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of one interpreter that runs `program`."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def _heavy(program: str) -> str:
    """Those of `HEAVY` that `program` imports."""
    ask = f"{program}\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    return done.stdout.strip() or "none"
