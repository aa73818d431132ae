"""DUAL: the first columns alone."""

from __future__ import annotations

import jax.numpy as jnp

from nce_bias.scores.attention import first
from nce_bias.scores.base import Form, Pooled, Score, read_first, real


class Dual(Score):
    """s(x, y) = E_1(x) . F_1(y): one vector for the input, one for the label.

    C and D attend to the first token, A = 1. Against all labels it is one matrix product.
    Source: Zhang & Stratos (2021), section 4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.array([[1., 2.], [8., 9.]]), jnp.array([[3., 4.]])
    >>> print(Dual()(E, jnp.array([True, True]), F, jnp.array([True])))
    11.0
    """

    columns = Pooled(1, 1)

    def form(self, E, e_mask, F, f_mask) -> Form:
        C, D = first(e_mask, E.dtype)[:, None], first(f_mask, F.dtype)[:, None]
        return Form(real(E, e_mask), real(F, f_mask), C, D, jnp.ones((1, 1), E.dtype))

    def value(self, E, e_mask, F, f_mask):
        return read_first(E, e_mask) @ read_first(F, f_mask)

    def size(self, tokens: int, label_tokens: int, width: int) -> int:
        return 1

    def __repr__(self) -> str:
        return "dual"
