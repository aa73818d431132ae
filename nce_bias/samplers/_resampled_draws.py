r"""m draws by weight from a pool of M independent draws, in closed form but for one integral.

Let R = sum_k r_k be the weight of the pool and S = sum_k r_k f_k with f = e^{-z}. Given the pool
the m draws are independent, each with the chance r_k / R, so

    F = E[(S / R)^m] = (1 / Gamma(m)) int E[(s S)^m e^{-s R}] ds/s,

and as (s S)^m e^{-s R} = m! [eta^m] e^{-s sum_k r_k (1 - eta f_k)}, with x_y = s r_y,

    F = m int [eta^m] A(eta)^M ds/s,        A_j = sum_y q_y f_y^j Pois(j; x_y),

Pois(j; x) = e^{-x} x^j / j!: at the rate s a member y of the pool is drawn Poisson(x_y) times. All
terms are positive. The rule in log s is that of `nce_bias.numerics.gamma_rule`: whatever the pool,
the integrand is a multiple of the density of log(G / R), G ~ Gamma(m).

**Complements.** 1 - F is the same with A(1)^M - A(f)^M. A power is squared and multiplied as a pair
(B, D) of A(f)^n and what A(1)^n has more: (B B', D (B' + D') + B D'), positive terms again, D of
the first power being sum_y q_y (1 - f_y^j) Pois(j; x_y). So F keeps its digits near 1.

**Derivatives.** A derivative by -z_y takes j from f_y^j:

    -dF/dz_y = m int M q_y sum_j j Pois(j; x_y) f_y^j [eta^{m-j}] A^{M-1} ds/s,

and E[n_y (n_y - 1)] F is the same with j (j - 1) for j, plus, for two members of the same label,

    m int M (M - 1) q_y^2 sum_j (j (j - 1) / 4) Pois(j; 2 x_y) f_y^j [eta^{m-j}] A^{M-2} ds/s,

as (sum_j j Pois(j; x) w^j)^2 = x^2 w^2 e^{-2 x (1 - w)}.

**Inclusion.** The chance that y is not drawn is F with f_y = 0 and all other f = 1.

**Limits.** r constant: m draws from q where M is infinite, else dependent ones through the pool. M
= 1: m copies of one draw. m = 1 is `nce_bias.samplers._resampled_once`. A member of weight 0, as a
gold that is dropped, is never drawn; a pool of nothing else gives no negatives.

**Cost.** S nodes in s, some 60 and 4 more for each unit by which log r spreads: S V (m + 1) numbers
are held, and as many are multiplied for each node in t; for each gold alone unless hits are kept.
"""

from __future__ import annotations

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.gamma_rule import GammaGrid, gamma_grid
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers._same_for_all import SameForAll
from nce_bias.samplers.base import Labels, Law, Present

#: F below so many times the least number there is weighs nothing; its inverse is still finite.
FLOOR = 2.0**20
#: Coefficients of 1, eta, ..., eta^m along the first axis.
Series = Float[Array, "J ..."]
#: A(f)^n, and what A(1)^n has more.
Pair = tuple[Series, Series]


class Kernel(eqx.Module):
    """What every exposure shares: nodes in s and their weights, times Gamma's m.

    `once` is q Pois(j; x), `twice` q^2 (j (j - 1) / 4) Pois(j; 2 x), both [m + 1, S, V].
    """

    weight: Float[Array, " S"]
    once: Series
    twice: Series
    error: Float[Array, ""]


class ResampledLaw(SameForAll):
    """m draws by weight from a pool of independent ones; of one gold where `gold` marks it."""

    pool: IidLaw
    log_r: Float[Array, " V"]
    gold: Array | None
    m: int = eqx.field(static=True)
    of: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    ready: Kernel | None = None

    def prepared(self) -> ResampledLaw:
        return eqx.tree_at(
            lambda law: law.ready, self, self._kernel(), is_leaf=lambda leaf: leaf is None
        )

    @property
    def size(self) -> int:
        return (self.m + 1) * max(self.log_r.shape[-1], self.nodes)

    @property
    def work(self) -> int:
        """Products of matrices are some thirty times as quick as what else NumPy does."""
        return 8 * self.size + self.m * self.nodes * self.log_r.shape[-1] // 32

    @property
    def error(self) -> Float[Array, ""]:
        """The rule's bound, and rounding of powers of a number near 1."""
        rounding = 8 * float(jnp.finfo(self.log_r.dtype).eps) * (8 + self.of)
        return self._grid().error() + rounding

    def _grid(self) -> GammaGrid:
        log_q, log_r = self._of_gold()
        xp = namespace(log_q, log_r)
        drawn = xp.isfinite(log_q) & xp.isfinite(log_r)
        least = xp.min(xp.where(drawn, log_r, xp.inf))
        most = xp.max(xp.where(drawn, log_r, -xp.inf)) + math.log(self.of)
        some = xp.any(drawn)
        least, most = xp.where(some, least, 0.0), xp.where(some, most, 0.0)
        return gamma_grid(least, most, self.m, self.nodes, self.tolerance)

    def _of_gold(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """log q and log r, those of the gold that is marked."""
        log_q = self.pool.log_q_of(self.gold)
        xp = namespace(log_q, self.log_r)
        dropped = False if self.gold is None else self.gold
        return log_q, xp.where(dropped, -xp.inf, self.log_r)

    def _kernel(self) -> Kernel:
        if self.ready is not None:
            return self.ready
        (log_q, log_r), grid = self._of_gold(), self._grid()
        xp = namespace(log_q, log_r)
        index = xp.arange(self.nodes, dtype=log_r.dtype)
        x = exposure(grid.left + grid.step * index, log_r)
        j = xp.arange(self.m + 1, dtype=log_r.dtype)[:, None, None]
        log_factorial = xp.asarray([math.lgamma(k + 1) for k in range(self.m + 1)], log_r.dtype)

        def chance(rate):
            """Pois(j; rate)."""
            log_rate = xp.log(xp.where(rate > 0, rate, 1.0))
            none = (rate == 0) & (j > 0)
            return xp.where(none, -xp.inf, j * log_rate - rate - log_factorial[:, None, None])

        once = xp.exp(log_q + chance(x))
        twice = j * (j - 1) / 4 * xp.exp(2 * log_q + chance(2 * x))
        return Kernel(self.m * grid.weight(index), once, twice, grid.error())

    def _powers(self, exposures: Float[Array, "N V"], *powers: int) -> tuple[Kernel, list[Pair]]:
        """A(f)^n and what A(1)^n has more, [m + 1, N, S], for some n in order."""
        kernel = self._kernel()
        xp = namespace(exposures, kernel.once)
        j = xp.arange(self.m + 1, dtype=exposures.dtype)[:, None, None]
        across = xp.swapaxes(kernel.once, -1, -2)
        kept = xp.matmul(xp.exp(-j * exposures), across)
        return kernel, _raised((kept, xp.matmul(-xp.expm1(-j * exposures), across)), powers)

    def _log_f(self, kernel: Kernel, whole: Pair) -> Float[Array, "N 1"]:
        xp = namespace(*whole)
        gone = xp.sum(kernel.weight * whole[1][-1], axis=-1, keepdims=True)
        left = xp.sum(kernel.weight * whole[0][-1], axis=-1, keepdims=True) + self._none()
        tiny = FLOOR * float(jnp.finfo(gone.dtype).tiny)
        return xp.where(gone < 0.5, xp.log1p(-xp.minimum(gone, 0.5)), xp.log(left + tiny))

    def _none(self) -> Array | float:
        """The chance that no member of the pool has a weight."""
        if self.gold is None or self.pool.rest is not None:
            return 0.0
        xp = namespace(self.pool.q, self.gold)
        return xp.sum(xp.where(self.gold, self.pool.q, 0.0)) ** self.of

    def _drawn(self, exposures: Float[Array, "N V"], order: int) -> tuple[Array, Array]:
        """log F, and E[n_y] or E[n_y (n_y - 1)] of every label among the tilted negatives."""
        below = [max(self.of - 2, 0), max(self.of - 1, 0), self.of][-order - 1 :]
        kernel, raised = self._powers(exposures, *below)
        xp = namespace(exposures, kernel.once)
        log_f = self._log_f(kernel, raised[-1])
        j = xp.arange(self.m + 1, dtype=exposures.dtype)[:, None, None]

        def summed(factors, power, parts):
            """sum_j f^j [eta^{m-j}] A^power, times its factor and parts."""
            rest = xp.matmul(kernel.weight * power[0][::-1], parts)
            return xp.sum(factors * xp.exp(-j * exposures) * rest, axis=0)

        falling = j if order == 1 else j * (j - 1)
        found = self.of * summed(falling, raised[-2], kernel.once)
        if order == 2 and self.of > 1:
            pairs = summed(1.0, raised[0], kernel.twice)
            found = found + self.of * (self.of - 1) * pairs
        return log_f, found * xp.exp(-log_f)

    def _flat(self, exposures: Float[Array, "*N V"]) -> Float[Array, "N V"]:
        return exposures.reshape(-1, exposures.shape[-1])

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        kernel, (whole,) = self._powers(self._flat(exposures), self.of)
        log_f = self._log_f(kernel, whole).reshape(*exposures.shape[:-1], 1)
        return namespace(log_f).broadcast_to(log_f, exposures.shape)

    def at(self, exposures: Float[Array, "*N V"]) -> tuple[Array, Array]:
        log_f, found = self._drawn(self._flat(exposures), 1)
        return log_f.reshape(*exposures.shape[:-1], 1), found.reshape(exposures.shape)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        found = self.at(exposures)[1]
        xp = namespace(found, values)
        along = xp.sum(found * values, axis=-1, keepdims=True)
        return xp.broadcast_to(along, exposures.shape)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self.at(exposures)[1]

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        pairs = self._drawn(self._flat(exposures), 2)[1].reshape(exposures.shape)
        xp = namespace(pairs, values)
        return xp.broadcast_to(xp.sum(values**2 * pairs, axis=-1, keepdims=True), exposures.shape)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        kernel = self._kernel()
        xp = namespace(share, kernel.once)
        j = xp.arange(self.m + 1)[:, None, None]
        own = xp.where(j > 0, xp.swapaxes(kernel.once, -1, -2), 0.0)
        others = xp.sum(kernel.once, axis=-1)[:, None, :] - own
        (_, more) = _raised((xp.maximum(others, 0.0), own), (self.of,))[0]
        return xp.sum(kernel.weight * more[-1], axis=-1) * (xp.sum(share) - share)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """That of each slot."""
        log_copies = self.log_counts(self.log_r)[0]
        return log_copies - math.log(self.m), namespace(log_copies).zeros_like(log_copies)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return draw_by_weight((self.pool, self.log_r), self.m, key, gold)


def draw_by_weight(
    of: tuple[Law, Float[Array, " V"]], m: int, key: PRNGKeyArray, gold: Int[Array, ""]
) -> tuple[Labels, Present]:
    """m draws with replacement, by log-weights, from one draw of a pool; none of an empty one."""
    pool, log_r = of
    of_pool, of_weights = jax.random.split(key)
    labels, present = pool.draw(of_pool, gold)
    weights = jnp.where(present, jnp.asarray(log_r)[labels], -jnp.inf)
    some = jnp.any(present)
    slots = jax.random.categorical(of_weights, jnp.where(some, weights, 0.0), shape=(m,))
    return labels[slots], jnp.broadcast_to(some, (m,))


def _times(a: Series, b: Series) -> Series:
    """The product, up to eta^m."""
    xp, powers = namespace(a, b), np.arange(len(a))
    lag = powers[:, None] - powers  # what is left for b; its coefficient of eta^{m+1} is 0
    shifted = xp.concatenate([b, 0 * b[:1]])[np.where(lag < 0, len(a), lag)]
    return xp.sum(a * shifted, axis=1)


def _multiplied(one: Pair, other: Pair) -> Pair:
    (kept, more), (also_kept, also_more) = one, other
    both = _times(more, also_kept + also_more) + _times(kept, also_more)
    return _times(kept, also_kept), both


def _raised(base: Pair, powers: tuple[int, ...]) -> list[Pair]:
    """To each of some powers in order, each a few more than the last."""
    xp = namespace(*base)
    one = xp.zeros_like(base[0]) + (xp.arange(len(base[0])) == 0).reshape(-1, 1, 1)
    power, square, found, at = (one, xp.zeros_like(one)), base, [], powers[0]
    while at:
        power = _multiplied(power, square) if at & 1 else power
        at >>= 1
        square = _multiplied(square, square) if at else square
    found.append(power)
    for before, after in itertools.pairwise(powers):
        for _ in range(after - before):
            power = _multiplied(power, base)
        found.append(power)
    return found
