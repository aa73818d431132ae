"""SOM: the sum of maxima, every input token matched with its best label token."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nce_bias.scores.attention import hard
from nce_bias.scores.base import Form, Pooled, Score, real


class Som(Score):
    """s(x, y) = sum_{i <= T} max_{j <= T'} E_i(x) . F_j(y).

    C is the identity, column i of D attends to the label token best for input token i, A is the
    identity over the real input tokens: padded ones add 0. It is not symmetric in x and y.
    Sources: Khattab & Zaharia (2020), late interaction (ColBERT); Zhang & Stratos (2021), section
    4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.array([[1., 0.], [0., 1.]]), jnp.array([[3., 4.], [5., 2.], [9., 9.]])
    >>> print(Som()(E, jnp.array([True, True]), F, jnp.array([True, True, False])))  # 5 + 4
    9.0
    """

    columns = Pooled(0, 0)

    def form(self, E, e_mask, F, f_mask) -> Form:
        E, F = real(E, e_mask), real(F, f_mask)
        D = hard(E @ F.T, f_mask).T
        return Form(E, F, jnp.eye(len(E), dtype=E.dtype), D, jnp.diag(e_mask.astype(E.dtype)))

    def value(self, E, e_mask, F, f_mask):
        logits = real(E, e_mask) @ real(F, f_mask).T  # a row of 0 for a padded input token
        return jnp.sum(jnp.max(jnp.where(f_mask, logits, -jnp.inf), axis=-1))

    def table(self, E, e_mask, F, f_mask):
        """One label token at a time: the maxima so far fit a cache, all products of tokens do not.

        `analysis/linking/speed.py` times it beside pairs. Where several label tokens are
        exactly the best, the gradient is shared among them in other parts than by `value`.
        """
        tokens = jnp.where(e_mask[..., None], E, 0.0).reshape(-1, E.shape[-1])  # padded: 0 each
        F = jnp.where(f_mask[..., None], F, 0.0)

        def better(best, label_token):
            states, there = label_token
            return jnp.maximum(best, jnp.where(there, tokens @ states.T, -jnp.inf)), None

        nothing = jnp.full((len(tokens), len(F)), -jnp.inf, jnp.result_type(E, F))
        best, _ = jax.lax.scan(better, nothing, (jnp.swapaxes(F, 0, 1), f_mask.T))
        return jnp.sum(best.reshape(*e_mask.shape, len(F)), axis=1)

    def __repr__(self) -> str:
        return "som"
