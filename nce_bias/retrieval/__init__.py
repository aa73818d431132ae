"""Retrievers for zero-shot entity linking: the proof that the engine works on a real model.

`corpus` encodes a data set, `retriever` makes a model for it, `link` trains one with negatives of
any sampler (`mine` draws them), `rank` and `world_scores` score with it, `pull_back` gives the bias
over its parameters. `evaluate` and `compare` turn ranks into recall and reciprocal rank with
intervals; `bm25_ranks` is the baseline without a model.
"""

from nce_bias.retrieval._corpus import Corpus, Texts, corpus
from nce_bias.retrieval._retriever import Retriever, retriever
from nce_bias.retrieval.bm25 import bm25_ranks, singular
from nce_bias.retrieval.metrics import compare, evaluate, recall, reciprocal_rank
from nce_bias.retrieval.mining import Mined, mine
from nce_bias.retrieval.ranking import Scored, rank, world_scores
from nce_bias.retrieval.training import Plan, Run, link
from nce_bias.retrieval.world_bias import pull_back

__all__ = [
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
]
