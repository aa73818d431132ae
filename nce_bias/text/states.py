"""Token states of texts, stored one after the other."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from nce_bias._checks import refuse


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TokenStates:
    """States E(x) `[T, H]` of n texts of different lengths.

    Attributes
    ----------
    values : `[N, H]`
        A row for each token of every text; may be a memory map, in half precision.
    ids : int32 `[N]`
        Of the vocabulary.
    starts : int `[n + 1]`
        Text k is rows starts[k] to starts[k + 1].
    vocabulary : int
        Number of ids there can be.

    Examples
    --------
    >>> import numpy as np
    >>> found = nb.text.TokenStates(np.eye(3), np.array([5, 7, 5]), np.array([0, 1, 3]), 8)
    >>> states, ids, mask = found.padded(np.array([1, 0]))
    >>> ids.tolist(), mask.tolist()
    ([[7, 5], [5, 0]], [[True, True], [True, False]])
    """

    values: Num[np.ndarray, "N H"]
    ids: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " n_1"]
    vocabulary: int

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        ends = self.starts[-1] if len(self.starts) else -1
        if not (len(self.values) == len(self.ids) == ends and self.starts[0] == 0):
            raise refuse(
                "TokenStates",
                f"got {len(self.values)} states, {len(self.ids)} ids, starts that end at {ends}",
                "one id for each state, and starts from 0 to their number",
                "Give starts[k] the number of tokens before text k, and one entry more at the end.",
            )

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1

    @property
    def size(self) -> int:
        """H, the width of a state."""
        return self.values.shape[1]

    def padded(
        self, rows: Int[np.ndarray, " B"], length: int | None = None
    ) -> tuple[Num[np.ndarray, "B T H"], Int[np.ndarray, "B T"], Bool[np.ndarray, "B T"]]:
        """States, ids and mask of some texts, cut or padded to `length` (default: the longest).

        Padding repeats some token's state and has id 0: only the mask says what is real.
        """
        rows = np.asarray(rows)
        lengths = self.starts[rows + 1] - self.starts[rows]
        places = np.arange(int(lengths.max(initial=1)) if length is None else length)
        mask = places < lengths[:, None]
        at = np.where(mask, self.starts[rows][:, None] + places, 0)
        return self.values[at], np.where(mask, self.ids[at], 0), mask

    def sentences(self) -> Float[np.ndarray, "n H"]:
        """The mean state of each text, as a unit vector."""
        sums = np.add.reduceat(np.asarray(self.values, np.float32), self.starts[:-1], axis=0)
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)

    def __repr__(self) -> str:
        """Sizes, in one line."""
        return (
            f"TokenStates({len(self)} texts, {len(self.ids)} tokens, H = {self.size}, "
            f"{self.values.dtype})"
        )


def ragged(
    parts: list[Num[np.ndarray, "T H"]], ids: list[Int[np.ndarray, " T"]], vocabulary: int
) -> TokenStates:
    """Join the states of texts, given one by one."""
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return TokenStates(
        np.concatenate(parts), np.concatenate(ids).astype(np.int32), starts, vocabulary
    )
