"""One run: trained, ranked on both held-out splits, its gradients measured; kept on disk.

A cell whose files are there is not run again; one that was cut short goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import resource
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

import nce_bias as nb
from analysis.linking import bias, setup
from analysis.linking.setup import Cell, Design
from nce_bias._files import replacing

HELD_OUT = ("val", "test")

#: Seconds on two cores: of training and ranking, and of measuring one model.
TRAINING = {"dual": 45, "multi8": 55, "som": 75, "poly8": 60}
MEASURING = {"dual": 14, "multi8": 18, "som": 20, "poly8": 20}


def folder_of(work: pathlib.Path, cell: Cell) -> pathlib.Path:
    """Where a cell keeps its files."""
    return work / cell.label.replace(" ", "_")


def is_done(work: pathlib.Path, cell: Cell) -> bool:
    """Whether nothing of the cell is left to do."""
    return (folder_of(work, cell) / "moments.csv").is_file()


def expected(design: Design, cells: Iterable[Cell]) -> float:
    """Seconds, about."""
    return sum(
        TRAINING[cell.score] + MEASURING[cell.score] * len(design.checkpoints(cell))
        for cell in cells
    )


def run_all(
    corpus: nb.retrieval.Corpus, design: Design, work: pathlib.Path, console: Console
) -> dict[Cell, float]:
    """Every cell that is not done; seconds of each."""
    left = [cell for cell in design.cells if not is_done(work, cell)]
    console.print(
        f"linking: {len(design.cells)} runs, {len(design.cells) - len(left)} of them done; about "
        f"{expected(design, left) / 60:.0f} min to go on two cores. Ctrl-C loses nothing."
    )
    seconds = {}
    for place, cell in enumerate(left, start=1):
        began = time.monotonic()
        run(corpus, design, cell, work)
        seconds[cell] = time.monotonic() - began
        rest = expected(design, left[place:]) / 60
        done = f"[{place}/{len(left)}] {cell.label}: {seconds[cell]:.0f} s"
        console.print(f"  {done}; about {rest:.0f} min left")
    return seconds


def trained(
    corpus: nb.retrieval.Corpus, design: Design, cell: Cell, work: pathlib.Path
) -> nb.train.Fit:
    """The run of a cell: from its checkpoint, as far as there is one."""
    found = nb.retrieval.train_retriever(
        corpus,
        setup.scores()[cell.score],
        setup.TRAINED[cell.negatives],
        config=dataclasses.replace(design.plan, seed=cell.seed),
        checkpoints=design.checkpoints(cell),
        folder=folder_of(work, cell),
    )
    if found.status.startswith("interrupted"):
        raise KeyboardInterrupt(found.status)
    if found.status != "ok":
        raise RuntimeError(f"{cell.label}: {found.status}")
    return found


def run(corpus: nb.retrieval.Corpus, design: Design, cell: Cell, work: pathlib.Path) -> None:
    """Train, rank, measure."""
    folder = folder_of(work, cell)
    began = time.monotonic()
    found = trained(corpus, design, cell, work)
    seconds = time.monotonic() - began
    if not (folder / "about.json").is_file():
        arrays = {split: nb.retrieval.rank(found.model, corpus[split]) for split in HELD_OUT}
        with replacing(folder / "ranks.npz") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        ranking = time.monotonic() - began - seconds
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the process so far
        about = {"training_seconds": seconds, "ranking_seconds": ranking, "peak_gib": peak}
        with replacing(folder / "about.json") as file:
            file.write(json.dumps(about).encode())
    rows: list[dict[str, Any]] = []
    kinds = bias.Kinds(setup.EXACT, setup.SAMPLED, design.measured, design.draws)
    for step in design.checkpoints(cell):
        measured = bias.moments(found.at(step), corpus, "test", kinds)
        rows += [cell._asdict() | {"step": step} | row for row in measured]
    with replacing(folder / "moments.csv") as file:
        pd.DataFrame(rows).to_csv(file, index=False)
