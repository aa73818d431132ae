"""The question: how much memory do many labels take.

Each row is a process of its own, for what one once held the system does not count back: its largest
resident memory after one exact answer, and what a label takes of it beside Python, JAX and the
library, which are measured at a thousand labels.
"""

import json
import pathlib
import resource
import subprocess
import sys

import pandas as pd

from analysis.benchmarks.atoms import Cell

CELLS = (
    Cell("one", "independent", "model", 10**6, 4),
    Cell("one", "independent", "model", 4 * 10**6, 4),
    Cell("all", "independent", "model", 10**6, 4),
    Cell("all", "independent", "model", 4 * 10**6, 4),
    Cell("one", "distinct", "model", 10**6, 64),
)
#: Labels that take no memory to speak of.
FEW = 1000
COLUMNS = {
    "golds": "golds",
    "draws": "draws",
    "labels": "V",
    "m": "m",
    "peak": "largest memory, GiB",
    "label": "bytes a label",
}


def run(*, cells: tuple[Cell, ...] = CELLS) -> pd.DataFrame:
    rows = []
    for cell in cells:
        peak, none = _peak(cell), _peak(cell._replace(labels=FEW))
        found = {"peak": peak / 2**30, "label": (peak - none) / cell.labels}
        rows.append(cell._asdict() | found)
    return pd.DataFrame(rows)


def _peak(cell: Cell) -> float:
    """Bytes, of a fresh process."""
    command = [sys.executable, "-m", "analysis.benchmarks.memory", json.dumps(cell)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _answer(cell: Cell) -> float:
    """The same of this one, after one answer."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import nce_bias as nb
    from analysis.benchmarks.atoms import problem_of, sampler_of

    problem, sampler = problem_of(cell.labels, cell.golds), sampler_of(cell)
    nb.exact(problem, sampler, engine="atoms", compiled=True, split=False).bias.block_until_ready()
    return _largest()


def _largest() -> float:
    """Bytes that this program held at most; what `getrusage` says counts who started it, too."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except FileNotFoundError:  # no Linux
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return 1024 * float(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    print(_answer(Cell(*json.loads(sys.argv[1]))))
