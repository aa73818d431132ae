"""Scores of many pairs: candidates of each example, and every example against every label."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nce_bias._checks import check_count, refuse
from nce_bias.scores.base import Score, check_text

#: Numbers that one block of `against` holds at once: 64 megabytes of float32.
BLOCK = 2**24


def pairs(score: Score | Any, E: Any, e_mask: Any, F: Any, f_mask: Any) -> Float[Array, "B K"]:
    """Scores `[B, K]` of B inputs with K candidates each.

    Parameters
    ----------
    score : Score
    E, e_mask : `[B, T, H]`, `[B, T]`
        States of the inputs; True for a real token.
    F, f_mask : `[B, K, T', H]`, `[B, K, T']`
        States of each input's own candidates. A candidate of padding alone scores -inf: with it
        lists of different lengths are filled.

    Raises
    ------
    ValueError
        For other shapes, masks that are not boolean, and a `score` that is none.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.array([[[1., 2.]]]), jnp.array([[[[3., 4.]], [[5., 6.]]]])
    >>> print(pairs(nb.scores.Som(), E, jnp.ones((1, 1), bool), F, jnp.ones((1, 2, 1), bool)))
    [[11. 17.]]
    """
    _check_score(score)
    E, e_mask = check_text("E", "e_mask", E, e_mask, "B, T, H")
    F, f_mask = check_text("F", "f_mask", F, f_mask, "B, K, T', H")
    if len(E) != len(F):
        raise refuse(
            "F",
            f"got candidates of {len(F)} inputs where E has {len(E)}",
            f"[B, K, T', H] with B = {len(E)}",
            "If all inputs share their candidates use nb.scores.against.",
        )
    score.check(E, F)
    return _pairs(score, E, e_mask, F, f_mask)


@eqx.filter_jit
def _pairs(score, E, e_mask, F, f_mask):
    row = jax.vmap(score, in_axes=(None, None, 0, 0))
    return jax.vmap(row)(E, e_mask, F, f_mask)


def against(
    score: Score | Any, E: Any, e_mask: Any, F: Any, f_mask: Any, *, block: int | None = None
) -> Float[Array, "*B V"]:
    """Scores `[B, V]` of B inputs with all V labels, `[V]` for one input `[T, H]`.

    Labels are taken `block` at a time, and the backward pass computes a block again rather than
    keep it: no array is larger than one block needs, besides the arguments, the result and their
    gradients.

    Parameters
    ----------
    score : Score
    E, e_mask : `[B, T, H]` or `[T, H]`, and `[B, T]` or `[T]`
        States of the inputs; True for a real token.
    F, f_mask : `[V, T', H]`, `[V, T']`
        States of the labels. A label of padding alone scores -inf.
    block : int, optional
        Labels at a time; V need be no multiple. Default: as many as keep B * block *
        `score.size` within 2^24. It does not see a `jax.vmap` of your own around the call.

    Raises
    ------
    ValueError
        For other shapes, masks that are not boolean, a `score` that is none, and a block that is
        no whole number >= 1.

    Examples
    --------
    It is a `score_fn` of `gradient_bias`, here for a model whose parameters are the label states:

    >>> import jax, jax.numpy as jnp
    >>> F = jax.random.normal(jax.random.key(0), (3, 2, 4))  # 3 labels of 2 tokens
    >>> real = jnp.ones((3, 2), bool)
    >>> score_fn = lambda F, x: against(
    ...     nb.scores.Som(), x, jnp.ones(len(x), bool), F, real)
    >>> x = jax.random.normal(jax.random.key(1), (5, 4))  # one input of 5 tokens
    >>> score_fn(F, x).shape
    (3,)
    >>> population = jnp.array([.5, .3, .2])
    >>> gradient_bias(ScoreModel(score_fn, F), x, population, iid(uniform(), 2)).bias.shape
    (3, 2, 4)
    """
    _check_score(score)
    one = jnp.ndim(E) == 2
    E, e_mask = check_text("E", "e_mask", E, e_mask, "T, H" if one else "B, T, H")
    F, f_mask = check_text("F", "f_mask", F, f_mask, "V, T', H")
    score.check(E, F)
    if one:
        E, e_mask = E[None], e_mask[None]
    if block is None:
        each = max(1, len(E) * score.size(E.shape[-2], F.shape[-2], max(E.shape[-1], F.shape[-1])))
        block = max(1, BLOCK // each)
    found = _against(score, E, e_mask, F, f_mask, check_count("block", block))
    return found[0] if one else found


@eqx.filter_jit
def _against(score, E, e_mask, F, f_mask, block: int):
    if block >= len(F):
        return score.table(E, e_mask, F, f_mask)
    whole = len(F) // block * block
    table = jax.checkpoint(lambda labels: score.table(E, e_mask, *labels), prevent_cse=False)
    blocks = [leaf[:whole].reshape(-1, block, *leaf.shape[1:]) for leaf in (F, f_mask)]
    found = jnp.moveaxis(jax.lax.map(table, tuple(blocks)), 0, 1).reshape(len(E), whole)
    if whole == len(F):
        return found
    return jnp.concatenate([found, table((F[whole:], f_mask[whole:]))], axis=1)


def _check_score(score: Any) -> None:
    if not isinstance(score, Score):
        shown = score.__name__ if isinstance(score, type) else type(score).__name__
        raise refuse(
            "score",
            f"got {'the class ' if isinstance(score, type) else ''}{shown}",
            "an instance of nb.scores.Score",
            "Call the class, as in nb.scores.Dual(), or write a subclass of nb.scores.Score.",
        )
