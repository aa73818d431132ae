"""Learned embeddings of hashed subwords: an encoder without any dependency.

A word is the set of its character n-grams, with a mark at both ends, and itself; each is hashed to
one of B buckets, and the state of the word is the mean of the buckets' learned rows. Words that
share a stem share rows, new words have states. Two n-grams in one bucket share a row too.
Source: Bojanowski et al. (2017), fastText.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias.text.states import TokenStates, ragged

MOST = 24  # n-grams of a word that are kept: itself and the first of them


class Hashed:
    """Bags of hashed n-grams in place of states: `values` `[N, 24]`, bucket + 1, 0 where empty."""

    prefix = 0

    def __init__(self, buckets: int, ngrams: tuple[int, int]) -> None:
        self.buckets, self.ngrams = buckets, ngrams

    def __repr__(self) -> str:
        """Buckets and n-grams."""
        return f"hashed(buckets={self.buckets}, ngrams={self.ngrams})"

    @property
    def fingerprint(self) -> str:
        """Buckets and n-grams: all that bags depend on."""
        return f"hashed-{self.buckets}-{self.ngrams[0]}-{self.ngrams[1]}"

    @property
    def vocabulary(self) -> int:
        """Ids of words are buckets."""
        return self.buckets

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(text.split()) for text in texts]

    def bag(self, word: str) -> Int[np.ndarray, " 24"]:
        """Buckets of a word, itself first, each plus one."""
        marked = f"<{word.lower()}>"
        short, long = self.ngrams
        grams = [
            marked[start : start + n]
            for n in range(short, long + 1)
            for start in range(len(marked) - n + 1)
        ]
        found = list(dict.fromkeys([marked, *grams]))[:MOST]
        row = np.zeros(MOST, np.int32)
        row[: len(found)] = [zlib.crc32(gram.encode()) % self.buckets + 1 for gram in found]
        return row

    def encode(self, texts: Sequence[str], *, progress: bool = True) -> TokenStates:
        """Bags of all words of all texts."""
        known: dict[str, np.ndarray] = {}
        parts = []
        for text in texts:
            bags = []
            for word in text.split():
                if word not in known:
                    known[word] = self.bag(word)
                bags.append(known[word])
            parts.append(np.array(bags, np.int32).reshape(-1, MOST))
        return ragged(parts, [part[:, 0] - 1 for part in parts], self.buckets)


def hashed(buckets: int = 2**15, ngrams: tuple[int, int] = (3, 5)) -> Hashed:
    """Words as bags of hashed character n-grams; `Embedding` learns their states.

    Parameters
    ----------
    buckets : int
        B, rows that are learned.
    ngrams : pair of int
        Shortest and longest n-gram, marks counted.

    Examples
    --------
    >>> bags = nb.text.hashed().encode(["the banks of banks"]).values
    >>> bool((bags[1] == bags[3]).all()), len(set(bags[1]) & set(nb.text.hashed().bag("bank"))) > 3
    (True, True)
    """
    if not (buckets >= 2 and 1 <= ngrams[0] <= ngrams[1]):
        raise ValueError(
            f"buckets, ngrams are {buckets}, {ngrams}, expected 2 or more buckets and n-grams from "
            "a shortest of 1 or more to a longest, as (3, 5)"
        )
    return Hashed(buckets, ngrams)


class Embedding(eqx.Module):
    """Learned states of bags: the mean of the rows of their n-grams."""

    table: Float[Array, "buckets H"]

    def __call__(self, bags: Int[Array, "... n"]) -> Float[Array, "... H"]:
        """States of bags; an empty bag has the state 0."""
        real = bags > 0
        rows = jnp.where(real[..., None], self.table[jnp.maximum(bags - 1, 0)], 0.0)
        return jnp.sum(rows, axis=-2) / jnp.maximum(jnp.sum(real, axis=-1), 1)[..., None]


def embedding(key: PRNGKeyArray, buckets: int, size: int) -> Embedding:
    """Rows of random directions and length about 1."""
    return Embedding(jax.random.normal(key, (buckets, size), jnp.float32) / jnp.sqrt(size))
