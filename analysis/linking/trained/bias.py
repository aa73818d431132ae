"""Exact bias of a finished run: ``python -m analysis.linking.trained.bias --work DIR``.

In score space, of the kinds of negatives that `analysis.linking` measures, m = 63, over all
entities of the test worlds, for the same mentions and with the observed gold as population: how far
the gradient of each kind would be from cross entropy's for a model that was trained so. Beside it
MiniLM before any training. Over parameters nothing is measured: that takes a backward pass of the
encoder over a whole world for each kind and each mention.
"""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import nce_bias as nb
from analysis.estimators import root, root_ratio
from analysis.linking import bias
from analysis.linking import setup as linking
from analysis.linking.trained import runs, setup
from nce_bias._files import replacing

SCALARS = ("loss", "cross_entropy", "cosine", "variance", "coverage", "error")
UNTRAINED = "untrained"


def measure(model: Any, corpus: nb.retrieval.Corpus) -> list[dict[str, Any]]:
    """One row for each kind of negatives, means over the mentions of both test worlds."""
    worlds = [
        bias.world_problem(model, corpus, "test", rows)[0]
        for rows in bias.measured_rows(corpus, "test", linking.MEASURED)
    ]
    exact = [np.exp(np.asarray(w.log_model)) - np.asarray(w.population) for w in worlds]
    of_gradient = np.concatenate([np.sum(one**2, axis=1) for one in exact])
    weights = np.array([len(one) for one in exact]) / len(of_gradient)
    rows = []
    for kind, sampler in linking.EXACT.items():
        found = [nb.exact(w, sampler, split=False, tolerance=bias.TOLERANCE) for w in worlds]
        for result in found:
            if result.status != "ok":
                raise RuntimeError(f"{kind}: {result.status}")
        squares = np.concatenate([np.sum(np.asarray(one.bias) ** 2, axis=1) for one in found])
        relative, error = root_ratio(squares, of_gradient)
        scalars = {n: float(weights @ [float(getattr(f, n)) for f in found]) for n in SCALARS}
        rows.append(
            {"kind": kind, "bias_norm": root(squares.mean()), "relative_bias": relative}
            | {"relative_bias_error": error}
            | scalars
        )
    return rows


def main(
    work: Annotated[pathlib.Path, typer.Option(help="A folder of finished runs.")],
) -> None:
    """Measure what has a checkpoint in the folder, and the untrained model."""
    encoder = nb.text.minilm(max_tokens=setup.TOKENS)
    corpus = nb.retrieval.corpus(nb.data.entity_linking(), encoder, learn=True)
    for score in setup.SCORES:
        cells = [c for c in setup.FULL.cells if c.score == score and runs.is_done(work, c)]
        if not cells:
            continue
        begin = nb.retrieval.encoder_retriever(
            corpus, setup.SCORES[score], scale=setup.FULL.plan.scale
        )
        _write(work / f"{UNTRAINED}_{score}", measure(begin, corpus))
        for cell in cells:
            model = runs.trained(corpus, setup.FULL, cell, work).model
            _write(runs.folder_of(work, cell), measure(model, corpus))


def _write(folder: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    with replacing(folder / "moments.csv") as file:
        pd.DataFrame(rows).to_csv(file, index=False)


if __name__ == "__main__":
    typer.run(main)
