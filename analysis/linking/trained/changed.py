"""Mentions that one kind of negatives gets right and another wrong, by the ranks that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

import nce_bias as nb

SHOWN = 6  # of each side, evenly spread over the file
BEFORE, AFTER = "random", "hard"
CONTEXT = 60  # characters of each side that are shown


def changed(
    ranks: dict[tuple[str, str], np.ndarray], data: nb.data.EntityLinking, score: str
) -> list[dict[str, Any]]:
    """Examples of the test worlds, those that hard negatives get right first; and how many.

    Wrong for every seed with the one and right for every seed with the other.
    """
    before, after = ranks[score, BEFORE], ranks[score, AFTER]
    rows = []
    for side, (wrong, right) in {AFTER: (before, after), BEFORE: (after, before)}.items():
        found = np.flatnonzero((wrong > 1).all(axis=0) & (right == 1).all(axis=0))
        shown = np.unique(np.linspace(0, len(found) - 1, min(SHOWN, len(found))).astype(int))
        for place in found[shown]:
            given = data.mentions["test"][place]
            gold = data.entities[given.label]
            rows.append(
                {
                    "score": score,
                    "right": side,
                    "mentions": len(found),
                    "mention": given.id,
                    "left": given.left[-CONTEXT:],
                    "text": given.text,
                    "after": given.right[:CONTEXT],
                    "title": gold.title,
                    "definition": gold.text,
                    BEFORE: int(np.median(before[:, place])),
                    AFTER: int(np.median(after[:, place])),
                }
            )
    return rows
