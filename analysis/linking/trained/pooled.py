r"""Bias of the very law that a run trains with: candidates that a batch shares.

A mention x with gold y is scored against the pool of its batch: the golds of B mentions, x among
them, and what was mined for each of those, a repeat of y masked (`nce_bias.retrieval.pool`, whose
code draws it here too). With gamma(.|x) the softmax over these candidates, added up label by label,

    eps(.|x) = p(.|x) - E gamma(.|x),    exact gradient  p - e_y,    contrastive  E gamma - e_y,

over the entities of *all* test worlds, since a batch mixes worlds; negatives of a world alone are
measured in `bias`. The expectation is over the B - 1 other mentions, drawn from the split without
replacement, and over uniform negatives. It has no one q, and is sampled: squares are products of
two independent halves, so that noise adds nothing to them on average, and the error that is given,
over mentions, holds what is left of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

import nce_bias as nb
from analysis.estimators import root, root_ratio
from analysis.linking import bias
from analysis.linking import setup as linking
from analysis.linking.trained import setup
from nce_bias.retrieval import pool, world_scores
from nce_bias.retrieval.mining import Mined

DRAWS = 256  # batches of each half


class Split(NamedTuple):
    """The mentions that a batch is drawn from.

    Attributes
    ----------
    golds : int `[n]`
    best : int `[n, k]`
        Of each, the hardest entities of its world in order, its gold not among them.
    labels : int
        V, entities of all worlds: 0 .. V - 1.
    """

    golds: np.ndarray
    best: np.ndarray
    labels: int


def uniform(generator: np.random.Generator, labels: int, taken: np.ndarray) -> np.ndarray:
    """One label for each row of `taken` `[B, k]`, of those that the row does not have."""
    found = generator.integers(labels, size=len(taken))
    while (again := (taken == found[:, None]).any(axis=1)).any():
        found[again] = generator.integers(labels, size=int(again.sum()))
    return found


def gamma(scores: np.ndarray, labels: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Softmax over the gold, which is the first label, and the negatives that are present."""
    labels = np.concatenate([labels[:1], labels[present]])
    shares = np.exp(scores[labels] - scores[labels].max())
    return np.bincount(labels, shares / shares.sum(), minlength=len(scores))


class Pools(NamedTuple):
    """Batches of a kind of negatives, one of `setup.NEGATIVES`, of `batch` mentions."""

    kind: str
    split: Split
    batch: int

    def mined(self, rows: np.ndarray, generator: np.random.Generator) -> Mined | None:
        """What some mentions bring."""
        if self.kind == "in-batch":
            return None
        hard = {"random": 0, "mixed": 1, "hard": setup.MINED}[self.kind]
        golds, best = self.split.golds[rows, None], self.split.best[rows, :hard]
        labels = np.concatenate([golds, best], axis=1)
        for _ in range(setup.MINED - hard):
            more = uniform(generator, self.split.labels, labels)
            labels = np.concatenate([labels, more[:, None]], axis=1)
        return Mined(labels, np.ones_like(labels, bool), np.zeros(labels.shape, np.float32))

    def expected(
        self, scores: np.ndarray, row: int, draws: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Mean of gamma `[V]` over batches that have the mention `row`, of scores `[V]`."""
        total, others = np.zeros(len(scores)), np.delete(np.arange(len(self.split.golds)), row)
        for _ in range(draws):
            rows = np.append(row, generator.choice(others, self.batch - 1, replace=False))
            given = self.split.golds[rows], self.mined(rows, generator)
            labels, present = pool.negatives(*given)
            total += gamma(scores, labels, present[0])
        return total / draws


def split_of(corpus: nb.retrieval.Corpus, name: str, best: np.ndarray) -> tuple[Split, int]:
    """A split whose entities are counted from 0, and which entity that is.

    `best` `[n, k]` are the first entities of each mention, its gold possibly among them.
    """
    mentions = corpus[name]
    first, end = int(mentions.spans.min()), int(mentions.spans.max())
    others = [
        row[row != gold][: setup.MINED] for row, gold in zip(best, mentions.labels, strict=True)
    ]
    return Split(mentions.labels - first, np.stack(others) - first, end - first), first


def measure(
    model: Any, corpus: nb.retrieval.Corpus, best: np.ndarray, name: str = "test"
) -> list[dict[str, Any]]:
    """One row for each kind of `setup.NEGATIVES`; `best` as in `split_of`."""
    split, first = split_of(corpus, name, best)
    rows = np.concatenate(bias.measured_rows(corpus, name, linking.MEASURED))
    mentions = corpus[name][rows]
    whole = np.tile([first, first + split.labels], (len(rows), 1))
    scores = np.empty((len(rows), split.labels))
    for part in world_scores(model, dataclasses.replace(mentions, spans=whole)):
        scores[part.rows] = part.scores
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    observed = np.eye(split.labels)[split.golds[rows]]
    squares = np.sum((p - observed) ** 2, axis=1)
    found = []
    for number, kind in enumerate(setup.NEGATIVES):
        pools = Pools(kind, split, setup.FULL.plan.batch)

        def half(which: int, pools: Pools = pools, number: int = number) -> np.ndarray:
            seeds = [np.random.default_rng([number, which, row]) for row in rows]
            given = zip(scores, rows, seeds, strict=True)
            return np.stack([pools.expected(one, row, DRAWS, seed) for one, row, seed in given])

        halves = half(0), half(1)
        of_bias = np.sum((p - halves[0]) * (p - halves[1]), axis=1)
        of_loss = np.sum((halves[0] - observed) * (halves[1] - observed), axis=1)
        inner = np.sum((np.mean(halves, axis=0) - observed) * (p - observed), axis=1)
        relative, error = root_ratio(of_bias, squares)
        found.append(
            {
                "kind": kind,
                "bias_norm": root(of_bias.mean()),
                "relative_bias": relative,
                "relative_bias_error": error,
                "cosine": float(inner.sum() / np.sqrt(of_loss.sum() * squares.sum())),
            }
        )
    return found
