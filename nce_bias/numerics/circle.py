r"""Products of linear factors on a circle through their saddle point, and the angles it takes.

**Circle.** With |zeta| = r put p_y = r k_y / (a_y + r k_y) and E_y = 1 + p_y (e^{i phi} - 1): up to
the real factor r^{-d} prod (a_y + r k_y) the integrand is X / E_g (S - beta_g / E_g), where X =
prod E_y is the characteristic function of a sum of independent Bernoulli(p_y), beta = b / (a + r k)
and S = sum beta_y / E_y. r solves sum_y p_y = d + 1/2, roughly: the sum has its mean where it is
wanted, and nothing cancels. C_g does not depend on r, which is not differentiated. What is left
out, g and j, moves the mean by 2 at most, so that C_g is accurate relative to its real factor, at
any size of that; a g without which d + 1 labels hardly ring has a C_g that is smaller still, and is
lost in rounding.

**Angles.** The mean over the N angles pi (2 j + 1) / N aliases d with d +- N, d +- 2 N, ... With
s^2 = sum p (1 - p), Bennett's inequality bounds the chance of being n or more from the mean by
2 exp(-s^2 h(n / s^2)), h(u) = (1 + u) log(1 + u) - u: each node takes its own N for this. And
|X| <= exp(-s^2 (1 - cos phi)), so that of a large N only the first angles count. Both together, no
more than some 25 are needed, for any d and any number of labels (`angles_for`). None is pi, where
some E_y may vanish.

Factors are a_y + k_y zeta + delta b_y, as in `numerics.transform`, which asks for the coefficient
of delta zeta^d in the product over y != g.

Source: Hong (2013), "On computing the distribution function for the Poisson binomial distribution";
Bennett (1962), "Probability inequalities for the sum of independent random variables"; the saddle
point is derived above.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, sigmoid, softplus

Nodes = Float[Array, "V N"]
#: Steps in search of r: a few of Newton's, but for odds that lie very far apart.
MOST_STEPS = 64
#: What the mean of the sum may miss d + 1/2 by: this, and so much of its standard deviation.
MISS, MISS_BY_DEVIATION = 0.1, 0.2
#: Below it lies nothing that a float can hold.
LEAST = -1e6
#: Added to a variance that is divided by; a larger variance only widens a bound.
NO_VARIANCE = 1e-6


class Pair(NamedTuple):
    """A complex number as two real ones: what XLA makes vectors of."""

    real: Any
    imaginary: Any

    def __mul__(self, other: Pair) -> Pair:  # type: ignore[override]
        return Pair(
            self.real * other.real - self.imaginary * other.imaginary,
            self.real * other.imaginary + self.imaginary * other.real,
        )

    def __sub__(self, other: Pair) -> Pair:
        return Pair(self.real - other.real, self.imaginary - other.imaginary)

    def __add__(self, other: Any) -> Pair:
        return Pair(self.real + other.real, self.imaginary + other.imaginary)

    def times(self, number: Any) -> Pair:
        """The product with a real number."""
        return Pair(self.real * number, self.imaginary * number)


class Circle(NamedTuple):
    """All factors on their circles: `p`, 1 - p, `beta` and the real factor of each g, `[V, N]`.

    `angles` `[J, N]` are cos phi - 1, sin phi and e^{-i d phi} times its weight, 2 / N: both
    halves of the circle give the same real part.
    """

    p: Nodes
    left: Nodes
    beta: Nodes
    scale: Nodes
    angles: tuple[Any, Any, Pair]


class Angle(NamedTuple):
    """What one angle gives: 1 / E and v = beta / E `[V, N]`, and X times its phase `[N]`."""

    inverse: Pair
    v: Pair
    whole: Pair

    def each(self, circle: Circle, of_circle: Pair) -> Pair:
        """w = p e^{i phi} / E, where `of_circle` is e^{i phi}."""
        return (self.inverse * of_circle).times(circle.p)


@functools.lru_cache
def angles_for(labels: int, degree: int, tolerance: float) -> int:
    """J: how many angles make what is left out smaller than `tolerance`, whatever s^2 is."""
    mean = degree + 0.5
    miss = MISS + MISS_BY_DEVIATION * math.sqrt(mean)
    means = np.clip(np.asarray([mean - miss, mean, mean + miss, labels / 2]), 0, labels)
    means = means[:3] if abs(labels / 2 - mean) > miss else means
    most = float(np.max(means * (1 - means / labels)))
    between = 1  # two values of s^2
    return between + max(
        _angles_of(s2, tolerance) for s2 in np.geomspace(1e-3, max(most, 2e-3), 200)
    )


def _angles_of(variance: float, tolerance: float) -> int:
    """The same for one s^2; two labels are left out of the sum, each of variance 1/4 at most.

    The mean is as far off as `_log_radius` lets it be: the most angles that `_angles` asks for.
    """
    off = 0.5 + MISS + MISS_BY_DEVIATION * math.sqrt(variance)
    count = float(_even(reach(np.float64(variance), tolerance) + off + 2, np))
    phi = np.pi * (2 * np.arange(int(count) // 2) + 1) / count
    sizes = np.exp(-max(variance - 0.5, 0.0) * (1 - np.cos(phi))) * 2 / count
    beyond = np.cumsum(sizes[::-1])[::-1]  # from each angle on
    return int(np.sum(beyond > tolerance / 2))


@functools.lru_cache
def frequencies(labels: int, degree: int, tolerance: float) -> int:
    """The least even N whose aliases are below `tolerance`, where the mean is degree + 1/2."""
    mean = degree + 0.5
    return int(_even(reach(np.float64(mean * (1 - mean / labels)), tolerance) + 3, np))


def reach(variance: Any, tolerance: float) -> Any:
    """n with 2 exp(-s^2 h(n / s^2)) <= tolerance / 4: how far a sum goes from its mean.

    From Bernstein's inequality, which is too far, by Newton's steps for a convex function, which
    stay beyond.
    """
    xp, level = namespace(variance), math.log(8 / tolerance)
    s2 = variance + NO_VARIANCE
    n = level / 3 + xp.sqrt(level**2 / 9 + 2 * level * s2)
    for _ in range(4):
        u = n / s2
        n = n - (s2 * ((1 + u) * xp.log1p(u) - u) - level) / xp.log1p(u)
    return n


def _even(count: Any, xp: Any) -> Any:
    return 2 * xp.ceil(count / 2)


def on_circle(log_a, log_k, log_b, degree: int, tolerance: float) -> Circle:
    """The factors on their circles, and the angles of each node."""
    xp = namespace(log_a, log_k, log_b)
    log_a, log_k, log_b = xp.broadcast_arrays(log_a, log_k, log_b)
    log_odds = log_k - log_a
    log_r = _log_radius(log_odds, degree + 0.5)
    u = log_r + log_odds
    p, left, rung = sigmoid(u), sigmoid(-u), u > 0
    # log(a + r k) without the log r of labels that have probably rung: it may be huge, is counted
    # apart and cancels where anything is left
    size = xp.where(rung, log_k + softplus(-u), log_a + softplus(u))
    log_beta = log_b - size - xp.where(rung, log_r, 0.0)
    most = xp.maximum(constant(xp.max(log_beta, axis=0)), LEAST)
    powers = (xp.sum(rung, axis=0) - degree - rung).astype(p.dtype)
    scale = xp.exp(total(size) - size + most + xp.where(powers == 0, 0.0, powers * log_r))
    count = angles_for(len(p), degree, tolerance)
    angles = _angles(constant(p), degree, count, tolerance)
    return Circle(p, left, xp.exp(log_beta - most), scale, angles)


def _angles(p: Nodes, degree: int, count: int, tolerance: float) -> tuple[Any, Any, Pair]:
    """N from s^2 and from how far off the mean is; angles beyond pi weigh nothing."""
    xp = namespace(p)
    off = xp.abs(total(p) - degree)
    n = _even(reach(total(p * (1 - p)), tolerance) + off + 2, xp)
    phi = xp.pi * (2 * xp.arange(count, dtype=p.dtype)[:, None] + 1) / n
    weight = xp.where(phi < xp.pi, 2 / n, 0.0)
    phase = Pair(weight * xp.cos(degree * phi), -weight * xp.sin(degree * phi))
    return -2 * xp.sin(phi / 2) ** 2, xp.sin(phi), phase


def at_angle(circle: Circle, angles: tuple[Any, Any, Pair]) -> Angle:
    """The factors at one angle of every node."""
    less, sine, phase = angles
    real, imaginary = 1 + circle.p * less, circle.p * sine
    size = 1 / (real * real + imaginary * imaginary)
    inverse = Pair(real * size, -imaginary * size)
    if is_numpy(real):
        whole: Any = np.multiply.reduce(real + 1j * imaginary, axis=0)
    else:
        whole = jnp.prod(jax.lax.complex(real, imaginary), axis=0)
    return Angle(inverse, inverse.times(circle.beta), Pair(whole.real, whole.imag) * phase)


def total(terms: Nodes) -> Any:
    """Over labels, as a product with ones: XLA's own sums of several arrays are slow."""
    return namespace(terms).ones(len(terms), terms.dtype) @ terms


def constant(values: Any) -> Any:
    """Not differentiated."""
    return values if is_numpy(values) else jax.lax.stop_gradient(values)


def _log_radius(log_odds: Nodes, mean: float) -> Float[Array, " N"]:
    """log r with sum_y p_y = mean, roughly: Newton's steps for log sum p, kept in a bracket."""
    xp, odds = namespace(log_odds), constant(log_odds)
    finite = xp.isfinite(odds)
    most = xp.max(odds, axis=0)
    sum_of_odds = total(xp.where(finite, xp.exp(odds - most), 0.0))
    low = xp.log(mean / sum_of_odds) - most - 1e-3  # p is at most the odds
    high = math.log(2 * len(odds)) - xp.min(xp.where(finite, odds, xp.inf), axis=0)

    def step(state):
        low, high, log_r, _, count = state
        p = sigmoid(log_r + odds)
        rung, variance = total(p), total(p * (1 - p))
        done = xp.abs(rung - mean) <= MISS + MISS_BY_DEVIATION * xp.sqrt(variance)
        few = rung < mean
        low, high = xp.where(few, log_r, low), xp.where(few, high, log_r)
        ahead = log_r + xp.log(mean / rung) * rung / variance
        ahead = xp.where((ahead > low) & (ahead < high), ahead, (low + high) / 2)
        return low, high, xp.where(done, log_r, ahead), xp.all(done), count + 1

    def goes_on(state):
        return ~state[3] & (state[4] < MOST_STEPS)

    state: Any = (low, high, low, xp.asarray(False), 0)
    if not is_numpy(odds):
        return jax.lax.while_loop(goes_on, step, state)[2]
    while goes_on(state):
        state = step(state)
    return state[2]
