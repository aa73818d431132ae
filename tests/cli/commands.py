"""Calls of the command line, and what it prints."""

from typer.testing import CliRunner

from nce_bias.cli import app
from tests.refusals import refused_line

SCORES = [2.0, 1.0, 0.0, -1.0]
POPULATION = [0.6, 0.2, 0.15, 0.05]
BASE = ("compare", "scores.npy", "population.npy")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    return refused_line(run(*arguments))


def rows(text):
    """Cells of the printed table's body."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]
