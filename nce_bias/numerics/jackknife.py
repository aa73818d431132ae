r"""Squares without a noise floor, and standard errors, from independent estimates of one thing.

Let e_1 .. e_B be independent with the same expectation E: means over batches of draws, or over
blocks of examples. The square of their mean exceeds \|E\|^2 by its variance; products of
*different* ones do not:

    U = 1/(B (B - 1)) sum_{b != c} <e_b, e_c>       has expectation \|E\|^2 for every B >= 2.

It may be negative, and is where E = 0 about half of the time.

The jackknife takes the standard error of any statistic from its B values with one estimate left
out, T_(b): se^2 = (B - 1)/B sum_b (T_(b) - mean)^2. For a mean this is the usual s / sqrt(B); for
U it needs B >= 3, and where E = 0 it overstates the error by at most sqrt 2.

Functions of inner products alone, so that B estimates of a million numbers need no second copy.

Source: U-statistics, Hoeffding (1948); jackknife, Efron & Stein (1981).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def unbiased_square(
    with_total: Float[Array | np.ndarray, " B"], with_itself: Float[Array | np.ndarray, " B"]
) -> tuple[Float[Array, ""], Float[Array, " B"]]:
    """The U-statistic of a squared norm, and its value with each estimate left out.

    Parameters
    ----------
    with_total, with_itself : [B]
        <e_b, sum_c e_c> and <e_b, e_b>: row sums and diagonal of the matrix of inner products.

    Returns
    -------
    square : scalar
        Unbiased; may be negative.
    left_out : [B]
        For `jackknife`. NaN for B = 2, where no pair is left.

    Examples
    --------
    Three estimates 1, 2, 3 of one number: (1 * 2 + 1 * 3 + 2 * 3) / 3.

    >>> import jax.numpy as jnp
    >>> estimates = jnp.array([1., 2., 3.])
    >>> square, left_out = unbiased_square(estimates * estimates.sum(), estimates**2)
    >>> round(float(square), 12), [round(float(each), 12) for each in left_out]
    (3.666666666667, [6.0, 3.0, 2.0])
    """
    with_total, with_itself = jnp.asarray(with_total), jnp.asarray(with_itself)
    count = with_total.shape[0]
    # all pairs b != c; leaving out b takes off its row and its column
    with_others = with_total - with_itself
    remaining = jnp.sum(with_others) - 2 * with_others
    return (
        jnp.sum(with_others) / (count * (count - 1)),
        remaining / ((count - 1) * (count - 2))
        if count > 2
        else jnp.full_like(with_others, jnp.nan),
    )


def left_out_means(values: Float[Array | np.ndarray, " B"]) -> Float[Array, " B"]:
    """The mean of all values but each.

    >>> left_out_means(jnp.array([1., 2., 6.])).tolist()
    [4.0, 3.5, 1.5]
    """
    values = jnp.asarray(values)
    return (jnp.sum(values) - values) / (values.shape[0] - 1)


def jackknife(left_out: Float[Array | np.ndarray, " B"]) -> Float[Array, ""]:
    """Standard error of a statistic, from its values with each of B estimates left out.

    Of a mean it is the sample standard deviation over sqrt B:

    >>> round(float(jackknife(left_out_means(jnp.array([1., 2., 6.])))), 12)
    1.527525231652
    >>> round(float(jnp.std(jnp.array([1., 2., 6.]), ddof=1) / jnp.sqrt(3)), 12)
    1.527525231652
    """
    left_out = jnp.asarray(left_out)
    count = left_out.shape[0]
    return jnp.sqrt((count - 1) * jnp.mean((left_out - jnp.mean(left_out)) ** 2))
