r"""The moments of sums of log-sums, of one gold at a time.

    loss = h(s_g) + sum_i a_i log Z_i,     Z_i = w_i+ + sum_k w_i(y_k),

where k runs over all negatives, the first of them, or all but one (then the mean over which one).
In place of the logarithm may be (Z^p - 1) / p with p < 1: all below then has Z^{p - 1} for 1/Z,
whose integral has t^{-p} / Gamma(1 - p) besides (`nce_bias.integrals.integrand`), and that of
Z^{2p - 2}, of one log-sum twice, t^{-2p} / Gamma(2 - 2p).

**First moments.** E[log Z_i] is an integral of the Laplace functional, with derivatives by the
log-weights (`nce_bias.integrals.integrand`). With d_iy and e_iy the derivatives of log w_i(y) by
the scores of y and of the gold, and p_i that of log w_i+,

    dE/ds_y = sum_i a_i E[pi_iy] d_iy,
    dE/ds_g = h' + sum_i a_i (E[pi_i+] p_i + sum_y E[pi_iy] e_iy)    besides what its copies have,

pi_i being the shares of Z_i. Fewer independent draws are a law of the same kind with another m, and
those of one part of a sum of samplers have that part's law. A mean of values h under the
shares, its weights held fixed, has the same gradient with h' for d and its derivative by the gold's
score for e, and sum_y E[pi_iy] h_y for E[log Z_i].

**Second moments.** The gradient is r = h' e + sum_i a_i x_i / (t Z_i), with z_i = t w_i and

    x_i = (z_i+ p_i + sum_y n_y z_iy e_iy) e + (z_i d_i) n,     n the copies of each label.

From 1/(Z Z') = int int t t' e^{-tZ - t'Z'} dlog t dlog t', with x_i at t and x_j at t',

    E[<x_i/(tZ_i), x_j/(t'Z_j)>]
        = int int e^{-z_i+ - z_j+} F(z_i + z_j) E_tilted[<x_i, x_j>] dlog t dlog t',

the law tilted at z_i + z_j (`nce_bias.integrals.tilted`). Where a draw is in one of the sums
alone, it is tilted at that one's exposures: F becomes phi(z_i + z_j)^c phi(z_i)^{m_i - c}
phi(z_j)^{m_j - c} with c draws in both; parts of a sum, each in both sums or in one, factorise
likewise. For i = j and the same draws one integral does, from 1/Z^2
= int t^2 e^{-tZ} dlog t. Draws that both leave one out have c = m - 1 with chance 1/m, else m - 2.

**Cost.** O(V N) for each log-sum and gold, and O(V N^2) for each two of them: N is 170, about 100
in the plane, where the rule is taken with a tolerance of `PLANE`.

**Error.** That of each integral is relative for every law, so that of an entry of the gradient is
at most sum_i |a_i| error_i max(|d_i| + |e_i|, |p_i|), times a bound on Z^p where there is a power.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import equinox as eqx
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias.integrals.expectation import Expectation, Gram, Rule, Sums
from nce_bias.integrals.integrand import BLOCK, Integrand
from nce_bias.integrals.tilted import Group, Linear, identity, product
from nce_bias.numerics.arrays import Array, is_numpy, namespace, sum_of_nodes
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import CHUNK, Grid, step_for
from nce_bias.samplers import ConcatenationLaw, Law

#: Relative error allowed to the rule in the plane.
PLANE = 1e-12
#: Pairs of nodes at a time under XLA.
PAIRS = 256

Labels = Float[Array, " V"]
#: Of the draws in both, in the first alone, in the second alone; None for none.
Laws = tuple[Law | None, ...]


class Term(eqx.Module):
    """A log-sum of one gold: its factor, log-weights and their derivatives; see the module.

    `draws` says how many of the first draws are in it, None for all; with `leaves` it is a mean
    over which of the m draws is left out. `part` says which part of a sum of samplers alone is.
    With `worth` it is the mean of that under the shares.
    """

    factor: Float[Array, ""]
    log_gold: Labels
    log_negative: Labels
    by_own: Labels  # p, of the gold's own weight
    slope: Labels  # d
    pair: Labels | None  # e
    draws: Float[Array, ""] | None
    leaves: bool = eqx.field(static=True)
    part: int | None = eqx.field(static=True, default=None)
    power: float = eqx.field(static=True, default=0.0)
    worth: Labels | None = None

    def of_z(self, log_z: Labels) -> Labels:
        """log Z, or (Z^p - 1) / p."""
        if not self.power:
            return log_z
        return namespace(log_z).expm1(self.power * log_z) / self.power

    @property
    def scale(self) -> Float[Array, ""] | float:
        """The largest weight of a negative, to the power."""
        xp = namespace(self.log_negative)
        return xp.exp(self.power * xp.max(self.log_negative)) if self.power else 1.0

    def most(self, share: Labels, m: int | Float[Array, ""]) -> Float[Array, ""] | float:
        """A bound on Z^p."""
        if not self.power:
            return 1.0
        xp = namespace(share)
        golds = xp.where(share > 0, self.log_gold, -xp.inf)
        if self.power > 0:
            largest = xp.maximum(xp.max(golds), xp.max(self.log_negative))
            return xp.exp(self.power * (largest + xp.log1p(xp.asarray(m, share.dtype))))
        drawn = xp.where(xp.isneginf(self.log_negative), xp.inf, self.log_negative)
        alone = xp.where(xp.isneginf(golds), xp.min(drawn), golds)
        return xp.exp(self.power * xp.min(xp.where(share > 0, alone, xp.inf)))

    def law(self, law: Law) -> Law:
        """That of the draws that are in it."""
        law = part_of(law, self.part)
        return law if self.draws is None else first_draws(law, self.draws)


def part_of(law: Law, part: int | None) -> Law:
    """The law of one part of a sum of samplers, all of it for None."""
    if part is None:
        return law
    assert isinstance(law, ConcatenationLaw)
    return law.parts[part]


def first_draws(law: Law, count: Float[Array, ""]) -> Law:
    """The law of the first of m independent draws."""
    return eqx.tree_at(lambda own: own.m, law, count)


def plane_nodes(nodes: int, tolerance: float) -> int:
    """Nodes along one side of the plane, for a line of `nodes`."""
    coarser = max(tolerance, PLANE)
    return math.ceil(nodes * step_for(tolerance) / step_for(coarser)) + 1


class LogSumsMoments(Expectation):
    """What the integrals need of one input and one gold, on which `share` is.

    Parameters
    ----------
    law : Law
        Of the negatives.
    terms : tuple of Term
        The log-sums.
    rest : pair of [V]
        h and its derivative at the scores of all labels.
    rule : Rule
        Nodes and tolerance.
    slack : scalar
        What is to be added to the error, for what the loss is beside this form.
    """

    share: Labels
    law: Law
    terms: tuple[Term, ...]
    rest: tuple[Labels, Labels]
    rule: Rule
    slack: Float[Array, ""] | float = 0.0

    @property
    def planes(self) -> int:
        """How many integrals are over a plane: of each two log-sums, and of one that leaves out."""
        count = len(self.terms)
        return count * (count - 1) // 2 + sum(term.leaves for term in self.terms)

    @property
    def lines(self) -> int:
        """How many log-sums there are."""
        return len(self.terms)

    def _integrand(self, term: Term, rule: Rule) -> Integrand:
        scores = term.log_gold, term.log_negative
        if term.power and rule.closes_gaps:
            raise refuse(
                "scores",
                "log-weights spread over more than 500 nats, and the loss has a power of Z",
                "fewer nats: gaps are closed for logarithms alone",
                "Set labels that no one picks to -inf.",
            )
        return Integrand.of(term.law(self.law), scores, self.share, rule, power=term.power)

    @property
    def length(self) -> Float[Array, ""]:
        """Of the longest rule in log t."""
        xp = namespace(self.share)
        every = [self._integrand(term, self.rule).length for term in self.terms]
        return xp.max(xp.stack([xp.asarray(one) for one in every]))

    def error(self) -> Float[Array, ""]:
        """See the module."""
        xp = namespace(self.share)
        total = xp.asarray(self.slack, self.share.dtype)
        for term in self.terms:
            steep = xp.abs(term.slope) + (0.0 if term.pair is None else xp.abs(term.pair))
            own = xp.where(self.share > 0, xp.abs(term.by_own), 0.0)
            steepest = xp.maximum(xp.max(steep), xp.max(own))
            error = self._integrand(term, self.rule).error() * term.most(self.share, self.rule.m)
            total = total + xp.abs(term.factor) * xp.maximum(steepest, 1.0) * error
        return total

    def sums(self) -> Sums:
        """See `Expectation`; `square` is NaN unless the rule asks for it."""
        xp, share = namespace(self.share), self.share
        here = share > 0
        value, slope = (xp.where(here, share * part, 0.0) for part in self.rest)
        loss, by_gold, by_negative = xp.sum(value), slope, xp.zeros_like(share)
        for term in self.terms:
            found = self._integrand(term, self.rule).sums()
            absent, scale = xp.isneginf(term.log_gold), term.scale
            base = xp.where(absent, xp.max(term.log_negative), term.log_gold)
            base = xp.where(here, base, 0.0)
            mean = scale * found.loss + xp.sum(share * term.of_z(base))
            if term.worth is not None:
                mean = xp.sum(found.by_negative * term.worth)
            loss = loss + term.factor * mean
            alone = share * (xp.exp(term.power * base) if term.power else 1.0)  # w_+^p
            picked = xp.where(here, (scale * found.by_gold + alone) * term.by_own, 0.0)
            if term.pair is not None:
                moved = xp.sum(found.by_negative * term.pair)
                picked = picked + xp.where(here, scale * moved, 0.0)
            by_gold = by_gold + term.factor * picked
            by_negative = by_negative + term.factor * scale * found.by_negative * term.slope
        own = xp.sum(xp.where(here, by_gold + by_negative, 0.0))
        square = xp.full((), xp.nan, share.dtype)
        if self.rule.squares:
            residual = self._second(by_gold + by_negative, identity(share), None)
            square = residual + 2 * own + xp.sum(share)
        return Sums(loss, by_gold, by_negative, own, square, xp.full((), xp.nan, share.dtype))

    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """See `Expectation`; the plane with V x V numbers at each node, for few labels."""
        return self._second(self.sums().gradient, gram, gram.to_dense())

    def _second(self, gradient: Labels, gram: Gram, dense: Array | None) -> Float[Array, ""]:
        """share E[r^T G r], from share E[r] and the products of all pairs."""
        xp, share = namespace(self.share, gradient), self.share
        total, unit = xp.sum(share), xp.where(share > 0, 1.0, 0.0).astype(share.dtype)
        alone = xp.sum(xp.where(share > 0, self.rest[1], 0.0))  # h'
        row = gram.times(unit)
        square = 2 * alone * (row @ gradient) - total * alone**2 * (row @ unit)
        for i, one in enumerate(self.terms):
            for other in self.terms[i:]:
                scale = one.scale * other.scale
                twice = one.factor * other.factor * scale * (1 if other is one else 2)
                for weight, groups in self._overlaps(one, other):
                    found = self._pair((one, other), groups, unit, (gram, dense))
                    some = (total > 0) & (weight > 0)
                    square = square + xp.where(some, total * twice * weight * found, 0.0)
        return xp.where(total > 0, square, 0.0)

    def _overlaps(self, one: Term, other: Term) -> Iterator[tuple[Array | float, Laws]]:
        """Chances, and the laws of the draws in both, in the first alone, in the second alone."""
        xp, law = namespace(self.share), self.law
        if one.part is not None or other.part is not None:
            yield 1.0, _of_parts(law, one.part, other.part)
            return
        if one.draws is None and other.draws is None:
            yield 1.0, (law, None, None)
            return
        m = getattr(law, "m")  # noqa: B009 (independent draws have one)
        a, b = (m if term.draws is None else term.draws for term in (one, other))

        def laws(both, first, second):
            return tuple(
                first_draws(law, xp.maximum(xp.asarray(n, self.share.dtype), 0.0))
                for n in (both, first, second)
            )

        if one.leaves and other.leaves:
            yield 1 / m, (laws(m - 1, 0, 0)[0], None, None)
            yield 1 - 1 / m, laws(m - 2, 1, 1)
        elif one.leaves or other.leaves:
            size = b if one.leaves else a  # of the one that leaves none out
            for chance, hit in ((size / m, 1), (1 - size / m, 0)):
                parts = size - hit, hit, m - 1 - size + hit
                yield chance, laws(*(parts if other.leaves else (parts[0], parts[2], parts[1])))
        else:
            both = xp.minimum(a, b)
            same = other is one
            found = laws(both, a - both, b - both)
            yield 1.0, (found[0], None, None) if same else found

    def _pair(
        self,
        pair: tuple[Term, Term],
        laws: Laws,
        unit: Labels,
        grams: tuple[Gram, Array | None],
    ) -> Float[Array, ""]:
        """E[x_i^T G x_j / (t Z_i t' Z_j)], on a line where both are one and the same."""
        nodes = plane_nodes(self.rule.nodes, self.rule.tolerance)
        coarse = dataclasses.replace(
            self.rule, nodes=nodes, tolerance=max(self.rule.tolerance, PLANE)
        )
        line = pair[0] is pair[1] and laws[1] is None
        at = [self._integrand(term, self.rule if line else coarse) for term in pair]
        grids, count = [one.grid_for(2 if line else 1) for one in at], at[0].rule.nodes
        both, *alone = laws

        def at_node(index):
            xp = namespace(index, unit)
            if line:
                where = (index, index)
            else:
                row = xp.floor(index / count)
                where = (row, index - count * row)
            points = [_point(*each, unit) for each in zip(at, grids, where, pair, strict=True)]
            (z, x, weight), (other_z, other_x, other_weight) = points
            together = z if line else z + other_z
            groups = [] if both is None else [Group(both, together, True, True)]
            for law, own, first in zip(alone, (z, other_z), (True, False), strict=True):
                if law is not None:
                    groups.append(Group(law, own, first, not first))
            log_f, value = product(groups, x, other_x, unit, *grams)
            exponent = log_f - weight[1] - (0.0 if line else other_weight[1])
            mass = weight[0] * (1.0 if line else other_weight[0])
            return mass * xp.exp(exponent) * value

        chunk = BLOCK // self.law.size if is_numpy(self.share) else PAIRS if not line else CHUNK
        total = count if line else count**2
        return sum_of_nodes(at_node, total, max(1, chunk), grids[0].left)


def _of_parts(law: Law, one: int | None, other: int | None) -> Laws:
    """The laws of the parts that are in both, in the first alone, in the second alone."""
    assert isinstance(law, ConcatenationLaw)
    if one is None or other is None:
        part = other if one is None else one
        assert part is not None
        rest = law.without(part)
        return law.parts[part], rest if one is None else None, rest if other is None else None
    if one == other:
        return law.parts[one], None, None
    return None, law.parts[one], law.parts[other]


def _point(
    integrand: Integrand, grid: Grid, index: Array, term: Term, unit: Labels
) -> tuple[Array, Linear, tuple[Array, Array]]:
    """Exposures, x, and (weight, z_+) at a node of one of the two."""
    xp = namespace(index, unit)
    log_t = grid.left + grid.step * index
    z = exposure(log_t, integrand.log_negative)
    z_gold = xp.sum(xp.where(unit > 0, exposure(log_t, integrand.log_gold), 0.0), axis=-1)
    own = xp.sum(xp.where(unit > 0, term.by_own, 0.0))
    pair = None if term.pair is None else z * term.pair
    x = Linear(z_gold * own, z * term.slope, pair)
    return z, x, (grid.weight(index), z_gold)
