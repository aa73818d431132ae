r"""The coefficient of a product without each factor, by a Fourier transform at the saddle point.

With factors a_y + k_y zeta + delta b_y, delta^2 = 0, the coefficient of delta zeta^d in the product
over y != g, for every g at once,

    C_g = [zeta^d] prod_{y != g} (a_y + k_y zeta) sum_{j != g} b_j / (a_j + k_j zeta).

**Circle.** With zeta = r e^{i phi} and r at the saddle point, C_g is a real factor times the mean
over angles of X / E_g (S - beta_g / E_g): the characteristic function X = prod E_y of a sum of
independent Bernoulli(p_y), and S = sum beta_y / E_y (`numerics.circle`). Some 25 angles at most.

**Derivatives** are such means too. With v = beta / E and w = p e^{i phi} / E,

    -dC_g / dz_y = mean of X / E_g [w_y (S - v_g - v_y) + v_y],        y != g,

where e^{-z_y} is a factor of k_y and b_y: O(V) for all pairs of a cotangent or a direction.

**Accuracy.** Relative to the chance that d + 1 labels ring, at any size of it: the real factor is
kept by logarithms, counting the powers of r apart, which may be huge. Cost O(V) for each d.

Source: Hong (2013), "On computing the distribution function for the Poisson binomial distribution",
for the transform; the derivatives are derived above.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, scan
from nce_bias.numerics.circle import (
    Nodes,
    Pair,
    angles_for,
    at_angle,
    constant,
    on_circle,
    total,
)

#: Of every label, at any nodes.
Cells = Float[Array, "V ..."]


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


def _backward(degree, tolerance, logs: tuple[Nodes, Nodes, Nodes], cotangent):
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
    circle = on_circle(log_a, log_k, log_b, degree, tolerance)
    top = _largest(circle.beta)

    def at(found, angles):
        here = at_angle(circle, angles)
        others = _others(here.v, top)
        return found + (here.inverse * others * here.whole).real, None

    found, _ = scan(at, namespace(log_a).zeros_like(circle.p), circle.angles)
    return namespace(found).maximum(circle.scale * found, 0.0)


@np.errstate(all="ignore")
def pull_back(
    log_a: Nodes, log_k: Nodes, log_b: Nodes, cotangent: Nodes, degree: int, tolerance: float
) -> tuple[Nodes, Nodes, Nodes]:
    """The derivatives of sum_g cotangent_g C_g by log a, log k and log b."""
    xp, circle = namespace(log_a, cotangent), on_circle(log_a, log_k, log_b, degree, tolerance)
    weights = circle.scale * cotangent
    top, heaviest = _largest(circle.beta), _largest(xp.abs(weights))

    @_again
    def at(totals, angles):
        here = at_angle(circle, angles)
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
    xp, circle = namespace(log_a, direction), on_circle(log_a, log_k, log_b, degree, tolerance)
    top = _largest(circle.beta)
    far, last = (_largest(xp.abs(direction) * part) for part in (circle.p, circle.beta))

    @_again
    def at(found, angles):
        here = at_angle(circle, angles)
        w = here.each(circle, Pair(1 + angles[0], angles[1])).times(direction)
        v = (here.v * here.inverse).times(circle.left * direction)
        others = _others(here.v, top) * _others(w, far) + _others(v, last)
        return found + (here.inverse * others * here.whole).real, None

    found, _ = scan(at, xp.zeros_like(circle.p), circle.angles)
    return circle.scale * found


def _again(step):
    """Computed once more in reverse mode, so that no angle's arrays are kept."""
    again = jax.checkpoint(step)

    def at(totals, angles):
        return (step if is_numpy(angles[0]) else again)(totals, angles)

    return at


def _others(terms: Pair, top: Any) -> Pair:
    """The sum of all but each, where one term, marked by `top`, may be nearly all of it."""
    xp = namespace(terms.real)

    def of(part):
        rest = total(xp.where(top, 0.0, part))
        return xp.where(top, rest, rest + total(xp.where(top, part, 0.0)) - part)

    return Pair(of(terms.real), of(terms.imaginary))


def _largest(terms: Nodes) -> Any:
    """Marks the first largest of each node."""
    xp, terms = namespace(terms), constant(terms)
    return xp.arange(len(terms))[:, None] == xp.argmax(terms, axis=0)
