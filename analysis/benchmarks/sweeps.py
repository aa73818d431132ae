"""The question: how many small cells a second does a sweep do, and what does keeping them cost.

A thousand problems of 200 labels with one sampler, compiled once: in memory, kept in a new folder
(every file is waited for until it is on the disk), and read back from it.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import nce_bias as nb

CELLS = 1000
LABELS = 200
COLUMNS = {"cells": "cells, 200 labels", "rate": "cells a second", "ratio": "of in memory"}


def run(*, cells: int = CELLS, labels: int = LABELS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    problems = {
        str(seed): nb.Problem(2 * rng.normal(size=labels), rng.dirichlet(np.ones(labels)))
        for seed in range(cells)
    }
    sampler = nb.iid(nb.model(), 16)
    nb.sweep(problems["0"], sampler, progress=False)
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "cells"
        for name, place in (("in memory", None), ("kept", kept), ("read back", kept)):
            began = time.perf_counter()
            table = nb.sweep(problems, sampler, folder=place, progress=False)
            rates[name] = cells / (time.perf_counter() - began)
            assert set(table["status"]) == {"ok"}
    return pd.DataFrame(
        {"cells": name, "rate": rate, "ratio": rate / rates["in memory"]}
        for name, rate in rates.items()
    )
