"""Running questions: each one's tables, then its pictures; what is finished is kept."""

from __future__ import annotations

import importlib
import pathlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import typer

from nce_bias._files import filling

HERE = pathlib.Path(__file__).resolve().parent


@dataclass(frozen=True)
class Places:
    """Where tables and pictures go: below `out`, or (None) where the committed ones are."""

    out: pathlib.Path | None
    questions: pathlib.Path = HERE

    def results(self, name: str) -> pathlib.Path:
        """The folder of one question's tables."""
        if self.out is None:
            return self.questions / name / "results"
        return self.out / "results" / name

    @property
    def figures(self) -> pathlib.Path:
        """The folder of the pictures."""
        return (self.questions.parent if self.out is None else self.out) / "figures"


@dataclass
class Progress:
    """What is finished, for the line said at the end, however it comes."""

    finished: list[str] = field(default_factory=list)
    running: str = "the start"


def discover(questions: pathlib.Path = HERE) -> list[str]:
    """Names of the folders that have both a ``run.py`` and a ``figure.py``, sorted."""
    return sorted(
        path.parent.name
        for path in questions.glob("*/run.py")
        if (path.parent / "figure.py").is_file()
    )


def run(names: list[str], places: Places, quick: bool, progress: Progress) -> None:
    """Run and draw `names`, saying what is done and where it lies."""
    questions = {name: importlib.import_module(f"analysis.{name}.run") for name in names}
    drawings = {name: importlib.import_module(f"analysis.{name}.figure") for name in names}
    expected = {name: _expected(question, quick) for name, question in questions.items()}
    if all(seconds is not None for seconds in expected.values()):
        total = sum(seconds or 0.0 for seconds in expected.values())
        typer.echo(f"{', '.join(names)}: about {total:.0f} s in all on two cores")
    began = time.monotonic()
    for place, name in enumerate(names, start=1):
        seconds = expected[name]
        about = "" if seconds is None else f", about {seconds:.0f} s"
        typer.echo(f"[{place}/{len(names)}] {name}: analysis{about} ...")
        with _step(f"{name} (analysis)", progress, places.results(name)) as folder:
            questions[name].run(folder, quick=quick)
        with _step(f"{name} (figure)", progress, places.figures) as folder:
            drawings[name].draw(places.results(name), folder)
    typer.echo(
        f"done in {time.monotonic() - began:.1f} s; the pictures are in {shown(places.figures)}"
    )


@contextmanager
def _step(name: str, progress: Progress, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write to; its files replace those of `folder` once the step is complete."""
    progress.running = name
    began = time.monotonic()
    with filling(folder) as staged:
        yield staged
        written = sorted(
            str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()
        )
    progress.finished.append(name)
    took = time.monotonic() - began
    typer.echo(f"      {name}: {took:.1f} s -> {shown(folder)}: {', '.join(written)}")


def _expected(question: ModuleType, quick: bool) -> float | None:
    """Seconds a question says it takes on two cores: SECONDS = {"full": ..., "quick": ...}."""
    seconds = getattr(question, "SECONDS", {}).get("quick" if quick else "full")
    return None if seconds is None else float(seconds)


def shown(path: pathlib.Path) -> str:
    """The path as it is shortest to read from the current folder."""
    here = pathlib.Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
