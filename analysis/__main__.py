"""``python -m analysis``: run the questions of this checkout, list them, begin a new one."""

import ast
import pathlib
from typing import Annotated

import typer

from analysis import command, template
from nce_bias.cli.errors import check_known, fail
from nce_bias.cli.process import own_process

INTERRUPTED = 130  # exit code of a program ended by Ctrl-C

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The questions asked with nce_bias, one folder each.",
)


@app.command("run")
def run_questions(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME ...]", help="Questions. [default: all]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small versions, to see that everything runs.")
    ] = False,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            metavar="DIR",
            help="Write to DIR/results/NAME and DIR/figures. "
            "[default: build; build/quick with --quick]",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Questions at a time, each in its process.")
    ] = 1,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Remake what is committed: analysis/NAME/results and figures."
        ),
    ] = False,
) -> None:
    """Run questions and draw their pictures.

    Ctrl-C keeps every finished step; an unfinished one leaves the files of an earlier run as
    they were.

    \b
    Example:
      $ python -m analysis run limits --quick
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    own_process()
    try:
        known = command.discover(command.HERE)
        chosen = [check_known("run", name, known) for name in dict.fromkeys(names or known)]
        if in_place and (quick or out is not None):
            raise ValueError(
                "--in-place: got --quick or --out with it; what is committed is made in full and "
                "where it lies. Leave them out."
            )
    except ValueError as error:
        fail(str(error))
    build = command.HERE.parent / "build"
    default = build / "quick" if quick else build
    places = command.Places(None if in_place else out or default, command.HERE)
    for folder in [places.figures, *map(places.results, chosen)]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            fail(
                f"--out: cannot write to the folder {folder} ({error.strerror}). Name another one."
            )
    progress = command.Progress()
    try:
        command.run(chosen, places, quick, progress, jobs)
    except KeyboardInterrupt:
        kept = ", ".join(progress.finished) or "nothing yet"
        typer.echo(
            f"\nnce-bias: interrupted during {progress.running}. Finished and kept: {kept}. "
            "Files of unfinished steps are as they were.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None


@app.command("list")
def list_questions() -> None:
    """List the questions, one a line: name, and what it asks."""
    names = command.discover(command.HERE)
    width = max(map(len, names), default=0)
    for name in names:
        tree = ast.parse((command.HERE / name / "__init__.py").read_text(encoding="utf-8"))
        about = (ast.get_docstring(tree) or "").partition("\n")[0]
        typer.echo(f"{name:{width}}  {about}".rstrip())


@app.command("new")
def new_question(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the folder: a Python name.")],
) -> None:
    """Write a question that runs, to edit: analysis/NAME with README, run and figure.

    \b
    Example:
      $ python -m analysis new temperatures
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    try:
        folder = template.write(command.HERE, name)
    except ValueError as error:
        fail(str(error))
    place = command.shown(folder)
    typer.echo(f"wrote {', '.join(f'{place}/{file}' for file in template.FILES)}")
    typer.echo(f"see it: python -m analysis run {name} --quick")
    typer.echo(
        f"then edit {place}/README.md (question, prediction), {place}/run.py, {place}/figure.py"
    )


if __name__ == "__main__":
    app(prog_name="python -m analysis")
