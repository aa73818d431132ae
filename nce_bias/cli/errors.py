"""How the command line refuses: one line that names what is wrong and what to do, exit code 2."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import typer

from nce_bias._gate import UnusualInput

USAGE = 2  # exit code, as for an unknown option


def fail(message: str) -> NoReturn:
    """Say `message` on standard error, in one line, and stop with exit code 2."""
    typer.echo(f"nce-bias: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE)


@contextlib.contextmanager
def remarks() -> Iterator[None]:
    """Within, a word about an unusual input is one line on standard error, said once."""
    said: set[str] = set()
    show = warnings.showwarning

    def say(message: Any, category: type[Warning], *place: Any, **rest: Any) -> None:
        text = str(message).partition(" (warnings.filterwarnings")[0]
        if not issubclass(category, UnusualInput):
            show(message, category, *place, **rest)
        elif text not in said:
            said.add(text)
            typer.echo(f"nce-bias: note: {text}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UnusualInput)
        warnings.showwarning = say
        yield


def check_known(option: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is one of `known`; otherwise a ValueError that lists them."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{option}: {value!r} is not known; known are {', '.join(known)}.")
    return value
