"""How fast a column of numbers falls."""

from collections.abc import Sequence

import numpy as np


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """d log value / d log size between the last two sizes.

    >>> slope((1, 2, 4), (1.0, 0.9, 0.45))
    -1.0
    """
    (a, b), (x, y) = sizes[-2:], values[-2:]
    return float(np.log(y / x) / np.log(b / a))


def needed(target: float, sizes: Sequence[float], values: Sequence[float]) -> float:
    """The size at which falling values reach `target`, between sizes by a power law; inf if none.

    Below the first size the power law of the first two is carried on.

    >>> needed(0.5, (1, 4), (1.0, 0.25))
    2.0
    """
    logs, sized = np.log(values), np.log(sizes)
    if target < values[-1]:
        return float("inf")
    place = max(1, int(np.argmax(logs <= np.log(target))))
    (x, y), (a, b) = logs[place - 1 : place + 1], sized[place - 1 : place + 1]
    return float(np.exp(a + (b - a) * (np.log(target) - x) / (y - x)))
