"""How the command line refuses: one line that names what is wrong and what to do, exit code 2."""

from collections.abc import Iterable
from typing import NoReturn

import typer

USAGE = 2  # exit code, as for an unknown option


def fail(message: str) -> NoReturn:
    """Say `message` on standard error, in one line, and stop with exit code 2."""
    typer.echo(f"nce-bias: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE)


def check_known(option: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is one of `known`; otherwise a ValueError that lists them."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{option}: {value!r} is not known; known are {', '.join(known)}.")
    return value
