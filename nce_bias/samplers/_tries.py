r"""Distinct labels given the number of tries it took to find them.

Labels are drawn from q with replacement until m are distinct, at the n-th try. With j the last new
label, all labels but j are drawn in the first n - 1 tries, each at least once:

    P(set S, T = n, last j) = q_j (n - 1)! [z^{n-1}] prod_{y in S, y != j} (e^{q_y z} - 1).

With psi_y(z) = (e^{q_y z} - 1) / z, R = n - m repeated draws and f = e^{-z_y} of the exposures,

    P(T = n) F_n = (n - 1)! [z^R zeta^{m-1}] A,
    A = sum_j q_j f_j prod_{y != j} (1 + zeta psi_y(z) f_y).

**zeta.** A and the product are polynomials, multiplied up label by label and cut at zeta^{m-1}.
Each factor is divided by 1 + r psi_y(lambda), so that at f = 1 and z = lambda the coefficients are
chances of independent draws, whose mean the right r puts at m - 1/2.

**z.** The coefficient of z^R is a mean over N points of |z| = lambda. All coefficients are positive
and lambda is where repeats have the mean R + 1/2, so nothing cancels: what is lost is the width of
their law, sqrt(2 pi R) roundings. Points alias R +- N, ...; N (`points`) is as Bernstein's
inequality has it for a sum of independent counts with a variance of at most twice its mean.

**The gold.** A is linear in each f. Where the gold is dropped its f is 1: A + (1 - f_g) dA/df_g,
positive terms again. Derivatives are those of the loop over labels backwards, which is the products
before and after each label; nothing is divided.

**Limits.** O(V m N) for each node in t and each n.

Source: THEORY of the documentation, section 5.
"""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias.samplers.base import Chances, Labels, Law, Present

#: Bisections of log lambda and, for each, of log r.
BISECTIONS = 40


class Circle(eqx.Module):
    """What every node in t shares: factors at f = 1 on |z| = lambda, [V, P] and [V].

    `draws` k_y and `misses` x_y are the factors' parts x + zeta k f, `last` marks b f of the label
    that comes last; `weights` are those of the points, `log_scale` what all were divided by.
    """

    draws: Array
    misses: Float[Array, " V"]
    last: Float[Array, " V"]
    weights: Array
    log_scale: Float[Array, ""]


class TriesLaw(Law):
    """m distinct labels drawn from all of q in exactly n tries; the gold dropped or kept."""

    log_q: Float[Array, " V"]
    tries: Float[Array, ""]
    m: int = eqx.field(static=True)
    points: int = eqx.field(static=True)
    hits: str = eqx.field(static=True)
    circle: Circle | None = None
    at_zero: Float[Array, ""] | None = None

    @property
    def size(self) -> int:
        return self.log_q.shape[-1] * self.m * self.points

    @property
    def error(self) -> Float[Array, ""]:
        """Rounding, by the width of the law of repeats and the steps of the loop."""
        eps = jnp.finfo(self.log_q.dtype).eps
        return 8 * eps * jnp.sqrt(self.tries) + 0 * self.log_q[0]

    def prepared(self) -> TriesLaw:
        """With the circle and the value at z = 0, by which every later one is divided."""
        circle = _circle(self.log_q, self.tries, self.m, self.points)
        at_zero = _coefficient(circle, jnp.ones_like(self.log_q), self.m)
        return dataclasses.replace(self, circle=circle, at_zero=at_zero)

    @property
    def log_chance(self) -> Float[Array, ""]:
        """Log P(T = n)."""
        ready = self if self.circle is not None else self.prepared()
        assert ready.circle is not None and ready.at_zero is not None
        least = jnp.finfo(self.log_q.dtype).tiny
        return ready.circle.log_scale + jnp.log(jnp.maximum(ready.at_zero, least))

    def log_laplace(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        f = jnp.exp(-exposures)
        value, by_f = self._values(f)
        if self.hits == "mask":
            value = value + (1 - f) * by_f
        ratio = value / self._whole
        # 1 / ratio^2, of a second derivative, must not overflow: below 1e-123 nothing counts
        return jnp.log(jnp.maximum(ratio, jnp.finfo(f.dtype).tiny ** 0.4)) + 0 * exposures

    @property
    def _whole(self) -> Float[Array, ""]:
        assert self.at_zero is not None, "prepared() first"
        return self.at_zero

    def _values(self, f: Float[Array, " V"]) -> tuple[Float[Array, ""], Float[Array, " V"]]:
        assert self.circle is not None, "prepared() first"
        circle, m = self.circle, self.m
        return jax.value_and_grad(lambda f: _coefficient(circle, f, m))(f)

    def own_hits(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        if self.hits != "keep":
            return jnp.zeros_like(exposures)
        f = jnp.exp(-exposures)
        value, by_f = self._values(f)
        return f * by_f / jnp.maximum(value, self._whole * jnp.finfo(f.dtype).tiny ** 0.4)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        return self.counts(share) - share * self.own_hits(jnp.zeros_like(share))

    def log_chances(self, labels: int, inclusion: bool) -> Chances:
        """Log of 1 - (1 - q)^n, of m q if no try was in vain: what TensorFlow expects."""
        q, n = jnp.exp(self.log_q), self.tries
        some = jnp.log(-jnp.expm1(n * jnp.log1p(-jnp.minimum(q, 1.0))))
        chances = jnp.where(n == self.m, math.log(self.m) + self.log_q, some)
        return chances, chances, jnp.zeros((labels, 1), q.dtype)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.log_q, jnp.zeros_like(self.log_q)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        raise NotImplementedError(
            "the number of tries is drawn with the labels: UntilDistinctLaw.draw_by_lot"
        )


def points(repeats: int, tolerance: float) -> int:
    """The least even N with aliases below `tolerance`, for that many repeats and fewer."""
    mean = repeats + 0.5
    spread = 2 * mean + 2
    count = 4
    while 4 * math.exp(-((count - 1) ** 2) / (2 * (spread + (count - 1) / 1.5))) > tolerance:
        count += 2
    return count


def _coefficient(circle: Circle, f: Float[Array, " V"], m: int) -> Float[Array, ""]:
    """The real part of the mean over points of [zeta^{m-1}] A."""

    def times(state, factor):
        plain, marked = state
        draws, misses, last, f = factor
        with_it = f * draws * jnp.pad(plain, ((1, 0), (0, 0)))[:m]
        more = f * draws * jnp.pad(marked, ((1, 0), (0, 0)))[:m]
        return (misses * plain + with_it, misses * marked + more + f * last * plain), None

    zero = jnp.zeros((m, circle.draws.shape[-1]), circle.draws.dtype)
    factors = circle.draws, circle.misses, circle.last, f
    (_, marked), _ = jax.lax.scan(times, (zero.at[0].set(1.0), zero), factors)
    return jnp.real(jnp.sum(marked[-1] * circle.weights))


def _circle(log_q: Float[Array, " V"], tries: Float[Array, ""], m: int, count: int) -> Circle:
    q = jnp.exp(log_q)
    repeats = tries - m
    log_radius, log_r = _saddle(log_q, repeats, m)
    radius = jnp.exp(log_radius)
    angles = np.pi * (2 * np.arange(count // 2) + 1) / count
    less, turn = -2 * np.sin(angles / 2) ** 2, np.sin(angles)
    rate = q[:, None] * radius
    # psi(z) / psi(lambda) = e^{q (z - lambda)} (1 - e^{-q z}) / (1 - e^{-q lambda}) lambda / z
    z_rate = rate * (np.exp(1j * angles))
    turned = jnp.exp(rate * less + 1j * (rate * turn - angles))
    ratio = turned * -_expm1(-z_rate) / -jnp.expm1(-rate)
    ratio = jnp.where(rate > 0, ratio, 1.0)
    log_odds = log_r + _log_psi(log_q, log_radius)
    chance = jax.nn.sigmoid(log_odds)
    log_scale = (
        jax.scipy.special.gammaln(tries)
        - (m - 1) * log_r
        - repeats * log_radius
        + jnp.sum(jax.nn.softplus(log_odds))
    )
    return Circle(
        draws=chance[:, None] * ratio,
        misses=jax.nn.sigmoid(-log_odds),
        last=q * jax.nn.sigmoid(-log_odds),
        weights=jnp.exp(-1j * repeats * angles) * 2 / count,
        log_scale=log_scale,
    )


def _expm1(z: Array) -> Array:
    """e^z - 1 of complex z, without loss near 0."""
    a, b = jnp.real(z), jnp.imag(z)
    real = jnp.expm1(a) * jnp.cos(b) - 2 * jnp.sin(b / 2) ** 2
    return real + 1j * jnp.exp(a) * jnp.sin(b)


def _log_psi(log_q: Float[Array, " V"], log_radius: Float[Array, ""]) -> Float[Array, " V"]:
    """Log (e^{q lambda} - 1) / lambda."""
    rate = jnp.exp(log_q + log_radius)
    small = rate < 1e-4
    safe = jnp.where(small, 1.0, rate)
    grown = jnp.where(small, rate / 2, safe + jnp.log(-jnp.expm1(-safe)) - jnp.log(safe))
    return log_q + grown


def _saddle(
    log_q: Float[Array, " V"], repeats: Float[Array, ""], m: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Log lambda and log r: m - 1/2 labels and repeats + 1/2 expected at f = 1, roughly.

    The coefficient depends on neither.
    """
    log_q = jax.lax.stop_gradient(log_q)

    def bisect(low, high, few):
        def halve(ends, _):
            middle = (ends[0] + ends[1]) / 2
            up = few(middle)
            return (jnp.where(up, middle, ends[0]), jnp.where(up, ends[1], middle)), None

        ends, _ = jax.lax.scan(halve, (low, high), None, length=BISECTIONS)
        return (ends[0] + ends[1]) / 2

    def log_r_at(log_radius):
        log_psi = _log_psi(log_q, log_radius)
        seen = jnp.where(jnp.isneginf(log_psi), 0.0, log_psi)
        low, high = -jnp.max(seen) - 60.0, -jnp.min(seen) + 60.0
        return bisect(low, high, lambda r: jnp.sum(jax.nn.sigmoid(r + log_psi)) < m - 0.5)

    def few_repeats(log_radius):
        chance = jax.nn.sigmoid(log_r_at(log_radius) + _log_psi(log_q, log_radius))
        rate = jnp.exp(log_q + log_radius)
        safe = jnp.where(rate < 1e-4, 1.0, rate)
        mean = jnp.where(rate < 1e-4, rate / 2, safe / -jnp.expm1(-safe) - 1)
        return jnp.sum(chance * mean) < repeats + 0.5

    like = log_q[0] * 0
    low, high = like - 10.0, jnp.log(4 * (repeats + m)) + jnp.log(float(len(log_q)))
    log_radius = bisect(low, high, few_repeats)
    return log_radius, log_r_at(log_radius)
