"""DUAL with its encoder trained, as one would write it in PyTorch: padded texts, two passes.

Weights are those of `nce_bias.text.bert.arrange`, so that both train the same model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional


def parameters(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The same weights as leaves that PyTorch trains; each layer has its own."""

    def leaf(array: Any) -> torch.Tensor:
        return torch.tensor(np.array(array), requires_grad=True)

    layers = weights["layers"]
    names = ("inputs", "context", "attention_norm", "inner", "outer", "norm")
    return {
        "words": leaf(weights["words"]),
        "positions": leaf(weights["positions"]),
        "norm": [leaf(part) for part in weights["norm"]],
        "layers": [
            {
                # a matrix of PyTorch is [out, in]
                name: [leaf(np.asarray(part[number]).T) for part in layers[name]]
                for name in names
            }
            for number in range(len(layers["norm"][0]))
        ],
    }


def leaves(tree: Any) -> list[torch.Tensor]:
    """Every tensor, in the order of `parameters`."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [leaf for part in parts for leaf in leaves(part)]


def padded(texts: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and a mask, as wide as the longest text."""
    width = max(map(len, texts))
    ids = np.zeros((len(texts), width), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    lengths = torch.tensor([len(text) for text in texts])
    return torch.tensor(ids), torch.arange(width) < lengths[:, None]


def vectors(
    weights: Mapping[str, Any], texts: Sequence[np.ndarray], *, heads: int, dropout: float
) -> torch.Tensor:
    """Unit vectors along the means of states."""
    ids, mask = padded(texts)
    width = weights["words"].shape[1]

    def normed(pair: Any, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, (width,), *pair, eps=1e-12)

    def dropped(x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, dropout)

    x = weights["words"][ids] + weights["positions"][: ids.shape[1]]
    x = dropped(normed(weights["norm"], x))
    for layer in weights["layers"]:
        both = functional.linear(x, *layer["inputs"])
        q, k, v = (
            y.reshape(*y.shape[:2], heads, -1).transpose(1, 2) for y in both.split(width, -1)
        )
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask[:, None, None], dropout_p=dropout
        )
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        x = normed(
            layer["attention_norm"], x + dropped(functional.linear(mixed, *layer["context"]))
        )
        inner = functional.gelu(functional.linear(x, *layer["inner"]))
        x = normed(layer["norm"], x + dropped(functional.linear(inner, *layer["outer"])))
    means = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return functional.normalize(means, dim=-1)


def loss_of(
    weights: Mapping[str, Any],
    mentions: Sequence[np.ndarray],
    pool: Sequence[np.ndarray],
    present: np.ndarray,
    *,
    heads: int,
    scale: float,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Cross entropy over the pool; golds are its first texts, `present` are negatives."""
    inputs, labels = (vectors(weights, t, heads=heads, dropout=dropout) for t in (mentions, pool))
    scores = scale * inputs @ labels.T
    there = torch.tensor(present) | torch.eye(len(mentions), len(pool), dtype=torch.bool)
    scores = scores.masked_fill(~there, -torch.inf)
    return functional.cross_entropy(scores, torch.arange(len(mentions)))
