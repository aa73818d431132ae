"""An audit as it is read: a table, sentences, a figure, a page."""

from __future__ import annotations

import math
import os
import pathlib
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nce_bias._audit.engine import Sampling
from nce_bias._audit.rows import Row
from nce_bias._audit.words import Remark, remarks
from nce_bias.problem import Problem
from nce_bias.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

    from nce_bias.plot import Drawn

#: Column of the printed table -> the number it shows and its digits.
SHOWN = {
    "bias": "bias_norm",
    "relative": "relative_bias",
    "cosine": "cosine",
    "variance": "variance",
    "coverage": "coverage",
    "loss": "loss",
}


@dataclass(frozen=True)
class Audit:
    """What `nb.audit` found.

    Attributes
    ----------
    rows : list of Row
        A convention and m each, the least biased first; rows that failed are last.
    remarks : list of Remark
        What the numbers mean, each with the number it rests on.
    cross_entropy : float
        Of the inputs that were looked at, in nats.
    problem, how : str
        In words: what was audited, and on how many inputs.
    interrupted : bool
        Whether Ctrl-C ended it before all inputs were done.
    made : dict
        Version, commit, JAX, backend.
    """

    rows: list[Row]
    remarks: list[Remark]
    cross_entropy: float
    problem: str
    how: str
    interrupted: bool
    made: dict[str, Any]

    @classmethod
    def of(cls, problem: Problem, rows: list[Row], sampling: Sampling, finished: bool) -> Audit:
        """Sorted, and put into words."""
        rows = sorted(rows, key=_bias)
        seen = max(row.inputs for row in rows)
        total = len(problem.weights)
        how = f"{seen} of {total} inputs" if seen < total else f"all {total} inputs"
        wanted = min(sampling.inputs, total)
        if not finished:
            how += f" (interrupted: {wanted} were meant)"
        sampled = any(row.inputs and not row.exact for row in rows)
        how += f"; sampled rows with {sampling.draws} candidate sets an input" if sampled else ""
        known = (row.numbers["cross_entropy"] for row in rows if row.inputs == seen and row.inputs)
        entropy = next(known, math.nan)
        words = remarks(rows)
        return cls(rows, words, entropy, repr(problem), how, not finished, provenance())

    def to_frame(self) -> pd.DataFrame:
        """One pandas row for each convention and m: numbers, standard errors `<name>_se`, words."""
        import pandas as pd

        return pd.DataFrame([row.record() for row in self.rows])

    def plot(self, ax: Any = None, *, y: str = "relative_bias") -> Drawn:
        """Each convention on a line of its own, a mark for each m; see `nb.plot.conventions`.

        The title is the first remark that rests on `y`.
        """
        from nce_bias import plot

        says = next((str(remark) for remark in self.remarks if remark.column == y), "")
        title = textwrap.fill(says.rstrip("."), 40)
        return plot.conventions(self.to_frame(), y=y, title=title, ax=ax)

    def report(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write one self-contained page: words, table, figures; no request leaves it."""
        from nce_bias._audit.report import page
        from nce_bias._files import replacing

        with replacing(path) as file:
            file.write(page(self).encode())
        return pathlib.Path(path)

    def __repr__(self) -> str:
        cells = [["convention", "m", *SHOWN, "how"], *map(_cells, self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        lines = [f"Audit of {self.problem}", f"  {self.how}", ""]
        for line in cells:
            padded = [
                cell.ljust(width) if column in (0, len(widths) - 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        lines.append("")
        lines += [f"- {remark}" for remark in self.remarks]
        lines += [f"(!) {row.name}, m = {row.m}: {row.status}" for row in self._troubled]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from nce_bias._audit.report import table

        words = "".join(f"<li>{remark}</li>" for remark in self.remarks)
        return f"<p>{self.how}</p>{table(self)}<ul>{words}</ul>"

    @property
    def _troubled(self) -> list[Row]:
        return [row for row in self.rows if row.status != "ok"]


def _bias(row: Row) -> float:
    value = row.numbers.get("relative_bias", math.nan)
    return value if math.isfinite(value) else math.inf


def _cells(row: Row) -> list[str]:
    numbers = [shown(row, name) for name in SHOWN.values()]
    how = "not computed" if not row.inputs else "exact" if row.exact else "Monte Carlo"
    return [row.name, str(row.m), *numbers, how if row.status == "ok" else f"{how} (!)"]


def shown(row: Row, name: str) -> str:
    """A number with its standard error, as many digits as the error leaves."""
    value, spread = row.numbers.get(name, math.nan), row.errors.get(name, math.nan)
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(spread) and spread > 0):
        return f"{value:.4g}"
    digits = max(0, min(4, 1 - math.floor(math.log10(spread))))
    return f"{value:.{digits}f} ± {spread:.{digits}f}"
