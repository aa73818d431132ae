"""What an encoder is, and one made of any function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nce_bias._checks import refuse
from nce_bias.text.states import TokenStates


@runtime_checkable
class Encoder(Protocol):
    """What `nb.text.cached` takes: anything with these two.

    An encoder that can also say where the tokens of a part of a text stand has `marks`, how many
    tokens of its own stand before and after those of each text, and ``lengths(texts)``, how many
    tokens each text has without marks, those of a text being those of its parts, one by one.

    Attributes
    ----------
    fingerprint : str
        Equal fingerprints promise equal states for equal texts: a digest of the weights and of
        every setting that changes a state.
    """

    @property
    def fingerprint(self) -> str:
        """Digest of weights and settings."""
        ...

    def encode(self, texts: Sequence[str], progress: bool = True) -> TokenStates:
        """Token states of the texts, in their order.  `progress` may be ignored."""
        ...


@dataclass(frozen=True)
class FunctionEncoder:
    """An encoder made by `from_function`."""

    function: Callable[[list[str]], Iterable[Any]]
    name: str

    @property
    def fingerprint(self) -> str:
        """The name given: it has to change when the function's results do."""
        return f"function {self.name}"

    def encode(self, texts: Iterable[str], progress: bool = True) -> TokenStates:
        """Token states of the texts, by one call of the function with all of them."""
        given = as_texts(texts)
        arrays = [np.asarray(array) for array in self.function(given)]
        if len(arrays) != len(given):
            raise refuse(
                "function",
                f"{self.name} gave {len(arrays)} arrays for {len(given)} texts",
                "one array [T, H] for each text",
                "Return a list with one entry per text, in order; an empty text may have T = 0.",
            )
        size = arrays[0].shape[-1] if arrays and arrays[0].ndim else 0
        for text, array in enumerate(arrays):
            if array.ndim != 2 or array.shape[1] != size or array.dtype.kind not in "fiu":
                raise refuse(
                    "function",
                    f"{self.name} gave {array.dtype} of shape {array.shape} for text {text}",
                    f"real numbers of shape [T, {size}]" if size else "real numbers [T, H]",
                    "Return one row per token, of the same size for all texts.",
                )
        half = bool(arrays) and all(array.dtype == np.float16 for array in arrays)
        dtype = np.float16 if half else np.float32
        values = np.concatenate([np.zeros((0, size), dtype), *arrays], dtype=dtype)
        starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return TokenStates(values, np.zeros(len(values), np.int32), starts, vocabulary=1)


def from_function(function: Callable[[list[str]], Iterable[Any]], name: str) -> FunctionEncoder:
    """An encoder of any function from texts to arrays: another model, another library.

    Parameters
    ----------
    function
        ``function(list of str) -> list of arrays [T_i, H]``, one row per token.  Called once with
        all texts.  float16 is kept, every other dtype is stored as float32.
    name
        Stands for the function in a cache: give another one when its results change (weights,
        version, settings), or old states will be taken for new.

    Returns
    -------
    FunctionEncoder
        An `Encoder`.  The function says nothing of token ids: all are 0, of a vocabulary of 1.  For
        ids write a class with the two members of `Encoder`.

    Raises
    ------
    ValueError
        On encoding, if the function's arrays do not fit the texts.

    Examples
    --------
    >>> import numpy as np
    >>> def lengths(texts):
    ...     return [np.array([[len(w), 1.0] for w in text.split()]) for text in texts]
    >>> from_function(lengths, "word lengths, 1").encode(["a small dog", "cat"])
    TokenStates(2 texts, 4 tokens, size=2, vocabulary=1, float32)
    """
    if not isinstance(name, str) or not name:
        raise refuse("name", f"got {name!r}", "a text that is not empty", "Name model and version.")
    return FunctionEncoder(function, name)


def as_texts(texts: Any) -> list[str]:
    """A list of str; one str alone, whose letters would be taken for texts, is refused."""
    if isinstance(texts, str):
        raise refuse("texts", "got one str", "a list of texts", "Pass [text].")
    found = list(texts)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise refuse(
                "texts",
                f"got {type(text).__name__} as text {index}",
                "a list of str",
                "Join words by ' '.join(words); replace missing texts by ''.",
            )
    return found
