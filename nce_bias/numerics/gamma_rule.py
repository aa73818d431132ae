r"""The trapezoid rule in log s for powers of 1 / S: a gamma density, whatever the law of S.

    1 / S^m = (1 / Gamma(m)) int_0^inf s^m e^{-s S} ds/s,

so an expectation with S^-m in it is an integral over u = log s whose integrand, for a fixed S, is a
multiple of the density of log(G / S), G ~ Gamma(m). On the grid u_0 + n h its relative error is at
most 2 sum_k |Gamma(m + 2 pi i k / h)| / Gamma(m) (`quadrature.gamma_error`), the same for every S
and therefore for every law of it.

**Ends.** On the left the integrand is (s S)^m / Gamma(m) up to a relative s S; the nodes that are
left out are a geometric sum, which the weight h / (1 - e^{-m h}) of the first one has. On the right
what is left out is the chance that G exceeds s S. With S between `least` and `most` this sets both.
m = 1 is the rule of `nce_bias.numerics.quadrature` but for the smallest S.
"""

from __future__ import annotations

import math

import equinox as eqx
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.quadrature import gamma_bound, nodes_for, step_for


class GammaGrid(eqx.Module):
    """A uniform grid in log s: `left + step * arange(nodes)`."""

    left: Float[Array, ""]
    step: Float[Array, ""]
    power: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def weight(self, index: Float[Array, "*N"]) -> Float[Array, "*N"]:
        """Weight of a node: the step, and at node 0 the geometric sum of all to its left."""
        xp = namespace(index, self.step)
        return xp.where(index == 0, -self.step / xp.expm1(-self.power * self.step), self.step)

    def error(self) -> Float[Array, ""]:
        """Bound on the relative error: discretisation and both ends."""
        return gamma_bound(self.step, self.power, namespace(self.step)) + self.tolerance / 20


def gamma_ends(power: int, tolerance: float) -> tuple[float, float]:
    """log(s S) at the left end of the rule for the largest S, and at the right for the smallest."""
    log_first = math.log(tolerance / 50) + math.lgamma(power) + math.log(power + 1)
    from scipy.special import gammainccinv  # takes longer to import than all of this

    last = float(gammainccinv(power, tolerance / 1000))
    return log_first / (power + 1), math.log(last)


def gamma_nodes(spread: float, power: int, tolerance: float) -> int:
    """How many nodes reach over S whose logarithms spread so far."""
    first, last = gamma_ends(power, tolerance)
    return nodes_for(last - first + spread, step_for(tolerance, power))


def gamma_grid(
    least: Float[Array, ""],
    most: Float[Array, ""],
    power: int,
    nodes: int,
    tolerance: float,
) -> GammaGrid:
    """A grid for log S between `least` and `most`, at `tolerance` if so many nodes suffice."""
    xp = namespace(least, most)
    first, last = gamma_ends(power, tolerance)
    left, right = first - most, last - least
    finest = xp.asarray(step_for(tolerance, power), left.dtype)
    step = xp.maximum(finest, (right - left) / (nodes - 1))
    return GammaGrid(left, step, power, nodes, tolerance)
