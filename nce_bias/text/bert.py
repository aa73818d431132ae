"""BERT's encoder as one pure function, on rows that hold several texts each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse

Weights = dict[str, Any]

# name here: name in the file, of layer {}; the three attention inputs are one matrix here
_LAYER = {
    "context": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}
_LEVELS = 256  # a dropout rate is a whole number of these parts: one random byte for a number


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors that `arrange` reads, by BERT's published names, and their shapes."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config.get("type_vocab_size", 2), width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        begin = f"encoder.layer.{layer}"
        matrices = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        matrices |= {
            "attention.output.dense": (width, width),
            "intermediate.dense": (inner, width),
            "output.dense": (width, inner),
        }
        for name, shape in matrices.items():
            found |= {f"{begin}.{name}.weight": shape, f"{begin}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {f"{begin}.{name}.weight": (width,), f"{begin}.{name}.bias": (width,)}
    return found


def check_tensors(
    where: Any, file: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The tensors `arrange` reads, with or without the prefix ``bert.`` in the file.

    Raises
    ------
    ValueError
        For one that is missing or of another shape than the config says; it is named.
    """
    tensors = {name.removeprefix("bert."): array for name, array in file.items()}
    for name, shape in shapes(config).items():
        if name not in tensors:
            given, remedy = f"{where} has no tensor {name}", "Name a folder with a whole BERT."
            raise refuse("path", given, f"it, of shape {shape}", remedy)
        if tensors[name].shape != shape:
            raise refuse(
                "path",
                f"{where} has {name} of shape {tensors[name].shape}",
                f"shape {shape}, as config.json says",
                "Weights and config.json are of two models: take both from one.",
            )
    return tensors


def arrange(file: Mapping[str, np.ndarray], layers: int) -> Weights:
    """Weights as `forward` takes them, from BERT's published names.

    Matrices are transposed to [in, out]; each layer's arrays are stacked along a first axis; the
    embedding of token type 0 is part of the positions', and `types` is what type 1 adds to it.
    """

    def stacked(name: str, part: str) -> np.ndarray:
        found = [file[f"encoder.layer.{layer}.{name}.{part}"] for layer in range(layers)]
        return np.stack([np.asarray(array, np.float32).T for array in found])

    def pair(name: str) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(stacked(name, "weight")), jnp.asarray(stacked(name, "bias"))

    inputs = [f"attention.self.{name}" for name in ("query", "key", "value")]
    joined = (np.concatenate([stacked(n, p) for n in inputs], -1) for p in ("weight", "bias"))
    positions = file["embeddings.position_embeddings.weight"]
    types = np.asarray(file["embeddings.token_type_embeddings.weight"], np.float32)
    return {
        "words": jnp.asarray(file["embeddings.word_embeddings.weight"], jnp.float32),
        "positions": jnp.asarray(
            positions + file["embeddings.token_type_embeddings.weight"][0], jnp.float32
        ),
        "types": jnp.asarray(types[-1] - types[0]),
        "norm": tuple(
            jnp.asarray(file[f"embeddings.LayerNorm.{part}"], jnp.float32)
            for part in ("weight", "bias")
        ),
        "layers": {"inputs": tuple(map(jnp.asarray, joined))}
        | {ours: pair(theirs) for ours, theirs in _LAYER.items()},
    }


class Form(NamedTuple):
    """What the weights of a model do not say of it.

    Attributes
    ----------
    heads : int
        Of attention; the width of states is a multiple.
    epsilon : float
        Added to the variance in each layer norm.
    """

    heads: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Form:
        """From the names of config.json."""
        return cls(config["num_attention_heads"], config["layer_norm_eps"])


class Dropout(NamedTuple):
    """Numbers that are left out while training: each with chance `rate`, drawn from a key.

    The rate is rounded to a multiple of 1/256, and what stays is divided by the chance to stay, so
    that the mean is exactly what it is without.
    """

    key: PRNGKeyArray
    rate: float

    def __call__(self, place: int | Array, x: Array) -> Array:
        """`x` with some numbers 0; `place` tells uses of one key apart."""
        out = round(self.rate * _LEVELS)
        bits = jax.random.bits(jax.random.fold_in(self.key, place), x.shape, jnp.uint8)
        return jnp.where(bits >= out, x * (_LEVELS / (_LEVELS - out)), 0.0)


@partial(jax.jit, static_argnames="form")
def forward(
    weights: Weights,
    ids: Int[Array, "r w"],
    positions: Int[Array, "r w"],
    texts: Int[Array, "r w"],
    form: Form,
) -> Float[Array, "r w h"]:
    """Last hidden states of R rows of W cells, a row holding one or more whole texts.

    Per layer, with LN the layer norm and residuals before it (post-norm):
    x <- LN(x + attention(x)), x <- LN(x + W₂ gelu(W₁ x)), gelu(z) = z Φ(z) by erf.  A cell attends
    to the cells of the same number in `texts`, so what else is in its row changes nothing.

    Devlin et al., BERT, NAACL 2019.
    """
    return states(weights, (ids, positions, texts, None), form)


def states(
    weights: Weights,
    cells: tuple[Any, Any, Any, Any],
    form: Form,
    *,
    dropout: Dropout | None = None,
    remat: bool = False,
    constant: int = 0,
) -> Float[Array, "r w h"]:
    """What `forward` is the compiled form of, for training: differentiable in the weights.

    Parameters
    ----------
    weights
        As `arrange` gives them.
    cells
        Token ids, positions, numbers of texts and token types (0, 1, or None for 0 everywhere),
        each int `[R, W]`.
    form
        Of the model's config.
    dropout
        Where BERT has it: behind the embeddings, on attention's shares, and before each residual
        is added.
    remat
        Keep each layer's input alone, and compute the rest again in the backward pass.
    constant
        The derivative in the embeddings and the first so many layers is 0: of one or more, the
        backward pass ends above them.
    """
    ids, positions, texts, types = cells

    def dense(pair: Any, x: Array) -> Array:
        return jnp.matmul(x, pair[0], precision=jax.lax.Precision.HIGHEST) + pair[1]

    def normed(pair: Any, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + form.epsilon)
        return centred * scale * pair[0] + pair[1]

    def dropped(place: int | Array, x: Array) -> Array:
        return x if dropout is None else dropout(place, x)

    same = texts[:, None, :, None] == texts[:, None, None, :]  # [R, 1, W, W]

    def attention(layer: Any, number: int | Array, x: Array) -> Array:
        q, k, v = jnp.split(dense(layer["inputs"], x), 3, axis=-1)
        q, k, v = (y.reshape(*y.shape[:2], form.heads, -1) for y in (q, k, v))  # [R, W, heads, D]
        scores = jnp.einsum("rqhd,rkhd->rhqk", q, k, precision="highest") / q.shape[-1] ** 0.5
        share = dropped(number, jax.nn.softmax(jnp.where(same, scores, -jnp.inf), axis=-1))
        mixed = jnp.einsum("rhqk,rkhd->rqhd", share, v, precision="highest")
        return dense(layer["context"], mixed.reshape(x.shape))

    def block(x: Array, numbered: Any) -> tuple[Array, None]:
        number, layer = numbered
        attended = dropped(number + 1, attention(layer, number, x))
        x = normed(layer["attention_norm"], x + attended)
        inner = jax.nn.gelu(dense(layer["inner"], x), approximate=False)
        return normed(layer["norm"], x + dropped(number + 2, dense(layer["outer"], inner))), None

    layers = weights["layers"]
    numbers = 1 + 3 * np.arange(depth(weights), dtype=np.int32)
    step = jax.checkpoint(block) if remat else block
    if constant:
        weights = jax.lax.stop_gradient(weights)
    x = weights["words"][ids] + weights["positions"][positions]
    if types is not None:
        x = x + jnp.asarray(types)[..., None] * weights["types"]
    x = dropped(0, normed(weights["norm"], x))
    if constant:
        lower = jax.tree.map(lambda leaf: leaf[:constant], weights["layers"])
        x, _ = jax.lax.scan(step, x, (numbers[:constant], lower))
        layers = jax.tree.map(lambda leaf: leaf[constant:], layers)
    return jax.lax.scan(step, x, (numbers[constant:], layers))[0]


def depth(weights: Weights) -> int:
    """Number of layers."""
    return len(weights["layers"]["norm"][0])
