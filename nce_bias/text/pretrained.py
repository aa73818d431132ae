"""Any BERT from its three files, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nce_bias._checks import check_count, refuse
from nce_bias._progress import track
from nce_bias.text.bert import Form, Weights, arrange, check_tensors, forward
from nce_bias.text.encoders import as_texts
from nce_bias.text.extra import WITH_WEIGHTS, needed
from nce_bias.text.packing import pack
from nce_bias.text.states import TokenStates

FILES = ("model.safetensors", "config.json", "tokenizer.json")
CELLS = 2048  # tokens of one call of the compiled function
_ASSUMED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}


@dataclass(frozen=True, eq=False)
class Bert:
    """A BERT encoder with frozen weights; made by `bert` and `minilm`.

    Attributes
    ----------
    marks : (int, int)
        Tokens of its own, before and after those of each text.
    folder : Path
        Where it was read from.
    max_tokens : int
        Longer texts lose their last tokens.  The two marks around a text count.
    dtype : str
        "float32" or "float16", what `encode` stores; it computes in float32.
    fingerprint : str
        A digest of the weights, the tokenizer and the settings: equal ones give equal states.
    """

    marks: ClassVar[tuple[int, int]] = (1, 1)

    folder: Path
    max_tokens: int
    dtype: str
    fingerprint: str
    config: dict[str, Any] = field(repr=False)
    weights: Weights = field(repr=False)
    tokenizer: Any = field(repr=False)

    def encode(self, texts: Iterable[str], progress: bool = True) -> TokenStates:
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
            `ids` are the tokenizer's.
        """
        ids, starts = self._tokens(texts)
        values = np.empty((len(ids), self.config["hidden_size"]), self.dtype)
        for tokens, states in self._run(ids, starts, progress):
            values[tokens] = states
        return TokenStates(values, ids, starts, self.config["vocab_size"])

    def lengths(self, texts: Iterable[str]) -> np.ndarray:
        """Tokens of each text without the two marks ``[n]``, were it not cut.

        Words next to each other are never joined: a text has the tokens of its parts.
        """
        found = self.tokenizer.encode_batch_fast(as_texts(texts), add_special_tokens=False)
        return np.array([len(one.ids) + len(one.overflowing) for one in found], np.int64)

    def sentence(self, texts: Iterable[str], progress: bool = True) -> np.ndarray:
        """One unit vector per text ``[n, H]``, float32: Σ_t E(x)_t, divided by its norm.

        What sentence-transformers' ``encode`` gives for texts of up to `max_tokens` tokens (it
        cuts at 256): the mean over all tokens, the two marks included, L2-normalised.  Cosines
        of these vectors are similarities of texts.
        """
        ids, starts = self._tokens(texts)
        pooled = np.zeros((len(starts) - 1, self.config["hidden_size"]), np.float32)
        text = np.repeat(np.arange(len(pooled)), np.diff(starts))
        for tokens, states in self._run(ids, starts, progress):
            np.add.at(pooled, text[tokens], states)
        return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)

    def pieces(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Token ids of each text, whole and without marks."""
        found = self.tokenizer.encode_batch_fast(as_texts(texts), add_special_tokens=False)
        parts = ([one.ids, *(more.ids for more in one.overflowing)] for one in found)
        return [np.concatenate([np.array(ids, np.int32) for ids in part]) for part in parts]

    def special(self, *tokens: str) -> list[int]:
        """Ids of tokens that the vocabulary must have, such as [CLS] or the reserved [unused0].

        Raises
        ------
        ValueError
            For one that it lacks.
        """
        for token in tokens:
            if self.tokenizer.token_to_id(token) is None:
                raise refuse(
                    "encoder",
                    f"got a tokenizer without {token}",
                    f"the tokens {', '.join(tokens)} in its vocabulary",
                    "BERT's own vocabularies have them; give two of another's reserved tokens "
                    "as marks.",
                )
        return [self.tokenizer.token_to_id(token) for token in tokens]

    def _tokens(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        found = self.tokenizer.encode_batch_fast(as_texts(texts))
        starts = np.cumsum([0, *(len(one.ids) for one in found)], dtype=np.int64)
        ids = [np.array(one.ids, np.int32) for one in found]
        return np.concatenate([np.zeros(0, np.int32), *ids]), starts

    def _run(
        self, ids: np.ndarray, starts: np.ndarray, progress: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """States of all tokens in batches: (numbers of tokens [k], their states [k, H])."""
        config = self.config
        lengths = np.diff(starts)
        row, offset, rows = pack(lengths, self.max_tokens)
        text = np.repeat(np.arange(len(lengths)), lengths)
        position = np.arange(len(ids)) - starts[text]
        cell = (row * self.max_tokens + offset)[text] + position
        order = np.argsort(cell)
        per_batch = max(CELLS // self.max_tokens, 1)
        for first in track(range(0, rows, per_batch), "encoding", enabled=progress):
            # a power of two: few shapes are compiled, and few texts make a small one
            height = min(per_batch, 1 << (rows - first - 1).bit_length())
            low, high = first * self.max_tokens, (first + height) * self.max_tokens
            tokens = order[slice(*np.searchsorted(cell, [low, high], sorter=order))]
            at = cell[tokens] - low
            cells = np.zeros((3, height * self.max_tokens), np.int32)
            cells[:, at] = ids[tokens], position[tokens], text[tokens] + 1  # 0: no text
            states = forward(
                self.weights, *cells.reshape(3, height, self.max_tokens), Form.of(config)
            )
            yield tokens, np.asarray(states).reshape(-1, config["hidden_size"])[at]


def bert(path: str | Path, max_tokens: int = 64, dtype: str = "float32") -> Bert:
    """An encoder of any BERT: a folder with config.json, model.safetensors and tokenizer.json.

    Computed by JAX in float32, on whatever device JAX has; torch is not needed.  Its `encode` is
    frozen; `nb.retrieval.corpus` with learn=True is of what a model that trains it reads.

    Parameters
    ----------
    path
        The folder, as ``save_pretrained`` writes it.
    max_tokens
        Longer texts lose their last tokens; from 2 to the model's positions, the two marks around a
        text included.
    dtype
        "float32" or "float16", what `encode` stores.

    Raises
    ------
    MissingExtra
        (an ImportError) If a package is missing; the message is the command that installs it.
    ValueError
        For a file or tensor that is missing, a tensor of another shape than the config says (which,
        expected and found), another kind of model, and a `max_tokens` or `dtype` of none of the
        above.

    Examples
    --------
    >>> bert("no_such_folder")
    Traceback (most recent call last):
        ...
    ValueError: path: got no_such_folder, which has no file model.safetensors; expected ...
    """
    where, purpose = Path(path), "nb.text.bert()"
    safetensors, tokenizers = (
        needed(module, purpose, WITH_WEIGHTS) for module in ("safetensors.numpy", "tokenizers")
    )
    # each file is read once, so that the fingerprint is of what is used
    files = {name: _read(where, name) for name in FILES}
    config = json.loads(files["config.json"])
    _check_config(where, config)
    longest = config["max_position_embeddings"]
    if check_count("max_tokens", max_tokens, least=2) > longest:
        raise refuse(
            "max_tokens",
            f"got {max_tokens}",
            f"2 to {longest}, the positions this model has",
            f"Pass max_tokens={longest}, or encode the parts of long texts.",
        )
    if dtype not in ("float32", "float16"):
        raise refuse("dtype", f"got {dtype!r}", "'float32' or 'float16'", "Pass dtype='float32'.")
    tokenizer = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(max_tokens))
    digest = hashlib.sha256(f"MiniLM 1 {int(max_tokens)} {dtype}".encode())
    for content in files.values():
        digest.update(hashlib.sha256(content).digest())
    tensors = check_tensors(where, safetensors.load(files["model.safetensors"]), config)
    weights = arrange(tensors, config["num_hidden_layers"])
    return Bert(where, int(max_tokens), dtype, digest.hexdigest(), config, weights, tokenizer)


def _read(folder: Path, name: str) -> bytes:
    if not (folder / name).is_file():
        raise refuse(
            "path",
            f"got {folder}, which has no file {name}",
            f"a folder with {', '.join(FILES)}",
            "Save the model by transformers' save_pretrained, the tokenizer too.",
        )
    return (folder / name).read_bytes()


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    for name, expected in _ASSUMED.items():
        if config.get(name, expected) != expected:
            raise refuse(
                "folder",
                f"{folder / 'config.json'} has {name} = {config[name]!r}",
                f"{expected!r}, all that is implemented",
                "Wrap that model's own code by nb.text.from_function.",
            )
