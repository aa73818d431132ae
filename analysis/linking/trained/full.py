"""Every run: ``python -m analysis.linking.trained.full``, or some: ``--only "dual in-batch 0"``.

Trains what is not trained yet and goes on with what was cut short. An estimate of the time is
shown at the start and after each run.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Annotated

import typer
from rich.console import Console

import nce_bias as nb
from analysis.linking.trained import setup, stages
from analysis.linking.trained.runs import run_all
from nce_bias.cli.process import own_process


def main(
    work: Annotated[
        pathlib.Path, typer.Option(help="Checkpoints, ranks and candidates of each run.")
    ] = pathlib.Path("build/linking_trained"),
    only: Annotated[
        list[str] | None, typer.Option(help='Runs, such as "dual in-batch 0"; may be repeated.')
    ] = None,
    rerank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help=f"Second stages, 30 to 40 min each: {', '.join(setup.STAGES)}."
        ),
    ] = None,
    mentions: Annotated[
        int | None, typer.Option(help="Mentions an epoch, to try it: 64 are a step.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Mentions of each split, to try it.")] = None,
) -> None:
    """Train retrievers end to end and rank the held-out worlds."""
    own_process()
    console = Console(stderr=True)
    design = setup.FULL
    if mentions is not None:
        design = dataclasses.replace(
            design, plan=dataclasses.replace(design.plan, mentions=mentions)
        )
    try:
        cells = setup.cells_of(only) if only else design.cells
        setup.check_stages(rerank or ())
    except ValueError as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    with console.status("token ids of 98,000 texts: about 20 s"):
        encoder = nb.text.minilm(max_tokens=setup.TOKENS)
        corpus = nb.retrieval.corpus(nb.data.entity_linking(), encoder, limit=limit, learn=True)

    def say(text: str) -> None:
        console.print(text, highlight=False)

    try:
        run_all(corpus, design, cells, work, say)
        for cell, name in itertools.product(cells, rerank or ()):
            if not stages.is_done(work, cell, name):
                stages.run(corpus, design, cell, work, say, name)
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on from here")
        raise typer.Exit(130) from None


if __name__ == "__main__":
    typer.run(main)
