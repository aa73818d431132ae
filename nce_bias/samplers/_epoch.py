r"""Labels of a batch drawn without replacement from an epoch in which label y occurs c_y times.

A data loader shuffles N = sum_y c_y examples and cuts them into batches of m + 1. A row whose gold
is g meets the golds of m of the N - 1 other examples, all sets of them alike:

    F_g(z) = [zeta^m] prod_y (1 + zeta f_y)^{c_y - 1{y = g}} / C(N - 1, m),        f = e^{-z}.

A label may come several times, but no more often than it is left: hits are the c_g - 1 other copies
of the gold.

**Circle.** With p = (m + 1/2) / N put b_y = p r f_y / (1 - p + p r f_y). On the circle of radius r
each factor over its value at r is 1 + b_y (e^{i theta} - 1), the characteristic function of a
Bernoulli variable, and r solves sum_y c_y b_y = m + 1/2, so that their sum has its mean where it is
wanted: nothing cancels. r is 1 where z = 0, and logarithms are taken of 1 + p (r f - 1), which are
0 there; where r f is large its logarithm is counted apart, for it cancels where anything is left. A
mean over `frequencies` points, some 9 sqrt(m (1 - m / N)) + 25 whatever N is, has no aliases that
count (`numerics.circle`). The same at z = 0, where F = 1, is what it is divided by.

**Derivatives.** -dF_g / dz_y is (c_y - 1{y = g}) times the same mean with the factor
b_y e^{i theta} / (1 + b_y (e^{i theta} - 1)), the chance that one of the copies is in; pairs of
copies have its square. Summed over golds it is one sum less one term.

**Limits.** m = N - 1 takes the whole epoch. As N grows with c / N fixed, the law tends to that of
independent rows. Dropped hits have no common circle: a popular gold's copies, which weigh nothing,
would need one of their own: with `drops_hits` the law is there to be drawn from alone.

**Cost.** O(V sqrt(m)) for each node of the rule in t: half a second for a thousand labels and
batches of 64, 25 seconds for ten thousand and 256, on one core.

Source: Hong (2013), "On computing the distribution function for the Poisson binomial distribution".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, namespace, scan, sigmoid
from nce_bias.numerics.circle import frequencies
from nce_bias.numerics.separable import Separable
from nce_bias.samplers.base import Copies, Labels, Law, Present

#: What the points of the circle alias, relative to a coefficient of order 1.
ALIAS = 1e-17
#: Bisections of log r, from an interval of 2 log(2 N): what is left, some .002, moves the mean of
#: the sum by less than its deviation up to m = 10^5.
BISECTIONS = 14
#: log(r f) from which on it is counted apart.
FAR = 1.0


class OnCircle(NamedTuple):
    """All factors at the points of a circle, `[..., points, V]`.

    `without`: the product over all examples but one of each label. `chance`: of one copy of a label
    to be in. `log_scale`: of the coefficient without each label.
    """

    without: Complex[Array, "*N P V"]
    chance: Complex[Array, "*N P V"]
    log_scale: Float[Array, "*N V"]


class EpochLaw(Law):
    """m of the other examples of an epoch, without replacement; see the module."""

    occurs: Float[Array, " V"]
    m: int = eqx.field(static=True)
    total: int = eqx.field(static=True)
    drops_hits: bool = eqx.field(static=True, default=False)

    @property
    def size(self) -> int:
        """Elements of the circle at one node in t."""
        return self.occurs.shape[-1] * self._points // 2

    @property
    def work(self) -> int:
        return 16 * self.size

    @property
    def work_of_a_gold(self) -> int:
        return self.size

    @property
    def error(self) -> float:
        """Aliases, and rounding of the phases and logarithms, which add up to some pi m."""
        return ALIAS + 8 * float(jnp.finfo(self.occurs.dtype).eps) * (self.m + 8)

    @property
    def blind(self) -> bool:
        """Whether the law is the same for every gold: no, one example of it is the row itself."""
        return False

    @property
    def _points(self) -> int:
        return frequencies(self.total, self.m, ALIAS)

    @property
    def _share(self) -> float:
        """p of the module."""
        return (self.m + 0.5) / self.total

    @property
    def _left_out(self) -> Float[Array, " V"]:
        """1 for each label that occurs: one of its examples is the row itself."""
        return namespace(self.occurs).minimum(self.occurs, 1.0)

    def _at(self, exposures: Float[Array, "*N V"]) -> OnCircle:
        xp, p, dtype = namespace(exposures, self.occurs), self._share, self.occurs.dtype
        occurs, m = self.occurs, self.m
        log_r = _saddle(exposures, occurs, m, self.total)
        log_rf = xp.where(occurs > 0, log_r - exposures, 0.0)  # no factor where nothing occurs
        b = sigmoid(log_rf + math.log(p / (1 - p)))
        far = log_rf > FAR
        near = xp.log1p(p * xp.expm1(xp.where(far, 0.0, log_rf)))
        beyond = xp.where(far, log_rf, 0.0)
        log_size = xp.where(
            far, math.log(p) - exposures + xp.log1p((1 - p) / p * xp.exp(-beyond)), near
        )
        # log r of the far labels less that of the wanted power: often none is left, however large
        powers = xp.sum(occurs * far, axis=-1, keepdims=True) - m - self._left_out * far
        whole = xp.sum(occurs * log_size, axis=-1, keepdims=True) - self._left_out * log_size
        log_scale = whole + xp.where(powers == 0, 0.0, powers * log_r)
        angles = np.pi * (2 * np.arange(self._points // 2) + 1) / self._points
        angle = xp.asarray(angles, dtype)[:, None]
        b, less, sine = b[..., None, :], -2 * xp.sin(angle / 2) ** 2, xp.sin(angle)
        real, imaginary = 1 + b * less, b * sine  # of the factors: less is cos - 1
        square = 1 + 2 * b * (1 - b) * less
        size = xp.sum(occurs * xp.log(square), axis=-1, keepdims=True) / 2
        turned = xp.sum(occurs * xp.arctan2(imaginary, real), axis=-1, keepdims=True) - m * angle
        inverse = (real - 1j * imaginary) / square
        every = xp.exp(size) * (xp.cos(turned) + 1j * xp.sin(turned)) * (2 / self._points)
        without = every * xp.where(occurs > 0, inverse, 1.0)
        return OnCircle(without, b * (1 + less + 1j * sine) * inverse, log_scale)

    def _log_at_zero(self) -> float:
        """The logarithm of the coefficient at z = 0, a binomial chance."""
        p, others = self._share, self.total - 1
        angle = np.pi * (2 * np.arange(self._points // 2) + 1) / self._points
        logs = others * np.log(1 + p * (np.exp(1j * angle) - 1)) - 1j * self.m * angle
        return math.log(np.sum(np.real(np.exp(logs))) * 2 / self._points)

    def _coefficient(self, at: OnCircle) -> Float[Array, "*N V"]:
        """The mean over the circle of the product without each label."""
        xp = namespace(at.log_scale)
        found = xp.sum(xp.real(at.without), axis=-2)
        return xp.maximum(found, jnp.finfo(found.dtype).tiny)

    def _log_f(self, at: OnCircle) -> Float[Array, "*N V"]:
        """Of a label that does not occur, and is no gold, nothing is left out: any number."""
        xp = namespace(at.log_scale)
        log_f = xp.log(self._coefficient(at)) - self._log_at_zero() + at.log_scale
        return xp.minimum(log_f, 0.0)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._log_f(self._at(exposures))

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        at = self._at(exposures)
        coefficient = self._coefficient(at)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            xp = namespace(share, coefficient)
            weighted = at.without * (share / coefficient)[..., None, :]
            by_any = xp.sum(weighted, axis=-1, keepdims=True)
            counted = by_any * self.occurs - weighted * self._left_out
            return xp.maximum(xp.sum(xp.real(counted * at.chance), axis=-2), 0.0)

        return self._log_f(at), copies

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        at = self._at(exposures)
        xp = namespace(exposures, self.occurs)
        means = xp.swapaxes(at.without / self._coefficient(at)[..., None, :], -1, -2)
        dense = xp.real(means @ at.chance)  # [..., gold, V]
        own = xp.eye(len(self.occurs), dtype=self.occurs.dtype) * self._left_out
        return ((self.occurs - own) * dense)[..., golds, :]

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        at = self._at(exposures)
        xp = namespace(exposures, values)
        each = values[..., None, :] * at.chance
        whole = xp.sum(self.occurs * each, axis=-1, keepdims=True) - self._left_out * each
        return xp.sum(xp.real(at.without * whole), axis=-2) / self._coefficient(at)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        at = self._at(exposures)
        xp = namespace(exposures, self.occurs)
        found = xp.sum(xp.real(at.without * at.chance), axis=-2) / self._coefficient(at)
        return xp.maximum((self.occurs - self._left_out) * found, 0.0)

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """c (c - 1) ordered pairs of copies, c one less for the gold."""
        at = self._at(exposures)
        xp = namespace(exposures, self.occurs)
        left = self.occurs - self._left_out
        squares = values[..., None, :] ** 2 * at.chance**2
        pairs = xp.sum(self.occurs * left * squares, axis=-1, keepdims=True)
        # c (c - 1) - (c - 1) (c - 2) of a label that occurs
        of_gold = 2 * left * squares
        found = xp.sum(xp.real(at.without * (pairs - of_gold)), axis=-2)
        return xp.maximum(found / self._coefficient(at), 0.0)

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """m times what is left of each label over N - 1."""
        xp = namespace(share, self.occurs)
        return self.m * (self.occurs * xp.sum(share) - share) / (self.total - 1)

    def inclusion(self) -> Separable:
        """1 - C(N - 1 - c_y, m) / C(N - 1, m): the same for every gold but y itself."""
        xp = namespace(self.occurs)
        chance = -xp.expm1(_log_missed(self.occurs, self.total - 1, self.m))
        return Separable(xp.ones_like(chance)[None], chance[None])

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """Floyd's algorithm for m of N - 1 examples, which are numbered by label."""
        others = self.total - 1
        numbers = distinct_numbers(key, others, self.m)
        left = jnp.asarray(self.occurs).at[gold].add(-1.0)
        last = jnp.cumsum(left.astype(int))
        labels = jnp.searchsorted(last, numbers, side="right")
        return labels, (labels != gold) | (not self.drops_hits)

    def hit_chances(self) -> Float[Array, " V"]:
        """The chance of each label to be among the negatives of its own gold."""
        xp = namespace(self.occurs)
        return -xp.expm1(_log_missed(self.occurs - self._left_out, self.total - 1, self.m))

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """The epoch's frequencies c / N, over the (N - 1) / N that the row's own example leaves."""
        xp = namespace(self.occurs)
        seen = self.occurs > 0
        log_q = xp.where(seen, xp.log(xp.where(seen, self.occurs, 1.0) / self.total), -xp.inf)
        return log_q, xp.full_like(log_q, math.log1p(-1 / self.total))


def _saddle(exposures, occurs, m: int, total: int):
    """log r with sum_y c_y b_y = m + 1/2, roughly; it is not differentiated.

    Where the (m + 1)-th least exposed example has even odds times 2 N, the first m + 1 alone add up
    to more; at even odds over 2 N all others together to less than what is missing.
    """
    xp = namespace(exposures, occurs)
    z = exposures if xp is np else jax.lax.stop_gradient(exposures)
    order = xp.argsort(z, axis=-1)
    place = xp.argmax(xp.cumsum(occurs[order], axis=-1) >= m + 1, axis=-1)[..., None]
    middle = xp.take_along_axis(z, xp.take_along_axis(order, place, axis=-1), axis=-1)
    p = (m + 0.5) / total
    odds, width = math.log(p / (1 - p)), math.log(2 * total)
    low, high = middle - odds - width, middle - odds + width
    for _ in range(BISECTIONS):
        half = (low + high) / 2
        few = xp.sum(occurs * sigmoid(half + odds - z), axis=-1, keepdims=True) < m + 0.5
        low, high = xp.where(few, half, low), xp.where(few, high, half)
    return (low + high) / 2


def _log_missed(occurs, others: int, m: int):
    """log of C(others - c, m) / C(others, m) = prod_{j < m} (1 - c / (others - j))."""
    xp = namespace(occurs)
    left = xp.asarray(np.arange(others, others - m, -1), occurs.dtype)

    def step(total, left):
        return total + xp.log1p(-xp.minimum(occurs / left, 1.0)), None

    return scan(step, xp.zeros_like(occurs), left)[0]


def distinct_numbers(key: PRNGKeyArray, others: int, m: int) -> Int[Array, " m"]:
    """m distinct numbers below `others`, all orders alike (Bentley & Floyd, 1987)."""
    of_order, of_numbers = jax.random.split(key)
    keys, lasts = jax.random.split(of_numbers, m), jnp.arange(others - m, others)

    def take(taken, step):
        place, key, last = step
        number = jax.random.randint(key, (), 0, last + 1)
        number = jnp.where(jnp.any(taken == number), last, number)
        return taken.at[place].set(number), None

    start = jnp.full(m, -1, lasts.dtype)
    numbers = jax.lax.scan(take, start, (jnp.arange(m), keys, lasts))[0]
    return jax.random.permutation(of_order, numbers)
