"""``nce-bias figures``: run the analyses of a checkout and draw their figures."""

import importlib
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Annotated

import jax
import typer

from nce_bias.cli.errors import check_known, fail

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
INTERRUPTED = 130  # exit code of a program ended by Ctrl-C


@dataclass(frozen=True)
class Places:
    """Where results and figures go."""

    root: pathlib.Path
    out: pathlib.Path | None

    def results(self, name: str) -> pathlib.Path:
        """The folder of one analysis' tables."""
        if self.out is None:
            return self.root / "analysis" / name / "results"
        return self.out / "results" / name

    @property
    def figures(self) -> pathlib.Path:
        """The folder of the figures."""
        return (self.root if self.out is None else self.out) / "figures"


@dataclass
class Progress:
    """What is finished, for the line said at the end, however it comes."""

    finished: list[str] = field(default_factory=list)
    running: str = ""


def figures(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="This one alone; repeat for more. [default: all]"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small versions, to see that everything runs.")
    ] = False,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            metavar="DIR",
            help="Write to DIR/results and DIR/figures. [default: analysis/NAME/results and "
            "figures; build/quick with --quick]",
        ),
    ] = None,
) -> None:
    """Run the analyses of this checkout and draw their figures.

    Ctrl-C keeps every finished step; an unfinished one leaves the files of an earlier run as
    they were.

    \b
    Example, in a checkout:
      $ nce-bias figures --only limits --quick
    """  # noqa: D301 (click reads \b: keep these lines as they are)
    jax.config.update("jax_enable_x64", True)
    root = find_checkout()
    known = discover(root)
    try:
        names = [check_known("--only", name, known) for name in dict.fromkeys(only or known)]
    except ValueError as error:
        fail(str(error))
    if out is None and quick:
        out = root / "build" / "quick"
    places = Places(root, out)
    for folder in [places.figures, *map(places.results, names)]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"--out: cannot make the folder {folder} ({error.strerror}). Name another one.")
    progress = Progress()
    try:
        _run(names, places, quick, progress)
    except KeyboardInterrupt:
        kept = ", ".join(progress.finished) or "nothing yet"
        typer.echo(
            f"\nnce-bias: interrupted during {progress.running}. Finished and kept: {kept}. "
            "Files of unfinished steps are as they were.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def _run(names: list[str], places: Places, quick: bool, progress: Progress) -> None:
    progress.running = "the start"
    analyses = {name: _load(places.root, f"analysis.{name}.run") for name in names}
    drawings = {name: _load(places.root, f"analysis.{name}.figure") for name in names}
    expected = {name: _expected(analysis, quick) for name, analysis in analyses.items()}
    if all(seconds is not None for seconds in expected.values()):
        total = sum(seconds or 0.0 for seconds in expected.values())
        typer.echo(f"{', '.join(names)}: about {total:.0f} s in all on two cores")
    began = time.monotonic()
    for place, name in enumerate(names, start=1):
        seconds = expected[name]
        about = "" if seconds is None else f", about {seconds:.0f} s"
        typer.echo(f"[{place}/{len(names)}] {name}: analysis{about} ...")
        with _step(f"{name} (analysis)", progress, places.results(name)) as folder:
            analyses[name].run(folder, quick=quick)
        with _step(f"{name} (figure)", progress, places.figures) as folder:
            drawings[name].draw(places.results(name), folder)
    typer.echo(f"done in {time.monotonic() - began:.1f} s")


@contextmanager
def _step(name: str, progress: Progress, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to write to; its files replace those of `folder` once the step is complete."""
    progress.running = name
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        staged = pathlib.Path(partial)
        yield staged
        written = sorted(path for path in staged.rglob("*") if path.is_file())
        for path in written:
            target = folder / path.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    progress.finished.append(name)
    listed = ", ".join(str(path.relative_to(staged)) for path in written)
    typer.echo(f"      {name}: {time.monotonic() - began:.1f} s -> {_shown(folder)}: {listed}")


def find_checkout() -> pathlib.Path:
    """The source checkout this package runs from, or that of the current folder."""
    for root in (PACKAGE.parent, pathlib.Path.cwd()):
        if discover(root):
            return root
    fail(
        f"figures: neither {PACKAGE.parent} nor {pathlib.Path.cwd()} has analyses "
        "(analysis/NAME/run.py with figures/NAME.py). They are not part of the installed package: "
        "get the source and run nce-bias inside it."
    )


def discover(root: pathlib.Path) -> list[str]:
    """Names that have both an analysis and a figure, sorted."""
    return sorted(
        path.parent.name
        for path in root.glob("analysis/*/run.py")
        if (root / "figures" / f"{path.parent.name}.py").is_file()
    )


def _load(root: pathlib.Path, module: str) -> ModuleType:
    """Import a module of the checkout; analyses import their neighbours by `analysis.<name>`."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    loaded = importlib.import_module(module)
    file = pathlib.Path(loaded.__file__ or "")
    if not file.is_relative_to(root):
        fail(f"figures: {module} is taken from {file}, not from {root}. Take that off PYTHONPATH.")
    return loaded


def _expected(analysis: ModuleType, quick: bool) -> float | None:
    """Seconds an analysis says it takes on two cores: SECONDS = {"full": ..., "quick": ...}."""
    seconds = getattr(analysis, "SECONDS", {}).get("quick" if quick else "full")
    return None if seconds is None else float(seconds)


def _shown(path: pathlib.Path) -> str:
    here = pathlib.Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
