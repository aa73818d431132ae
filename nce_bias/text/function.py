"""Any function of texts as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias.text.states import TokenStates, ragged


class FunctionEncoder:
    """States by a function of the user's own; see `from_function`."""

    prefix = 0
    vocabulary = 1

    def __init__(
        self, function: Callable[[list[str]], list[Float[np.ndarray, "T H"]]], name: str
    ) -> None:
        self._function, self.fingerprint = function, name

    def __repr__(self) -> str:
        """The name it was given."""
        return f"from_function({self.fingerprint})"

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text; an empty text has none."""
        return [len(states) for states in self._function(list(texts))]

    def encode(self, texts: Sequence[str], *, progress: bool = True) -> TokenStates:
        """States of all texts, checked."""
        parts = [np.asarray(states) for states in self._function(list(texts))]
        for row, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != parts[0].shape[-1]:
                raise refuse(
                    "function",
                    f"gave states of shape {part.shape} for text {row}",
                    f"[T, {parts[0].shape[-1]}], one row for each token",
                    "Give every token a state of the same width.",
                )
        if len(parts) != len(texts):
            raise refuse(
                "function",
                f"gave {len(parts)} arrays for {len(texts)} texts",
                "one array for each text, in their order",
                "Return a list.",
            )
        return ragged(parts, [np.zeros(len(part), np.int32) for part in parts], 1)


def from_function(
    function: Callable[[list[str]], list[Float[np.ndarray, "T H"]]], name: str
) -> FunctionEncoder:
    """An encoder from a function of a list of texts.

    Parameters
    ----------
    function
        Gives each text an array `[T_i, H]` of token states. If texts are to be marked (the words of
        a mention), tokens of a text have to be those of its parts, one part after the other.
    name : str
        Names states on disk: change it when the function changes.

    Examples
    --------
    >>> import numpy as np
    >>> lengths = nb.text.from_function(
    ...     lambda texts: [np.array([[len(w)] for w in t.split()]) for t in texts], "lengths")
    >>> lengths.encode(["a bee", "flies"]).values.tolist()
    [[1], [3], [5]]
    """
    return FunctionEncoder(function, name)
