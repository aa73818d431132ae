r"""The product of the gradients of two rows of a batch that each drop what equals their own gold.

As in `nce_bias.integrals.rows`, with m independent draws in common, n_y copies of label y, and
golds g, h ~ pop; but row i drops its copies of g, row j those of h, and in-batch (chi = 1) each
drops the other's gold where g = h. The golds do not come apart any more. For g != h, with T the sum
of n_y w_y over the other labels and all of them at t in row i and at t' in row j,

    r_i . r_j Z_i Z_j = sum_{y != g, h} n_y^2 w_y^2 - T ((n_h + chi) w_h + (n_g + chi) w_g)
                        - 2 (n_g + chi) (n_h + chi) w_g w_h,

since neither row has its own gold as a negative, and each other's gold is where the residual of one
meets the negatives of the other. For g = h it is sum n_y^2 w_y^2 + T^2 over y != g. Tilted draws
are independent with the weights q_y e^{-(t + t') w_y}, but q_g e^{-t' w_g} and q_h e^{-t w_h}:

    phi_gh = Phi + q_g (e^{-t' w_g} - e^{-(t + t') w_g}) + q_h (e^{-t w_h} - e^{-(t + t') w_h}),
    phi_gg = Phi + q_g (1 - e^{-(t + t') w_g}),        Phi = sum_y q_y e^{-(t + t') w_y},

F = phi^m, from 1 - phi, and sums over y != g, h are those over all labels less two terms: O(V^2)
for each pair of nodes, one number for each pair of golds.

**Losses that add up** have, with k_y = h'_y^2 E[n_y^2] and K its sum, not tilted,

    E[r_i . r_j] = sum_g pop_g^2 h_+'^2 + 2 sum_g pop_g (1 - pop_g) h_+' (E[n_g] + chi) h'_g
                   + K - sum_g pop_g (2 - pop_g) k_g.

**Accuracy.** As there; a difference of sums counts with all its terms' sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nce_bias.integrals.expectation import Pairs
from nce_bias.integrals.rows import BLOCK, Labels
from nce_bias.numerics.arrays import is_numpy, namespace, sum_of_nodes
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import Grid

#: Pairs of nodes at a time under XLA.
PAIRS = 16


def masked_softmax_rows(
    law: Any, crossed: bool, logs: tuple[Labels, Labels], share: Labels, grid: Grid
) -> Pairs:
    """E[r_i . r_j] of a softmax over candidates; `law` is of the common draws, hits kept."""
    log_gold, log_negative = logs
    first, second = np.triu_indices(grid.nodes)
    xp, chi, m = namespace(share, log_gold), float(crossed), law.m
    numbers = [xp.asarray(part, share.dtype) for part in (first, second)]
    alike = xp.eye(len(share), dtype=share.dtype)

    def at_pair(index):
        i, j = (part[index.astype(int)] for part in numbers)
        log_t, log_u = grid.left + grid.step * i, grid.left + grid.step * j
        z, other = exposure(log_t, log_negative), exposure(log_u, log_negative)
        w = exposure((log_t + log_u) / 2, log_negative)  # times the root of t t'
        own = xp.exp(-exposure(log_t, log_gold)), xp.exp(-exposure(log_u, log_gold))
        both, g, h = law.q * xp.exp(-z - other), law.q * xp.exp(-other), law.q * xp.exp(-z)
        row, column = (..., slice(None), None), (..., None, slice(None))
        gone = -law.q * xp.expm1(-z - other)  # its sum is 1 - Phi
        less = xp.where(alike > 0, gone[row], (g - both)[row] + (h - both)[column])
        missed = xp.sum(gone, axis=-1)[..., None, None] - less
        missed = xp.clip(missed, 0.0, 1 - np.finfo(share.dtype).epsneg)
        phi = 1 - missed

        def rest(values):
            """Sums over all labels but the two golds, which may be one; and of their sizes."""
            whole, two = xp.sum(values, axis=-1)[..., None, None], values[row] + values[column]
            less = xp.where(alike > 0, values[row], two)
            return xp.maximum(whole - less, 0.0), whole + less

        u = both * w
        once, pairs = m / phi, m * (m - 1) / phi**2
        values = zip(rest(u), rest(u * w), rest(u**2), strict=True)
        (total, squares, of_squares), (total_size, squares_size, of_squares_size) = values
        of_g, of_h = (g * w)[row], (h * w)[column]
        crossing = chi * w[row], chi * w[column]

        def terms(total, squares, of_squares, sign):
            plain = pairs * of_squares + once * squares
            same = plain + pairs * total**2 + once * squares
            golds = pairs * (of_g + of_h) + once * (crossing[0] + crossing[1])
            two = pairs * of_g * of_h + once * (crossing[1] * of_g + crossing[0] * of_h)
            two = two + crossing[0] * crossing[1]
            return xp.where(alike > 0, same, plain + sign * (total * golds + 2 * two))

        f = xp.exp(m * xp.log1p(-missed))
        a, b = share * own[0] * xp.exp(-chi * other), share * own[1] * xp.exp(-chi * z)
        chances = xp.where(alike > 0, (share**2 * own[0] * own[1])[row], a[row] * b[column])
        weight = xp.where(i == j, 1.0, 2.0) * grid.weight(i) * grid.weight(j)

        def summed(value):
            return weight * xp.sum(chances * f * value, axis=(-2, -1))

        product = terms(total, squares, of_squares, -1.0)
        size = terms(total_size, squares_size, of_squares_size, 1.0)
        return Pairs(summed(product), summed(size))

    elements = BLOCK // len(share) ** 2 if is_numpy(share) else PAIRS
    return sum_of_nodes(at_pair, len(first), max(1, elements), grid.left)


def masked_additive_rows(
    law: Any, crossed: bool, slopes: tuple[Labels, Labels], share: Labels
) -> Pairs:
    """E[r_i . r_j] of a loss that adds up; `slopes` are h_+' and h'."""
    of_gold, slope = slopes
    xp, chi = namespace(share, slope), float(crossed)
    mean = law.m * law.q
    squares = slope**2 * (mean + (1 - 1 / xp.maximum(law.m, 1)) * mean**2)
    terms = (
        xp.sum(share**2 * of_gold**2),
        2 * xp.sum(share * (1 - share) * of_gold * (mean + chi) * slope),
        xp.sum(squares),
        -xp.sum(share * (2 - share) * squares),
    )
    each = xp.stack(terms)
    return Pairs(xp.sum(each), xp.sum(xp.abs(each)))
