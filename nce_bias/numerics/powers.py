r"""Powers (a + b nu)^n as polynomials in nu, with as many terms as n nu needs.

    (a + b nu)^n = sum_j C(n, j) a^{n - j} b^j nu^j,

whose j-th term is at most (n nu b)^j / j! times a^{n - j}: for kappa = n nu b of the order of 1
some fifteen terms are exact to rounding, whatever n is, and for a small whole n there are n + 1.
"""

from __future__ import annotations

import math

from jaxtyping import Float

from nce_bias.numerics.arrays import Array, namespace


def taylor_terms(kappa: float, tolerance: float) -> int:
    """How many terms of e^kappa leave out at most `tolerance`, kappa at most 4.

    What is left after the terms 0..j - 1 is at most e^kappa kappa^j / j!.

    >>> taylor_terms(0.0, 1e-15), taylor_terms(0.01, 1e-15), taylor_terms(1.0, 1e-15)
    (1, 7, 18)
    """
    count, left = 1, math.exp(kappa) * kappa
    while left > tolerance:
        count += 1
        left *= kappa / count
    return count


def binomials(
    n: Float[Array, ""],
    terms: int,
    log_a: Float[Array, "*N"],
    scale: float | Float[Array, ""] = 1.0,
) -> Float[Array, "P *N"]:
    """C(n, j) a^{n - j} scale^j for j < `terms`; 0 above a whole n, which may be traced."""
    xp = namespace(n, log_a)
    factor, rows = xp.ones_like(log_a), []
    for j in range(terms):
        left = n - j
        rows.append(xp.where(left >= 0, factor * xp.exp(xp.maximum(left, 0.0) * log_a), 0.0))
        factor = factor * left / (j + 1) * scale
    return xp.stack(rows)
