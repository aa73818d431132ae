r"""Negatives that count once: the set of distinct labels among draws with replacement.

Many pipelines draw m negatives independently and then take the unique ones, or mask repetitions.
That is neither `iid`, which counts copies, nor `without_replacement`, which goes on until it has m.

**Law.** P(the set is S) = m! [u^m] prod_{y in S} (e^{q_y u} - 1), since every label of S is drawn
at least once. With f = e^{-z} and all labels together,

    F(z) = m! [u^m] prod_y (1 + (e^{q_y u} - 1) f_y) = m! [u^m] e^u T(u),
    T = prod_y G_y,        G_y = 1 - (1 - f_y) (1 - e^{-q_y u}).

A gold that is dropped has f_g = 1, so its factor G_g is 1: T_{-g}, the product without it. Where
the gold is excluded q is renormalised: m! (1 - q_g)^{-m} [u^m] e^{(1 - q_g) u} T_{-g}.

**Contour.** The coefficient is a mean over N points of the circle |u| = lambda; e^u has its weight
at the m-th power where lambda = m. e^u alone gives 1, so

    1 - F = -mean[ w (T - 1) ],        w = m! lambda^{-m} e^{u - i m theta},

loses nothing where F is nearly 1, and |w| adds up to about 1: rounding stays that of a number of
order 1. Points alias the powers m +- N, m +- 2 N, ...; the coefficients of e^u T are Poisson
chances of mean lambda times a number in [0, 1], so N = O(sqrt m) suffices (`points`). An excluded
gold of q_g wants lambda = m / (1 - q_g): golds with alike q_g share a circle, of which there are
O(sqrt m), and the most probable label, as a gold, has one of its own with the rest of q.

**Derivatives.** -dF / dz_y = f_y m! [u^m] e^u (1 - e^{-q_y u}) T_{-y}, and T_{-g,-y} for the gold
g: products without each label are exp(sum of logs - its own), which is exact also near a zero of
G_y because the same logarithm is taken off that was added. Sums over all golds but one leave the
largest to itself.

**Limits.** Cost O(V sqrt(m)) for each node of the rule in t. m = 1 is `iid`. As m grows every label
comes in, and the loss tends to the full softmax. Corrections take the chance to be among the draws,
1 - (1 - q_y)^m, in place of m q_y (`log_chances`): with excluded hits it depends on the gold, and
so does every weight, which costs an integral for each gold.

Source: Feller (1968), II.11, for the occupancy law; Trefethen & Weideman (2014), section 3, for
trapezoid rules on circles.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import NoExactMethod, check_kind
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.samplers._iid import Iid, IidLaw
from nce_bias.samplers._poisson import Poisson
from nce_bias.samplers._top import Top
from nce_bias.samplers._without_replacement import WithoutReplacement
from nce_bias.samplers.base import Chances, Copies, Labels, Law, Present, Sampler, check_of_today

#: What the points of a circle alias, relative to a coefficient of order 1.
ALIAS = 1e-17
#: The largest factor by which a circle that several golds share may lose precision, e^2.
LOST = 2.0
#: Logarithms of G beyond which the contour's weight is nothing.
STEEPEST = 300.0


class Once(Law):
    """The distinct labels of a law that may repeat them; draws alone."""

    draws: Law
    labels: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.labels

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        raise NoExactMethod("the distinct labels of a sum of samplers have no exact law here")

    def inclusion(self) -> Separable | None:
        return self.draws.inclusion()

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """The slots of the inner draw; a label is present in the first of its slots alone."""
        labels, present = self.draws.draw(key, gold)
        slots = jnp.arange(len(labels))
        first = jnp.full(self.labels, len(labels))
        first = first.at[labels].min(jnp.where(present, slots, len(labels)))
        return labels, present & (first[labels] == slots)


class Circle(eqx.Module):
    """One contour |u| = radius for the golds that share it; `rates` are radius q."""

    rates: Float[Array, " V"]
    golds: Array  # [V] of booleans: whose contour this is
    means: Float[Array, " V"]  # radius (1 - q_g), where e^u has its weight


class Factors(eqx.Module):
    """G_y at the points of a circle, [..., points, V]: logarithms, arguments and 1 - e^{-q_y u}."""

    log_size: Float[Array, "*N P V"]
    angle: Float[Array, "*N P V"]
    gone: tuple[Float[Array, "P V"], Float[Array, "P V"]]


class UniqueLaw(Once):
    """The distinct labels of m independent draws from one q."""

    draws: IidLaw
    m: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Elements of one circle at one node in t."""
        return self.labels * points(self.m) // 2

    @property
    def work(self) -> int:
        return 8 * self.size * (1 if self.draws.rest is None else circles(self.m) + 1)

    @property
    def error(self) -> float:
        """Aliases and rounding, of logarithms as large as m."""
        eps = float(jnp.finfo(self.draws.log_q.dtype).eps)
        return ALIAS + 8 * eps * math.sqrt(self.m) * math.exp(LOST)

    @property
    def _kept(self) -> bool:
        return self.draws.hits == "keep"

    def _circles(self) -> list[Circle]:
        q, rest = self.draws.q, self.draws.rest
        xp, m = namespace(q), float(self.m)
        if rest is None:
            return [Circle(m * q, xp.ones_like(q) > 0, m + xp.zeros_like(q))]
        count = circles(self.m)
        left = xp.where(rest.top, 1.0, rest.left)
        place = xp.clip(xp.floor(-xp.log2(left) * count), 0, count - 1)
        shared = []
        for c in range(count):
            radius = m * 2 ** ((c + 0.5) / count)
            golds = (place == c) & ~rest.top
            shared.append(Circle(radius * q, golds, xp.where(golds, radius * left, m)))
        return [*shared, Circle(m * rest.q, rest.top, m + xp.zeros_like(q))]

    def _weights(self, circle: Circle) -> tuple[Float[Array, "P V"], Float[Array, "P V"]]:
        """Logarithm and argument of 2/N m! mean^{-m} e^{mean e^{i theta} - i m theta}."""
        xp, m, angles = namespace(circle.means), self.m, self._angles(circle)
        log_scale = math.lgamma(m + 1) - m * xp.log(circle.means) + math.log(2 / points(m))
        size = log_scale + circle.means * xp.cos(angles)
        return size, circle.means * xp.sin(angles) - m * angles

    def _angles(self, circle: Circle) -> Float[Array, "P 1"]:
        count = points(self.m)
        angles = np.pi * (2 * np.arange(count // 2)[:, None] + 1) / count
        return namespace(circle.rates).asarray(angles, circle.rates.dtype)

    def _factors(self, circle: Circle, exposures: Float[Array, "*N V"]) -> Factors:
        xp, angles = namespace(exposures, circle.rates), self._angles(circle)
        real = xp.maximum(circle.rates * xp.cos(angles), -STEEPEST / 4)
        imaginary = circle.rates * xp.sin(angles)
        gone = (
            -xp.expm1(-real) * xp.cos(imaginary) + 2 * xp.sin(imaginary / 2) ** 2,
            xp.exp(-real) * xp.sin(imaginary),
        )
        hidden = -xp.expm1(-exposures)[..., None, :]  # 1 - f
        less, turned = -hidden * gone[0], -hidden * gone[1]
        square = 2 * less + less**2 + turned**2  # |G|^2 - 1
        near = xp.abs(square) < 0.5
        far = xp.maximum((1 + less) ** 2 + turned**2, jnp.finfo(square.dtype).tiny)
        log_size = xp.where(near, xp.log1p(xp.where(near, square, 0.0)), xp.log(far)) / 2
        return Factors(log_size, xp.arctan2(turned, 1 + less), gone)

    def _product(self, at: Factors) -> tuple[Float[Array, "*N P V"], Float[Array, "*N P V"]]:
        """Logarithm and argument of T_{-g}, or of T where the gold may be drawn."""
        xp = namespace(at.log_size)
        whole = [xp.sum(part, axis=-1, keepdims=True) for part in (at.log_size, at.angle)]
        if self._kept:
            return tuple(xp.broadcast_to(part, at.angle.shape) for part in whole)
        return whole[0] - at.log_size, whole[1] - at.angle

    def _missed(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """1 - F_g of every gold."""
        xp = namespace(exposures, self.draws.q)
        missed = xp.zeros_like(exposures)
        for circle in self._circles():
            log_size, angle = self._product(self._factors(circle, exposures))
            log_weight, turn = self._weights(circle)
            fallen = xp.expm1(-xp.abs(log_size))
            grown = xp.where(log_size > 0, -fallen, fallen * xp.cos(angle))
            real = grown - 2 * xp.sin(angle / 2) ** 2  # of T - 1, over max(|T|, 1)
            imaginary = xp.exp(xp.minimum(log_size, 0.0)) * xp.sin(angle)
            scale = xp.exp(log_weight + xp.maximum(log_size, 0.0))
            terms = scale * (xp.cos(turn) * real - xp.sin(turn) * imaginary)
            missed = missed - xp.where(circle.golds, xp.sum(terms, axis=-2), 0.0)
        return xp.clip(missed, 0.0, 1 - jnp.finfo(missed.dtype).epsneg)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        missed = self._missed(exposures)
        return namespace(missed).log1p(-missed)

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        log_f = self.log_laplace(exposures)
        xp = namespace(exposures, log_f)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            tilted = share * xp.exp(-log_f)
            if self._kept:
                return xp.sum(tilted, axis=-1, keepdims=True) * self._drawn(exposures)
            found = xp.zeros_like(exposures)
            for circle in self._circles():
                found = found + self._copies(circle, exposures, tilted)
            return xp.maximum(found, 0.0)

        return log_f, copies

    def _copies(
        self, circle: Circle, exposures: Float[Array, "*N V"], tilted: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """Sum over the circle's golds g != y of tilted_g (-dF_g / dz_y)."""
        xp, at = namespace(exposures, tilted), self._factors(circle, exposures)
        log_size, angle = self._product(at)
        log_weight, turn = self._weights(circle)
        golds = xp.where(circle.golds, tilted, 0.0)[..., None, :]
        size, turned = golds * xp.exp(log_weight + log_size), turn + angle
        others = _sums_without_each(size * xp.cos(turned), size * xp.sin(turned), size)
        return xp.exp(-exposures) * _inner(others, at)

    def _drawn(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """-dF / dz_y of the law that may draw every label."""
        (circle,) = self._circles()
        xp, at = namespace(exposures, circle.rates), self._factors(circle, exposures)
        log_size, angle = self._product(at)
        log_weight, turn = self._weights(circle)
        size, turned = xp.exp(log_weight + log_size), turn + angle
        parts = size * xp.cos(turned), size * xp.sin(turned)
        return xp.maximum(xp.exp(-exposures) * _inner(parts, at), 0.0)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        xp = namespace(exposures, self.draws.q)
        if not self._kept:
            return xp.zeros_like(exposures)
        return self._drawn(exposures) * xp.exp(-self.log_laplace(exposures))

    def chances(self) -> Float[Array, " V"]:
        """1 - (1 - q_y)^m: the chance of a label to be among m draws from all of q."""
        xp, q = namespace(self.draws.q), self.draws.q
        return -xp.expm1(self.m * xp.log1p(-xp.minimum(q, 1.0)))

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        others = self.draws.inclusion().average(share)
        return others + share * self.chances() if self._kept else others

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        """The logarithm of the chance to be among the draws, by gold where it is excluded."""
        xp, rest = namespace(self.draws.q), self.draws.rest
        if rest is None:
            return xp.log(self.chances()), xp.zeros((len(like), 1), self.draws.q.dtype)
        q = xp.where(rest.top[:, None], rest.q, self.draws.q / rest.left[:, None])
        missed = self.m * xp.log1p(-xp.minimum(q, 1.0))
        return xp.zeros_like(self.draws.q), xp.log(-xp.expm1(missed))

    def log_chances(self, labels: int, inclusion: bool) -> Chances:
        return namespace(self.draws.q).log(self.chances()), *self.log_counts(self.draws.q)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.draws.log_proposal()


def _sums_without_each(real, imaginary, size):
    """Sums of complex terms over all labels but each; the largest is left to itself."""
    xp = namespace(real)
    places = xp.arange(size.shape[-1])
    top = places == xp.argmax(size, axis=-1)[..., None]

    def without(terms):
        rest = xp.sum(xp.where(top, 0.0, terms), axis=-1, keepdims=True)
        whole = rest + xp.sum(xp.where(top, terms, 0.0), axis=-1, keepdims=True)
        return xp.where(top, rest, whole - terms)

    return without(real), without(imaginary)


def _inner(parts, at: Factors):
    """Sum over points of the real part of parts (1 - e^{-q_y u}) / G_y."""
    xp = namespace(parts[0], at.angle)
    scale = xp.exp(-at.log_size)
    real = parts[0] * xp.cos(at.angle) + parts[1] * xp.sin(at.angle)
    imaginary = parts[1] * xp.cos(at.angle) - parts[0] * xp.sin(at.angle)
    return xp.sum(scale * (real * at.gone[0] - imaginary * at.gone[1]), axis=-2)


@functools.lru_cache
def circles(m: int) -> int:
    """Circles for golds of q_g <= 1/2: m (log 2 / 2 circles)^2 / 2 <= `LOST`."""
    return math.ceil(math.log(2) / 2 * math.sqrt(m / (2 * LOST)))


@functools.lru_cache
def points(m: int) -> int:
    """The least even number of points whose aliases are below `ALIAS`."""
    off = math.exp(math.log(2) / (2 * circles(m)))
    count = 4
    while max(_alias(m, m * off, count), _alias(m, m / off, count)) > ALIAS:
        count += 2
    return count


def _alias(m: int, mean: float, count: int) -> float:
    """Poisson chances of m +- count, m +- 2 count, ... over that of m."""

    def ratio(n: int) -> float:
        if n < 0:
            return 0.0
        log_ratio = (n - m) * math.log(mean) - math.lgamma(n + 1) + math.lgamma(m + 1)
        return math.exp(min(log_ratio, 700.0))

    return sum(ratio(m + sign * j * count) for j in (1, 2, 3) for sign in (-1, 1))


class Unique(Sampler):
    """See `unique`."""

    sampler: Sampler
    m: int = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Once:
        draws = self.sampler.law(scores, popularity)
        if isinstance(draws, IidLaw):
            return UniqueLaw(draws, len(scores), self.m)
        return Once(draws, len(scores))

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        if not isinstance(self.sampler, Iid):
            raise NoExactMethod(
                f"{self!r} has no exact moments: the distinct labels of several samplers together "
                "have no Laplace functional here. Use nb.monte_carlo(problem, sampler, loss, "
                "key=key, draws=100_000), or nb.unique of one nb.iid."
            )
        return self

    @property
    def may_be_empty(self) -> bool:
        return self.sampler.may_be_empty

    @property
    def portable(self) -> bool:
        return self.sampler.portable

    @property
    def reads_scores(self) -> bool:
        return self.sampler.reads_scores

    def check(self, problem: Problem) -> None:
        self.sampler.check(problem)

    def slots(self, labels: int) -> int:
        return self.sampler.slots(labels)

    def __repr__(self) -> str:
        return f"unique({self.sampler!r})"


def unique(sampler: Any) -> Sampler:
    """The distinct labels of what `sampler` draws: a label that comes twice counts once.

    For `iid` with any policy for hits this is the law of the *set* of m draws; a set has between 1
    and m labels. A sampler whose labels are distinct already is returned as it is. Sums, in which
    parts may draw the same label, are known by `monte_carlo` alone.

    Corrections take the logarithm of the chance to be among the draws, 1 - (1 - q_y)^m, where those
    of `iid` take log(m q_y), for the gold too if the loss corrects it.

    >>> problem = Problem([0.5, -0.2, 0.1, -0.7], [0.4, 0.3, 0.2, 0.1])
    >>> round(float(exact(problem, unique(iid(uniform(), 2))).loss), 10)
    0.903480907
    """
    check_kind("sampler", sampler, Sampler, "nb.unique(nb.iid(nb.uniform(), m=16))")
    check_of_today("sampler", sampler)
    if isinstance(sampler, WithoutReplacement | Poisson | Top):
        return sampler
    return Unique(sampler=sampler, m=int(sampler.m))
