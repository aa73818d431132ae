"""One look for every figure: which colour means which negatives, and the style of the paper.

Colours are those of Okabe & Ito (2008), "Color Universal Design", chosen to stay apart under
the common forms of colour blindness; a marker of its own says the same again without colour.
"""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb

from nce_bias.plot.paper import page

#: Kind of negatives (and the exact quantities drawn beside them) -> colour.
COLOURS = {
    "uniform": "#0072B2",
    "popularity": "#E69F00",
    "mixed": "#009E73",
    "model": "#D55E00",
    "log_uniform": "#56B4E9",
    "optimal": "#CC79A7",
    "cross_entropy": "#000000",
    "entropy": "#7F7F7F",
    "hard": "#882255",
    "mixed-25": "#66C2A5",
    "mixed-50": "#009E73",
    "mixed-75": "#006D50",
    "model, independent": "#F0A570",
}

#: Of what is explained beside the data, and of a second thing drawn beside a first, black one.
GREY, SECOND = "#555555", "#7F7F7F"

#: Score functions of a retriever: never in one figure with negatives in these colours.
SCORE_COLOURS = {"dual": "#332288", "multi8": "#999933", "poly8": "#7F7F7F", "som": "#CC6677"}

#: What became of a claim.
VERDICT_COLOURS = {
    "confirmed": "#006D50",
    "true under a condition": "#B07000",
    "refuted": "#A03000",
}

#: Things that are no kind of negatives (metrics, published conventions), in the order met.
CATEGORIES = (
    "#D55E00",
    "#E69F00",
    "#56B4E9",
    "#0072B2",
    "#CC79A7",
    "#000000",
    "#009E73",
    "#999933",
    "#882255",
    "#332288",
    "#7F7F7F",
)

MARKERS = {
    "uniform": "o",
    "popularity": "s",
    "mixed": "D",
    "model": "^",
    "log_uniform": "v",
    "optimal": "*",
    "cross_entropy": "P",
    "entropy": "_",
    "hard": "h",
    "mixed-25": "v",
    "mixed-50": "D",
    "mixed-75": "P",
    "model, independent": "X",
}

#: For negatives of the reader's own, in the order in which they are met.
OTHER_COLOURS = ("#332288", "#999933", "#882255", "#44AA99", "#555555")
OTHER_MARKERS = ("X", "p", "h", "<", ">")

#: Lines of one kind: the first is solid, further ones (other parameters) are dashed.
DASHES = ("-", (0, (4, 1.2)), (0, (4, 1, 1, 1)), (0, (1, 1)))

_ALIASES = {"mixture": "mixed", "random": "uniform"}
_NAMES = {
    "log_uniform": "log-uniform",
    "cross_entropy": "cross entropy",
    "sampled_softmax": "sampled softmax (logQ)",
    "sampled_softmax_both": "sampled softmax (logQ on both)",
    "infonce": "InfoNCE",
    "ranking_nce": "ranking NCE",
}

#: Matplotlib settings of every figure; used within `style`, never set globally.
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib, so text is the same everywhere
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.titlesize": 10,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Look:
    """How one group is drawn: colour, marker and dashes (a Matplotlib line style)."""

    colour: str
    marker: str
    dashes: str | tuple = "-"


def style() -> AbstractContextManager:
    """Matplotlib's settings as `STYLE` and `for_paper` have them, within a `with` block."""
    paper = page()
    settings: Any = STYLE if paper is None else STYLE | paper.settings
    return mpl.rc_context(settings)


def kind(name: str) -> str | None:
    """Which entry of `COLOURS` a name belongs to; None for negatives of the reader's own.

    Parameters after the name do not matter, and a weighted sum is a mixture.

    Examples
    --------
    >>> kind("model(temperature=2)"), kind("model:T=2"), kind("0.5*uniform+0.5*model")
    ('model', 'model', 'mixed')
    """
    if "*" in name:
        return "mixed"
    word = re.split(r"[(:,\s]", name.strip(), maxsplit=1)[0]
    word = _ALIASES.get(word, word)
    return word if word in COLOURS else None


def display_name(name: str) -> str:
    """The name as a figure writes it."""
    return _NAMES.get(name, name)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, in order; the same names get the same looks in every figure.

    Several names of one kind ("model", "model:T=2") share its colour, ever lighter, and differ in
    dashes. Names of no known kind take the other colours in the order met.
    """
    found: dict[str, Look] = {}
    of_kind: dict[str, int] = {}
    others = 0
    for name in dict.fromkeys(names):
        known = kind(name)
        if known is None:
            place = others % len(OTHER_COLOURS)
            found[name] = Look(OTHER_COLOURS[place], OTHER_MARKERS[place])
            others += 1
            continue
        count = of_kind.get(known, 0)
        of_kind[known] = count + 1
        look = Look(COLOURS[known], MARKERS[known])
        if count:
            lighter = lighten(look.colour, min(0.25 * count, 0.6))
            look = replace(look, colour=lighter, dashes=DASHES[count % len(DASHES)])
        found[name] = look
    return found


def lighten(colour: str, share: float) -> str:
    """`colour` mixed with white: share 0 leaves it, share 1 is white."""
    red, green, blue = ((1 - share) * part + share for part in to_rgb(colour))
    return to_hex((red, green, blue))
