"""Exact bias of finished runs: ``python -m analysis.linking.trained.bias --work DIR``.

Of the kinds of negatives that `analysis.linking` measures exactly, m = 63, over all entities of the
test worlds, for the same mentions and with the observed gold as population: how far the gradient of
each kind would be from cross entropy's for a model that was trained so, where it mines and at its
end. Beside it the same model before any training, step 0.

In score space, and over parameters: those of the encoder's last layer, and of the heads where a
score has any (SOM's map and gate, MULTI's queries, POLY's codes). A backward pass of all layers
over a whole world for each kind would take six times as long.

What was trained with is another law, candidates that a batch shares: see `pooled`.
"""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

import nce_bias as nb
from analysis.linking import bias
from analysis.linking import setup as linking
from analysis.linking.trained import pooled, runs, setup
from nce_bias._files import replacing

UNTRAINED = "untrained"
KINDS = ("random", "mixed-50", "hard", "model, independent")
BELOW = 5  # layers of MiniLM under the last


def measure(model: nb.retrieval.EncoderRetriever, corpus: nb.retrieval.Corpus) -> list[Any]:
    """One row for each kind of negatives, means over the mentions of both test worlds."""
    exact = {kind: linking.EXACT[kind] for kind in KINDS}
    kinds = bias.Kinds(exact, {}, linking.MEASURED, draws=0)
    return bias.moments(model.frozen(BELOW), corpus, "test", kinds)


def main(
    work: Annotated[pathlib.Path, typer.Option(help="A folder of finished runs.")],
    only: Annotated[
        list[str] | None, typer.Option(help='Runs, such as "som hard 0"; default: all there are.')
    ] = None,
    along: Annotated[bool, typer.Option(help="Every model that is kept, not the last alone.")] = (
        False
    ),
) -> None:
    """Measure what has a checkpoint in the folder, and the untrained models."""
    say = Console(stderr=True).print
    encoder = nb.text.minilm(max_tokens=setup.TOKENS)
    corpus = nb.retrieval.corpus(nb.data.entity_linking(), encoder, learn=True)
    for cell in setup.FULL.cells:
        if (only and cell.label not in only) or not runs.is_done(work, cell):
            continue
        begin = work / f"{UNTRAINED}_{cell.score}"
        if not (begin / "moments.csv").is_file():
            say(f"{cell.score}, untrained")
            _write(begin, "moments", _at(0, measure(_untrained(corpus, cell), corpus)))
        folder, found = runs.folder_of(work, cell), runs.trained(corpus, setup.FULL, cell, work)
        steps = [int(step) for step in found.steps]
        rows = []
        for step in steps if along else steps[-1:]:
            say(f"{cell.label}, step {step}")
            rows += _at(step, measure(found.at(step), corpus))
        _write(folder, "moments", rows)
        say(f"{cell.label}, candidates that a batch shares")
        best = np.load(folder / "candidates.npz", allow_pickle=False)["test labels"]
        _write(folder, "pooled", _at(steps[-1], pooled.measure(found.model, corpus, best)))


def _untrained(corpus: nb.retrieval.Corpus, cell: setup.Cell) -> nb.retrieval.EncoderRetriever:
    plan = setup.FULL.plan_of(cell)
    return nb.retrieval.encoder_retriever(
        corpus, setup.score(cell.score), dim=plan.dim, scale=plan.scale, seed=plan.seed
    )


def _at(step: int, rows: list[Any]) -> list[dict[str, Any]]:
    return [{"step": step} | row for row in rows]


def _write(folder: pathlib.Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    with replacing(folder / f"{name}.csv") as file:
        pd.DataFrame(rows).to_csv(file, index=False)


if __name__ == "__main__":
    typer.run(main)
