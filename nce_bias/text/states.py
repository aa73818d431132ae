"""Token states of many texts of different lengths, one after the other without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nce_bias._checks import check_count, refuse


@dataclass(frozen=True, eq=False)
class TokenStates:
    """E(x) of n texts: text i has T_i tokens, each with a state of H numbers and an id.

    Attributes
    ----------
    values : float array [N, H]
        float16 or float32; the N = Σ T_i tokens of all texts, text after text.  May be a memory
        map.
    ids : int32 array [N]
        Token ids, each in 0..vocabulary-1.  What they stand for is the encoder's affair.
    starts : int64 array [n + 1]
        Text i is rows ``starts[i]:starts[i + 1]``; a text may have no token.
    vocabulary : int
        Number of token ids there are.

    Raises
    ------
    ValueError
        If shapes, dtypes or ids do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> states = TokenStates(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "f4"),
    ...                      np.array([7, 8, 9], "i4"), np.array([0, 1, 3]), vocabulary=10)
    >>> len(states), states.size, states[1].tolist()
    (2, 2, [[3.0, 4.0], [5.0, 6.0]])
    >>> values, ids, mask = states.padded([1, 0])
    >>> values.shape, ids.tolist(), mask.tolist()
    ((2, 2, 2), [[8, 9], [7, 0]], [[True, True], [True, False]])
    """

    values: np.ndarray
    ids: np.ndarray
    starts: np.ndarray
    vocabulary: int

    def __post_init__(self) -> None:
        _check(self)

    @property
    def size(self) -> int:
        """H, how many numbers a state has."""
        return self.values.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """T_i, the number of tokens of each text ``[n]``."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, text: int) -> np.ndarray:
        """States of one text ``[T_i, H]``, as they are stored."""
        row = self._rows([text])[0]
        return self.values[self.starts[row] : self.starts[row + 1]]

    def padded(
        self, rows: Sequence[int] | np.ndarray, length: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States of some texts as one rectangle.

        Parameters
        ----------
        rows
            Numbers of B texts, in any order, repeats allowed; from the end if negative.
        length
            T: shorter texts are padded to it, longer ones lose their last tokens.  Default: the
            longest of these texts, so that none is cut.  Give it where a new shape costs a
            compilation.

        Returns
        -------
        states : float32 [B, T, H]
            0 where there is no token.
        ids : int32 [B, T]
            0 where there is no token: ask `mask`, 0 is an id too.
        mask : bool [B, T]
            Where there is a token.
        """
        chosen = self._rows(rows)
        begin, lengths = self.starts[chosen], self.lengths[chosen]
        if length is None:
            length = int(lengths.max(initial=0))
        else:
            length = check_count("length", length)
        position = np.arange(length)
        mask = position < lengths[:, None]
        token = (begin[:, None] + position)[mask]
        states = np.zeros((*mask.shape, self.size), np.float32)
        states[mask] = self.values[token]
        ids = np.zeros(mask.shape, np.int32)
        ids[mask] = self.ids[token]
        return states, ids, mask

    def _rows(self, rows: Any) -> np.ndarray:
        chosen = np.asarray(rows)
        if chosen.ndim != 1 or (chosen.size and not np.issubdtype(chosen.dtype, np.integer)):
            raise refuse(
                "rows",
                f"got {chosen.dtype} of shape {chosen.shape}",
                "a list of text numbers",
                "For one text pass [i]; for a mask pass numpy.flatnonzero(mask).",
            )
        chosen = chosen.astype(np.int64)
        outside = chosen[(chosen < -len(self)) | (chosen >= len(self))]
        if outside.size:
            raise refuse(
                "rows",
                f"got {outside[0]} of {len(self)} texts",
                f"numbers from {-len(self)} to {len(self) - 1}",
                "Count texts from 0, in the order they were encoded in.",
            )
        return chosen % max(len(self), 1)

    def __repr__(self) -> str:
        return (
            f"TokenStates({len(self)} texts, {len(self.values)} tokens, size={self.size}, "
            f"vocabulary={self.vocabulary}, {self.values.dtype})"
        )


def _check(states: TokenStates) -> None:
    values, ids, starts = states.values, states.ids, states.starts
    if values.ndim != 2 or values.dtype not in (np.float16, np.float32):
        raise refuse(
            "values",
            f"got {values.dtype} of shape {values.shape}",
            "float16 or float32 of shape [N, H]",
            "Put the tokens of all texts one after the other: np.concatenate(states, dtype='f4').",
        )
    if ids.shape != (len(values),) or ids.dtype != np.int32:
        raise refuse(
            "ids",
            f"got {ids.dtype} of shape {ids.shape} for {len(values)} tokens",
            f"int32 of shape ({len(values)},)",
            "Give one id per token; np.zeros(N, 'i4') if there are none.",
        )
    if len(ids) and not (ids.min() >= 0 and ids.max() < states.vocabulary):
        raise refuse(
            "ids",
            f"got ids from {ids.min()} to {ids.max()} for a vocabulary of {states.vocabulary}",
            f"ids from 0 to {states.vocabulary - 1}",
            "Pass the vocabulary's size.",
        )
    if starts.ndim != 1 or starts.dtype != np.int64 or not _bounds(starts, len(values)):
        raise refuse(
            "starts",
            f"got {starts.dtype} of shape {starts.shape}",
            f"int64 of shape [n + 1], rising from 0 to N = {len(values)}",
            "Pass np.cumsum([0, *lengths]).",
        )


def _bounds(starts: np.ndarray, tokens: int) -> bool:
    ends = starts[[0, -1]].tolist() if starts.size else []
    return ends == [0, tokens] and bool((np.diff(starts) >= 0).all())
