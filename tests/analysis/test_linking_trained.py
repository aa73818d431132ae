"""`analysis/linking/trained`: its page against its results, and its tables against the ranks."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.frames import where
from analysis.linking.trained import page, runs, setup, tables

RECALL = pd.read_csv(tables.RESULTS / "recall.csv")
DEPTHS = ("recall@1", "recall@8", "recall@64")


def value(score, negatives, metric, split="test"):
    about = {"score": score, "negatives": negatives, "metric": metric, "split": split}
    (row,) = where(RECALL, average="micro", **about).to_dict("records")
    return row


def test_the_page_has_the_tables_of_the_results():
    text = page.PAGE.read_text()
    assert page.written(text) == text


def test_a_changed_table_is_noticed(tmp_path):
    RECALL.assign(value=RECALL["value"] + 0.01).to_csv(tmp_path / "recall.csv", index=False)
    assert page.recall(tmp_path) != page.recall()


def test_recall_is_that_of_the_ranks():
    """By counting, of every run that is kept."""
    assert tables.kept()
    for cell in tables.kept():
        folder = tables.RESULTS / cell.label.replace(" ", "_")
        with np.load(folder / "ranks.npz") as file:
            ranks = {split: file[split] for split in setup.HELD_OUT}
        about = json.loads((folder / "about.json").read_text())
        for split, found in ranks.items():
            for k in setup.AT:
                share = np.mean(found <= k)
                assert about["recall"][split][str(k)] == pytest.approx(share, abs=1e-12)
                row = value(cell.score, cell.negatives, f"recall@{k}", split)
                if row["seeds"] == 1:
                    assert row["value"] == pytest.approx(share, abs=1e-12)


def test_what_is_said_of_the_first_prediction():
    """Above words alone and the best frozen head, intervals of the differences without 0."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro")
    for other, kind in (("bm25", "title ten times"), ("som, frozen", "mixed-50")):
        rows = where(found, score="dual", negatives="in-batch", minus_score=other)
        rows = rows[rows["minus_negatives"] == kind].set_index("metric")
        assert (rows.loc[list(DEPTHS), "low"] > 0).all()


def test_it_is_above_every_frozen_head():
    """As README.md says: of all scores and negatives of the analysis beside, at every depth."""
    frozen = pd.read_csv(tables.FROZEN.parent / "recall.csv")
    heads = where(frozen, split="test", average="micro")
    heads = heads[heads["score"] != "bm25"]
    assert heads["score"].nunique() == 4
    for metric in DEPTHS:
        trained = value("dual", "in-batch", metric)["low"]
        assert trained > where(heads, metric=metric)["value"].max()


def test_runs_that_are_kept_are_not_run_again(tmp_path, monkeypatch):
    cells, ran, said = setup.FULL.cells, [], []
    monkeypatch.setattr(runs, "run", lambda corpus, design, cell, work, say: ran.append(cell))
    corpus: Any = {"train": range(18525)}
    runs.run_all(corpus, setup.FULL, cells, tmp_path, said.append)
    assert ran == [cell for cell in cells if cell not in tables.kept()]
    assert f"{len(tables.kept())} of them done" in said[0]
