"""Many short texts in few rows of one width: one shape to compile, little padding."""

from __future__ import annotations

import numpy as np


def pack(lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Put texts into rows of `width` cells: best fit, longest text first.

    Parameters
    ----------
    lengths
        Tokens of each text ``[n]``, each from 1 to `width`.
    width
        Cells of a row.

    Returns
    -------
    row, offset : int64 [n]
        The row each text is in and its first cell there; texts do not overlap.
    rows : int
        How many rows there are.

    Examples
    --------
    >>> import numpy as np
    >>> row, offset, rows = pack(np.array([3, 2, 5, 4]), width=7)
    >>> row.tolist(), offset.tolist(), rows
    ([1, 0, 0, 1], [4, 5, 0, 0], 2)
    """
    row, offset = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    with_room: list[list[int]] = [[] for _ in range(width + 1)]  # rows by the cells left in them
    rows = 0
    for text in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[text])
        room = next((left for left in range(length, width) if with_room[left]), width)
        if room < width:
            row[text] = with_room[room].pop()
        else:
            row[text] = rows
            rows += 1
        offset[text] = width - room
        with_room[room - length].append(int(row[text]))
    return row, offset, rows
