"""Exact bias of finished runs: ``python -m analysis.linking.trained.bias --work DIR``.

Of the kinds of negatives that `analysis.linking` measures exactly, m = 63, over all entities of the
test worlds, for the same mentions and with the observed gold as population: how far the gradient of
each kind would be from cross entropy's for a model that was trained so, where it mines and at its
end. Beside it the same model before any training, step 0.

In score space, and over parameters: those of the encoder's last layer, and of the heads where a
score has any (SOM's map and gate, MULTI's queries, POLY's codes). A backward pass of all layers
over a whole world for each kind would take several times as long.

What was trained with is another law, candidates that a batch shares: see `pooled`.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console

import nce_bias as nb
from analysis.frames import Table
from analysis.linking import bias
from analysis.linking import setup as linking
from analysis.linking.trained import pooled, runs, setup
from nce_bias._files import replacing
from nce_bias.retrieval import Scored

UNTRAINED = "untrained"
KINDS = ("random", "mixed-50", "hard", "model, independent")
BELOW = 5  # layers of MiniLM under the last


def measure(model: nb.retrieval.EncoderRetriever, corpus: nb.retrieval.Corpus) -> list[Any]:
    """One row for each kind of negatives, means over the mentions of both test worlds."""
    return bias.moments(model.frozen(BELOW), corpus, "test", _kinds())


def measure_kept(scores: Sequence[Scored], corpus: nb.retrieval.Corpus) -> list[Any]:
    """The columns of `measure` that need no model, from scores of all test mentions.

    `scores` has one part of each world, as `runs.kept_scores` gives them.
    """
    problems = []
    for part, rows in zip(scores, _looked_at(corpus), strict=True):
        inside = {row: place for place, row in enumerate(part.rows.tolist())}
        places = [inside[row] for row in rows.tolist()]
        some = Scored(np.arange(len(rows)), part.first, part.scores[places])
        problems.append(bias.world_problem([some], corpus, "test", rows)[0])
    return bias.score_moments(problems, _kinds())


def measure_score_space(
    model: nb.retrieval.EncoderRetriever, corpus: nb.retrieval.Corpus
) -> list[Any]:
    """The same of a model whose scores are not kept."""
    mentions = corpus["test"]
    problems = [
        bias.world_problem(
            nb.retrieval.world_scores(model, mentions[rows], progress=True), corpus, "test", rows
        )[0]
        for rows in _looked_at(corpus)
    ]
    return bias.score_moments(problems, _kinds())


def _looked_at(corpus: nb.retrieval.Corpus) -> list[np.ndarray]:
    return bias.measured_rows(corpus, "test", linking.MEASURED)


def _kinds() -> bias.Kinds:
    exact = {kind: linking.EXACT[kind] for kind in KINDS}
    return bias.Kinds(exact, {}, linking.MEASURED, draws=0)


def main(
    work: Annotated[pathlib.Path, typer.Option(help="A folder of finished runs.")],
    only: Annotated[
        list[str] | None, typer.Option(help='Runs, such as "som hard 0"; default: all there are.')
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Steps that mined, such as 100; default: the last.")
    ] = None,
    parameters: Annotated[
        bool, typer.Option(help="Without: score space alone, at the end from scores that are kept.")
    ] = True,
) -> None:
    """Measure what has a checkpoint in the folder; with parameters the untrained models, too.

    Ten minutes a model on two cores; without parameters some minutes, at the end of a run seconds
    where its scores are kept. What is measured is not measured again.
    """
    say = Console(stderr=True).print
    encoder = nb.text.minilm(max_tokens=setup.TOKENS)
    corpus = nb.retrieval.corpus(nb.data.entity_linking(), encoder, learn=True)
    for cell in setup.cells_of(only) if only else setup.FULL.cells:
        if not runs.is_done(work, cell) or runs.missing(work, cell):
            continue
        folder, found = runs.folder_of(work, cell), runs.trained(corpus, setup.FULL, cell, work)
        last = int(found.steps[-1])
        if not parameters:
            for at in step or [last]:
                if has_step(_read(folder / "moments.csv"), at):
                    continue
                say(f"{cell.label}, step {at}, score space")
                if at == last:
                    kept = runs.kept_scores(found.model, corpus, "test", folder)
                    rows = measure_kept(kept.parts, corpus)
                else:
                    rows = measure_score_space(found.at(at), corpus)
                _add(folder / "moments.csv", at, rows)
            continue
        models = {(folder, at): functools.partial(found.at, at) for at in step or [last]}
        begin = work / f"{UNTRAINED}_{cell.score}", 0
        for (place, at), model in {begin: lambda c=cell: _untrained(corpus, c), **models}.items():
            if not has_step(_read(place / "moments.csv"), at, "parameter_relative_bias"):
                say(f"{place.name}, step {at}")
                _add(place / "moments.csv", at, measure(model(), corpus))
        if not (folder / "pooled.csv").is_file():
            say(f"{cell.label}, candidates that a batch shares")
            best = np.load(folder / "candidates.npz", allow_pickle=False)["test labels"]
            rows = pooled.measure(found.model, corpus, best)
            _write(folder / "pooled.csv", pd.DataFrame([{"step": last} | row for row in rows]))


def _untrained(corpus: nb.retrieval.Corpus, cell: setup.Cell) -> nb.retrieval.EncoderRetriever:
    plan = setup.FULL.plan_of(setup.Cell(cell.score, "random", 0))  # what the first seed began from
    return nb.retrieval.encoder_retriever(
        corpus, setup.scores()[cell.score], dim=plan.dim, scale=plan.scale, seed=plan.seed
    )


def _read(path: pathlib.Path) -> Table:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def has_step(table: Table, step: int, column: str = "relative_bias") -> bool:
    """Whether a column of that step was measured."""
    return column in table and bool(table[column][table["step"] == step].notna().any())


def with_step(table: Table, step: int, rows: list[Any]) -> Table:
    """The table with these rows of that step, in place of what it had of it."""
    others = table[table["step"] != step] if len(table) else table
    new = pd.DataFrame([{"step": step} | row for row in rows])
    return pd.concat([others, new]).sort_values("step", kind="stable")


def _add(path: pathlib.Path, step: int, rows: list[Any]) -> None:
    _write(path, with_step(_read(path), step, rows))


def _write(path: pathlib.Path, table: Table) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as file:
        table.to_csv(file, index=False)


if __name__ == "__main__":
    typer.run(main)
