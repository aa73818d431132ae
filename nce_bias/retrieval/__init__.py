"""Retrievers for zero-shot entity linking: the proof that the engine works on a real model.

`corpus` encodes a data set, ``corpus["test"]`` are the mentions of a split. `retriever` makes a
model, `train_retriever` trains one with negatives of any sampler (`mine_negatives` draws them),
`rank` and `world_scores` score with it, `pull_back` gives the bias over its parameters. `evaluate`
and `compare` turn ranks into recall and reciprocal rank with intervals; `bm25_ranks` is the
baseline without a model. `train_reranker` trains a model that reads pairs on what a retriever
found, `rerank` re-orders that.
"""

from typing import Any

from nce_bias.retrieval import _renamed
from nce_bias.retrieval._corpus import Corpus, Mentions, corpus
from nce_bias.retrieval._retriever import Retriever, retriever
from nce_bias.retrieval.bm25 import bm25_ranks, singular
from nce_bias.retrieval.encoder import EncoderRetriever, encoder_retriever
from nce_bias.retrieval.encoder_training import EncoderConfig, train_encoder
from nce_bias.retrieval.metrics import compare, evaluate, recall, reciprocal_rank
from nce_bias.retrieval.mining import Mined, mine_negatives
from nce_bias.retrieval.ranking import Ranked, Scored, rank, rank_candidates, world_scores
from nce_bias.retrieval.reranker import Reranker, rerank, reranker
from nce_bias.retrieval.reranker_training import RerankerConfig, train_reranker
from nce_bias.retrieval.texts import Texts
from nce_bias.retrieval.training import TrainingConfig, train_retriever
from nce_bias.retrieval.world_bias import pull_back

__all__ = [
    "Corpus",
    "EncoderConfig",
    "EncoderRetriever",
    "Mentions",
    "Mined",
    "Ranked",
    "Reranker",
    "RerankerConfig",
    "Retriever",
    "Scored",
    "Texts",
    "TrainingConfig",
    "bm25_ranks",
    "compare",
    "corpus",
    "encoder_retriever",
    "evaluate",
    "mine_negatives",
    "pull_back",
    "rank",
    "rank_candidates",
    "recall",
    "reciprocal_rank",
    "rerank",
    "reranker",
    "retriever",
    "singular",
    "train_encoder",
    "train_reranker",
    "train_retriever",
    "world_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _renamed.NAMES:
        raise AttributeError(f"module 'nce_bias.retrieval' has no attribute {name!r}")
    return _renamed.forwarded(f"nb.retrieval.{name}", *_renamed.NAMES[name])
