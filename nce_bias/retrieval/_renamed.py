"""Former names and calls, for one release."""

from __future__ import annotations

import warnings
from typing import Any

from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval._retriever import Retriever, retriever
from nce_bias.retrieval.mining import Mined, mine_negatives
from nce_bias.retrieval.ranking import rank, world_scores
from nce_bias.retrieval.training import TrainingConfig, train_retriever
from nce_bias.retrieval.world_bias import pull_back
from nce_bias.train.record import Fit


def _plan(*, size: int = TrainingConfig.dim, **numbers: Any) -> TrainingConfig:
    return TrainingConfig(dim=size, **numbers)


def _link(*given: Any, plan: TrainingConfig | None = None, keep: Any = (), **options: Any) -> Fit:
    return train_retriever(*given, config=plan, checkpoints=keep, **options)


def _mine(
    model: Any, corpus: Corpus, rows: Any, *given: Any, split="train", **options: Any
) -> Mined:
    return mine_negatives(model, corpus[split][rows], *given, **options)


def _retriever(corpus: Corpus, score: Any, *, size: int = 64, seed: int = 0) -> Retriever:
    return retriever(corpus, score, dim=size, seed=seed)


def _rank(model: Any, corpus: Corpus, split: str, rows: Any = slice(None)) -> Any:
    return rank(model, corpus[split][rows])


def _world_scores(model: Any, corpus: Corpus, split: str, rows: Any = slice(None)) -> Any:
    mentions = corpus[split][rows]
    return (p._replace(rows=mentions.rows[p.rows]) for p in world_scores(model, mentions))


def _pull_back(model: Any, corpus: Corpus, split: str, rows: Any, cotangents: Any) -> Any:
    return pull_back(model, corpus[split][rows], cotangents)


#: Former name: what it is called now, and what takes the former arguments.
NAMES = {
    "Plan": ("nb.retrieval.TrainingConfig", _plan),
    "Run": ("nb.train.Fit", Fit),
    "link": ("nb.retrieval.train_retriever", _link),
    "mine": ("nb.retrieval.mine_negatives", _mine),
}
#: The same for names of `nb.train`, whose functions took a corpus, a split and rows.
TRAIN_NAMES = NAMES | {
    "pull_back": ("nb.retrieval.pull_back(model, corpus[split][rows], cotangents)", _pull_back),
    "rank": ("nb.retrieval.rank(model, corpus[split][rows])", _rank),
    "retriever": ("nb.retrieval.retriever(corpus, score, dim=...)", _retriever),
    "world_scores": ("nb.retrieval.world_scores(model, corpus[split][rows])", _world_scores),
}


def forwarded(former: str, now: str, found: Any) -> Any:
    """What goes by a former name, with a warning that says the new one."""
    warnings.warn(f"{former} is {now} now", DeprecationWarning, stacklevel=3)
    return found
