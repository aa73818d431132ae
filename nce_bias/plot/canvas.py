"""Where figures are drawn and how they reach a file."""

import os
import pathlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from nce_bias.plot.paper import page
from nce_bias.plot.style import style

WIDTH = 6.75  # inches: both columns of a two-column page
DPI = 200
#: Formats written, with the metadata that would otherwise carry a date or a version.
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".pgf": {},
}


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | int | None = None,
    height: float | int | None = None,
    **subplots: Any,
) -> tuple[Figure, Any]:
    """A figure and its axes, in the style, without touching pyplot's state.

    Parameters
    ----------
    rows, columns
        Number of panels.
    width, height
        In inches. The width defaults to that of `for_paper`, outside of one to 6.75, the height to
        panels of 5 : 3.5.
    **subplots
        Passed to `Figure.subplots`, such as ``sharey=True``.

    Returns
    -------
    Figure, Axes or array of Axes
        One Axes for a single panel.
    """
    if width is None:
        paper = page()
        width = WIDTH if paper is None else paper.width
    if height is None:
        height = rows * min(3.5, 0.7 * width / columns) + 0.3
    with style():
        fig = Figure(figsize=(width, height), layout="constrained")
        return fig, fig.subplots(rows, columns, **subplots)


def finding(fig: Figure, text: str, *, fontsize: float | int | None = None) -> Text:
    """What a figure shows, in words, above all its panels at the left edge.

    Examples
    --------
    >>> from nce_bias import plot
    >>> fig, ax = plot.figure()
    >>> plot.finding(fig, "More negatives, less bias").get_text()
    'More negatives, less bias'
    """
    size = {} if fontsize is None else {"fontsize": fontsize}
    with style():
        return fig.suptitle(text, x=0.01, ha="left", **size)


def save(fig: Figure, path: str | os.PathLike[str], *, dpi: int = DPI) -> pathlib.Path:
    r"""Write a figure, without date or version: the same figure is the same bytes.

    A .png has 200 dots an inch unless told otherwise: a sheet of many panels needs fewer.
    A .pgf is read into a LaTeX paper by ``\input`` and takes its type; making one needs LaTeX.

    Raises ValueError for a suffix other than .png, .pdf, .svg and .pgf, and for a .pgf where
    there is no LaTeX.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(
            f"path: got {path.name!r}; expected a name that ends in {', '.join(FORMATS)}. "
            "The suffix chooses the format."
        )
    with style():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fig.savefig(path, dpi=dpi, metadata=FORMATS[path.suffix.lower()])
        except RuntimeError as error:
            if path.suffix.lower() != ".pgf":
                raise
            raise ValueError(
                f"path: got {path.name!r}, and there is no LaTeX to measure text with; expected "
                "xelatex on the path. Install it, or save a .pdf."
            ) from error
    return path


def axes_or_current(ax: Axes | None) -> Axes:
    """`ax`, or the current axes of pyplot, made in the style where there are none."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    with style():
        return pyplot.gca()
