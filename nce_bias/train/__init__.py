"""The training simulator: models brought to the places where their gradients are looked at.

`fit` minimises any loss over batches, goes on where it was stopped, and serves all training here;
what trains retrievers with it is `nce_bias.retrieval`.
"""

from importlib import import_module
from typing import Any

from nce_bias.train.loop import cross_entropy, fit
from nce_bias.train.record import Fit

__all__ = ["Fit", "cross_entropy", "fit"]

#: What lived here before retrieval was a package of its own; for one release.
_MOVED = (
    "Corpus", "Mined", "Plan", "Retriever", "Run", "Scored", "Texts", "bm25_ranks", "compare",
    "corpus", "evaluate", "link", "mine", "pull_back", "rank", "recall", "reciprocal_rank",
    "retriever", "singular", "world_scores",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module 'nce_bias.train' has no attribute {name!r}")
    retrieval = import_module("nce_bias.retrieval")
    renamed = import_module("nce_bias.retrieval._renamed")
    if name in renamed.TRAIN_NAMES:
        return renamed.forwarded(f"nb.train.{name}", *renamed.TRAIN_NAMES[name])
    return renamed.forwarded(f"nb.train.{name}", f"nb.retrieval.{name}", getattr(retrieval, name))
