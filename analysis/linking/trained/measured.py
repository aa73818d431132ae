"""Tables of what `bias` measured: of each run, of each kind of negatives, beside recall.

A run's *own* bias is that of its own kind of negatives, at its end: of a world's entities, m = 63,
in score space and over the last layer's parameters (`moments`), and of the candidates that its
batches shared (`pooled`). Not every run was measured: a model is lost with its work folder.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import Table
from analysis.linking import tables as linking
from analysis.linking.trained import setup
from analysis.linking.trained.kinds import FROZEN, OWN
from analysis.linking.trained.setup import Cell


def collected(out: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """The rows of one kind of file of all runs, with the name of the run's folder."""
    rows = []
    for path in sorted(out.glob(f"*/{name}.csv")):
        rows += [{"run": path.parent.name} | row for row in pd.read_csv(path).to_dict("records")]
    return rows


def scatter(cells: list[Cell], out: pathlib.Path) -> list[dict[str, Any]]:
    """One row a run that was measured: recall on the test worlds, and its own bias at its end."""
    rows = []
    for cell in cells:
        folder = out / cell.folder
        if not (folder / "moments.csv").is_file():
            continue
        with np.load(folder / "ranks.npz", allow_pickle=False) as file:
            ranks = file["test"]
        row = cell._asdict() | {f"recall@{k}": float(np.mean(ranks <= k)) for k in setup.AT}
        last = _last(folder / "moments.csv")
        for name in linking.BIASES:
            row[name] = last.get(name, {}).get(OWN.get(cell.own, ""), np.nan)
        row["pooled_relative_bias"] = np.nan
        if (folder / "pooled.csv").is_file():
            row["pooled_relative_bias"] = _last(folder / "pooled.csv")["relative_bias"][cell.own]
        rows.append(row)
    return rows


def correlation(trained: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spearman's rank correlation of bias and recall: of frozen heads, then of all runs."""
    frozen: Table = pd.read_csv(FROZEN)
    ours = pd.DataFrame(trained).assign(score=lambda table: table["score"] + ", trained")
    both = pd.concat([frozen, ours], ignore_index=True)
    rows = []
    for bias in linking.BIASES:
        groups = {"frozen": frozen, "frozen and trained": both[both[bias].notna()]}
        rows += linking.correlation(groups, [bias])
    return rows


def _last(path: pathlib.Path) -> dict[str, dict[str, float]]:
    """Columns of a file at its last step, by kind."""
    table = pd.read_csv(path)
    last = table[table["step"] == table["step"].max()].set_index("kind")
    return last.to_dict()
