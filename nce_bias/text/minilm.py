"""The frozen sentence encoder all-MiniLM-L6-v2, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nce_bias._checks import check_count, refuse
from nce_bias.text.bert import Weights, arrange, forward
from nce_bias.text.extra import needed, weights_folder
from nce_bias.text.packing import pack
from nce_bias.text.states import TokenStates

CELLS = 2048  # tokens of one call of the compiled function
_CHUNK = 4096  # texts whose states `sentence` holds at once


@dataclass(frozen=True)
class MiniLM:
    """A BERT encoder with frozen weights; made by `minilm`.

    Attributes
    ----------
    folder : Path
        Holds ``model.safetensors``, ``config.json`` and ``tokenizer.json``.
    max_tokens : int
        Longer texts lose their last tokens.  The two marks around a text count.
    dtype : str
        "float32" or "float16", what `encode` stores; it computes in float32.
    """

    folder: Path
    max_tokens: int
    dtype: str

    def encode(self, texts: Sequence[str], progress: bool = True) -> TokenStates:
        """Last hidden states of every token, the marks [CLS] and [SEP] around a text included.

        Parameters
        ----------
        texts
            Any number of texts; the empty one has its two marks.
        progress
            Show a progress bar on a terminal.

        Returns
        -------
        TokenStates
            H = 384; `ids` are the tokenizer's.
        """
        ids, starts = self._tokens(texts)
        values = np.empty((len(ids), self._config["hidden_size"]), self.dtype)
        for tokens, states in self._run(ids, starts, progress):
            values[tokens] = states
        return TokenStates(values, ids, starts, self._config["vocab_size"])

    def sentence(self, texts: Sequence[str], progress: bool = True) -> np.ndarray:
        """One unit vector per text ``[n, 384]``, float32: Σ_t E(x)_t, divided by its norm.

        What sentence-transformers' ``encode`` gives for texts of up to `max_tokens` tokens (it
        cuts at 256): the mean over all tokens, the two marks included, L2-normalised.  Cosines
        of these vectors are similarities of texts.
        """
        ids, starts = self._tokens(texts)
        pooled = np.zeros((len(texts), self._config["hidden_size"]), np.float32)
        text = np.repeat(np.arange(len(texts)), np.diff(starts))
        for tokens, states in self._run(ids, starts, progress):
            np.add.at(pooled, text[tokens], states)
        return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights, the tokenizer and the settings: equal ones give equal states."""
        digest = hashlib.sha256(f"MiniLM 1 {self.max_tokens} {self.dtype}".encode())
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            with (self.folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"MiniLM({self.folder}, max_tokens={self.max_tokens}, dtype={self.dtype!r})"

    @property
    def _config(self) -> dict[str, Any]:
        return _model(self.folder)[0]

    def _tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        _check_texts(texts)
        found = _tokenizer(self.folder, self.max_tokens).encode_batch_fast(list(texts))
        starts = np.cumsum([0, *(len(one.ids) for one in found)], dtype=np.int64)
        ids = [np.array(one.ids, np.int32) for one in found]
        return np.concatenate([np.zeros(0, np.int32), *ids]), starts

    def _run(
        self, ids: np.ndarray, starts: np.ndarray, progress: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """States of all tokens in batches: (numbers of tokens [k], their states [k, H])."""
        config, weights = _model(self.folder)
        lengths = np.diff(starts)
        row, offset, rows = pack(lengths, self.max_tokens)
        text = np.repeat(np.arange(len(lengths)), lengths)
        position = np.arange(len(ids)) - starts[text]
        cell = (row * self.max_tokens + offset)[text] + position
        order = np.argsort(cell)
        per_batch = max(CELLS // self.max_tokens, 1)
        for first in _progress(range(0, rows, per_batch), progress):
            # a power of two: few shapes are compiled, and few texts make a small one
            height = min(per_batch, 1 << (rows - first - 1).bit_length())
            low, high = first * self.max_tokens, (first + height) * self.max_tokens
            tokens = order[slice(*np.searchsorted(cell, [low, high], sorter=order))]
            at = cell[tokens] - low

            def grid(of: np.ndarray, at: np.ndarray = at, height: int = height) -> np.ndarray:
                cells = np.zeros(height * self.max_tokens, np.int32)
                cells[at] = of
                return cells.reshape(height, self.max_tokens)

            states = forward(
                weights,
                grid(ids[tokens]),
                grid(position[tokens]),
                grid(text[tokens] + 1),  # 0: no text
                heads=config["num_attention_heads"],
                epsilon=config["layer_norm_eps"],
            )
            yield tokens, np.asarray(states).reshape(-1, config["hidden_size"])[at]


def minilm(
    max_tokens: int = 64, dtype: str = "float32", folder: str | Path | None = None
) -> MiniLM:
    """The frozen sentence encoder all-MiniLM-L6-v2."""
    return MiniLM(Path(folder) if folder else weights_folder(), max_tokens, dtype)


@lru_cache(maxsize=2)
def _model(folder: Path) -> tuple[dict[str, Any], Weights]:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    file = needed("safetensors.numpy", "nb.text.minilm()").load_file(folder / "model.safetensors")
    return config, arrange(file, config["num_hidden_layers"])


@lru_cache(maxsize=4)
def _tokenizer(folder: Path, max_tokens: int) -> Any:
    kind = needed("tokenizers", "nb.text.minilm()").Tokenizer
    tokenizer = kind.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _progress(steps: range, enabled: bool) -> Iterator[int]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    quiet = not enabled or not console.is_terminal or len(steps) < 2
    return iter(track(steps, "encoding", console=console, transient=True, disable=quiet))


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise refuse("texts", "got one text", "a list of texts", "Pass [text].")
