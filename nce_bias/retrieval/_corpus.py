"""A data set as a trainer wants it: token states of every text, labels and their worlds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import refuse
from nce_bias.data import EntityLinking
from nce_bias.retrieval.tower import Batch
from nce_bias.text import Hashed, TokenStates, cached

LONGEST = 32  # tokens of a text that are read
GRAMS = 32  # buckets read of a learnt word: those of 3 to 5 letters of a word of 12
SAMPLE = 200_000  # tokens whose mean is the centre


class Bags(NamedTuple):
    """Buckets of each word's n-grams, and which word each token is."""

    of_word: Int[np.ndarray, "words g"]
    word: Int[np.ndarray, " N"]

    def read(self, tokens: Int[np.ndarray, " k"], step: int) -> tuple[np.ndarray, np.ndarray]:
        """Bags of the different words among some tokens, and which of them each token is.

        A word that occurs often is looked up once. The number of words is rounded up to a multiple
        of `step` by words of no bucket, so that few shapes compile.
        """
        words, place = np.unique(self.word[tokens], return_inverse=True)
        count = -(-len(words) // step) * step
        bags = np.full((count, self.of_word.shape[1]), -1, np.int32)
        bags[: len(words)] = self.of_word[words]
        return bags, place.astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
    """Token states of texts without an encoder's own marks, and a role for each token.

    Attributes
    ----------
    states : TokenStates
        Those of the encoder, marks included.
    marks : (int, int)
        Tokens at the start and at the end of each text that are not read.
    roles : int `[N]`
        1 for a token of a mention, 0 for all others.
    bags : Bags, optional
        What a model that learns its words reads in place of states.
    """

    states: TokenStates
    marks: tuple[int, int]
    roles: Int[np.ndarray, " N"]
    bags: Bags | None = None

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.states)

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens read of each text."""
        return np.clip(self.states.lengths - sum(self.marks), 0, LONGEST)

    def batch(self, rows: Int[np.ndarray, " B"], length: int) -> Batch:
        """Some texts, each cut to `length` tokens.

        The number of tokens is rounded up to an eighth of what B full texts have, so that few
        shapes compile; the surplus repeats the last token and belongs to no text.
        """
        lengths = np.minimum(self.lengths[rows], length)
        tokens = self._tokens(rows, lengths)
        step = max(1, -(-len(rows) * length // 8))
        held = max(step, -(-len(tokens) // step) * step)
        before = np.cumsum(lengths) - lengths
        places = np.arange(length)
        at = np.where(places < lengths[:, None], before[:, None] + places, held)
        last = tokens[-1] if len(tokens) else 0
        tokens = np.append(tokens, np.full(held - len(tokens), last))
        # as stored, in half precision if so: most of the time of a batch is moving its states
        if self.bags is None:
            states, word = self.states.values[tokens], None
        else:
            states, word = self.bags.read(tokens, step)
        about = self.states.ids[tokens], self.roles[tokens]
        return Batch(states, *about, at.astype(np.int32), word)

    def tokens(self, rows: Int[np.ndarray, " B"]) -> Int[np.ndarray, " k"]:
        """Places of all tokens read of some texts among those of all texts."""
        return self._tokens(rows, self.lengths[rows])

    def _tokens(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        begins = self.states.starts[:-1][rows] + self.marks[0]
        before = np.cumsum(lengths) - lengths
        return np.repeat(begins - before, lengths) + np.arange(lengths.sum())


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Encoded entities and mentions.

    Attributes
    ----------
    entities : Texts
        All N of them, world after world.
    mentions : mapping of split to Texts
    labels : mapping of split to int [n]
        The entity that each mention means.
    candidates : mapping of split to int [n, 2]
        First and one-past-last entity of each mention's world.
    counts : int [N]
        Occurrences of each entity in tagged text: popularity is proportional to counts + 1.
    vocabulary : int
        Number of token ids.
    name : str
        Of data and encoder.
    words : Hashed, optional
        What a model learns in place of frozen states.
    """

    entities: Texts
    mentions: Mapping[str, Texts]
    labels: Mapping[str, Int[np.ndarray, " n"]]
    candidates: Mapping[str, Int[np.ndarray, "n 2"]]
    counts: Int[np.ndarray, " N"]
    vocabulary: int
    name: str
    words: Hashed | None = None

    def label_space(self, split: str) -> Int[np.ndarray, " V"]:
        """Entities of all worlds of a split, in order."""
        worlds = np.unique(self.candidates[split], axis=0)
        return np.concatenate([np.arange(first, end) for first, end in worlds])

    def rarity(self) -> Float[np.ndarray, " vocabulary"]:
        """log((N + 1) / (n + 1/2)): n of N entities of the training worlds have the word."""
        space = self.label_space("train")
        ids = np.asarray(self.entities.states.ids)[self.entities.tokens(space)]
        text = np.repeat(np.arange(len(space)), self.entities.lengths[space])
        pairs = np.unique(text * self.vocabulary + ids)  # each word once for each entity
        found = np.bincount(pairs % self.vocabulary, minlength=self.vocabulary)
        return np.maximum(np.log((len(space) + 1) / (found + 0.5)), 0.0)

    def center(self) -> Float[np.ndarray, " H"]:
        """Mean state of the tokens of the training worlds' entities (of a fixed sample).

        0 if words are learnt: their mean moves.
        """
        if self.words is not None:
            return np.zeros(self.words.size)
        tokens = self.entities.tokens(self.label_space("train"))
        tokens = tokens[:: max(1, len(tokens) // SAMPLE)]
        return np.asarray(self.entities.states.values[tokens], np.float64).mean(axis=0)

    def __repr__(self) -> str:
        """Sizes, in one line."""
        sizes = ", ".join(f"{len(texts)} {split}" for split, texts in self.mentions.items())
        return f"Corpus({self.name}: {len(self.entities)} entities, mentions {sizes})"


def corpus(
    data: EntityLinking,
    encoder: Any,
    *,
    folder: Any = None,
    limit: int | None = None,
    learn: bool = False,
) -> Corpus:
    """Encode a data set, or read its states from the cache.

    Parameters
    ----------
    data : EntityLinking
    encoder
        An encoder of `nb.text`.
    folder : path, optional
        Of the cache; see `nb.text.cached`.
    limit : int, optional
        Keep at most that many mentions of each split, evenly spread over the file.
    learn : bool
        Of `nb.text.hashed` alone: its table is where a model's own begins, and is trained with it.

    Raises
    ------
    ValueError
        For `learn` with an encoder whose states are computed, not looked up.
    """
    if learn and not isinstance(encoder, Hashed):
        raise refuse(
            "learn",
            f"got {type(encoder).__name__}, whose states are frozen",
            "the encoder nb.text.hashed()",
            "Leave learn out: linear heads on frozen states are trained in any case.",
        )
    mentions = {
        split: found if limit is None else found[:: max(1, -(-len(found) // limit))]
        for split, found in data.mentions.items()
    }
    entities = cached(encoder, [e.description for e in data.entities], folder)
    texts = {
        split: _marked(encoder, cached(encoder, [m.context for m in found], folder), found, learn)
        for split, found in mentions.items()
    }
    bags = _bags(encoder, [e.description for e in data.entities]) if learn else None
    spans = data.spans
    return Corpus(
        Texts(entities, _marks(encoder), np.zeros(len(entities.ids), np.int32), bags),
        texts,
        {split: np.array([m.label for m in found]) for split, found in mentions.items()},
        {
            split: np.array([(spans[m.world].start, spans[m.world].stop) for m in found])
            for split, found in mentions.items()
        },
        np.array([entity.count for entity in data.entities]),
        entities.vocabulary,
        f"{data.source}; {encoder.fingerprint}" + (", learnt" if learn else ""),
        encoder if learn else None,
    )


def _marks(encoder: Any) -> tuple[int, int]:
    return getattr(encoder, "marks", (0, 0))


def _bags(encoder: Hashed, texts: Sequence[str]) -> Bags:
    words, word, _ = encoder.words(texts)
    of_word, _ = encoder.bags(words, 1, GRAMS)
    return Bags(of_word[:, 0], word)


def _marked(encoder: Any, states: TokenStates, mentions: Sequence[Any], learn: bool) -> Texts:
    """Roles: 1 for the tokens of the mention itself, whose place follows from those before it."""
    roles = np.zeros(len(states.ids), np.int32)
    if hasattr(encoder, "lengths"):  # of any other encoder no token is known to be the mention's
        before = np.asarray(encoder.lengths([mention.left for mention in mentions]))
        inside = np.asarray(encoder.lengths([mention.text for mention in mentions]))
        starts = states.starts[:-1] + _marks(encoder)[0] + before
        ends = np.minimum(starts + inside, states.starts[1:])
        for start, end in zip(starts, ends, strict=True):
            roles[start:end] = 1
    bags = _bags(encoder, [mention.context for mention in mentions]) if learn else None
    return Texts(states, _marks(encoder), roles, bags)
