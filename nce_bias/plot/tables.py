"""A table for a paper or a page: LaTeX with booktabs, or Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from nce_bias.plot.style import display_name

FORMATS = ("latex", "markdown")
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def table(
    frame: pd.DataFrame,
    to: str = "latex",
    *,
    digits: int = 3,
    errors: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    r"""A table as text to be put into a paper.

    Parameters
    ----------
    frame : DataFrame
        Its columns, in their order; the index is left out.
    to : {"latex", "markdown"}
        LaTeX needs ``\usepackage{booktabs}``.
    digits : int
        Significant digits of numbers. A number with an error has as many places as its error has
        with two digits.
    errors : mapping, optional
        Columns of standard errors, by the column they belong to: printed as "number ± error" there,
        and not by themselves.
    names : mapping, optional
        What columns are called; default their own name, in words.

    Returns
    -------
    str
        Numbers are on the right, words on the left; NaN is a dash.

    Raises
    ------
    ValueError
        For another format, and for a column that the table does not have.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"negatives": ["uniform"], "loss": [1.23456], "loss_error": [0.0123]})
    >>> print(table(frame, "markdown", errors={"loss": "loss_error"}))
    | negatives | loss |
    | :-- | --: |
    | uniform | 1.235 ± 0.012 |
    """
    if to not in FORMATS:
        raise ValueError(f"to: got {to!r}; expected 'latex' or 'markdown'. Pick one of them.")
    errors = dict(errors or {})
    for column in (*errors, *errors.values(), *(names or {})):
        if column not in frame.columns:
            raise ValueError(
                f"frame: it has no column {column!r}; expected one of "
                f"{', '.join(map(str, frame.columns))}. Pass a column of the table."
            )
    columns = [column for column in frame.columns if column not in errors.values()]
    titles = [(names or {}).get(column, _words(column)) for column in columns]
    number = [pd.api.types.is_numeric_dtype(frame[column]) for column in columns]
    rows = [
        [_cell(row[column], row.get(errors.get(column)), digits, to) for column in columns]
        for row in frame.to_dict("records")
    ]
    if to == "markdown":
        lines = [titles, ["--:" if is_number else ":--" for is_number in number], *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    body = [" & ".join(cells) + r" \\" for cells in rows]
    head = " & ".join(map(_escaped, titles)) + r" \\"
    places = "".join("r" if is_number else "l" for is_number in number)
    begin = [rf"\begin{{tabular}}{{{places}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*begin, *body, r"\bottomrule", r"\end{tabular}"])


def _words(column: Any) -> str:
    return display_name(str(column)).replace("_", " ")


def _cell(value: Any, error: Any, digits: int, to: str) -> str:
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        text = display_name(str(value)) if value is not None else ""
        return _escaped(text) if to == "latex" else text.replace("|", r"\|")
    if isinstance(value, float) and math.isnan(value):
        return "--" if to == "latex" else "–"
    if error is not None and math.isfinite(error) and error > 0:
        return _with_error(float(value), float(error), to)
    return _number(value, digits, to)


def _number(value: float | int, digits: int, to: str) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace(",", "{,}" if to == "latex" else ",")
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return f"${text}$" if to == "latex" and text.startswith("-") else text
    mantissa, exponent = text.split("e")
    if to == "latex":
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return f"{mantissa}e{int(exponent)}"


def _with_error(value: float, error: float, to: str) -> str:
    """As many places as two digits of the error take."""
    places = max(0, 1 - math.floor(math.log10(float(f"{error:.1e}"))))
    between = r" \pm " if to == "latex" else " ± "
    text = f"{value:.{places}f}{between}{error:.{places}f}"
    return f"${text}$" if to == "latex" else text


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
