r"""A tower: from the states of a text's tokens to the columns that a score function takes.

States h_i of frozen tokens (centred) are projected by one matrix W_r for each role r a token can
have (a word of the mention, a word of its context), and gated by one number g for each word of the
vocabulary, seeded by how rare the word is. Two kinds of columns:

* **pooled**: column k is the unit vector along sum_i w_i W h_i with w = softmax_i(g_i + q_k . h_i).
* **tokens**: column i is the unit vector along W h_i, times w_i = softmax_i(g_i) if gated.

Texts come without padding and are projected so: padding is put between short columns, not between
the long states they are made of.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse

Rows = Array | np.ndarray  # gathered on the host, used on the device
TINY = 1e-12  # added to squared lengths: the gradient of the unit vector of 0 is finite


class Batch(NamedTuple):
    """B texts: their N tokens one after the other, and where each text's stand.

    Attributes
    ----------
    states : `[N, H]`
        State of each token; None where words are learnt, until the model has looked them up.
    ids : int `[N]`
        Each token's place in the vocabulary.
    roles : int `[N]`
        1 for a token of the mention, 0 for all others.
    at : int `[B, T]`
        Which token is the t-th of a text; N, which is none, where the text is shorter.
    bags : int `[U, g]`, optional
        Buckets of the n-grams of the U words of the batch, for a model that learns its words.
    word : int `[N]`, optional
        Which of the U words each token is.
    """

    states: Float[Rows, "N H"] | None
    ids: Int[Rows, " N"]
    roles: Int[Rows, " N"]
    at: Int[Rows, "B T"]
    bags: Int[Rows, "U g"] | None = None
    word: Int[Rows, " N"] | None = None

    @property
    def mask(self) -> Bool[Array, "B T"]:
        """True for a real token."""
        return jnp.asarray(self.at < len(self.ids))


class Columns(NamedTuple):
    """What a score takes of B texts: columns `[B, n, d]` and a mask `[B, n]`."""

    states: Float[Array, "B n d"]
    mask: Bool[Array, "B n"]


class Tower(eqx.Module):
    """Columns of texts, from their token states.

    Attributes
    ----------
    project : `[roles, H, d]`
    gates : `[roles, vocabulary]`
        Logits of the words' weights.
    queries : `[n, H]`
        What each of n pooled columns looks for beside the gates; n = 0 for columns of tokens.
    center : `[H]`
        Taken off every state; not trained.
    gated : bool
        Whether columns of tokens have weights that sum to 1, or length 1 each.
    """

    project: Float[Array, "roles H d"]
    gates: Float[Array, "roles vocabulary"]
    queries: Float[Array, "n H"]
    center: Float[Array, " H"]
    gated: bool = eqx.field(static=True)

    def __call__(self, texts: Batch) -> Columns:
        """Columns `[B, n, d]`, or `[B, T, d]` of tokens."""
        mask, center = texts.mask, jax.lax.stop_gradient(self.center)
        if texts.states is None:
            raise refuse(
                "texts",
                "got words that are to be learnt",
                "token states",
                "Make the model by nb.retrieval.retriever of the corpus with learn=True.",
            )
        states = texts.states.astype(center.dtype) - center
        one_hot = jax.nn.one_hot(texts.roles, len(self.project), dtype=center.dtype)
        vectors = jnp.einsum("nr,nh,rhd->nd", one_hot, states, self.project)
        gates = self.gates[jnp.asarray(texts.roles), jnp.asarray(texts.ids)]
        if len(self.queries):
            logits = gates[:, None] + states @ self.queries.T  # [N, n]
            weights = softmax(padded(logits, texts.at), mask[..., None])
            pooled = jnp.einsum("btn,btd->bnd", weights, padded(vectors, texts.at))
            return Columns(unit(pooled), jnp.broadcast_to(mask.any(1)[:, None], pooled.shape[:2]))
        columns = padded(unit(vectors), texts.at)
        if self.gated:
            columns = columns * softmax(padded(gates, texts.at), mask)[..., None]
        return Columns(columns, mask)


def padded(tokens: Float[Array, "N ..."], at: Int[Rows, "B T"]) -> Float[Array, "B T ..."]:
    """Tokens of each text, then zeros."""
    return tokens.at[jnp.asarray(at)].get(mode="fill", fill_value=0)


class Side(NamedTuple):
    """What a tower is for: roles of its tokens, pooled columns (0: one each token), gates or not.

    `gated` is whether columns of tokens have weights that sum to 1, or length 1 each.
    """

    roles: int
    pooled: int
    gated: bool


def tower(
    key: PRNGKeyArray,
    gates: Float[Rows, " vocabulary"],
    center: Float[Rows, " H"],
    side: Side,
    *,
    dim: int,
) -> Tower:
    """A tower of width `dim` with seeded gates, all of whose projections are one orthogonal one.

    Gates of role r start r higher: the words of a mention weigh more than those around them. `key`
    may be shared by two towers: their columns are then alike from the start. The first pooled
    query is 0, the others are small and different.
    """
    roles, pooled, gated = side
    width = len(center)
    basis, _ = jnp.linalg.qr(jax.random.normal(key, (width, dim), jnp.float32))
    queries = jax.random.normal(jax.random.fold_in(key, 1), (pooled, width), jnp.float32)
    scale = jnp.where(jnp.arange(pooled) > 0, width**-0.5, 0.0).astype(jnp.float32)
    return Tower(
        jnp.tile(basis[None], (roles, 1, 1)),
        jnp.asarray(gates, jnp.float32) + jnp.arange(roles, dtype=jnp.float32)[:, None],
        queries * scale[:, None],
        jnp.asarray(center, jnp.float32),
        gated,
    )


def unit(columns: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Columns of length 1; one of 0 stays 0."""
    return columns * jax.lax.rsqrt(jnp.sum(columns**2, axis=-1, keepdims=True) + TINY)


def softmax(logits: Float[Array, "B T ..."], mask: Bool[Array, "B T ..."]) -> Array:
    """Softmax over tokens; a text of padding alone has no weight anywhere."""
    weights = jax.nn.softmax(jnp.where(mask, logits, -1e30), axis=1)
    return jnp.where(mask, weights, 0.0)
