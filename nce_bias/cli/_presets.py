"""``nce-bias presets``: the named conventions, one of them or all."""

from typing import Annotated, Any

import typer

from nce_bias._progress import track
from nce_bias.cli.errors import check_known, fail, remarks
from nce_bias.cli.process import own_process
from nce_bias.cli.records import echo_records
from nce_bias.presets import FAMILIES, Convention, convention
from nce_bias.presets._table import NUMBERS, chosen, computed, words_of

#: Negatives of the numbers on one card.
FEW = 2


@remarks()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One convention: all about it.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(FAMILIES)}.")
    ] = None,
    m: Annotated[
        int | None,
        typer.Option(
            "--m",
            min=1,
            help="Number of negatives of what is computed on the example of four labels. "
            f"[default: {FEW} for one convention; nothing is computed for a list]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write records, not a table.")] = False,
) -> None:
    """The conventions of published code by name: what each draws, its loss, and where code differs.

    \b
    Example:
      $ nce-bias presets --family graphs
      $ nce-bias presets word2vec
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    own_process()
    try:
        if name is not None and family is not None:
            raise ValueError("--family: a convention was named as well. Leave one of them out.")
        if family is not None:
            check_known("--family", family, FAMILIES)
        rows = chosen(family) if name is None else [convention(name)]
    except ValueError as error:
        fail(str(error))
    wanted = FEW if name is not None and m is None else m
    records = [words_of(row) for row in rows]
    if wanted is not None:
        for record, row in zip(records, track(rows, "computing"), strict=True):
            record |= {"m": wanted} | computed(row, None, wanted)
    if as_json:
        echo_records(records if name is None else records[0])
    elif name is None:
        _print_table(records)
    else:
        typer.echo(_card(rows[0], records[0]))


def _card(row: Convention, record: dict[str, Any]) -> str:
    head, *body = row.card().splitlines()
    drawn = [f"  {'draws':<9}{record['sampler']}", f"  {'loss':<9}{record['loss']}"]
    if not record["answer"].startswith("failed"):
        names = ("expected_loss", *NUMBERS)
        shown = ", ".join(f"{n.replace('_', ' ')} {record[n]:.4g}" for n in names)
    else:
        shown = record["answer"]
    where = f"  on the example of four labels, m = {record['m']}:"
    return "\n".join([head, *drawn, *body, where, f"           {shown}"])


def _print_table(records: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    words = ("name", "year", "sampler", "loss", "same_as")
    numbers = ("bias_norm", "cosine", "variance") if "answer" in records[0] else ()
    shown = Table()
    for column in words:
        shown.add_column(column.replace("_", " "), justify="right" if column == "year" else "left")
    for column in numbers:
        shown.add_column(column.replace("_", " "), justify="right")
    for record in records:
        cells = [escape(str(record[column])) for column in words]
        shown.add_row(*cells, *(f"{record[column]:.4g}" for column in numbers))
    console = Console()
    if not console.is_terminal:  # a file has no width to fit in
        console = Console(width=220)
    console.print(shown)
    console.print(f"{len(records)} conventions; nce-bias presets NAME says all of one.")
