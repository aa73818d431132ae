"""The question: do published claims about sampled losses hold, and under which conditions.

Each claim is a module of `analysis.claims.trials`: what was said, a prediction, named conditions,
an exact number for each. `analysis.claims.trial` has the rule that makes a verdict of them.
"""

import dataclasses
import pathlib

from analysis import tables
from analysis.claims.docket import TRIALS
from analysis.claims.trial import reading_rows, row
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 60, "quick": 15}


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """Which claims; a quick run leaves out those that compile for seconds."""

    claims: tuple[str, ...] = tuple(TRIALS)


FULL = Design()
QUICK = Design(quick=True, claims=tuple(name for name, trial in TRIALS.items() if not trial.slow))


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``claims.csv``, ``readings.csv``, a table for each claim and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    found = {name: TRIALS[name].weigh(quick) for name in track(design.claims, "claims")}
    written = {
        "claims": [row(name, TRIALS[name].claim, e.readings) for name, e in found.items()],
        "readings": [r for name, e in found.items() for r in reading_rows(name, e.readings)],
    }
    tables.write(out, written | {name: list(e.details) for name, e in found.items()}, design)
