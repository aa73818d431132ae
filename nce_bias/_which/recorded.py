"""What the user's code drew and computed: sets of labels, golds, gradients; read and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import refuse
from nce_bias._gate import read_integers
from nce_bias.problem import Problem

#: Sets whose gradients are compared at most.
COMPARED = 16


class Recorded(NamedTuple):
    """Sets of negatives `[N, slots]`, -1 where there is none, with their golds and inputs `[N]`."""

    scores: np.ndarray  # [X, V]
    labels: np.ndarray
    golds: np.ndarray
    inputs: np.ndarray

    @property
    def sets(self) -> int:
        return len(self.labels)

    @property
    def slots(self) -> int:
        return self.labels.shape[1]

    def gradients_of(self, given: Any, loss: Callable[[Any, Any], Any] | None) -> np.ndarray:
        """Score-space gradients `[N or fewer, V]` of sets that have one; NaN elsewhere."""
        vocabulary = self.scores.shape[1]
        if loss is not None:
            return self._differentiated(loss)
        if given is None:
            return np.full((0, vocabulary), np.nan)
        found = np.asarray(given, float)
        if found.ndim != 2 or len(found) != self.sets:
            raise refuse(
                "gradients",
                f"shape {list(found.shape)} for {self.sets} sets",
                f"[{self.sets}, {vocabulary}], or [{self.sets}, {1 + self.slots}]",
                "Give one row for each set: the gradient of its loss by the scores.",
            )
        if found.shape[1] == vocabulary:
            return found
        if found.shape[1] != 1 + self.slots:
            raise refuse(
                "gradients",
                f"{found.shape[1]} columns",
                f"{vocabulary}, one a label, or {1 + self.slots}, the gold's and the slots'",
                "Give the gradient by all scores of an input, or by those of the candidates.",
            )
        return self.spread(found)

    def spread(self, by_slot: np.ndarray) -> np.ndarray:
        """Gradients of gold and slots `[n, 1 + slots]` on labels `[n, V]`."""
        count = len(by_slot)
        on_labels = np.zeros((count, self.scores.shape[1]))
        labels = np.hstack([self.golds[:count, None], self.labels[:count]])
        filled = labels >= 0
        rows = np.nonzero(filled)[0]
        np.add.at(on_labels, (rows, labels[filled]), by_slot[filled])
        return on_labels

    def _differentiated(self, loss: Callable[[Any, Any], Any]) -> np.ndarray:
        """Of a loss of the scores of the gold and of the negatives that are present."""
        count = min(COMPARED, self.sets)
        by_slot = np.zeros((count, 1 + self.slots))
        slopes = jax.grad(lambda gold, negatives: jnp.sum(loss(gold, negatives)), (0, 1))
        for number in range(count):
            scores = self.scores[self.inputs[number]]
            there = self.labels[number] >= 0
            own, others = slopes(
                jnp.asarray(scores[self.golds[number]]),
                jnp.asarray(scores[self.labels[number][there]]),
            )
            by_slot[number, 0] = float(own)
            by_slot[number, 1:][there] = np.asarray(others)
        return self.spread(by_slot)


def record(problem: Problem, labels: Any, golds: Any, present: Any, inputs: Any) -> Recorded:
    """Read and check what was recorded."""
    scores = np.asarray(problem.score_rows, float)
    rows, vocabulary = scores.shape
    drawn = np.asarray(read_integers("labels", labels))
    if drawn.ndim != 2 or not drawn.size:
        raise refuse(
            "labels",
            f"shape {list(drawn.shape)}",
            "[sets, slots], the negatives of each set in a row",
            "Use -1 for an empty slot.",
        )
    if present is not None:
        drawn = np.where(np.asarray(present, bool), drawn, -1)
    own = np.asarray(read_integers("golds", golds))
    at = (
        np.zeros(len(drawn), int) if inputs is None else np.asarray(read_integers("inputs", inputs))
    )
    for name, values, least, limit in (
        ("labels", drawn, -1, vocabulary),
        ("golds", own, 0, vocabulary),
        ("inputs", at, 0, rows),
    ):
        if name != "labels" and values.shape != (len(drawn),):
            raise refuse(
                name,
                f"shape {list(values.shape)} for {len(drawn)} sets",
                f"[{len(drawn)}]",
                "Give one for each set.",
            )
        wrong = values[(values < least) | (values >= limit)]
        if wrong.size:
            raise refuse(
                name,
                f"got {int(wrong.ravel()[0])}",
                f"numbers from {least} to {limit - 1}",
                "Count labels and inputs from 0, as the scores' columns and rows.",
            )
    return Recorded(scores, drawn, own, at)
