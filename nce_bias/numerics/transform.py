r"""The coefficient of a product without each factor, by a Fourier transform at the saddle point.

With factors a_y + k_y zeta + delta b_y, delta^2 = 0, the coefficient of delta zeta^d in the product
over y != g, for every g at once,

    C_g = [zeta^d] prod_{y != g} (a_y + k_y zeta) sum_{j != g} b_j / (a_j + k_j zeta).

**Circle.** With |zeta| = r put p_y = r k_y / (a_y + r k_y) and E_y = 1 + p_y (e^{i phi} - 1): up to
the real factor r^{-d} prod (a_y + r k_y) the integrand is X / E_g (S - beta_g / E_g), where X =
prod E_y is the characteristic function of a sum of independent Bernoulli(p_y), beta = b / (a + r k)
and S = sum beta_y / E_y. r solves sum_y p_y = d + 1/2, roughly: the sum has its mean where it is
wanted, so that nothing cancels, however small C_g is. C_g does not depend on r, which is not
differentiated.

**Angles.** The mean over the N angles pi (2 j + 1) / N aliases d with d +- N, d +- 2 N, ... With
s^2 = sum p (1 - p), Bennett's inequality bounds the chance of being n or more from the mean by
2 exp(-s^2 h(n / s^2)), h(u) = (1 + u) log(1 + u) - u: each node takes its own N for this. And
|X| <= exp(-s^2 (1 - cos phi)), so that of a large N only the first angles count. Both together, no
more than some 25 are needed, for any d and any number of labels (`angles_for`). None is pi, where
some E_y may vanish.

**Derivatives** are such means too. With v = beta / E and w = p e^{i phi} / E,

    -dC_g / dz_y = mean of X / E_g [w_y (S - v_g - v_y) + v_y],        y != g,

where e^{-z_y} is a factor of k_y and b_y: O(V) for all pairs of a cotangent or a direction.

**Accuracy.** Relative to the chance that d + 1 labels ring, at any size of it: the real factor is
kept by logarithms, counting the powers of r apart, which may be huge. Cost O(V) for each d.

Source: Hong (2013), "On computing the distribution function for the Poisson binomial distribution",
for the transform; Bennett (1962), "Probability inequalities for the sum of independent random
variables"; the saddle point and the derivatives are derived above.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, scan, sigmoid, softplus

Nodes = Float[Array, "V N"]
#: The same where the nodes have axes of their own.
Cells = Float[Array, "V ..."]
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

    `angles` `[J, N]` are cos phi - 1, sin phi and the weighted phases e^{-i d phi}, whose sum over
    all is 2.
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
    return max(_angles_of(s2, tolerance) for s2 in np.geomspace(1e-3, max(most, 2e-3), 200))


def _angles_of(variance: float, tolerance: float) -> int:
    """The same for one s^2; two labels are left out of the sum, each of variance 1/4 at most."""
    count = float(_even(reach(np.float64(variance), tolerance) + 3, np))
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


class Transform(NamedTuple):
    """Clocks at an age: the coefficient of zeta^degree by a transform, for many negatives.

    What `polynomials.Products` is for few, with the same methods.
    """

    degree: int
    tolerance: float

    def factors(self, log_age: Cells, z: Cells, last: Cells) -> tuple[Cells, Cells, Cells]:
        """log a, log k, log b of each label: not rung, rung, about to ring; z, last as there."""
        xp = namespace(log_age, z)
        age = xp.exp(log_age)
        with np.errstate(divide="ignore"):
            rung = xp.log(-xp.expm1(-age)) - z
        return xp.broadcast_to(-age, rung.shape), rung, log_age - age - last

    def value(self, factors: tuple[Nodes, Nodes, Nodes]) -> Nodes:
        """The coefficient without each label."""
        return without_each(*factors, self.degree, self.tolerance)

    def pull_back(self, factors: tuple[Nodes, Nodes, Nodes], cotangent: Nodes) -> Nodes:
        """Minus the derivatives of sum_g cotangent_g value_g by every z = last."""
        _, by_k, by_b = pull_back(*factors, cotangent, self.degree, self.tolerance)
        return by_k + by_b

    def push_forward(self, factors: tuple[Nodes, Nodes, Nodes], direction: Nodes) -> Nodes:
        """Minus the derivative of each value along a direction of z = last."""
        return push_forward(*factors, direction, self.degree, self.tolerance)

    def passes(self, labels: int) -> float:
        """Numbers that NumPy handles, for a label and node: in time, not in number."""
        return 2.5 + angles_for(labels, self.degree, self.tolerance) / 2

    def arrays(self, labels: int) -> float:
        """Numbers that are held, for a label and node."""
        return 16.0


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _derivable(log_a, log_k, log_b, degree, tolerance):
    return _without_each(log_a, log_k, log_b, degree, tolerance)


def _forward(log_a, log_k, log_b, degree, tolerance):
    return _derivable(log_a, log_k, log_b, degree, tolerance), (log_a, log_k, log_b)


def _backward(degree, tolerance, logs, cotangent):
    return pull_back(*logs, cotangent, degree, tolerance)


_derivable.defvjp(_forward, _backward)


def without_each(
    log_a: Nodes, log_k: Nodes, log_b: Nodes, degree: int, tolerance: float
) -> Float[Array, "V N"]:
    """C_g for every g; the last axis runs over independent products.

    >>> import numpy as np
    >>> logs = np.log(np.full((3, 3, 1), 0.5))
    >>> without_each(*logs, 1, 1e-15).round(12).ravel().tolist()  # 2 * 0.5 * 0.5
    [0.5, 0.5, 0.5]
    """
    if is_numpy(log_a, log_k, log_b):
        return _without_each(log_a, log_k, log_b, degree, tolerance)
    return _derivable(log_a, log_k, log_b, degree, tolerance)


@np.errstate(all="ignore")
def _without_each(log_a, log_k, log_b, degree, tolerance):
    circle = _circle(log_a, log_k, log_b, degree, tolerance)
    top = _largest(circle.beta)

    def at(total, angles):
        here = _at(circle, angles)
        others = _others(here.v, top)
        return total + (here.inverse * others * here.whole).real, None

    total, _ = scan(at, namespace(log_a).zeros_like(circle.p), circle.angles)
    return namespace(total).maximum(circle.scale * total, 0.0)


@np.errstate(all="ignore")
def pull_back(
    log_a: Nodes, log_k: Nodes, log_b: Nodes, cotangent: Nodes, degree: int, tolerance: float
) -> tuple[Nodes, Nodes, Nodes]:
    """The derivatives of sum_g cotangent_g C_g by log a, log k and log b."""
    xp, circle = namespace(log_a, cotangent), _circle(log_a, log_k, log_b, degree, tolerance)
    weights = circle.scale * cotangent
    top, heaviest = _largest(circle.beta), _largest(xp.abs(weights))

    @_again
    def at(totals, angles):
        here = _at(circle, angles)
        golds = (here.inverse * here.whole).times(weights)
        plain = _others(golds, heaviest)
        v_plain = here.v * plain
        by = _others(golds * _others(here.v, top), heaviest) - v_plain
        w = here.each(circle, Pair(1 + angles[0], angles[1]))
        found = (here.inverse * by).times(circle.left), w * by, v_plain
        return tuple(t + part.real for t, part in zip(totals, found, strict=True)), None

    nothing = xp.zeros_like(circle.p)
    return scan(at, (nothing, nothing, nothing), circle.angles)[0]


@np.errstate(all="ignore")
def push_forward(
    log_a: Nodes, log_k: Nodes, log_b: Nodes, direction: Nodes, degree: int, tolerance: float
) -> Float[Array, "V N"]:
    """The derivative of each C_g where log k and log b both grow by `direction`.

    >>> import numpy as np
    >>> logs = np.log(np.full((3, 3, 1), 0.5))
    >>> directions = np.array([[1.0], [10.0], [100.0]])
    >>> push_forward(*logs, directions, 1, 1e-15).round(9).ravel().tolist()
    [55.0, 50.5, 5.5]
    """
    xp, circle = namespace(log_a, direction), _circle(log_a, log_k, log_b, degree, tolerance)
    top = _largest(circle.beta)
    far, last = (_largest(xp.abs(direction) * part) for part in (circle.p, circle.beta))

    @_again
    def at(total, angles):
        here = _at(circle, angles)
        w = here.each(circle, Pair(1 + angles[0], angles[1])).times(direction)
        v = (here.v * here.inverse).times(circle.left * direction)
        others = _others(here.v, top) * _others(w, far) + _others(v, last)
        return total + (here.inverse * others * here.whole).real, None

    total, _ = scan(at, xp.zeros_like(circle.p), circle.angles)
    return circle.scale * total


def _again(step):
    """Computed once more in reverse mode, so that no angle's arrays are kept."""
    again = jax.checkpoint(step)

    def at(totals, angles):
        return (step if is_numpy(angles[0]) else again)(totals, angles)

    return at


def _circle(log_a, log_k, log_b, degree: int, tolerance: float) -> Circle:
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
    most = xp.maximum(_constant(xp.max(log_beta, axis=0)), LEAST)
    powers = (xp.sum(rung, axis=0) - degree - rung).astype(p.dtype)
    scale = xp.exp(_sum(size) - size + most + xp.where(powers == 0, 0.0, powers * log_r))
    count = angles_for(len(p), degree, tolerance)
    angles = _angles(_constant(p), degree, count, tolerance)
    return Circle(p, left, xp.exp(log_beta - most), scale, angles)


def _angles(p: Nodes, degree: int, count: int, tolerance: float) -> tuple[Any, Any, Pair]:
    """N from s^2 and from how far off the mean is; angles beyond pi weigh nothing."""
    xp = namespace(p)
    off = xp.abs(_sum(p) - degree)
    n = _even(reach(_sum(p * (1 - p)), tolerance) + off + 2, xp)
    phi = xp.pi * (2 * xp.arange(count, dtype=p.dtype)[:, None] + 1) / n
    weight = xp.where(phi < xp.pi, 2 / n, 0.0)
    phase = Pair(weight * xp.cos(degree * phi), -weight * xp.sin(degree * phi))
    return -2 * xp.sin(phi / 2) ** 2, xp.sin(phi), phase


def _at(circle: Circle, angles: tuple[Any, Any, Pair]) -> Angle:
    less, sine, phase = angles
    real, imaginary = 1 + circle.p * less, circle.p * sine
    size = 1 / (real * real + imaginary * imaginary)
    inverse = Pair(real * size, -imaginary * size)
    if is_numpy(real):
        whole: Any = np.multiply.reduce(real + 1j * imaginary, axis=0)
    else:
        whole = jnp.prod(jax.lax.complex(real, imaginary), axis=0)
    return Angle(inverse, inverse.times(circle.beta), Pair(whole.real, whole.imag) * phase)


def _others(terms: Pair, top: Any) -> Pair:
    """The sum of all but each, where one term, marked by `top`, may be nearly all of it."""
    xp = namespace(terms.real)

    def of(part):
        rest = _sum(xp.where(top, 0.0, part))
        return xp.where(top, rest, rest + _sum(xp.where(top, part, 0.0)) - part)

    return Pair(of(terms.real), of(terms.imaginary))


def _largest(terms: Nodes) -> Any:
    """Marks the first largest of each node."""
    xp, terms = namespace(terms), _constant(terms)
    return xp.arange(len(terms))[:, None] == xp.argmax(terms, axis=0)


def _sum(terms: Nodes) -> Any:
    """Over labels, as a product with ones: XLA's own sums of several arrays are slow."""
    return namespace(terms).ones(len(terms), terms.dtype) @ terms


def _constant(values: Any) -> Any:
    return values if is_numpy(values) else jax.lax.stop_gradient(values)


def _log_radius(log_odds: Nodes, mean: float) -> Float[Array, " N"]:
    """log r with sum_y p_y = mean, roughly: Newton's steps for log sum p, kept in a bracket."""
    xp, odds = namespace(log_odds), _constant(log_odds)
    finite = xp.isfinite(odds)
    most = xp.max(odds, axis=0)
    sum_of_odds = _sum(xp.where(finite, xp.exp(odds - most), 0.0))
    low = xp.log(mean / sum_of_odds) - most - 1e-3  # p is at most the odds
    high = math.log(2 * len(odds)) - xp.min(xp.where(finite, odds, xp.inf), axis=0)

    def step(state):
        low, high, log_r, _, count = state
        p = sigmoid(log_r + odds)
        total, variance = _sum(p), _sum(p * (1 - p))
        done = xp.abs(total - mean) <= MISS + MISS_BY_DEVIATION * xp.sqrt(variance)
        few = total < mean
        low, high = xp.where(few, log_r, low), xp.where(few, high, log_r)
        ahead = log_r + xp.log(mean / total) * total / variance
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
