"""The training simulator: models brought to the places where their gradients are looked at.

`fit` minimises any loss over batches. `link` trains a retriever for zero-shot entity linking with
negatives of any sampler, `rank` and `world_scores` score it, `corpus` encodes a data set for it.
`evaluate` and `compare` turn ranks into recall and reciprocal rank with intervals; `bm25_ranks` is
the baseline without a model.
"""

from nce_bias.train.bm25 import bm25_ranks, singular
from nce_bias.train.corpus import Corpus, Texts, corpus
from nce_bias.train.linking import Plan, Run, link
from nce_bias.train.loop import Fit, cross_entropy, fit
from nce_bias.train.metrics import compare, evaluate, recall, reciprocal_rank
from nce_bias.train.negatives import Mined, mine
from nce_bias.train.pullback import pull_back
from nce_bias.train.ranking import Scored, rank, world_scores
from nce_bias.train.retriever import Retriever, retriever

__all__ = [
    "Corpus",
    "Fit",
    "Mined",
    "Plan",
    "Retriever",
    "Run",
    "Scored",
    "Texts",
    "bm25_ranks",
    "compare",
    "corpus",
    "cross_entropy",
    "evaluate",
    "fit",
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
