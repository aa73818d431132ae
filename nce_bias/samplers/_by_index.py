"""The log-uniform proposal with a label's index as its rank."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx

from nce_bias.numerics.arrays import namespace


class LogUniformByIndex(eqx.Module):
    """q(y) = log((y + 2) / (y + 1)) / log(V + 1), as TensorFlow's candidate sampler has it.

    `log_uniform` ranks labels by popularity; the two are one where labels are sorted by frequency.
    """

    portable: ClassVar[bool] = True
    reads_scores: ClassVar[bool] = False

    def __call__(self, scores, popularity):
        xp = namespace(scores)
        return xp.log(xp.log1p(1 / (xp.arange(scores.shape[-1], dtype=scores.dtype) + 1)))

    def __repr__(self) -> str:
        return "log_uniform by index"


def log_uniform_by_index() -> LogUniformByIndex:
    """Zipfian by the label's index: label 0 is drawn most. Source: TensorFlow."""
    return LogUniformByIndex()
