"""What a trained retriever is compared with: ``python -m analysis.linking.trained.baselines``.

* **most frequent sense**: among entities of the mention's title the one that tagged text has most
  often (`count`), then all others. It knows how often each entity is used, which a zero-shot
  system does not.
* **MiniLM as it comes**: cosines of the sentence vectors of the context, with brackets around the
  mention, and "title : definition".

A rank counts ties against the gold.
"""

from __future__ import annotations

import pathlib

import numpy as np

import nce_bias as nb
from analysis.linking.trained import setup
from nce_bias.retrieval import singular
from nce_bias.retrieval.worlds import worlds_of

PATH = pathlib.Path(__file__).parent / "results" / "baselines.npz"
SENSE, PLAIN = "most frequent sense", "as it comes"


def title(text: str) -> str:
    """A title or a mention, as they are compared: small letters, no plural, one kind of space."""
    words = text.lower().replace("-", " ").split()
    return " ".join([*words[:-1], *map(singular, words[-1:])])


def most_frequent(data: nb.data.EntityLinking, split: str) -> np.ndarray:
    """Ranks by title, then by count."""
    titles = np.array([title(entity.title) for entity in data.entities])
    counts = data.smoothed_counts()
    ranks = []
    for mention, (first, end) in zip(data.mentions[split], data.candidates(split), strict=True):
        scores = counts[first:end] * (titles[first:end] == title(mention.text))
        ranks.append(np.sum(scores >= scores[mention.label - first]))
    return np.array(ranks)


def as_it_comes(data: nb.data.EntityLinking, split: str, encoder: nb.text.Bert) -> np.ndarray:
    """Ranks by the cosine of sentence vectors."""
    mentions = encoder.sentence([f"{m.left} [{m.text}] {m.right}" for m in data.mentions[split]])
    ranks = np.zeros(len(mentions), int)
    for first, end, inside in worlds_of(data.candidates(split)):
        entities = encoder.sentence([e.description for e in data.entities[first:end]])
        scores = mentions[inside] @ entities.T
        golds = scores[np.arange(len(inside)), data.labels(split)[inside] - first]
        ranks[inside] = np.sum(scores >= golds[:, None], axis=1)
    return ranks


def main() -> None:
    """Both, of both held-out splits."""
    data, encoder = nb.data.entity_linking(), nb.text.minilm(max_tokens=setup.TOKENS)
    found = {}
    for split in setup.HELD_OUT:
        found[f"{split} {SENSE}"] = most_frequent(data, split).astype(np.int32)
        found[f"{split} {PLAIN}"] = as_it_comes(data, split, encoder).astype(np.int32)
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, allow_pickle=False, **found)


if __name__ == "__main__":
    main()
