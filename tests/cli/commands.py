"""Calls of the command line, and what it prints."""

from typer.testing import CliRunner

from nce_bias.cli import app

SCORES = [2.0, 1.0, 0.0, -1.0]
POPULATION = [0.6, 0.2, 0.15, 0.05]
BASE = ("compare", "scores.npy", "population.npy")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    """Standard error of a call that must end with exit code 2, one line and no traceback."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout == ""
    line, end = done.stderr[:-1], done.stderr[-1:]
    assert end == "\n"
    assert "\n" not in line
    return line


def rows(text):
    """Cells of the printed table's body."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]
