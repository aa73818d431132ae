"""The training simulator: models brought to the places where their gradients are looked at.

`fit` minimises any loss over batches. What trains retrievers is `nce_bias.retrieval`.
"""

import warnings
from importlib import import_module

from nce_bias.train.loop import Fit, cross_entropy, fit

__all__ = ["Fit", "cross_entropy", "fit"]

#: Where these lived before there was a package of their own; for one release.
_MOVED = (
    "Corpus",
    "Mined",
    "Plan",
    "Retriever",
    "Run",
    "Scored",
    "Texts",
    "bm25_ranks",
    "compare",
    "corpus",
    "evaluate",
    "link",
    "mine",
    "pull_back",
    "rank",
    "recall",
    "reciprocal_rank",
    "retriever",
    "singular",
    "world_scores",
)


def __getattr__(name: str) -> object:
    if name not in _MOVED:
        raise AttributeError(f"module 'nce_bias.train' has no attribute {name!r}")
    moved = f"nb.train.{name} is nb.retrieval.{name} now"
    warnings.warn(moved, DeprecationWarning, stacklevel=2)
    return getattr(import_module("nce_bias.retrieval"), name)
