"""BERT's encoder as one pure function, on rows that hold several texts each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

Weights = dict[str, Any]

# name here: name in the file, of layer {}; the three attention inputs are one matrix here
_LAYER = {
    "context": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}


def arrange(file: Mapping[str, np.ndarray], layers: int) -> Weights:
    """Weights as `forward` takes them, from BERT's published names.

    Matrices are transposed to [in, out]; each layer's arrays are stacked along a first axis; the
    embedding of token type 0, the only one used, is part of the positions'.
    """

    def stacked(name: str, part: str) -> np.ndarray:
        found = [file[f"encoder.layer.{layer}.{name}.{part}"] for layer in range(layers)]
        return np.stack([np.asarray(array, np.float32).T for array in found])

    def pair(name: str) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(stacked(name, "weight")), jnp.asarray(stacked(name, "bias"))

    inputs = [f"attention.self.{name}" for name in ("query", "key", "value")]
    joined = (np.concatenate([stacked(n, p) for n in inputs], -1) for p in ("weight", "bias"))
    positions = file["embeddings.position_embeddings.weight"]
    return {
        "words": jnp.asarray(file["embeddings.word_embeddings.weight"], jnp.float32),
        "positions": jnp.asarray(
            positions + file["embeddings.token_type_embeddings.weight"][0], jnp.float32
        ),
        "norm": tuple(
            jnp.asarray(file[f"embeddings.LayerNorm.{part}"], jnp.float32)
            for part in ("weight", "bias")
        ),
        "layers": {"inputs": tuple(map(jnp.asarray, joined))}
        | {ours: pair(theirs) for ours, theirs in _LAYER.items()},
    }


@partial(jax.jit, static_argnames=("heads", "epsilon"))
def forward(
    weights: Weights,
    ids: Int32[Array, "r w"],
    positions: Int32[Array, "r w"],
    texts: Int32[Array, "r w"],
    *,
    heads: int,
    epsilon: float,
) -> Float32[Array, "r w h"]:
    """Last hidden states of R rows of W cells, a row holding one or more whole texts.

    Per layer, with LN the layer norm and residuals before it (post-norm):
    x <- LN(x + attention(x)), x <- LN(x + W₂ gelu(W₁ x)), gelu(z) = z Φ(z) by erf.  A cell attends
    to the cells of the same number in `texts`, so what else is in its row changes nothing.

    Devlin et al., BERT, NAACL 2019.
    """

    def dense(pair: Any, x: Array) -> Array:
        return jnp.matmul(x, pair[0], precision=jax.lax.Precision.HIGHEST) + pair[1]

    def normed(pair: Any, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
        return centred * scale * pair[0] + pair[1]

    same = texts[:, None, :, None] == texts[:, None, None, :]  # [R, 1, W, W]

    def attention(layer: Any, x: Array) -> Array:
        q, k, v = jnp.split(dense(layer["inputs"], x), 3, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], heads, -1) for y in (q, k, v))  # [R, W, heads, D]
        scores = jnp.einsum("rqhd,rkhd->rhqk", q, k, precision="highest") / q.shape[-1] ** 0.5
        share = jax.nn.softmax(jnp.where(same, scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("rhqk,rkhd->rqhd", share, v, precision="highest")
        return dense(layer["context"], mixed.reshape(x.shape))

    def block(x: Array, layer: Any) -> tuple[Array, None]:
        x = normed(layer["attention_norm"], x + attention(layer, x))
        inner = jax.nn.gelu(dense(layer["inner"], x), approximate=False)
        return normed(layer["norm"], x + dense(layer["outer"], inner)), None

    x = normed(weights["norm"], weights["words"][ids] + weights["positions"][positions])
    return jax.lax.scan(block, x, weights["layers"])[0]
