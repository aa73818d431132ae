"""Running questions: each one's tables, then its pictures; what is finished is kept."""

from __future__ import annotations

import importlib
import io
import pathlib
import shutil
import time
from collections.abc import Iterator, Sized
from concurrent.futures import as_completed
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from types import ModuleType

import typer

from nce_bias._files import filling
from nce_bias._sweep.workers import Workers
from nce_bias.cli.process import own_process

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


def run(names: list[str], places: Places, quick: bool, progress: Progress, jobs: int = 1) -> None:
    """Run and draw `names`, saying what is done and where it lies; `jobs` of them at a time."""
    questions = {name: importlib.import_module(f"analysis.{name}.run") for name in names}
    expected = {name: _expected(question, quick) for name, question in questions.items()}
    if all(seconds is not None for seconds in expected.values()):
        total = sum(seconds or 0.0 for seconds in expected.values()) / min(jobs, len(names))
        typer.echo(f"{', '.join(names)}: about {total:.0f} s in all on two cores")
    began = time.monotonic()
    if min(jobs, len(names)) > 1:
        _in_processes(expected, places, quick, progress, jobs)
    else:
        for place, name in enumerate(names, start=1):
            typer.echo(_heading(place, names, name, expected[name]))
            _run_one(name, places, quick, progress)
    typer.echo(
        f"done in {time.monotonic() - began:.1f} s; the pictures are in {shown(places.figures)}"
    )


def _heading(place: int, names: Sized, name: str, seconds: float | None) -> str:
    about = "" if seconds is None else f", about {seconds:.0f} s"
    return f"[{place}/{len(names)}] {name}: analysis{about} ..."


def _run_one(name: str, places: Places, quick: bool, progress: Progress) -> None:
    """The tables of one question, then its picture."""
    question = importlib.import_module(f"analysis.{name}.run")
    drawing = importlib.import_module(f"analysis.{name}.figure")
    with _step(f"{name} (analysis)", progress, places.results(name)) as folder:
        question.run(folder, quick=quick)
    with _step(f"{name} (figure)", progress, places.figures) as folder:
        drawing.draw(places.results(name), folder)


def _in_processes(
    expected: dict[str, float | None], places: Places, quick: bool, progress: Progress, jobs: int
) -> None:
    """The longest first, each in a process that ends with this one; what each says comes whole."""
    names = sorted(expected, key=lambda name: -(expected[name] or 0.0))
    progress.running = ", ".join(names)
    try:
        with Workers(jobs) as pool:
            running = {pool.submit(_apart, name, places, quick): name for name in names}
            for place, done in enumerate(as_completed(running), start=1):
                name = running[done]
                finished, said = done.result()
                progress.finished += finished
                left = [other for future, other in running.items() if not future.done()]
                progress.running = ", ".join(left)
                typer.echo(_heading(place, names, name, expected[name]) + f"\n{said}", nl=False)
    finally:  # a process that is ended leaves what it was filling
        for folder in [places.figures, *map(places.results, names)]:
            for part in folder.glob(".partial-*"):
                shutil.rmtree(part, ignore_errors=True)


def _apart(name: str, places: Places, quick: bool) -> tuple[list[str], str]:
    """One question in a process of its own: the steps it finished, and what it said."""
    own_process()
    progress, said = Progress(), io.StringIO()
    with redirect_stdout(said):
        _run_one(name, places, quick, progress)
    return progress.finished, said.getvalue()


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
