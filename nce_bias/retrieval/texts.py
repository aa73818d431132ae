"""Token states of texts, and batches of them in few shapes."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from nce_bias.retrieval.tower import Batch
from nce_bias.text import TokenStates

LONGEST = 32  # tokens of a text that are read
LENGTHS = (8, 16, LONGEST)  # that texts are padded to where they are scored
GRAMS = 32  # buckets read of a learnt word: those of 3 to 5 letters of a word of 12


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
        All states that the encoder gave, marks included.
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

    @property
    def buckets(self) -> tuple[int, ...]:
        """Lengths that texts are padded to where they are scored: few shapes compile."""
        return LENGTHS

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
        ids, roles, at = self.states.ids[tokens], self.roles[tokens], at.astype(np.int32)
        if self.bags is not None:
            return Batch(None, ids, roles, at, *self.bags.read(tokens, step))
        # as stored, in half precision if so: most of the time of a batch is moving its states
        return Batch(self.states.values[tokens], ids, roles, at)

    def tokens(self, rows: Int[np.ndarray, " B"]) -> Int[np.ndarray, " k"]:
        """Places of all tokens read of some texts among those of all texts."""
        return self._tokens(rows, self.lengths[rows])

    def _tokens(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        begins = self.states.starts[:-1][rows] + self.marks[0]
        before = np.cumsum(lengths) - lengths
        return np.repeat(begins - before, lengths) + np.arange(lengths.sum())
