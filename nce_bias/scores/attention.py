"""Attention over the real tokens of one text: weights that sum to 1, and to 0 over no token at all.

Padding takes no weight, whatever logit it has, and no gradient goes through it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def first(mask: Bool[Array, " T"], dtype: Any = None) -> Float[Array, " T"]:
    """All weight on the first real token, wherever the padding stands.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> print(first(jnp.array([False, True, True])))
    [0. 1. 0.]
    """
    chosen = mask & (jnp.cumsum(mask) == 1)
    return chosen.astype(jnp.result_type(float) if dtype is None else dtype)


def hard(logits: Float[Array, "... T"], mask: Bool[Array, "#*batch T"]) -> Float[Array, "... T"]:
    """All weight on the largest logit, in equal shares where several are the largest.

    The limit of `soft` for a growing sharpness, and the gradient of a maximum as JAX takes it.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> print(hard(jnp.array([1., 2., 2., 3.]), jnp.array([True, True, True, False])))
    [0.  0.5 0.5 0. ]
    """
    hidden = jnp.where(mask, logits, -jnp.inf)
    chosen = mask & (hidden == jnp.max(hidden, axis=-1, keepdims=True))
    count = jnp.sum(chosen, axis=-1, keepdims=True)
    return chosen.astype(logits.dtype) / jnp.maximum(count, 1)


def soft(
    logits: Float[Array, "... T"],
    mask: Bool[Array, "#*batch T"],
    sharpness: float | Float[Array, ""] = 1.0,
) -> Float[Array, "... T"]:
    """The softmax of sharpness times the logits over the real tokens.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> mask = jnp.array([True, True, False])
    >>> print(soft(jnp.array([0., jnp.log(3.), 9.]), mask).round(6))
    [0.25 0.75 0.  ]
    >>> print(soft(jnp.zeros(3), jnp.zeros(3, bool)))
    [0. 0. 0.]
    """
    sharpened = jnp.where(mask, jnp.asarray(sharpness, logits.dtype) * logits, -jnp.inf)
    # Over nothing the softmax is 0/0, which is not taken either.
    return jnp.where(mask, jax.nn.softmax(sharpened, axis=-1), 0.0)
