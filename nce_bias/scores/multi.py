"""MULTI-m: hard attention over m vectors of the label."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from nce_bias._checks import check_count, refuse
from nce_bias.scores.attention import first, hard
from nce_bias.scores.base import Form, Pooled, Score, read_first, real


class Multi(Score):
    """s(x, y) = max_{j <= m} E_1(x) . F_j(y): the best of the label's first m tokens.

    C attends to the first token, D to the best of the first m, A = 1. A label of fewer than m real
    tokens is read by those it has. Multi(1) is `Dual`.
    Raises ValueError for an m that is no whole number >= 1, and when called for an m larger than
    T', the number of columns of a label.
    Sources: Luan et al. (2021), multi-vector encoding; Zhang & Stratos (2021), section 4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.array([[1., 2.]]), jnp.array([[3., 4.], [5., 6.], [7., 8.]])
    >>> print(Multi(2)(E, jnp.array([True]), F, jnp.array([True, True, True])))
    17.0
    """

    m: int = eqx.field(static=True, converter=lambda m: check_count("m", m))

    @property
    def columns(self) -> Pooled:
        return Pooled(1, self.m)

    def form(self, E, e_mask, F, f_mask) -> Form:
        E, F = real(E, e_mask), real(F, f_mask)
        leading = f_mask & (jnp.cumsum(f_mask) <= self.m)
        C = first(e_mask, E.dtype)
        return Form(
            E, F, C[:, None], hard(F @ (C @ E), leading)[:, None], jnp.ones((1, 1), E.dtype)
        )

    def value(self, E, e_mask, F, f_mask):
        (places,) = jnp.nonzero(f_mask, size=self.m, fill_value=len(f_mask))
        vectors = F.at[places].get(mode="fill", fill_value=0.0)
        logits = vectors @ read_first(E, e_mask)
        return jnp.max(jnp.where(places < len(f_mask), logits, -jnp.inf))

    def size(self, tokens: int, label_tokens: int, width: int) -> int:
        return self.m

    def check(self, E: Array, F: Array) -> None:
        super().check(E, F)
        if self.m > F.shape[-2]:
            raise refuse(
                "m",
                f"Multi({self.m}) reads the first {self.m} columns of labels that have "
                f"{F.shape[-2]}",
                f"m <= T' = {F.shape[-2]}",
                "Lower m, or encode labels into more columns.",
            )

    def __repr__(self) -> str:
        return f"multi(m={self.m})"
