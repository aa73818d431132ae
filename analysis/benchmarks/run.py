"""Every benchmark: results to `results/`, tables to `docs/benchmarks.md`, one figure.

``python -m analysis.benchmarks.run`` does all of it; with names (``... run imports cost``) it
prints their tables and writes nothing, so that all committed numbers come from one run.
"""

import os
import pathlib
import sys
from types import ModuleType

import jax
import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.benchmarks import (
    accuracy,
    atoms,
    cost,
    devices,
    equal_error,
    first_answer,
    imports,
    memory,
    page,
    paper_figure,
    picture,
    sampling,
    stratified,
    sweeps,
    targets,
)
from nce_bias.provenance import write_meta

BENCHMARKS: dict[str, ModuleType] = {
    "imports": imports,
    "first_answer": first_answer,
    "accuracy": accuracy,
    "paper_figure": paper_figure,
    "cost": cost,
    "atoms": atoms,
    "memory": memory,
    "devices": devices,
    "sampling": sampling,
    "equal_error": equal_error,
    "stratified": stratified,
    "sweeps": sweeps,
}
HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
FIGURES = HERE.parents[1] / "figures"


def run(
    out: pathlib.Path = RESULTS, docs: pathlib.Path = PAGE, figures: pathlib.Path = FIGURES
) -> None:
    """Write one CSV file for each benchmark and ``meta.json`` to `out`, the tables to `docs`."""
    loads = [_load()]
    results = {}
    for name in BENCHMARKS:
        results[name] = measure(name)
        loads.append(_load())
    out.mkdir(parents=True, exist_ok=True)
    for name, found in results.items():
        found.to_csv(out / f"{name}.csv", index=False, na_rep="nan")
    write_meta(
        out,
        analysis="benchmarks",
        cores=os.cpu_count(),
        load_lowest=min(loads),
        load_highest=max(loads),
    )
    write_page(out, docs)
    picture.draw(out, figures)


def measure(name: str) -> pd.DataFrame:
    """Run one benchmark and print its table."""
    jax.config.update("jax_enable_x64", True)
    benchmark, console = BENCHMARKS[name], Console()
    with console.status(name):
        found = benchmark.run()
    shown = Table(*benchmark.COLUMNS.values(), title=name)
    for row in found[list(benchmark.COLUMNS)].to_dict("records"):
        shown.add_row(*(page.cell(str(column), value) for column, value in row.items()))
    console.print(shown)
    return found


def write_page(results: pathlib.Path, docs: pathlib.Path) -> None:
    """Put the tables of `results` on the page `docs`."""
    tables = {name: read(results, name) for name in BENCHMARKS}
    text = docs.read_text(encoding="utf-8")
    text = page.replace(text, "summary", page.table(targets.summary(tables), targets.COLUMNS))
    for name, benchmark in BENCHMARKS.items():
        text = page.replace(text, name, page.table(tables[name], benchmark.COLUMNS))
    docs.write_text(text, encoding="utf-8")


def read(results: pathlib.Path, name: str) -> pd.DataFrame:
    """One table as it was written; "nan" is no number, an empty cell an empty text."""
    return pd.read_csv(results / f"{name}.csv", keep_default_na=False, na_values=["nan"])


def _load() -> float:
    """Processes that wanted to run in the last minute, on average; this one is among them."""
    return round(os.getloadavg()[0], 1)


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    if not names:
        run()
    for name in names:
        measure(name)


if __name__ == "__main__":
    main(sys.argv[1:])
