"""A word where an input is legal and yet looks like a mistake; no number ever changes for it."""

from __future__ import annotations

import pathlib
import sys
import warnings

import equinox
import jax
import jaxtyping
import numpy as np

#: Frames of the library, and of what calls it back, are not where the mistake is.
BETWEEN = (
    str(pathlib.Path(__file__).resolve().parents[1]),
    *(str(pathlib.Path(str(module.__file__)).parent) for module in (equinox, jax, jaxtyping)),
    "<",  # code that was generated
)


class UnusualInput(UserWarning):
    """An input that is computed as it stands and looks like a mistake.

    Where it is meant, ``warnings.filterwarnings("ignore", category=nb.UnusualInput)`` switches the
    word off.
    """


def remark(text: str) -> None:
    """Warn at the user's line, where Python says each text once."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(BETWEEN):
        level, frame = level + 1, frame.f_back
    off = 'warnings.filterwarnings("ignore", category=nb.UnusualInput)'
    warnings.warn(f"{text} ({off} switches this off.)", UnusualInput, stacklevel=level)


def look_like_probabilities(rows: np.ndarray) -> bool:
    """Whether every row is a distribution that logarithms or scores hardly are by chance.

    Whole numbers, such as a row of one-hot scores, are no evidence.
    """
    rows = np.atleast_2d(rows)
    for part in (rows[:1], rows):  # one row tells nearly always
        within = np.all((part >= 0) & (part <= 1)) and not np.all(part == np.rint(part))
        if not within or np.any(np.abs(part.sum(axis=-1, dtype=np.float64) - 1) > 1e-5):
            return False
    return True
