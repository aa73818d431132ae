"""The command line `nce-bias`: `compare` and `audit` on a user's own arrays, `presets` by name.

Float64 and JAX's cache of compilations are switched on here, as the command line owns its process
(`nce_bias.cli.process`). What only one command needs (pandas, Matplotlib) is imported when it runs.
"""

from typing import Annotated

import typer

import nce_bias
from nce_bias.cli._audit import audit
from nce_bias.cli._compare import compare
from nce_bias.cli._presets import presets
from nce_bias.cli.errors import debugging

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same on every terminal, and easy to copy from
)
app.command()(compare)
app.command()(audit)
app.command()(presets)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"nce-bias {nce_bias.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error, before COMMAND.")
    ] = False,
) -> None:
    """Exact bias of contrastive losses against cross entropy.

    \b
    Example:
      $ nce-bias audit --help
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    debugging.set(debug)


__all__ = ["app"]
