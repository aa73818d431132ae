"""The tables of the analysis, from the files that its runs left."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import nce_bias as nb
from analysis import tables
from analysis.frames import Table, where
from analysis.linking import bias, examples, runs, setup
from analysis.linking.setup import Cell, Design

TITLES = {"title once": 1, "title ten times": 10}  # BM25; ten has the best MRR on validation
BASE = "random"
RESAMPLES = 2000
FEWEST = 4  # conditions of which a correlation is taken
#: What a run's bias is, at its end, of its own negatives.
BIASES = ("relative_bias", "parameter_relative_bias")

Ranks = dict[str, dict[tuple[str, str], np.ndarray]]


def write(
    corpus: nb.retrieval.Corpus,
    data: nb.data.EntityLinking,
    design: Design,
    work: pathlib.Path,
    out: pathlib.Path,
) -> None:
    """All tables of the runs that are done, the ranks, the examples and ``meta.json``."""
    cells = [cell for cell in design.cells if runs.is_done(work, cell)]
    worlds = {s: [m.world for m in data.mentions[s]] for s in runs.HELD_OUT}
    ranks = read_ranks(work, cells)
    for split in runs.HELD_OUT:
        for name, times in TITLES.items():
            found = nb.retrieval.bm25_ranks(data, split, titles=times)
            ranks[split]["bm25", name] = found[None]
    moments = pd.concat(pd.read_csv(runs.folder_of(work, c) / "moments.csv") for c in cells)
    scatter = points(moments, ranks["test"], cells)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out / "ranks.npz",
        allow_pickle=False,
        **{
            f"{split} {score} {kind}": found.astype(np.int32)
            for split, kinds in ranks.items()
            for (score, kind), found in kinds.items()
        },
    )
    if {("dual", BASE), ("dual", "hard")} <= set(ranks["test"]):
        examples.write(corpus, data, design, ranks["test"], work, out)
    first = runs.trained(corpus, design, cells[0], work).model
    found = {
        "distinct": bias.distinct(first, corpus, "test", design.measured, 8 * design.draws),
        "recall": recall(ranks, worlds),
        "differences": differences(ranks, worlds),
        "categories": categories(ranks["test"], data),
        "moments": moments.to_dict("records"),
        "scatter": scatter.to_dict("records"),
        "correlation": correlation(groups(scatter)),
        "seconds": seconds(work, cells),
    }
    tables.write(
        out,
        {name: rows for name, rows in found.items() if rows},
        design,
        corpus=corpus.name,
        source=data.source,
        licence=data.licence,
        runs=[cell.label for cell in cells],
        m=setup.M,
        at=setup.AT,
    )


def read_ranks(work: pathlib.Path, cells: list[Cell]) -> Ranks:
    """By split, and by score and negatives: `[seeds, n]`."""
    found: dict[str, dict[tuple[str, str], list[np.ndarray]]] = {s: {} for s in runs.HELD_OUT}
    for cell in cells:
        with np.load(runs.folder_of(work, cell) / "ranks.npz", allow_pickle=False) as file:
            for split in runs.HELD_OUT:
                found[split].setdefault((cell.score, cell.negatives), []).append(file[split])
    return {s: {k: np.stack(v) for k, v in kinds.items()} for s, kinds in found.items()}


def recall(ranks: Ranks, worlds: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Recall and reciprocal rank of every score and negatives."""
    rows = []
    for split, kinds in ranks.items():
        for (score, kind), found in kinds.items():
            table = nb.retrieval.evaluate(found, worlds[split], at=setup.AT)
            rows += _named(table, split=split, score=score, negatives=kind)
    return rows


def differences(ranks: Ranks, worlds: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Negatives against random ones for each score, and scores against DUAL for each negatives.

    Mentions are paired, seeds are not: that two runs share a first model and an order of mentions
    makes their interval too wide, not too narrow.
    """
    rows = []
    for split, kinds in ranks.items():
        learnt = [pair for pair in kinds if pair[0] != "bm25"]
        for (score, kind), (other, base) in itertools.product(learnt, learnt):
            alike = score == other and kind != base and base in (BASE, "mixed-50")
            if not (alike or (kind == base and other == "dual" and score != other)):
                continue
            pair = kinds[score, kind], kinds[other, base]
            table = nb.retrieval.compare(*pair, worlds[split], at=setup.AT)
            about = {"split": split, "score": score, "negatives": kind}
            rows += _named(table, **about, minus_score=other, minus_negatives=base)
    return rows


def categories(kinds: dict[tuple[str, str], np.ndarray], data: Any) -> list[dict[str, Any]]:
    """Recall (micro, mean over seeds) by how much mention and title overlap."""
    of = np.array([mention.category for mention in data.mentions["test"]])
    rows = []
    for (score, kind), found in kinds.items():
        for category in np.unique(of):
            inside = found[:, of == category]
            hits = {f"recall@{k}": float(np.mean(inside <= k)) for k in setup.AT}
            about = {"score": score, "negatives": kind, "category": category}
            rows.append(about | {"mentions": inside.shape[1]} | hits)
    return rows


def points(moments: Table, kinds: dict, cells: list[Cell]) -> Table:
    """One row a run: recall on the test worlds, and bias at its end of its own negatives."""
    rows = []
    for cell in cells:
        of_run = where(moments, **cell._asdict())
        own = where(of_run, kind=cell.negatives, step=of_run["step"].max()).iloc[0]
        found = kinds[cell.score, cell.negatives][cell.seed]
        hits = {f"recall@{k}": float(np.mean(found <= k)) for k in setup.AT}
        rows.append(cell._asdict() | hits | {name: own[name] for name in BIASES})
    return pd.DataFrame(rows)


def groups(scatter: Table) -> dict[str, Table]:
    """All runs, all but those of random negatives, and those of each score."""
    found = {"all": scatter, "all but random": scatter[scatter["negatives"] != BASE]}
    return found | dict(tuple(scatter.groupby("score")))


def correlation(runs: Mapping[str, Table], biases: Sequence[str] = BIASES) -> list[dict[str, Any]]:
    """Spearman's rank correlation of bias and recall over each group of runs.

    Runs that differ in their seed alone are one condition; whole conditions are resampled for the
    95 % interval.
    """
    rows = []
    for (group, table), of, k in itertools.product(runs.items(), biases, setup.AT):
        conditions = [part for _, part in table.groupby(["score", "negatives"])]
        if len(conditions) < FEWEST:
            continue
        generator = np.random.default_rng(0)
        drawn = []
        for _ in range(RESAMPLES):
            chosen = generator.integers(len(conditions), size=len(conditions))
            some: Table = pd.concat([conditions[index] for index in chosen])
            if some[of].nunique() > 1 < some[f"recall@{k}"].nunique():  # else there is no rank
                drawn.append(_spearman(some[of], some[f"recall@{k}"]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append(
            {
                "runs": group,
                "bias": of,
                "metric": f"recall@{k}",
                "spearman": _spearman(table[of], table[f"recall@{k}"]),
                "low": float(low),
                "high": float(high),
                "conditions": len(conditions),
                "count": len(table),
            }
        )
    return rows


def seconds(work: pathlib.Path, cells: list[Cell]) -> list[dict[str, Any]]:
    """What each run took, of training and of ranking both held-out splits."""
    rows = []
    for cell in cells:
        about = json.loads((runs.folder_of(work, cell) / "about.json").read_text())
        rows.append(cell._asdict() | about)
    return rows


def _spearman(a: Table, b: Table) -> float:
    return float(np.asarray(spearmanr(a, b))[0])


def _named(table: pd.DataFrame, **about: str) -> list[dict[str, Any]]:
    return [about | row for row in table.to_dict("records")]
