r"""The best m of M independent draws: a law for each threshold that the (m + 1)-th best sets.

Lay the labels on [0, 1] in the order of the key, the best first, each an interval as long as its q.
A draw is a uniform number, and the m best of M draws are the m smallest. Given that the (m + 1)-th
smallest is u, a Beta(m + 1, M - m) number, they are m independent draws from what lies below u:

    F = int_0^1 beta(u) phi_u^m du,        phi_u = (1/u) int_0^u f,        f = e^{-z} of the label,

a mixture of iid laws, each of the labels above a threshold. That two draws of one label are equal
does no harm: they have one f.

**Rule.** beta(u) phi_u^m = M! / (m! (M - m - 1)!) A(u)^m (1 - u)^{M - m - 1} with A = u phi_u
linear on each interval: a polynomial of degree M - 1 there. Gauss's rule of n = ceil(M / 2) nodes
an interval is exact. With intervals of length h at most, fewer do. With k = 2 n, A' <= 1, A <= u,

    |d^k/du^k| <= M! / (M - k)! sum_i C(k, i) beta_{m+1-i, M-m-k+i}(u),

densities of Beta laws, whose sums over intervals are at most 1 + 2 h M. The rule's remainder is

    (n!)^4 / ((k + 1) (k!)^3) h^k 2^k M! / (M - k)! (1 + 2 h M)

at most (`gauss_nodes`): five nodes for a pool of 128 from a thousand labels that are alike.

**Complements.** 1 - phi_u = (1/u) int_0^u (1 - f) and 1 - F = int beta (1 - phi_u^m) are sums of
positive terms, so F keeps its digits where it is nearly 1. 1 - u is summed from the other end.

**Derivatives.** Below u a label has the chance q^u_y, its interval's part below u over u. So

    -dF/dz_y = f_y int beta m phi_u^{m-1} q^u_y du,
    E[n_y (n_y - 1)] F = f_y^2 int beta m (m - 1) phi_u^{m-2} (q^u_y)^2 du,

sums over the later intervals and a part of the label's own.

**Golds.** Kept, the gold is a label like another and the law is the same for every gold. Excluded,
it has no interval, and the rest is longer. Dropped, it comes last, with f = 1: a dropped draw takes
a place only where fewer than m others are there. Both laws are those of one gold, `gold`.

**Inclusion.** A label is chosen if fewer than m draws are better and one at least is it: with a its
interval's start, I(1 - a) - (1 - q)^M I(1 - a / (1 - q)), I(x) the incomplete Beta function
of M - m + 1 and m, which is the chance that Bin(M, 1 - x) < m.

**Limits.** m = M is the pool. m = 1 is one draw from (1 - u_{j-1})^M - (1 - u_j)^M. Cost O(V n) for
each node of the rule in t, and for each gold unless hits are kept.

Source: David & Nagaraja (2003), section 2.5, for order statistics given another.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias.numerics.arrays import Array, is_numpy, namespace
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers._same_for_all import SameForAll
from nce_bias.samplers._selected import SelectedLaw, best_first


class Below(eqx.Module):
    """The thresholds: n nodes in each interval, `[V, n]`, and what lies below them.

    `weight` is beta(u) du, `inside` the length of the interval's own part below u. Everything is in
    the order of the key: `order` are the labels, `place` says where each is.
    """

    order: Int[Array, " V"]
    place: Int[Array, " V"]
    q: Float[Array, " V"]
    counts: Float[Array, " V"]  # 0 for a gold that is dropped, whose f is 1
    start: Float[Array, " V"]
    u: Float[Array, "V n"]
    inside: Float[Array, "V n"]
    weight: Float[Array, "V n"]


class BestOfDrawsLaw(SameForAll, SelectedLaw):
    """The best m < M of M independent draws; of one gold where `gold` marks it."""

    pool: IidLaw
    gold: Array | None
    of: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    ready: Below | None = None

    def prepared(self) -> BestOfDrawsLaw:
        return eqx.tree_at(
            lambda law: law.ready, self, self._below(), is_leaf=lambda leaf: leaf is None
        )

    @property
    def size(self) -> int:
        return self.key.shape[-1] * self.nodes

    @property
    def work(self) -> int:
        return 8 * self.size

    @property
    def error(self) -> float:
        """Rounding of exponents some M long; the rule is exact to less."""
        return 8 * float(jnp.finfo(self.pool.q.dtype).eps) * (8 + self.of)

    def _below(self) -> Below:
        if self.ready is not None:
            return self.ready
        xp, gold = namespace(self.key, self.pool.q), self.gold
        order, place = best_first(self.key, gold)
        log_q = self.pool.log_q_of(gold)
        counts = xp.ones_like(log_q) if gold is None else 1.0 - gold.astype(log_q.dtype)
        q = xp.exp(log_q)[order]
        at, lengths = (xp.asarray(part, q.dtype) for part in _gauss(self.nodes))
        start = xp.cumsum(q) - q
        end = xp.cumsum(q[::-1])[::-1] - q  # what lies behind each interval
        inside = q[:, None] * at
        u, beyond = start[:, None] + inside, end[:, None] + q[:, None] * at[::-1]
        some = (q[:, None] > 0) & (u > 0) & (beyond > 0)
        log_beta = self._log_scale + self.m * xp.log(xp.where(some, u, 1.0))
        log_beta = log_beta + (self.of - self.m - 1) * xp.log(xp.where(some, beyond, 1.0))
        weight = xp.where(some, lengths * q[:, None] * xp.exp(log_beta), 0.0)
        return Below(order, place, q, counts[order], start, xp.where(some, u, 1.0), inside, weight)

    @property
    def _log_scale(self) -> float:
        """log M! / (m! (M - m - 1)!)."""
        left = self.of - self.m
        return math.lgamma(self.of + 1) - math.lgamma(self.m + 1) - math.lgamma(left)

    def _missed(self, below: Below, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V n"]:
        """1 - phi_u at every threshold."""
        xp = namespace(exposures, below.q)
        gone = -xp.expm1(-exposures[..., below.order]) * below.counts
        terms = below.q * gone
        before = xp.cumsum(terms, axis=-1) - terms
        missed = (before[..., None] + gone[..., None] * below.inside) / below.u
        return xp.minimum(missed, 1 - jnp.finfo(missed.dtype).epsneg)

    def _log_f(self, below: Below, missed: Float[Array, "*N V n"]) -> Float[Array, "*N 1"]:
        xp = namespace(missed, below.weight)
        gone = -xp.sum(below.weight * xp.expm1(self.m * xp.log1p(-missed)), axis=(-2, -1))
        return xp.log1p(-xp.minimum(gone, 1 - jnp.finfo(gone.dtype).epsneg))[..., None]

    def _moment(
        self, exposures: Float[Array, "*N V"], order: int
    ) -> tuple[Float[Array, "*N 1"], Float[Array, "*N V"]]:
        """log F, and E[n_y] or E[n_y (n_y - 1)] of every label among the tilted negatives."""
        below = self._below()
        xp, missed = namespace(exposures, below.q), self._missed(below, exposures)
        log_f = self._log_f(below, missed)
        falling = self.m if order == 1 else self.m * (self.m - 1)
        power = xp.exp((self.m - order) * xp.log1p(-missed))
        weight = falling * below.weight * power / below.u**order
        each = xp.sum(weight, axis=-1)
        later = xp.cumsum(each[..., ::-1], axis=-1)[..., ::-1] - each
        own = xp.sum(weight * below.inside**order, axis=-1)
        f = xp.exp(-order * exposures[..., below.order]) * below.counts
        found = f * (below.q**order * later + own) * xp.exp(-log_f)
        return log_f, found[..., below.place]

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        below, xp = self._below(), namespace(exposures)
        log_f = self._log_f(below, self._missed(below, exposures))
        return xp.broadcast_to(log_f, exposures.shape)

    def at(self, exposures: Float[Array, "*N V"]) -> tuple[Array, Array]:
        return self._moment(exposures, 1)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        xp = namespace(exposures, values)
        along = xp.sum(self._moment(exposures, 1)[1] * values, axis=-1, keepdims=True)
        return xp.broadcast_to(along, exposures.shape)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        if self.gold is not None:
            return namespace(exposures).zeros_like(exposures)
        return self._moment(exposures, 1)[1]

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        xp = namespace(exposures, values)
        pairs = self._moment(exposures, 2)[1]
        among = xp.sum(values**2 * pairs, axis=-1, keepdims=True)
        return xp.broadcast_to(among, exposures.shape)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        below = self._below()
        xp = namespace(share, below.q)
        q, start = xp.minimum(below.q, 1.0), xp.clip(below.start, 0.0, 1.0)
        others = xp.maximum(1 - q, jnp.finfo(q.dtype).tiny)
        none = xp.exp(self.of * xp.log(others)) * self._few(1 - xp.minimum(start / others, 1.0))
        chance = ((self._few(1 - start) - none) * below.counts)[below.place]
        return xp.maximum(chance, 0.0) * (xp.sum(share) - share)

    def _few(self, x: Float[Array, " V"]) -> Float[Array, " V"]:
        """The chance that fewer than m of M draws fall where each does with chance 1 - x."""
        if is_numpy(x):
            from scipy.special import betainc  # takes longer to import than all of this
        else:
            from jax.scipy.special import betainc
        function: Any = betainc
        return function(float(self.of - self.m + 1), float(self.m), x)


@functools.lru_cache
def _gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], symmetric about its middle."""
    at, weights = np.polynomial.legendre.leggauss(nodes)
    return (1 + at) / 2, weights / 2


def gauss_nodes(of: int, longest: float, tolerance: float) -> int:
    """The least n for which the rule errs by less than `tolerance`; ceil(M / 2) is exact."""
    exact = -(-of // 2)
    for n in range(1, exact):
        log_error = (
            4 * math.lgamma(n + 1)
            - math.log(2 * n + 1)
            - 3 * math.lgamma(2 * n + 1)
            + 2 * n * math.log(2 * longest)
            + math.lgamma(of + 1)
            - math.lgamma(of - 2 * n + 1)
            + math.log1p(2 * longest * of)
        )
        if log_error < math.log(tolerance):
            return n
    return exact
