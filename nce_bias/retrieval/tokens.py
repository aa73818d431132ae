"""Token ids of texts, and batches of them as an encoder that is trained reads them: packed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from nce_bias.retrieval.tower import Rows
from nce_bias.text.packing import pack

WIDTH = 32  # cells of a row, unless a text is longer: 64, 128, ...
PARTS = 8  # rows come in multiples of about this part of what a batch needs: few shapes compile


class Packed(NamedTuple):
    """B texts in R rows of W cells, several texts in a row.

    Attributes
    ----------
    ids, positions, texts, types : int `[R, W]`
        Each cell's token, its place in its text, the number of its text (from 1; 0: no text), and
        the part of a pair that it is of (0, 1).
    at : int `[B, T]`
        Which cell, counted through all rows, holds the t-th token of a text; R W, which is none,
        where the text is shorter. A text that is there twice has the same cells twice.
    noise : int `[2]`, optional
        What dropout follows from; without it nothing is dropped.
    """

    ids: Int[Rows, "R W"]
    positions: Int[Rows, "R W"]
    texts: Int[Rows, "R W"]
    types: Int[Rows, "R W"]
    at: Int[Rows, "B T"]
    noise: Int[Rows, "2"] | None = None

    @property
    def mask(self) -> Bool[Array, "B T"]:
        """True for a real token."""
        return jnp.asarray(self.at < self.ids.size)

    @property
    def cells(self) -> tuple[Rows, Rows, Rows, Rows]:
        """What `nce_bias.text.bert.states` takes."""
        return self.ids, self.positions, self.texts, self.types


@dataclasses.dataclass(frozen=True, eq=False)
class TokenTexts:
    """Token ids of n texts, one text after the other, the encoder's own marks among them.

    Attributes
    ----------
    ids : int `[N]`
    starts : int `[n + 1]`
        Text i is ``ids[starts[i]:starts[i + 1]]``, of one token or more.
    firsts : int `[n]`, optional
        Of pairs: how many tokens of each are its first part, of type 0; those behind are of type 1.
    """

    ids: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " n1"]
    firsts: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1

    @functools.cached_property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Tokens of each text."""
        return np.diff(self.starts)

    @functools.cached_property
    def buckets(self) -> tuple[int, ...]:
        """Lengths that columns of tokens are padded to: 8, 16, 32, ... up to the longest text."""
        last = rounded(int(self.lengths.max(initial=1)))
        return tuple(8 << power for power in range(last.bit_length() - 3))

    def batch(self, rows: Int[np.ndarray, " B"], length: int) -> Packed:
        """Some texts, none of them longer than `length`."""
        types = None if self.firsts is None else self.firsts[rows]
        return packed([self[row] for row in rows], rows, length, types)

    def __getitem__(self, row: Any) -> Int[np.ndarray, " T"]:
        """Ids of one text."""
        return self.ids[self.starts[row] : self.starts[row + 1]]


def _height(rows: int) -> int:
    """Rows of a batch: a power of two, or a multiple of one that is an eighth of it."""
    step = 1 << (max(1, rows // PARTS) - 1).bit_length()
    return -(-rows // step) * step


def rounded(length: int, least: int = 8) -> int:
    """The next of 8, 16, 32, ... that is `least` or more."""
    return max(least, 1 << (length - 1).bit_length())


def packed(
    texts: Sequence[np.ndarray],
    names: Sequence[int] | np.ndarray,
    length: int,
    types: Sequence[int] | np.ndarray | None = None,
) -> Packed:
    """B texts as one batch.

    Parameters
    ----------
    texts
        Token ids of each, int32, one or more.
    names
        A number for each; texts of one number are one text, which is computed once.
    length
        T, as many tokens as the longest of them or more.
    types
        How many tokens of each text are of type 0, those behind of type 1; default: all.

    The number of rows is rounded up, by a tenth of them on average, so that few shapes compile.
    """
    _, first, again = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    lengths = np.array([len(texts[index]) for index in first])
    width = rounded(int(lengths.max()), WIDTH)
    row, offset, rows = pack(lengths, width)
    cells = np.zeros((4, _height(rows) * width), np.int32)
    begins = row * width + offset
    text = np.repeat(np.arange(len(first)), lengths)
    place = np.arange(len(text)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    cell = begins[text] + place
    cells[0, cell] = np.concatenate([texts[index] for index in first])
    cells[1, cell], cells[2, cell] = place, text + 1
    if types is not None:
        cells[3, cell] = place >= np.asarray(types)[first][text]
    places = np.arange(length)
    at = np.where(places < lengths[:, None], begins[:, None] + places, cells.shape[1])[again]
    ids, position, number, kind = cells.reshape(4, -1, width)
    return Packed(ids, position, number, kind, at.astype(np.int32))
