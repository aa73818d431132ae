"""BERT from its paper: one text at a time, one head at a time, float64; files read by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np


def tensors(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file of float32: 8 bytes of header length, JSON, the numbers."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            low, high = entry["data_offsets"]
            numbers = np.frombuffer(content[begin + low : begin + high], "<f4")
            found[name] = numbers.reshape(entry["shape"]).astype(float)
    return found


def word_pieces(text: str, vocabulary: list[str]) -> list[int]:
    """Ids of an ASCII text: words and single punctuation marks, cut greedily from the left."""
    known = {piece: number for number, piece in enumerate(vocabulary)}
    ids = [known["[CLS]"]]
    for word in re.findall(r"[a-z0-9]+|[^a-z0-9\s]", text.lower()):
        pieces, begin = [], 0
        while begin < len(word):
            ends = range(len(word), begin, -1)
            candidates = [("##" if begin else "") + word[begin:end] for end in ends]
            piece = next((c for c in candidates if c in known), None)
            if piece is None:
                pieces = [known["[UNK]"]]
                break
            pieces.append(known[piece])
            begin += len(piece.removeprefix("##") if begin else piece)
        ids += pieces
    return [*ids, known["[SEP]"]]


def gelu(z: np.ndarray) -> np.ndarray:
    return z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2


def gelu_by_tanh(z: np.ndarray) -> np.ndarray:
    return z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2


def states(
    w: dict[str, np.ndarray], ids: list[int], heads: int, epsilon: float = 1e-12, activation=gelu
) -> np.ndarray:
    """Last hidden states ``[T, H]``."""

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        rows = [(row - np.mean(row)) / np.sqrt(np.var(row) + epsilon) for row in x]
        return np.array(rows) * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)
    width = x.shape[1] // heads
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in w:
        at = f"encoder.layer.{layer}"
        q, k, v = (dense(f"{at}.attention.self.{n}", x) for n in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            share = np.exp(q[:, part] @ k[:, part].T / math.sqrt(width))
            mixed[:, part] = share / share.sum(1, keepdims=True) @ v[:, part]
        x = norm(
            f"{at}.attention.output.LayerNorm", x + dense(f"{at}.attention.output.dense", mixed)
        )
        inner = activation(dense(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", x + dense(f"{at}.output.dense", inner))
        layer += 1
    return x
