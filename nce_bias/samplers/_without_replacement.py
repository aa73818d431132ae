r"""Distinct negatives, drawn one after another in proportion to what is left of q -- exactly.

**Clocks.** Let each wrong label y ring once, at an exponential time of rate q_y; the first m to
ring are the sample (successive sampling = Plackett-Luce = Gumbel top-m). With x_y = e^{-q_y tau}
(not rung by tau), f_y = e^{-z_y} and the m-th ring at tau by label j,

    F_g(z) = int_0^inf dtau [zeta^{m-1}] sum_{j != g} q_j x_j f_j prod_{y != g, j} D_y(zeta),
    D_y = x_y + zeta (1 - x_y) f_y.

**Coefficient.** With a marker delta, delta^2 = 0, for "the m-th", the integrand is the coefficient
of delta zeta^{m-1} in prod_{y != g} (D_y + delta q_y x_y f_y). Up to m = 10 the products of all
factors before and after each label g, truncated at zeta^{m-1}, give the product *without* g
(`numerics.polynomials`): every number is a probability, nothing is subtracted or divided. Cost
O(V m) per pair of nodes (t, tau). For more a Fourier transform at the saddle point does
(`numerics.transform`), relative to the chance that m labels ring: O(V), with some 25 angles at
most, whatever m is. What is below 1e-123 counts as nothing.

**Rule in tau.** Trapezoid in log tau. Given the order in which labels ring, the m-th ring is
T = S sum_k D_k / R_k with S ~ Gamma(m) independent of a Dirichlet vector D, so |E[T^{i omega}]| <=
|Gamma(m + i omega)| / Gamma(m) and, as for the rule in t (`nce_bias.numerics.quadrature`), the
relative error is at most 2 sum_k |Gamma(m + 2 pi i k / h)| / Gamma(m) for every q and z. The step
follows from that bound. Left end: P(T < tau) <= tau^m / m!. Right end: Chernoff's bound on fewer
than m rings, the most probable label left out. The result is divided by its value at z = 0, which
is 1 exactly.

**Limits.** m = V - 1 takes every wrong label (gamma = p). A problem that would take hours or more
memory than most machines have is refused beforehand and pointed to `monte_carlo`.

Source: THEORY of the documentation, "Without replacement"; Yellott (1977) for the clocks.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import NoExactMethod, check_distinct, is_traced
from nce_bias.numerics.arrays import Array, is_numpy, namespace
from nce_bias.numerics.leave_one_out import best, log_without_each
from nce_bias.numerics.polynomials import Products
from nce_bias.numerics.quadrature import TOLERANCE, gamma_bound, nodes_for, step_for
from nce_bias.numerics.transform import Transform
from nce_bias.problem import Problem
from nce_bias.proposals import (
    Proposal,
    check_enough,
    check_proposal,
    describe,
    log_proposal,
    log_proposal_rows,
    reads_scores,
)
from nce_bias.samplers._last_ring import compiled_lengths, lengths, span
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler

#: Nodes in tau where values are traced.
TRACED_NODES = 128
#: Negatives up to which the coefficient is a product of polynomials; above, a Fourier transform.
MOST_BY_PRODUCTS = 10
#: Seconds for a node in t, a node in tau and a label, for each of what `passes` counts, gradient
#: included. Measured with V = 1,000 and 10,000, m = 4 to 999, on a core of a loaded machine.
SECONDS = 4e-8
#: Nodes in t for which the time is estimated, and what an input may take before it is refused.
NODES_IN_T = 160
MOST_SECONDS, MOST_BYTES = 3600.0, 8 * 2**30
#: Negatives up to which labels may be spread on atoms (`nce_bias.integrals.distinct`), by the bytes
#: of a number: e^{-tau} has to be one.
MOST_ON_ATOMS = {4: 64, 8: 256}


def coefficient(m: int, tolerance: float) -> Products | Transform:
    """How the coefficient of zeta^{m-1} is found."""
    return Products(m - 1) if m <= MOST_BY_PRODUCTS else Transform(m - 1, tolerance)


class Clocks(eqx.Module):
    """The rule in log tau and what it gives at z = 0, where the answer is 1."""

    log_tau: Float[Array, " N"]
    step: Float[Array, ""]
    at_zero: Float[Array, "..."]


class WithoutReplacementLaw(Law):
    """Distinct labels, drawn one after another in proportion to what is left of q."""

    log_q: Float[Array, " V"]
    m: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    clocks: Clocks | None = None

    def prepared(self) -> WithoutReplacementLaw:
        """With the grid in tau and the value at z = 0, by which every later one is divided."""
        return dataclasses.replace(self, clocks=self._clocks())

    @property
    def q(self) -> Float[Array, " V"]:
        """The rates of the clocks."""
        return namespace(self.log_q).exp(self.log_q)

    @property
    def takes_atoms(self) -> bool:
        """Where e^{-tau} is a number at all nodes."""
        return self.m <= MOST_ON_ATOMS.get(self.log_q.dtype.itemsize, 0)

    def ages(self) -> tuple[Float[Array, " N"], Float[Array, ""]]:
        """Nodes in log tau, and their step."""
        xp = namespace(self.log_q)
        left, right = span(self.log_q, self.m, self.tolerance)
        step = (right - left) / (self.nodes - 1)
        return left + step * xp.arange(self.nodes, dtype=step.dtype), step

    def _clocks(self) -> Clocks:
        xp = namespace(self.log_q)
        log_tau, step = self.ages()
        one = xp.ones((), step.dtype)
        at_zero = self._laplace(Clocks(log_tau, step, one), xp.zeros_like(self.log_q))
        return Clocks(log_tau, step, xp.where(at_zero > 0, at_zero, one))

    @property
    def error(self) -> Float[Array, ""]:
        """The rule's bound at the step in use, what the two ends cut, and the angles."""
        step = self.ages()[1] if self.clocks is None else self.clocks.step
        return gamma_bound(step, self.m, namespace(step)) + 3 * self.tolerance

    @property
    def size(self) -> int:
        """Elements that one node in t holds."""
        labels = self.log_q.shape[-1]
        return int(self.nodes * labels * self._ways.arrays(labels))

    @property
    def work(self) -> int:
        labels = self.log_q.shape[-1]
        return int(labels * self.nodes * self._ways.passes(labels))

    @property
    def work_of_a_gold(self) -> int:
        return self.work

    @property
    def _ways(self) -> Products | Transform:
        return coefficient(self.m, self.tolerance)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._log(self._ratio(exposures))

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        clocks, ratio = self._rule, self._ratio(exposures)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            xp = namespace(ratio, share)
            counts = ratio > self._least(ratio)
            by_ratio = xp.where(counts, share / xp.where(counts, ratio, 1.0), 0.0)
            cotangent = self._nodes_last(by_ratio / clocks.at_zero, clocks)
            flow = self._ways.pull_back(self._factors(clocks, exposures), cotangent)
            return self._over_tau(flow, clocks, exposures)

        return self._log(ratio), copies

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """The derivative along the values of labels."""
        xp, clocks, ratio = namespace(exposures, values), self._rule, self._ratio(exposures)
        direction = self._nodes_last(values, clocks)
        flow = self._ways.push_forward(self._factors(clocks, exposures), direction)
        moved = self._over_tau(flow, clocks, exposures)
        counts = ratio > self._least(ratio)
        return xp.where(counts, moved / clocks.at_zero / xp.where(counts, ratio, 1.0), 0.0)

    @property
    def _rule(self) -> Clocks:
        return self.clocks if self.clocks is not None else self._clocks()

    def _ratio(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        clocks = self._rule
        return self._laplace(clocks, exposures) / clocks.at_zero

    def _least(self, ratio: Float[Array, "*N V"]) -> float:
        """1 / ratio^2, of a second derivative, must not overflow: below 1e-123 nothing counts."""
        return float(jnp.finfo(ratio.dtype).tiny) ** 0.4

    def _log(self, ratio: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        xp = namespace(ratio)
        return xp.log(xp.maximum(ratio, self._least(ratio)))

    def _nodes_last(self, values: Float[Array, "*N V"], clocks: Clocks) -> Float[Array, "V M"]:
        """What does not depend on tau, at all nodes in t and tau."""
        xp = namespace(values, clocks.log_tau)
        first = xp.moveaxis(values, -1, 0)[..., None]
        return xp.broadcast_to(first, (*first.shape[:-1], self.nodes)).reshape(len(first), -1)

    def _over_tau(
        self, flow: Float[Array, "V M"], clocks: Clocks, exposures: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """The integral in tau of a function of both nodes."""
        xp = namespace(flow, exposures)
        each = flow.reshape(len(flow), *exposures.shape[:-1], -1)
        return clocks.step * xp.moveaxis(xp.sum(each, axis=-1), 0, -1)

    def _factors(
        self, clocks: Clocks, exposures: Float[Array, "*N V"]
    ) -> tuple[Float[Array, "V M"], Float[Array, "V M"], Float[Array, "V M"]]:
        """The factors of every label, at all nodes in t and tau."""
        log_age = self.log_q[:, None] + clocks.log_tau  # log(q tau), [V, nodes]
        log_age = log_age.reshape(len(log_age), *(1,) * (exposures.ndim - 1), -1)
        z = namespace(exposures).moveaxis(exposures, -1, 0)[..., None]
        a, k, b = (part.reshape(len(part), -1) for part in self._ways.factors(log_age, z, z))
        return a, k, b

    def _laplace(self, clocks: Clocks, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        flow = self._ways.value(self._factors(clocks, exposures))
        return self._over_tau(flow, clocks, exposures)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """Gumbel top-m: the m largest of log q + noise. Labels with q = 0 are not present."""
        noisy = self.log_q + jax.random.gumbel(key, self.log_q.shape, self.log_q.dtype)
        value, labels = best(noisy.at[gold].set(-jnp.inf), self.m)
        return labels, jnp.isfinite(value)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.log_q, log_without_each(self.log_q)


class WithoutReplacement(Sampler):
    """See `without_replacement`."""

    proposal: Proposal
    m: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True, default=TRACED_NODES)
    tolerance: float = eqx.field(static=True, default=TOLERANCE)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        log_q = log_proposal(self.proposal, scores, popularity)
        return WithoutReplacementLaw(log_q, self.m, self.nodes, self.tolerance)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With as many nodes in tau as the widest input needs at a tenth of `tolerance`."""
        sized = self.measured(problem, tolerance)
        sized.check_affordable(problem)
        return sized

    def measured(self, problem: Problem, tolerance: float) -> WithoutReplacement:
        """`sized`, whatever it may cost."""
        tolerance = max(tolerance, float(jnp.finfo(problem.scores.dtype).eps)) / 10
        if is_traced(problem, self):
            return WithoutReplacement(
                proposal=self.proposal, m=self.m, nodes=self.nodes, tolerance=tolerance
            )

        log_q = log_proposal_rows(self.proposal, problem)
        found = (lengths if is_numpy(log_q) else compiled_lengths)(log_q, self.m, tolerance)
        nodes = nodes_for(float(np.max(np.asarray(found))), step_for(tolerance, self.m))
        return WithoutReplacement(
            proposal=self.proposal, m=self.m, nodes=nodes, tolerance=tolerance
        )

    @property
    def takes_atoms(self) -> bool:
        return self.m <= MOST_ON_ATOMS[8]

    def check_affordable(self, problem: Problem) -> None:
        if is_traced(problem, self):
            return
        labels, ways = problem.labels, coefficient(self.m, self.tolerance)
        pairs = self.nodes * labels
        memory = 8 * pairs * ways.arrays(labels)
        seconds = NODES_IN_T * pairs * ways.passes(labels) * SECONDS
        if memory > MOST_BYTES or seconds > MOST_SECONDS:
            raise NoExactMethod(
                f"{self!r} with {labels} labels would take at least {memory / 2**30:.0f} GiB and "
                f"{seconds / 3600:.1f} hours per input exactly. Use nb.monte_carlo(problem, "
                "sampler, loss, key=key, draws=100_000), a smaller m, or nb.iid."
            )

    @property
    def portable(self) -> bool:
        return True

    @property
    def reads_scores(self) -> bool:
        return reads_scores(self.proposal)

    def check(self, problem: Problem) -> None:
        check_distinct(repr(self), self.m, problem.labels)
        check_proposal(self.proposal, problem, removed=True)
        check_enough(repr(self), self.proposal, self.m, problem)

    def __repr__(self) -> str:
        return f"without_replacement({describe(self.proposal)}, m={self.m})"
