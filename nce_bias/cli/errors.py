"""How the command line refuses: one line that names what is wrong and what to do, exit code 2.

What nobody foresaw ends in a paragraph and exit code 1. ``nce-bias --debug COMMAND`` shows the
traceback of either.
"""

import contextlib
import contextvars
import traceback
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import typer

from nce_bias._gate import UnusualInput

USAGE = 2  # exit code, as for an unknown option
UNFORESEEN = 1


#: Whether tracebacks were asked for: said once, before the command.
debugging = contextvars.ContextVar("debugging", default=False)


def fail(message: str) -> NoReturn:
    """Say `message` on standard error, in one line, and stop with exit code 2."""
    if debugging.get():
        traceback.print_exc()
    typer.echo(f"nce-bias: {' '.join(message.split())}", err=True)
    raise typer.Exit(USAGE)


def unforeseen(error: Exception) -> NoReturn:
    """Say what happened in a paragraph, and stop with exit code 1."""
    if debugging.get():
        traceback.print_exc()
    said = " ".join(str(error).split()) or "it says nothing of itself"
    if isinstance(error, MemoryError):
        what = "The memory is not enough. Give fewer inputs, or smaller arrays."
    else:
        what = (
            "The command could not go on, and this should not happen: please report it with the "
            "traceback, which nce-bias --debug COMMAND ... shows."
        )
    typer.echo(f"nce-bias: {type(error).__name__}: {said}\n{what}", err=True)
    raise typer.Exit(UNFORESEEN)


@contextlib.contextmanager
def remarks() -> Iterator[None]:
    """Within, a word about an unusual input is one line on standard error, said once.

    An error that no command foresees is a paragraph (`unforeseen`).
    """
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
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            unforeseen(error)


def check_known(option: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is one of `known`; otherwise a ValueError that lists them."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{option}: {value!r} is not known; known are {', '.join(known)}.")
    return value
