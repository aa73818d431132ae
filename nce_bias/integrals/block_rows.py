r"""The product of the gradients of two rows of a batch whose draws bring blocks of labels.

As in `nce_bias.integrals.rows`, with n_b the copies of block b among m independent draws in common:
every label of a block comes with it, and all of the block B(h) with the other row's gold h. With
W_b and Q_b the sums of w and of w^2 over a block, W_g that of the block of a label g, S = sum_b n_b
W_b, and

    a_g = pop_g e^{-t w_+g - chi t' W_g},        b_h = pop_h e^{-t' w_+h - chi t W_h},

E[r_i . r_j] is the integral over t and t' of F times

    sum_g a_g b_g (chi W_g^2 + 2 chi W_g <S> + <S^2>)
    + chi sum_b (A_b B_b Q_b + (|a| B_b + |b| A_b) Q_b <n_b>) + |a| |b| sum_b Q_b <n_b^2>
    - sum_h b_h w_h <(chi a.W + |a| S) (chi + n_B(h))>
    - sum_g a_g w_g <(chi b.W + |b| S) (chi + n_B(g))>,

A_b and B_b the sums of a and b over a block. Blocks of one label are that module's.

**Losses that add up**: with P_b and D_b the sums of pop and of h'^2 over a block,

    E[r_i . r_j] = sum_g (pop_g h_+')^2 + 2 sum_g pop_g h_+' h'_g (chi + <n_B(g)>)
                   + sum_b D_b (chi P_b^2 + 2 chi P_b <n_b> + <n_b^2>).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nce_bias.integrals.expectation import Pairs
from nce_bias.integrals.rows import BLOCK, PAIRS, Labels
from nce_bias.numerics.arrays import Array, is_numpy, namespace, sum_of_nodes
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import Grid


def block_softmax_rows(
    law: Any, crossed: bool, logs: tuple[Labels, Labels], share: Labels, grid: Grid
) -> Pairs:
    """E[r_i . r_j] of a softmax over candidates; `law` is of blocks, independent, hits kept."""
    log_gold, log_negative = logs
    first, second = np.triu_indices(grid.nodes)
    xp, chi = namespace(share, log_gold), float(crossed)
    numbers = [xp.asarray(part, share.dtype) for part in (first, second)]

    def summed(values):
        return values.reshape(*values.shape[:-1], -1, law.views).sum(axis=-1)

    def spread(blocks):
        return xp.repeat(blocks, law.views, axis=-1)

    def dot(p, q):
        return xp.sum(p * q, axis=-1)

    def at_pair(index):
        i, j = (part[index.astype(int)] for part in numbers)
        log_t, log_u = grid.left + grid.step * i, grid.left + grid.step * j
        z, other = exposure(log_t, log_negative), exposure(log_u, log_negative)
        w = exposure((log_t + log_u) / 2, log_negative)  # times the root of t t'
        whole, squares = summed(w), summed(w**2)
        a = share * xp.exp(-exposure(log_t, log_gold) - chi * spread(summed(other)))
        b = share * xp.exp(-exposure(log_u, log_gold) - chi * spread(summed(z)))
        log_f, n, twice, mean = _draws(law.rows, summed(z + other), whole)
        total, with_sum = dot(n, whole), n * whole + twice * dot(mean, whole)[..., None] * mean
        total_squared = dot(n, whole**2) + twice * dot(mean, whole) ** 2
        of_a, of_b = summed(a), summed(b)
        sizes = xp.sum(a, axis=-1), xp.sum(b, axis=-1)
        own = spread(whole)
        alike = a * b
        positive = dot(alike, chi * own**2 + 2 * chi * own * total[..., None])
        positive = positive + xp.sum(alike, axis=-1) * total_squared
        among = sizes[0][..., None] * of_b + sizes[1][..., None] * of_a
        positive = positive + chi * dot(squares, of_a * of_b + among * n)
        positive = positive + sizes[0] * sizes[1] * dot(squares, n + twice * mean**2)
        negative = 0.0
        for one, of_other, size in ((a, b, sizes[0]), (b, a, sizes[1])):
            golds, all_w = summed(of_other * w), chi * dot(one, own)
            negative = negative + all_w * (chi * xp.sum(golds, axis=-1) + dot(golds, n))
            negative = negative + size * (
                chi * xp.sum(golds, axis=-1) * total + dot(golds, with_sum)
            )
        weight = xp.where(i == j, 1.0, 2.0) * grid.weight(i) * grid.weight(j) * xp.exp(log_f)
        return Pairs(weight * (positive - negative), weight * (positive + negative))

    elements = BLOCK // law.size if is_numpy(share) else PAIRS
    return sum_of_nodes(at_pair, len(first), max(1, elements), grid.left)


def _draws(rows: Any, exposures: Labels, whole: Labels) -> tuple[Array, Labels, Array, Labels]:
    """log F; <n_b>; and x, p with <n_b n_c> - [b = c] <n_b> = x p_b p_c, once tilted."""
    xp = namespace(exposures, whole)
    log_f = rows.log_laplace(exposures)[..., 0]
    weights = rows.q * xp.exp(-exposures)
    total = xp.maximum(xp.sum(weights, axis=-1, keepdims=True), np.finfo(exposures.dtype).tiny)
    p = weights / total
    return log_f, rows.m * p, xp.asarray(rows.m * (rows.m - 1), exposures.dtype), p


def block_additive_rows(
    law: Any, crossed: bool, slopes: tuple[Labels, Labels], share: Labels
) -> Pairs:
    """E[r_i . r_j] of a loss that adds up; `slopes` are h_+' and h'."""
    of_gold, slope = slopes
    xp, chi, rows = namespace(share, slope), float(crossed), law.rows

    def summed(values):
        return values.reshape(-1, law.views).sum(axis=-1)

    blocks, squares, n = summed(share), summed(slope**2), rows.m * rows.q
    pairs = n + rows.m * (rows.m - 1) * rows.q**2
    terms = (
        xp.sum((share * of_gold) ** 2),
        2 * xp.sum(share * of_gold * slope * xp.repeat(chi + n, law.views)),
        xp.sum(squares * (chi * blocks**2 + 2 * chi * blocks * n + pairs)),
    )
    each = xp.stack(terms)
    return Pairs(xp.sum(each), xp.sum(xp.abs(each)))
