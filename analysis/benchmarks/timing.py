"""How everything here is timed: in turn, several times, after a call that compiles.

Calls to be compared run alternately (a b c, a b c, ...), so that whatever else the machine does
falls on all of them alike; a ratio is the median of the ratios within rounds. Wall-clock seconds
are what one waits for; processor seconds are what the work costs, and change less when the machine
is busy.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import pandas as pd

from analysis.frames import Table

#: Rounds; odd, so that a median is one of the numbers measured.
ROUNDS = 9
#: The same where calls take seconds.
FEWER_ROUNDS = 5


def rounds(calls: Mapping[str, Callable[[], Any]], count: int = ROUNDS) -> pd.DataFrame:
    """Time `calls` in turn, `count` times, each once before that to compile.

    Returns
    -------
    DataFrame
        Columns `round`, `call`, `wall`, `cpu` (seconds; all threads of this process). What a call
        returns is waited for.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    rows = []
    for number in range(count):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rows.append({"round": number, "call": name, "wall": wall, "cpu": cpu})
    return pd.DataFrame(rows)


def median(timed: Table, call: str, clock: str = "wall") -> float:
    """Median seconds of one call."""
    return float(np.median(_of(timed, call, clock)))


def ratio(timed: Table, call: str, to: str, clock: str = "wall") -> float:
    """Median, over the rounds, of the seconds of `call` over those of `to`."""
    return float(np.median(_of(timed, call, clock) / _of(timed, to, clock)))


def _of(timed: Table, call: str, clock: str) -> np.ndarray:
    rows = timed[timed["call"] == call].sort_values("round")
    if rows.empty:
        raise KeyError(f"no call {call!r} was timed, only {sorted(set(timed['call']))}")
    return rows[clock].to_numpy()
