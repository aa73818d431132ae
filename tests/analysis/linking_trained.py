"""Rows of the tables of `analysis/linking/trained`."""

import pandas as pd

from analysis.frames import where
from analysis.linking.trained import (
    tables,
)

RECALL = pd.read_csv(tables.RESULTS / "recall.csv")
DEPTHS = ("recall@1", "recall@8", "recall@64")


def value(score, negatives, metric, split="test"):
    about = {"score": score, "negatives": negatives, "metric": metric, "split": split}
    (row,) = where(RECALL, average="micro", **about).to_dict("records")
    return row


def difference(kind, base, metric="recall@1"):
    """Of DUAL alone."""
    return between("dual", kind, "dual", base)[metric]


def between(score, kind, minus, minus_kind):
    """Rows of the table of differences, by metric."""
    found = where(pd.read_csv(tables.RESULTS / "differences.csv"), average="micro", score=score)
    found = where(found, negatives=kind, minus_score=minus, minus_negatives=minus_kind)
    return {row["metric"]: row for row in found.to_dict("records")}


def points(row, names=("value", "low", "high")):
    """A difference and its interval in points, as the page has them."""
    return tuple(round(100 * row[name], 1) for name in names)
