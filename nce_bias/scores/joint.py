"""JOINT: one encoder reads the pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from nce_bias._checks import refuse
from nce_bias._gate import floating
from nce_bias.scores.base import Form, Score, real


def _weight(weight: Any) -> Array:
    weight = floating("weight", weight)
    if weight.ndim != 1 or not weight.size:
        raise refuse(
            "weight",
            f"got shape {weight.shape}",
            "[H], one entry for each coordinate of the encoder's output",
            "Pass one vector; a bias is the same for all labels and changes no softmax.",
        )
    return weight


class Joint(Score):
    """s(x, y) = w . E_1(x, y), a linear read-out of one encoder over the pair.

    ``encode(E, e_mask, F, f_mask)`` takes states `[T, H]`, `[T', H']`, 0 where padded, and boolean
    masks, and returns states `[T'', len(weight)]`; its first column is read. Here C and D attend
    to the first token and A = 1, of the pair's states and of the weight as a label of one token.
    Nothing of it can be computed before the pair is known: `against` encodes every pair, which is
    why such scores re-rank few candidates.
    `encode` answers for what padding does inside it. Its memory is not known: `against` allows for
    one matrix of attention between all tokens of the pair; pass `block` if it needs more.
    Raises ValueError for a weight that is no vector, and when `encode` returns another shape.
    Source: Zhang & Stratos (2021), section 4 ("JOINT", a cross-encoder).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> def product(E, e_mask, F, f_mask):
    ...     return E.sum(axis=0, keepdims=True) * F.sum(axis=0)
    >>> E, F = jnp.array([[1., 2.], [3., 4.]]), jnp.array([[5., 6.]])
    >>> print(Joint(jnp.array([1., -1.]), product)(
    ...     E, jnp.array([True, True]), F, jnp.array([True])))  # 4 * 5 - 6 * 6
    -16.0
    """

    weight: Float[Array, " H"] = eqx.field(converter=_weight)
    encode: Callable[..., Any]

    def form(self, E, e_mask, F, f_mask) -> Form:
        encoded = self.encode(real(E, e_mask), e_mask, real(F, f_mask), f_mask)
        encoded = floating("encode", encoded)
        if encoded.ndim != 2 or not len(encoded) or encoded.shape[-1] != len(self.weight):
            raise refuse(
                "encode",
                f"returned shape {encoded.shape}",
                f"[T'', {len(self.weight)}] with T'' >= 1, the weight having {len(self.weight)} "
                "entries",
                "Return the states of one pair, tokens before width.",
            )
        C = jnp.zeros((len(encoded), 1), encoded.dtype).at[0].set(1.0)
        one = jnp.ones((1, 1), encoded.dtype)
        return Form(encoded, self.weight[None], C, one, one)

    def value(self, E, e_mask, F, f_mask):
        return self.form(E, e_mask, F, f_mask).E[0] @ self.weight

    def size(self, tokens: int, label_tokens: int, width: int) -> int:
        return (tokens + label_tokens) * (tokens + label_tokens + width)

    def check(self, E: Array, F: Array) -> None:
        """Inputs and labels may be of different widths: the encoder takes both."""

    def __repr__(self) -> str:
        return f"joint({getattr(self.encode, '__name__', type(self.encode).__name__)})"
