r"""The coefficient of a product without each factor, by a Fourier transform on a circle.

For many negatives, what `samplers.products` computes for few: with factors a_y + k_y zeta + delta
b_y, delta^2 = 0, the coefficient of delta zeta^d in the product over y != g, for every g,

    C_g = [zeta^d] prod_{y != g} (a_y + k_y zeta) sum_{j != g} b_j / (a_j + k_j zeta).

**Circle.** With |zeta| = r put p_y = r k_y / (a_y + r k_y) and E_y(w) = 1 + p_y (e^{iw} - 1): the
integrand is, up to the real factor r^{-d} prod (a_y + r k_y), the characteristic function of a sum
of independent Bernoulli(p_y), over E_g, times sum_{j != g} beta_j / E_j with beta = b / (a + r k).
r solves sum_y p_y = d + 1/2: the sum has its mean where it is wanted, so that nothing cancels, and
r is within a factor 2 V of 1 / (the (d + 1)-th largest k / a) however wide the odds are spread. C_g
does not depend on r, which is not differentiated and may be rough.

**Frequencies.** The mean over N of them aliases d with d +- N, d +- 2N, ... By Bernstein's
inequality the sum is that far from its mean with a chance below 2 exp(-n^2 / (2 (s^2 + n / 3))),
n = N - 3 for the two labels that are left out and the half, with s^2 = sum p (1 - p) <= D (1 - D /
V), D = d + 1/2, by Jensen's. `frequencies` takes the least N for which this is below a tolerance:
about 9 s + 25, not V. They lie at odd multiples of pi / N, half of them by symmetry; none is pi,
where some E_y may vanish.

**Accuracy.** Absolute, relative to the chance that d + 1 labels ring; products of non-negative
polynomials, for few negatives, are relative. Cost O(V N) for each d.

Source: Hong (2013), "On computing the distribution function for the Poisson binomial distribution".
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nce_bias.numerics.leave_one_out import largest

#: Bisections of log r, from an interval of 2 log(2 V).
BISECTIONS = 12
#: Below it lies nothing that a float can hold.
LEAST = -1e6


@functools.lru_cache
def frequencies(labels: int, degree: int, tolerance: float) -> int:
    """The least even N whose aliasing is below `tolerance`."""
    mean = degree + 0.5
    variance = mean * (1 - mean / labels)
    count = 4
    while alias(variance, count) > tolerance:
        count += 2
    return count


def alias(variance: float, count: int) -> float:
    """Bound on the chance of being `count` or more, or 2 `count`, ... away from the mean."""
    away = [max(0, j * count - 3) for j in (1, 2, 3)]
    return sum(4 * math.exp(-(n**2) / (2 * (variance + n / 3) + 1e-300)) for n in away)


def without_each_coefficient(
    log_a: Float[Array, "V N"],
    log_k: Float[Array, "V N"],
    log_b: Float[Array, "V N"],
    degree: int,
    count: int,
) -> Float[Array, "V N"]:
    """C_g for every g, from `count` frequencies; the last axis runs over independent products."""
    log_odds = log_k - log_a
    least, log_r = jax.lax.stop_gradient(_saddle(log_odds, degree))
    u, rung = log_r + log_odds, jax.lax.stop_gradient(log_odds) >= least
    p = jax.nn.sigmoid(u)
    # log(a + r k) - log r for the d + 1 labels of the largest odds, log(a + r k) for the others:
    # log r, which may be huge, is counted apart and cancels where anything is left
    size_of = jnp.where(rung, log_k + jax.nn.softplus(-u), log_a + jax.nn.softplus(u))
    log_beta = log_b - size_of - jnp.where(rung, log_r, 0.0)
    most = jnp.maximum(jax.lax.stop_gradient(jnp.max(log_beta, axis=0)), LEAST)
    beta = jnp.exp(log_beta - most)
    top = jax.vmap(largest, 1, 1)(jax.lax.stop_gradient(beta))
    powers = jnp.sum(rung, axis=0) - degree - rung  # of r: 0 for a label that has probably rung
    whole = jnp.sum(size_of, axis=0) - size_of
    scale = jnp.exp(whole + most + jnp.where(powers == 0, 0.0, powers * log_r))

    @jax.checkpoint
    def at_frequency(total, angle):
        """Real parts, by hand: complex logarithms and their derivatives cost twice as much."""
        less = -2 * jnp.sin(angle / 2) ** 2  # cos(angle) - 1
        real, imaginary = 1 + p * less, p * jnp.sin(angle)
        size = 1 + 2 * p * (1 - p) * less  # |E|^2
        log_size, argument = 0.5 * jnp.log(size), jnp.arctan2(imaginary, real)
        cosines, sines = beta * real / size, -beta * imaginary / size  # beta / E
        others = [_without_each(part, top) for part in (cosines, sines)]
        phase = jnp.sum(argument, axis=0) - argument - degree * angle
        length = jnp.exp(jnp.sum(log_size, axis=0) - log_size)
        found = length * (jnp.cos(phase) * others[0] - jnp.sin(phase) * others[1])
        return total + found, None

    angles = np.pi * (2 * np.arange(count // 2) + 1) / count
    start = jnp.zeros_like(p)
    total, _ = jax.lax.scan(at_frequency, start, jnp.asarray(angles, p.dtype))
    return jnp.maximum(scale * total * 2 / count, 0.0)


def _without_each(terms: Float[Array, "V N"], top) -> Float[Array, "V N"]:
    """The sum of all but each, where one term, marked by `top`, may be nearly all of it."""
    rest = jnp.sum(jnp.where(top, 0.0, terms), axis=0)
    return jnp.where(top, rest, rest + jnp.sum(jnp.where(top, terms, 0.0), axis=0) - terms)


def _saddle(
    log_odds: Float[Array, "V N"], degree: int
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """The (degree + 1)-th largest log odds; log r with sum_y p_y = degree + 1/2, roughly."""
    least = jnp.sort(log_odds, axis=0)[-degree - 1]
    width = math.log(2 * len(log_odds))

    def halve(ends, _):
        middle = (ends[0] + ends[1]) / 2
        few = jnp.sum(jax.nn.sigmoid(middle + log_odds), axis=0) < degree + 0.5
        return (jnp.where(few, middle, ends[0]), jnp.where(few, ends[1], middle)), None

    ends, _ = jax.lax.scan(halve, (-least - width, -least + width), None, length=BISECTIONS)
    return least, (ends[0] + ends[1]) / 2
