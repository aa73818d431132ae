"""A data set as training and ranking take it: token states of every text, golds and worlds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from nce_bias._checks import refuse
from nce_bias.data import EntityLinking, Mention
from nce_bias.retrieval._token_corpus import entity_texts, mention_texts
from nce_bias.retrieval.texts import GRAMS, Bags, Texts
from nce_bias.text import Bert, Hashed, TokenStates, cached

SAMPLE = 200_000  # tokens whose mean is the centre


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Mentions:
    """Mentions of one split and what they are linked among; ``mentions[rows]`` are some of them.

    Attributes
    ----------
    texts : Texts or TokenTexts
        Those of all mentions of the split.
    rows : int `[n]`
        Which of the texts these n mentions are.
    labels : int `[n]`
        The entity that each mention means, its gold.
    spans : int `[n, 2]`
        First and one-past-last entity of each mention's world.
    worlds : str `[n]`
        The name of that world.
    space : int `[V]`
        Entities of all worlds of the split, in order.
    entities : Texts or TokenTexts
        All N entities of the corpus.
    counts : int `[N]`
        Occurrences of each entity in tagged text: popularity is proportional to counts + 1.
    """

    texts: Any  # Texts or TokenTexts, which have little in common but rows
    rows: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    spans: Int[np.ndarray, "n 2"]
    worlds: Shaped[np.ndarray, " n"]
    space: Int[np.ndarray, " V"]
    entities: Any
    counts: Int[np.ndarray, " N"]

    def __len__(self) -> int:
        """Number of mentions."""
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Mentions:
        """Some mentions, by an array of integers, a mask or a slice; `space` stays."""
        some = {name: getattr(self, name)[rows] for name in ("rows", "labels", "spans", "worlds")}
        return dataclasses.replace(self, **some)

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens read of each mention's text."""
        return self.texts.lengths[self.rows]

    def __repr__(self) -> str:
        """Sizes, in one line."""
        return f"Mentions({len(self)} in {len(np.unique(self.worlds))} worlds)"


def check_mentions(mentions: Any) -> Mentions:
    """Mentions as they are; anything else, a whole corpus for one, is refused."""
    if not isinstance(mentions, Mentions):
        raise refuse(
            "mentions",
            f"got {type(mentions).__name__}",
            "the mentions of a split, or some of them",
            "Pass corpus['test'] or corpus['test'][rows].",
        )
    return mentions


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Encoded entities and mentions: ``corpus["test"]`` are the `Mentions` of the test split.

    Attributes
    ----------
    entities : Texts or TokenTexts
        All N of them, world after world.
    mentions : mapping of split to Mentions
    counts : int `[N]`
        Occurrences of each entity in tagged text.
    vocabulary : int
        Number of token ids.
    name : str
        The data and the encoder, by which a checkpoint knows its corpus.
    words : Hashed or Bert, optional
        What a model learns in place of frozen states.
    """

    entities: Any
    mentions: Mapping[str, Mentions]
    counts: Int[np.ndarray, " N"]
    vocabulary: int
    name: str
    words: Hashed | Bert | None = None

    def __getitem__(self, split: str) -> Mentions:
        """The mentions of a split."""
        if split not in self.mentions:
            known = ", ".join(repr(name) for name in self.mentions)
            remedy = "Pass the name of a split, and select mentions from that: corpus[split][rows]."
            raise refuse("split", f"got {split!r}", f"one of {known}", remedy)
        return self.mentions[split]

    def rarity(self) -> Float[np.ndarray, " vocabulary"]:
        """log((N + 1) / (n + 1/2)): n of N entities of the training worlds have the word."""
        space = self["train"].space
        ids = np.asarray(self.entities.states.ids)[self.entities.tokens(space)]
        text = np.repeat(np.arange(len(space)), self.entities.lengths[space])
        pairs = np.unique(text * self.vocabulary + ids)  # each word once for each entity
        having = np.bincount(pairs % self.vocabulary, minlength=self.vocabulary)
        return np.maximum(np.log((len(space) + 1) / (having + 0.5)), 0.0)

    def center(self) -> Float[np.ndarray, " H"]:
        """Mean state of the tokens of the training worlds' entities (of a fixed sample).

        0 if words are learnt: their mean moves.
        """
        if self.words is not None:
            assert isinstance(self.words, Hashed)
            return np.zeros(self.words.size)
        tokens = self.entities.tokens(self["train"].space)
        tokens = tokens[:: max(1, len(tokens) // SAMPLE)]
        return np.asarray(self.entities.states.values[tokens], np.float64).mean(axis=0)

    def __repr__(self) -> str:
        """Sizes, in one line."""
        sizes = ", ".join(f"{len(some)} {split}" for split, some in self.mentions.items())
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
        The cache's; see `nb.text.cached`.
    limit : int, optional
        Keep at most that many mentions of each split, evenly spread over the file.
    learn : bool
        Whether the encoder itself is learnt. Of `nb.text.hashed` its table is where a model's own
        begins, and is trained with it. Of `nb.text.minilm` and `nb.text.bert` the corpus holds
        token ids in place of states, with the reserved tokens [unused0] and [unused1] around each
        mention, and `encoder_retriever` trains all of it.

    Raises
    ------
    ValueError
        For `learn` with an encoder of any other kind, and with a tokenizer that lacks a mark.

    Warns
    -----
    UserWarning
        If texts are cut, with their number; see `max_tokens` of the encoder.
    """
    if learn and isinstance(encoder, Bert):
        return _of_tokens(data, encoder, limit)
    if learn and not isinstance(encoder, Hashed):
        raise refuse(
            "learn",
            f"got {type(encoder).__name__}, whose states are frozen",
            "the encoder nb.text.hashed(), nb.text.minilm() or nb.text.bert(path)",
            "Leave learn out: linear heads on frozen states are trained in any case.",
        )
    descriptions = [entity.description for entity in data.entities]
    states = cached(encoder, descriptions, folder)
    roles = np.zeros(len(states.ids), np.int32)
    bags = _bags(encoder, descriptions) if learn else None
    entities = Texts(states, _marks(encoder), roles, bags)
    counts = np.array([entity.count for entity in data.entities])

    def marked(mentions: Sequence[Mention]) -> Texts:
        states = cached(encoder, [mention.context for mention in mentions], folder)
        return _marked(encoder, states, mentions, learn)

    mentions = {
        split: _mentions(_some(found, limit), data, marked, entities, counts)
        for split, found in data.mentions.items()
    }
    name = f"{data.source}; {encoder.fingerprint}" + (", learnt" if learn else "")
    words = encoder if learn else None
    return Corpus(entities, mentions, counts, states.vocabulary, name, words)


def _of_tokens(data: EntityLinking, encoder: Bert, limit: int | None) -> Corpus:
    entities = entity_texts(data, encoder)
    counts = np.array([entity.count for entity in data.entities])
    mentions = {
        split: _mentions(
            _some(found, limit), data, lambda some: mention_texts(some, encoder), entities, counts
        )
        for split, found in data.mentions.items()
    }
    name = f"{data.source}; {encoder.fingerprint}, learnt"
    return Corpus(entities, mentions, counts, encoder.config["vocab_size"], name, encoder)


def _some(mentions: Sequence[Mention], limit: int | None) -> Sequence[Mention]:
    return mentions if limit is None else mentions[:: max(1, -(-len(mentions) // limit))]


def _mentions(
    mentions: Sequence[Mention],
    data: EntityLinking,
    texts_of: Callable[[Sequence[Mention]], Any],
    entities: Any,
    counts: Int[np.ndarray, " N"],
) -> Mentions:
    spans = [data.spans[mention.world] for mention in mentions]
    return Mentions(
        texts_of(mentions),
        np.arange(len(mentions)),
        np.array([mention.label for mention in mentions]),
        np.array([(span.start, span.stop) for span in spans]),
        np.array([mention.world for mention in mentions]),
        np.concatenate([np.arange(*ends) for ends in sorted({(s.start, s.stop) for s in spans})]),
        entities,
        counts,
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
