"""Every run: ``python -m analysis.linking.full``.

Trains what is not trained yet, goes on with what was cut short, then writes the tables of the
analysis. An estimate of the time is shown at the start and after each run.
"""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer
from rich.console import Console

import nce_bias as nb
from analysis.linking import setup
from analysis.linking.runs import run_all
from nce_bias.cli.process import own_process

HERE = pathlib.Path(__file__).parent


def main(
    work: Annotated[
        pathlib.Path, typer.Option(help="Checkpoints, ranks and moments of each run.")
    ] = pathlib.Path("build/linking"),
    out: Annotated[pathlib.Path, typer.Option(help="The tables.")] = HERE / "results",
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Of the runs that are done.")
    ] = False,
) -> None:
    """Train all retrievers of the analysis, measure them and write its tables."""
    from analysis.linking import tables

    own_process()
    console = Console(stderr=True)
    data = nb.data.entity_linking()
    with console.status("token states of 98,000 texts: about 4 min, or read from the cache"):
        corpus = nb.retrieval.corpus(data, nb.text.minilm(dtype="float16"))
    if not only_tables:
        try:
            run_all(corpus, setup.FULL, work, console)
        except KeyboardInterrupt:
            console.print("interrupted: the same command goes on from here")
            raise typer.Exit(130) from None
    with console.status("tables"):
        tables.write(corpus, data, setup.FULL, work, out)


if __name__ == "__main__":
    typer.run(main)
