"""The tables of `docs/benchmarks.md`, written between markers from the results.

A table stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; everything else on the
page is written by hand. Numbers have three significant digits, sizes all of theirs.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.frames import Table

DIGITS = 3
EXACTLY = ("m", "labels", "draws", "nodes", "method")


def cell(column: str, value: Any) -> str:
    """One value as the page shows it."""
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return "–"
    if column in EXACTLY:
        return f"{int(value):,}"
    shown = f"{value:.{DIGITS}g}"
    return shown if "e" not in shown else f"{float(shown):g}"


def table(results: Table, columns: Mapping[str, str]) -> str:
    """A Markdown table of `columns` (column -> heading), a row for each row of `results`."""
    kept = results[list(columns)]
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[cell(name, value) for name, value in row.items()] for row in kept.to_dict("records")]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(page: str, name: str) -> str:
    """What stands between the markers of `name`."""
    return _find(page, name).group("inside").strip("\n")


def replace(page: str, name: str, text: str) -> str:
    """`page` with `text` between the markers of `name`."""
    found = _find(page, name)
    return f"{page[: found.start('inside')]}\n\n{text}\n\n{page[found.end('inside') :]}"


def _find(page: str, name: str) -> re.Match[str]:
    marks = rf"<!-- begin {re.escape(name)} -->(?P<inside>.*?)<!-- end {re.escape(name)} -->"
    found = re.search(marks, page, re.DOTALL)
    if found is None:
        raise ValueError(
            f"the page has no table {name!r}: expected the lines <!-- begin {name} --> and "
            f"<!-- end {name} -->; add them where the table belongs"
        )
    return found
