r"""The moments of each input, of whose means over inputs every scalar is made.

    bias norm      sqrt(sum_x pop(x) ||eps(.|x)||^2)
    relative bias  bias norm / sqrt(sum_x pop(x) ||p(.|x) - pop(.|x)||^2)
    cosine         sum_x pop(x) <gradient, exact> / (norm of one times norm of the other)
    effective sample size   1 / sum_x pop(x) E[sum_k pi(k)^2 | x]

and loss, cross entropy, variance with its parts and coverage are means themselves. A mean over
inputs that are a sample of more has a standard error; so have functions of means, by leaving out
one input after the other (`standard_errors`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, namespace

if TYPE_CHECKING:
    import pandas as pd


class ByInput(eqx.Module):
    """One number for each input; leaves `[X]`.

    Attributes
    ----------
    loss, cross_entropy : [X]
        E[contrastive loss] and cross entropy, in nats.
    bias_square, gradient_square : [X]
        ||eps||^2 and the square of the expected contrastive gradient. Monte Carlo: unbiased, and
        so perhaps negative.
    exact_square, inner : [X]
        The square of the exact gradient p - pop, and its inner product with the contrastive one.
    variance, variance_negatives, variance_gold, coverage : [X]
        As in `Moments`.
    concentration : [X]
        E[sum_k pi(k)^2].
    """

    loss: Float[Array, "*X"]
    cross_entropy: Float[Array, "*X"]
    bias_square: Float[Array, "*X"]
    gradient_square: Float[Array, "*X"]
    exact_square: Float[Array, "*X"]
    inner: Float[Array, "*X"]
    variance: Float[Array, "*X"]
    variance_negatives: Float[Array, "*X"]
    variance_gold: Float[Array, "*X"]
    coverage: Float[Array, "*X"]
    concentration: Float[Array, "*X"]

    def to_frame(self) -> pd.DataFrame:
        """One pandas row an input, with `bias_norm` and `cosine` of that input alone."""
        import pandas as pd

        columns: dict[str, Any] = {
            name: np.atleast_1d(np.asarray(value)) for name, value in vars(self).items()
        }
        alone = eqx.tree_at(lambda own: list(vars(own).values()), self, list(columns.values()))
        with np.errstate(all="ignore"):  # an input without a gradient has no cosine
            found = scalars(alone)
        for name in ("bias_norm", "cosine", "effective_sample_size"):
            columns[name] = np.asarray(found[name])
        return pd.DataFrame(columns)


#: Scalars that are means over inputs.
MEANS = (
    "loss",
    "cross_entropy",
    "variance",
    "variance_negatives",
    "variance_gold",
    "coverage",
)


#: Roots of squares that may be negative: name -> its square.
ROOTS = {"bias_norm": "bias_norm_squared", "relative_bias": "relative_bias_squared"}


def scalars(means: ByInput) -> dict[str, Float[Array, "*"]]:
    """What the means over inputs make, by name; a root has the sign of its square."""
    xp = namespace(means.loss, means.bias_square)
    found = {name: getattr(means, name) for name in MEANS} | {
        "bias_norm_squared": means.bias_square,
        "relative_bias_squared": means.bias_square / means.exact_square,
        "cosine": means.inner / (xp.sqrt(means.exact_square) * xp.sqrt(means.gradient_square)),
        "effective_sample_size": 1 / means.concentration,
    }
    for root, square in ROOTS.items():
        found[root] = xp.sign(found[square]) * xp.sqrt(xp.abs(found[square]))
    return found


def average(rows: ByInput, weights: Float[Array | np.ndarray, " X"]) -> ByInput:
    """The weighted means over inputs; a number that no weight rests on counts for nothing."""
    xp = namespace(weights, rows.loss)

    def mean(name: str) -> Float[Array, ""]:
        values = getattr(rows, name)
        return xp.sum(xp.where(weights > 0, weights * values, 0.0), axis=-1)

    return ByInput(**{name: mean(name) for name in vars(rows)})


def standard_errors(rows: ByInput, weights: Float[np.ndarray, " X"]) -> dict[str, float]:
    r"""Of each scalar, over inputs taken for a sample of all there are.

    The jackknife: se^2 = (X - 1)/X sum_x (T_(x) - T)^2 with T_(x) from the means without input x,
    (sum w f - w_x f_x) / (1 - w_x). Of a weighted mean it is the usual linearised error of a ratio.
    A root has the half-width sqrt(U + se(U)) - sqrt(U), which stays finite where U is 0. Inputs
    without weight are none of the X; NaN for one input.
    """
    weights = np.asarray(weights, float)
    there = weights > 0
    weights, count = weights[there], int(there.sum())
    if count < 2:
        return dict.fromkeys(scalars(rows), np.nan)
    columns: dict[str, Any] = {
        name: np.asarray(values, float)[there] for name, values in vars(rows).items()
    }
    without: dict[str, Any] = {
        name: (weights @ v - weights * v) / (1 - weights) for name, v in columns.items()
    }
    with np.errstate(all="ignore"):
        whole = scalars(average(ByInput(**columns), weights))
        errors = {
            name: float(np.sqrt((count - 1) / count * np.sum((values - whole[name]) ** 2)))
            for name, values in scalars(ByInput(**without)).items()
        }
        for root, square in ROOTS.items():
            size = abs(whole[square])
            errors[root] = float(np.sqrt(size + errors[square]) - np.sqrt(size))
    return errors
