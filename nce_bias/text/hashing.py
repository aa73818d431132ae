"""Learnable word embeddings of hashed character n-grams: no vocabulary, no extra dependency."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, refuse
from nce_bias.text.encoders import as_texts
from nce_bias.text.states import TokenStates

_WORD = re.compile(r"\w+")


class Hashed(eqx.Module):
    """Word states from hashed character n-grams; made by `hashed`.

    A word w is the set G(w) of the buckets of its n-grams; its state is the mean of their rows,
    E_w = 1/|G(w)| Σ_{g in G(w)} table[g].  States do not depend on the words around.

    Attributes
    ----------
    table : float array [buckets, size]
        The only parameters: train them like those of any Equinox module.
    ngrams : (int, int)
        Shortest and longest n-gram.
    """

    marks: ClassVar[tuple[int, int]] = (0, 0)

    table: Float[Array, "buckets size"]
    ngrams: tuple[int, int] = eqx.field(static=True)

    def __call__(self, bags: Int[Array | np.ndarray, "... g"]) -> Float[Array, "... size"]:
        """States ``[..., H]`` of bags ``[..., G]``: the mean over buckets >= 0, 0 for none.

        Any leading axes; differentiable in `table`; works under jit and vmap.
        """
        present = bags >= 0
        rows = self.table[jnp.where(present, bags, 0)]  # [..., G, H]
        total = jnp.where(present[..., None], rows, 0).sum(-2)
        return total / jnp.maximum(present.sum(-1), 1)[..., None].astype(total.dtype)

    def bags(
        self, texts: Iterable[str], length: int | None = None, grams: int | None = None
    ) -> tuple[Int[np.ndarray, "b t g"], Bool[np.ndarray, "b t"]]:
        """Buckets of the n-grams of the words of some texts.

        Parameters
        ----------
        texts
            B texts.  Words are runs of letters, digits and underscores, lower-cased; other
            characters separate them.
        length
            T: longer texts lose their last words.  Default: the longest of these.
        grams
            G: words with more buckets keep the lowest.  Default: the most of these words.  Give
            both where a new shape costs a compilation.

        Returns
        -------
        bags : int32 [B, T, G]
            Each word's buckets in increasing order, each once; then −1.
        mask : bool [B, T]
            Where there is a word.
        """
        words = [_words(text) for text in as_texts(texts)]
        length = _size("length", length, (len(found) for found in words))
        words = [found[:length] for found in words]
        known = {word: row for row, word in enumerate(dict.fromkeys(w for t in words for w in t))}
        found = [self._buckets(word) for word in known]
        grams = _size("grams", grams, map(len, found))
        table = np.full((len(known) + 1, grams), -1, np.int32)  # the last row: no word
        for row, buckets in enumerate(found):
            table[row, : len(buckets)] = buckets[:grams]
        which = np.full((len(words), length), len(known))
        for row, text in enumerate(words):
            which[row, : len(text)] = [known[word] for word in text]
        return table[which], which < len(known)

    def encode(self, texts: Iterable[str], progress: bool = True) -> TokenStates:
        """Token states by the present table, float32; a word's id is the bucket of the whole word.

        `progress` changes nothing.
        """
        words, which, starts = self.words(texts)
        own = np.array([_bucket(f"<{word}>", self.buckets) for word in words], np.int32)
        return TokenStates(self._states(words)[which], own[which], starts, self.buckets)

    def words(
        self, texts: Iterable[str]
    ) -> tuple[list[str], Int[np.ndarray, " n"], Int[np.ndarray, " texts_and_1"]]:
        """The different words, which of them each token is, and where each text starts.

        A table of states or `bags` of the words, read at the second, is one of the tokens.
        """
        found = [_words(text) for text in as_texts(texts)]
        starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
        rows: dict[str, int] = {}
        which = [rows.setdefault(word, len(rows)) for text in found for word in text]
        return list(rows), np.array(which, np.int64), starts

    def lengths(self, texts: Iterable[str]) -> np.ndarray:
        """Words of each text ``[n]``."""
        return np.array([len(_words(text)) for text in as_texts(texts)], np.int64)

    @property
    def buckets(self) -> int:
        """Number of rows of the table, which is the number of token ids."""
        return self.table.shape[0]

    @property
    def size(self) -> int:
        """H, how many numbers a state has."""
        return self.table.shape[1]

    @property
    def fingerprint(self) -> str:
        """A digest of the table and the settings; it changes as the table is trained."""
        table = np.asarray(self.table)
        digest = hashlib.sha256(f"Hashed 1 {self.ngrams} {table.dtype} {table.shape}".encode())
        digest.update(np.ascontiguousarray(table).data)
        return digest.hexdigest()

    def _buckets(self, word: str) -> list[int]:
        return _word_buckets(word, self.ngrams, self.buckets)

    def _states(self, words: list[str]) -> np.ndarray:
        """The mean of each word's rows ``[n, H]``, in float64 and without padding, then float32."""
        table = np.asarray(self.table)
        values = np.empty((len(words), self.size), np.float32)
        for row, word in enumerate(words):
            values[row] = table[self._buckets(word)].mean(0, dtype=np.float64)
        return values


def hashed(
    size: int = 64,
    buckets: int = 2**15,
    ngrams: tuple[int, int] = (3, 5),
    *,
    key: PRNGKeyArray | None = None,
) -> Hashed:
    """Learnable word embeddings of hashed character n-grams (Bojanowski et al., TACL 2017).

    A word gets boundary marks, "<dog>"; its n-grams are all runs of n characters of that, n from
    ``ngrams[0]`` to ``ngrams[1]``, and "<dog>" itself.  Each is hashed to a bucket, CRC-32 of its
    UTF-8 bytes modulo `buckets`: the same on every machine and in every process.  Different
    n-grams may share a bucket; buckets that coincide within a word count once.

    Parameters
    ----------
    size
        H, how many numbers a state has.
    buckets
        Rows of the table.
    ngrams
        Shortest and longest n-gram.
    key
        Key of the initial table, normal with variance 1/H: rows have norm near 1.  Default:
        ``jax.random.key(0)``, the same table each time.

    Raises
    ------
    ValueError
        If a size is not positive, or `ngrams` not two rising numbers.

    Examples
    --------
    >>> encoder = hashed(size=4, buckets=1000, ngrams=(3, 3))
    >>> bags, mask = encoder.bags(["Big dogs", "dog"])
    >>> bags.shape, mask.tolist()   # <do dog ogs gs> <dogs>
    ((2, 2, 5), [[True, True], [True, False]])
    >>> encoder(bags).shape
    (2, 2, 4)
    """
    size, buckets = check_count("size", size), check_count("buckets", buckets)
    if len(ngrams) != 2 or check_count("ngrams", ngrams[0]) > check_count("ngrams", ngrams[1]):
        raise refuse(
            "ngrams", f"got {ngrams!r}", "(shortest, longest), both >= 1", "Pass ngrams=(3, 5)."
        )
    key = jax.random.key(0) if key is None else key
    table = jax.random.normal(key, (buckets, size)) / np.sqrt(size)
    return Hashed(table, (int(ngrams[0]), int(ngrams[1])))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _bucket(gram: str, buckets: int) -> int:
    return zlib.crc32(gram.encode("utf-8", "surrogatepass")) % buckets


@lru_cache(maxsize=2**17)
def _word_buckets(word: str, ngrams: tuple[int, int], buckets: int) -> list[int]:
    marked = f"<{word}>"
    runs = {
        marked[i : i + n]
        for n in range(ngrams[0], ngrams[1] + 1)
        for i in range(len(marked) - n + 1)
    }
    return sorted({_bucket(gram, buckets) for gram in runs | {marked}})


def _size(argument: str, given: int | None, found: Iterable[int]) -> int:
    return max(found, default=0) if given is None else check_count(argument, given)
