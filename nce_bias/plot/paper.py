"""Figures at the width of a column, with type that survives the press."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Widths in inches of one column and of the whole text block, by the venues' style files.
VENUES = {
    "acl": (3.03, 6.30),
    "cvpr": (3.25, 6.875),
    "icml": (3.25, 6.75),
    "ieee": (3.50, 7.16),
    "iclr": (5.50, 5.50),
    "neurips": (5.50, 5.50),
    "jmlr": (6.00, 6.00),
}
COLUMNS = ("single", "double")
#: Type at the printed size in points: none smaller than 6, as venues ask.
TYPE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "figure.titlesize": 9,
    "lines.linewidth": 1.1,
    # letters stay letters: searchable, and no Type 3 fonts, which venues' checks refuse
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    # a .pgf file takes the type of the paper it is read into
    "pgf.rcfonts": False,
}


@dataclass(frozen=True)
class Page:
    """What figures are drawn for: a width in inches, and settings on top of the style."""

    width: float
    settings: dict[str, Any]


_page: contextvars.ContextVar[Page | None] = contextvars.ContextVar("page", default=None)


def page() -> Page | None:
    """That of the `for_paper` block one is in."""
    return _page.get()


@contextlib.contextmanager
def for_paper(
    columns: str = "single", *, venue: str = "acl", serif: bool = False
) -> Iterator[Page]:
    r"""Draw for a paper: within the block `figure` has the width of its column, `save` its type.

    Put the file into the paper at its own size (``\includegraphics{fig.pdf}``, no ``width=``):
    type of 7 and 8 points is then 7 and 8 points in print.

    Parameters
    ----------
    columns : {"single", "double"}
        One column, or the text's whole width.
    venue : str
        A key of `VENUES`: acl, cvpr, icml, ieee, iclr, neurips, jmlr. Those without columns have
        one width.
    serif : bool
        Type with serifs, like the text around it.

    Raises
    ------
    ValueError
        For unknown columns or venues.

    Examples
    --------
    >>> from nce_bias import plot
    >>> with plot.for_paper("single", venue="icml"):
    ...     fig, ax = plot.figure()
    >>> float(fig.get_figwidth())
    3.25
    """
    if columns not in COLUMNS:
        raise ValueError(
            f"columns: got {columns!r}; expected 'single' or 'double'. One column of the page, or "
            "its whole width."
        )
    if venue not in VENUES:
        raise ValueError(
            f"venue: got {venue!r}; expected {', '.join(VENUES)}. For another one pass its width "
            "in inches to nb.plot.figure(width=...)."
        )
    type_ = {"font.family": "serif", "font.serif": ["DejaVu Serif"]} if serif else {}
    found = Page(VENUES[venue][COLUMNS.index(columns)], TYPE | type_)
    token = _page.set(found)
    try:
        yield found
    finally:
        _page.reset(token)
