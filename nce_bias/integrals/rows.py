r"""The product of the gradients of two rows of one batch that share candidates.

Two rows i, j of one input have golds g, h ~ pop, independent, and common draws, n_y copies of label
y, whose law is that of neither gold. With chi = 1 where each gold is also a negative of the other
row (in-batch negatives) and 0 where it is not (one set of draws for the whole batch),

    Z_i = w_+g + chi w_h + S,    Z_j = w_+h + chi w_g + S,    S = sum_y N_y,    N_y = n_y w_y,
    r_i = ((chi w_h e_h + N) - (chi w_h + S) e_g) / Z_i,       r_j likewise,

since 1 - w_+g / Z_i is what the negatives have. From 1/(Z_i Z_j) = int int e^{-t Z_i - t' Z_j} dt
dt' the golds come apart: with

    a_g = pop_g e^{-t w_+g - chi t' w_g},        b_h = pop_h e^{-t' w_+h - chi t w_h},

and F, <.> the Laplace functional of the common draws at (t + t') w and means under the law tilted
there, E[r_i . r_j] is the integral over t and t' of F times

    sum_g a_g b_g (chi w_g^2 + 2 chi w_g <S> + <S^2>)
    + chi (sum_g a_g b_g w_g^2 + |a| b.(w <N>) + |b| a.(w <N>)) + |a| |b| <N . N>

less, from the products of one row's negatives with the other's gold,

    2 chi (a.w) (b.w) + chi (b.w) (a.<N>) + chi (a.w) (b.<N>)
    + chi <S> ((a.w) |b| + (b.w) |a|) + |b| a.<N S> + |a| b.<N S>,

all sums over labels: O(V) for each pair of nodes, though golds and draws are V^3 together.

**Tilted draws** are independent again: <n> has a part m_k p_k of every kind k of draws and the
covariance sum_k m_k (diag p_k - p_k p_k^T).

**Losses that add up** (h_+ of the gold, h of a negative) have no Z: with a = pop h_+', d = pop h'
and N = n h', not tilted, E[r_i . r_j] = |a|^2 + 2 chi (a.d / pop) + chi |d|^2 + 2 (a + chi d).<N> +
<N . N>, the middle one sum_g pop_g h_+' h'.

**Accuracy.** For every outcome the rule in the plane is the product of two rules in log t, each off
by a factor 1 + eps at most (`numerics.quadrature`), and each of the terms above has one sign. So
the error is at most 2 eps + eps^2 times the sum of their absolute values, which is added up beside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nce_bias.integrals.expectation import Pairs
from nce_bias.numerics.arrays import Array, is_numpy, namespace, sum_of_nodes
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import Grid
from nce_bias.samplers import Law

#: Elements of one block of pairs of nodes, which stays in cache, and pairs of it under XLA.
BLOCK, PAIRS = 2**16, 64

Labels = Float[Array, "*N V"]
Scalars = Float[Array, "*N"]


class Draws(NamedTuple):
    """Means of tilted draws with values w: N, N S, S^2 and N.N of the module."""

    each: Labels
    with_sum: Labels
    sum: Scalars
    sum_squared: Scalars
    square: Scalars


def tilted_draws(law: Law, exposures: Labels, values: Labels) -> Draws:
    """Of a law that is independent draws of one or several kinds, and knows no gold."""
    xp = namespace(exposures, values)
    nothing = xp.zeros_like(values)
    each, covariance, spread = nothing, nothing, nothing[..., 0]
    for part in law.repeated():
        factors = part.separable(exposures)
        copies = xp.sum(factors.r[..., :1] * factors.u, axis=-2)  # the same for every gold
        mean, m = values * copies, xp.maximum(xp.asarray(part.m, copies.dtype), 1.0)
        total = xp.sum(mean, axis=-1, keepdims=True)
        covariance = covariance + mean * (values - total / m)
        spread = spread + xp.sum(mean * (values - mean / m), axis=-1)
        each = each + mean
    total = xp.sum(each, axis=-1, keepdims=True)
    return Draws(
        each=each,
        with_sum=each * total + covariance,
        sum=total[..., 0],
        sum_squared=total[..., 0] ** 2 + xp.sum(covariance, axis=-1),
        square=xp.sum(each**2, axis=-1) + spread,
    )


def softmax_rows(
    law: Law, crossed: bool, logs: tuple[Labels, Labels], share: Labels, grid: Grid
) -> Pairs:
    """E[r_i . r_j] of a softmax over candidates; `logs` are log w_+ and log w.

    The integrand does not change where t and t', and the golds with them, change places: each pair
    of different nodes counts twice.
    """
    log_gold, log_negative = logs
    first, second = np.triu_indices(grid.nodes)
    xp, chi = namespace(share, log_gold), float(crossed)
    numbers = [xp.asarray(part, share.dtype) for part in (first, second)]

    def at_pair(index):
        i, j = (part[index.astype(int)] for part in numbers)
        log_t, log_u = grid.left + grid.step * i, grid.left + grid.step * j
        z, other_z = exposure(log_t, log_negative), exposure(log_u, log_negative)
        a = share * xp.exp(-exposure(log_t, log_gold) - chi * other_z)
        b = share * xp.exp(-exposure(log_u, log_gold) - chi * z)
        w = exposure((log_t + log_u) / 2, log_negative)  # times the root of t t'
        log_f = law.log_laplace(z + other_z)[..., 0]
        draws = tilted_draws(law, z + other_z, w)
        twice = xp.where(i == j, 1.0, 2.0)
        weight = twice * grid.weight(i) * grid.weight(j) * xp.exp(log_f)
        positive, negative = _terms(a, b, w, draws, chi)
        return Pairs(weight * (positive - negative), weight * (positive + negative))

    elements = BLOCK // law.size if is_numpy(share) else PAIRS
    return sum_of_nodes(at_pair, len(first), max(1, elements), grid.left)


def _terms(a: Labels, b: Labels, w: Labels, draws: Draws, chi: float) -> tuple[Scalars, Scalars]:
    """The terms of the module with a plus, and those with a minus."""
    xp = namespace(a, b, w)

    def dot(p, q):
        return xp.sum(p * q, axis=-1)

    golds, sums = a * b, (xp.sum(a, axis=-1), xp.sum(b, axis=-1))
    alike = dot(golds, chi * w**2 + 2 * chi * w * draws.sum[..., None])
    alike = alike + xp.sum(golds, axis=-1) * draws.sum_squared
    aw, bw = dot(a, w), dot(b, w)
    with_gold = chi * (
        2 * aw * bw + bw * dot(a, draws.each) + aw * dot(b, draws.each)
    ) + chi * draws.sum * (aw * sums[1] + bw * sums[0])
    with_gold = with_gold + sums[1] * dot(a, draws.with_sum) + sums[0] * dot(b, draws.with_sum)
    weighted = w * draws.each
    among = chi * (dot(golds, w**2) + sums[0] * dot(b, weighted) + sums[1] * dot(a, weighted))
    return alike + among + sums[0] * sums[1] * draws.square, with_gold


def additive_rows(law: Law, crossed: bool, slopes: tuple[Labels, Labels], share: Labels) -> Pairs:
    """E[r_i . r_j] of a loss that adds up; `slopes` are h_+' and h'."""
    of_gold, slope = slopes
    xp, chi = namespace(share, slope), float(crossed)
    draws = tilted_draws(law, xp.zeros_like(slope), slope)
    a, d = share * of_gold, chi * share * slope
    terms = (
        xp.sum(a**2),
        2 * xp.sum(a * chi * slope),
        xp.sum(d**2),
        2 * xp.sum(a * draws.each),
        2 * xp.sum(d * draws.each),
        draws.square,
    )
    return Pairs(sum(terms, 0.0 * terms[0]), sum(map(abs, terms), 0.0 * terms[0]))
