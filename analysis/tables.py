"""What every analysis writes: tidy tables, and beside them what was asked and how it was made."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import pandas as pd

import nce_bias as nb
from nce_bias._progress import Bar
from nce_bias.provenance import write_meta

T = TypeVar("T")
Rows = pd.DataFrame | Sequence[Mapping[str, Any]]

#: Fields of `Moments` that tables have.
FIELDS = ("loss", "bias_norm", "cosine", "variance", "coverage", "effective_sample_size", "error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What a run is asked: each question adds its seed, sizes and settings, with their values.

    A field is written here once and read everywhere; `write` puts all of them into ``meta.json``.
    """

    quick: bool = False

    @property
    def question(self) -> str:
        """The name of the question's folder, which is where its design is defined."""
        return type(self).__module__.split(".")[1]


def scalars(found: nb.Moments) -> dict[str, Any]:
    """The fields of a result that tables have, as floats."""
    return {name: float(getattr(found, name)) for name in FIELDS} | {"status": found.status}


def write(out: pathlib.Path, tables: Mapping[str, Rows], design: Design, **found: Any) -> None:
    """One CSV for each table; ``meta.json`` with the design and what was found besides."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(out / f"{name}.csv", index=False)
    write_meta(out, analysis=design.question, **dataclasses.asdict(design), **found)


def parallel(tasks: Sequence[Callable[[], T]], name: str) -> list[T]:
    """What the tasks return, in their order: one thread for each core, under a bar.

    XLA computes and compiles without Python's lock. The first error, Ctrl-C among them, ends it,
    and tasks that were not begun never are.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, Bar(len(tasks), name) as bar:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
