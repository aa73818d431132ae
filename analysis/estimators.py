r"""Gradients over parameters from rows of score space, and what a few examples say of their mean.

Rows become gradients by `nb.pull_back`, the transposed derivative of the scores. A mean over
examples is noisy, and its norm is too large by the noise; so it is kept as means over blocks of
examples, independent estimates e_1 .. e_B of one expectation, whose *different* ones multiply
without bias. Standard errors are the jackknife's over blocks (`nce_bias.numerics.jackknife`).

Source: U-statistics, Hoeffding (1948); jackknife, Efron & Stein (1981).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

import nce_bias as nb
from nce_bias.engine._pull_back import inner
from nce_bias.numerics.jackknife import jackknife, unbiased_square

ScoreFn = Callable[[Any, Any], Any]


def flat(gradient: PyTree, leading: int = 0) -> Float[Array, "... d"]:
    """All numbers of a gradient in one row, behind its first `leading` axes."""
    leaves = jax.tree.leaves(gradient)
    return jnp.concatenate([x.reshape(*x.shape[:leading], -1) for x in leaves], axis=-1)


@eqx.filter_jit
def block_means(
    score_fn: ScoreFn, params: PyTree, inputs: Array, rows: Float[Array, "n V"], blocks: int
) -> Float[Array, "blocks d"]:
    """Mean over each of `blocks` blocks of examples of J^T row, J = ds/dtheta of that example."""
    model = nb.ScoreModel(score_fn, params)
    parts = inputs.reshape(blocks, -1, *inputs.shape[1:]), rows.reshape(blocks, -1, rows.shape[-1])

    def one(block: tuple[Array, Array]) -> Array:
        return flat(nb.pull_back(model, block[0], block[1] / len(block[0])))

    return jax.lax.map(one, parts)


@eqx.filter_jit
def summed(
    score_fn: ScoreFn, params: PyTree, inputs: Array, rows: Float[Array, "n V"]
) -> Float[Array, " d"]:
    """Sum over examples of J^T row."""
    return flat(nb.pull_back(nb.ScoreModel(score_fn, params), inputs, rows))


def along(score_fn: ScoreFn, models: PyTree, rows: Float[Array, "steps V"]) -> PyTree:
    """J^T row at each of several models, for scores without an input; both have an axis of models.

    To be called under `equinox.filter_jit`: nothing is compiled here.
    """
    return eqx.filter_vmap(lambda at, row: nb.pull_back(nb.ScoreModel(score_fn, at), None, row))(
        models, rows
    )


def inner_each(a: PyTree, b: PyTree) -> Float[Array, " steps"]:
    """<a, b> at each of several models."""
    return jax.vmap(inner)(a, b)


def root(square: Any) -> float:
    """The root of an unbiased square, with the sign of it: negative, it cannot be told from 0."""
    return float(np.sign(square) * np.sqrt(np.abs(square)))


def unbiased_norm(means: Any) -> dict[str, float]:
    """The norm of an expectation from independent estimates of it, between two limits.

    Parameters
    ----------
    means : array [B, d]
        Independent, with the same expectation.

    Returns
    -------
    dict
        ``norm``, the signed root of the unbiased square, and ``low`` and ``high``, the roots of the
        square (if positive) less and plus two standard errors, at least 0.
    """
    products = np.asarray(means, dtype=float) @ np.asarray(means, dtype=float).T
    square, left_out = map(np.asarray, unbiased_square(products.sum(axis=1), np.diag(products)))
    error = float(jackknife(left_out))
    return {
        "norm": root(square),
        "low": float(np.sqrt(max(square - 2 * error, 0))),
        "high": float(np.sqrt(max(square, 0) + 2 * error)),
    }


def named(prefix: str, found: dict[str, float]) -> dict[str, float]:
    """bias_norm, bias_norm_low, bias_norm_high from norm, low, high."""
    return {f"{prefix}_norm" + ("" if k == "norm" else f"_{k}"): v for k, v in found.items()}


def root_ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """The signed root of sum(above) / sum(below), and its standard error.

    Each place of both arrays `[B]` is one example, or one block of them.
    """
    ratios = (above.sum() - above) / (below.sum() - below)
    error = jackknife(np.sign(ratios) * np.sqrt(np.abs(ratios)))
    return root(above.sum() / below.sum()), float(error)


def relative_in_score_space(bias: Any, exact: Any, blocks: int) -> dict[str, float]:
    """Root mean square of ||eps|| over that of ||p - pop||, both rows `[n, V]`."""
    squares = np.stack([np.sum(np.asarray(a, dtype=float) ** 2, axis=1) for a in (bias, exact)])
    value, error = root_ratio(*squares.reshape(2, blocks, -1).sum(axis=-1))
    return {"relative_score_bias": value, "relative_score_bias_se": error}


def plain_relative(bias: Any, gradient: Any) -> float:
    """Norm of one mean over that of the other, noise and all, both over the same examples."""
    b, g = (np.asarray(x, float).mean(axis=0) for x in (bias, gradient))
    return float(np.linalg.norm(b) / np.linalg.norm(g))


def versus(bias: Any, gradient: Any) -> dict[str, float]:
    r"""Norm of the bias against the exact gradient's, and the cosine, without noise's share.

    With b estimated from one set of examples and g from others, <b, g> is the product of their
    means; \|b\|^2 and \|g\|^2 are products of different blocks. Then \|g - b\|^2 and the cosine
    between g - b and g follow. Standard errors: the jackknife, leaving out one block of either set
    at a time. A square that is not positive leaves NaN.

    Parameters
    ----------
    bias, gradient : array [B, d]
        Block means of independent examples.

    Returns
    -------
    dict
        ``relative_norm`` (with the sign of the square) and ``cosine``, each with ``_se``.
    """
    b, g = np.asarray(bias, float), np.asarray(gradient, float)
    with_b, with_g, cross = b @ b.T, g @ g.T, b @ g.T

    def without(products: np.ndarray, block: int) -> np.ndarray:
        return np.delete(np.delete(products, block, 0), block, 1)

    few = [_ratios(without(with_b, i), with_g, np.delete(cross, i, 0)) for i in range(len(b))]
    many = [_ratios(with_b, without(with_g, i), np.delete(cross, i, 1)) for i in range(len(g))]
    ratios = _ratios(with_b, with_g, cross)
    found: dict[str, float] = {"relative_norm": ratios[0], "cosine": ratios[1]}
    for place, name in enumerate(tuple(found)):
        of_bias, of_gradient = (float(jackknife(np.array(x)[:, place])) for x in (few, many))
        found[f"{name}_se"] = float(np.hypot(of_bias, of_gradient))
    return found


def _ratios(with_b: np.ndarray, with_g: np.ndarray, cross: np.ndarray) -> tuple[float, float]:
    """||b|| / ||g|| with the sign of the square, and the cosine of g - b and g."""
    squares = [(x.sum() - np.trace(x)) / (len(x) * (len(x) - 1)) for x in (with_b, with_g)]
    bb, gg, bg = *squares, cross.mean()
    contrastive = gg - 2 * bg + bb
    if not gg > 0:
        return np.nan, np.nan
    cosine = (gg - bg) / np.sqrt(gg * contrastive) if contrastive > 0 else np.nan
    return root(bb / gg), float(cosine)
