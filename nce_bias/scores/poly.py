"""POLY-m: m codes read the input, the label reads the codes, both softly."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import floating
from nce_bias.scores.attention import first, soft
from nce_bias.scores.base import Form, Pooled, Score, read_first, real


def _codes(codes: Any) -> Array:
    codes = floating("codes", codes)
    if codes.ndim != 2 or 0 in codes.shape:
        raise refuse(
            "codes",
            f"got shape {codes.shape}",
            "[m, H], one row for each of m >= 1 codes",
            "Draw them to begin with: jax.random.normal(key, (m, H)).",
        )
    return codes


def _sharpness(value: Any) -> float | Array:
    array = floating("sharpness", value)
    if array.shape != () or (
        not is_traced(array) and not (math.isfinite(float(array)) and float(array) > 0)
    ):
        raise refuse(
            "sharpness",
            f"got {value!r}",
            "one finite number > 0",
            "1 is the poly-encoder; large is nearly hard attention.",
        )
    return array if isinstance(value, jax.Array) else float(value)


class Poly(Score):
    """P = E softmax(E^T O), s(x, y) = F_1(y) . P softmax(P^T F_1(y)).

    The m codes O, rows of `codes` `[m, H]` and trained with the model, attend over the input's
    tokens; the label's first vector attends over the m vectors P that they read. C is the first
    attention, D attends to the first token, A is the second attention, one row for each code.
    Both softmaxes are of `sharpness` times their logits; as it grows s tends to the largest
    F_1 . E_i among the tokens that a code likes best. A plain number is a constant, a JAX array a
    parameter like the codes.
    Raises ValueError for codes that are not `[m, H]` and a sharpness that is not positive.
    Sources: Humeau et al. (2020), poly-encoders; Zhang & Stratos (2021), section 4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.array([[1., 2.], [3., 6.]]), jnp.array([[1., 1.]])
    >>> one = Poly(jnp.zeros((1, 2)))  # a code of no preference: the mean of the tokens
    >>> print(one(E, jnp.array([True, True]), F, jnp.array([True])))
    6.0
    """

    codes: Float[Array, "m H"] = eqx.field(converter=_codes)
    sharpness: float | Float[Array, ""] = eqx.field(converter=_sharpness, default=1.0)

    columns = Pooled(0, 1)

    def form(self, E, e_mask, F, f_mask) -> Form:
        E, F = real(E, e_mask), real(F, f_mask)
        read, A = self._read(E, e_mask, read_first(F, f_mask))
        return Form(E, F, read.T, first(f_mask, F.dtype)[:, None], A[:, None])

    def value(self, E, e_mask, F, f_mask):
        # As in `form`, with F's padding never touched.
        E, label = real(E, e_mask), read_first(F, f_mask)
        read, A = self._read(E, e_mask, label)
        return A @ ((read @ E) @ label)

    def _read(self, E, e_mask, label) -> tuple[Float[Array, "m T"], Float[Array, " m"]]:
        """The attention of the codes over tokens, and of the label over codes."""
        read = soft(self.codes @ E.T, e_mask, self.sharpness)
        every = jnp.ones(len(self.codes), bool)
        return read, soft((read @ E) @ label, every, self.sharpness)

    def size(self, tokens: int, label_tokens: int, width: int) -> int:
        return len(self.codes)

    def check(self, E: Array, F: Array) -> None:
        super().check(E, F)
        if self.codes.shape[-1] != E.shape[-1]:
            raise refuse(
                "codes",
                f"got width {self.codes.shape[-1]} for states of width {E.shape[-1]}",
                f"[m, H] with H = {E.shape[-1]}",
                "Codes are vectors of the space that E lies in.",
            )

    def __repr__(self) -> str:
        sharp = is_traced(self.sharpness) or float(self.sharpness) != 1
        return f"poly(m={len(self.codes)}{f', sharpness={self.sharpness}' if sharp else ''})"
