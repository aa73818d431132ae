"""Mentions that random negatives get wrong and hard ones right, with what each puts first."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd

import nce_bias as nb
from analysis.linking import runs
from analysis.linking.setup import Cell, Design

SHOWN, FIRST = 12, 3  # mentions, and candidates of each
KINDS = ("random", "hard")


def write(
    corpus: nb.retrieval.Corpus,
    data: nb.data.EntityLinking,
    design: Design,
    ranks: dict[tuple[str, str], np.ndarray],
    work: pathlib.Path,
    out: pathlib.Path,
) -> None:
    """``examples.csv`` and the page ``examples.md``: DUAL, test worlds.

    Of the mentions wrong for every seed with random negatives and right for every seed with hard
    ones, `SHOWN` evenly spread over the file; candidates are those of seed 0. Without such a
    mention nothing is written.
    """
    wrong = (ranks["dual", "random"] > 1).all(axis=0)
    right = (ranks["dual", "hard"] == 1).all(axis=0)
    other = (ranks["dual", "random"] == 1).all(axis=0) & (ranks["dual", "hard"] > 1).all(axis=0)
    helped = np.flatnonzero(wrong & right)
    if not len(helped):
        return
    chosen = helped[np.unique(np.linspace(0, len(helped) - 1, SHOWN).astype(int))]
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        model = runs.trained(corpus, design, Cell("dual", kind, 0), work).model
        for part in nb.retrieval.world_scores(model, corpus["test"][chosen]):
            for mention, scores in zip(chosen[part.rows], part.scores, strict=True):
                for place, label in enumerate(np.argsort(-scores, kind="stable")[:FIRST]):
                    entity = data.entities[part.first + label]
                    given = data.mentions["test"][mention]
                    rows.append(
                        {
                            "mention": given.id,
                            "left": given.left,
                            "text": given.text,
                            "right": given.right,
                            "negatives": kind,
                            "place": place + 1,
                            "title": entity.title,
                            "definition": entity.text,
                            "gold": part.first + label == given.label,
                        }
                    )
    table = pd.DataFrame(rows)
    table.to_csv(out / "examples.csv", index=False)
    counts = f"{len(helped)} of {wrong.size} mentions; the other way round {int(other.sum())}"
    (out / "examples.md").write_text(page(table, counts))


def page(table: pd.DataFrame, counts: str) -> str:
    """The examples as Markdown."""
    lines = [
        "# Mentions that random negatives get wrong and hard ones right",
        "",
        f"DUAL, test worlds: wrong for every seed with random negatives, right for every seed with "
        f"hard ones: {counts}.",
        f"Here {table['mention'].nunique()} of them, evenly spread, with the first {FIRST} "
        "candidates of seed 0; the gold is bold.",
    ]
    for _, group in table.groupby("mention", sort=False):
        given = group.iloc[0].fillna("")
        lines += ["", f"## {given['left']} **{given['text']}** {given['right']}".replace("  ", " ")]
        lines += ["", "| | random | hard |", "|---|---|---|"]
        for place in range(1, FIRST + 1):
            cells = [_cell(group, kind, place) for kind in KINDS]
            lines.append(f"| {place} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _cell(group: pd.DataFrame, kind: str, place: int) -> str:
    row = group[(group["negatives"] == kind) & (group["place"] == place)].iloc[0]
    text = f"{row['title']}: {row['definition']}".replace("|", "/")
    return f"**{text}**" if row["gold"] else text
