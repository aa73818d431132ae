r"""One draw by weight from a pool of any law: a draw from a proposal, known by one integral.

Given the pool, with n_y copies of each label and R = sum_y n_y r_y, label y is drawn with the
chance n_y r_y / R. From 1/R = int e^{-s R} ds and the pool's Laplace functional at x = s r,

    gamma_y = E[n_y r_y / R] = int x_y F(x) (-dlog F/dx_y)(x) ds/s,

which is what a loss that is a softmax with the weights r, the gold not in it, selects of y on
average: one engine's answer is the next one's proposal. For M independent draws it is

    gamma_y = M int q_y x_y e^{-x_y} phi(x)^{M-1} ds/s.

A single draw is all that a law of one negative is, so all else is `IidLaw` with gamma for q and m =
1. A pool that may be empty leaves gamma short of 1 by the chance that it is, and then there is no
negative.

**Limits.** M = 1: gamma = q. M to infinity: gamma to q r / sum q r, like 1/M. With r = e^s / q that
is the model, which is what resampling is for.

**Cost.** That of the pool's functional at some 60 nodes, and 4 more for each unit by which log r
spreads; once for an input, or once for each of its golds where the pool depends on them.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, namespace, sum_of_nodes
from nce_bias.numerics.gamma_rule import GammaGrid, gamma_grid
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import CHUNK
from nce_bias.numerics.separable import Separable
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers._resampled_draws import draw_by_weight
from nce_bias.samplers.base import Copies, Labels, Law, Present

#: Elements of one [nodes, labels] block.
BLOCK = 2**17


class Rule(eqx.Module):
    """The most members that a pool has, nodes in s, and the relative error allowed to the rule."""

    most: int = eqx.field(static=True)
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)


class One(eqx.Module):
    """The draw from gamma, and what entries of gamma may miss relative to the truth."""

    law: IidLaw
    slack: Float[Array, ""]


class ResampledOnceLaw(Law):
    """One draw by weight; see the module. Of one gold where `gold` marks it."""

    pool: Law
    log_r: Float[Array, " V"]
    gold: Bool[Array, " V"] | None
    rule: Rule
    ready: One | None = None

    def prepared(self) -> ResampledOnceLaw:
        return eqx.tree_at(lambda law: law.ready, self, self.one, is_leaf=lambda leaf: leaf is None)

    @property
    def one(self) -> One:
        """By the integral, unless it was taken before."""
        if self.ready is not None:
            return self.ready
        log_gamma, slack = log_chances_of_one(self.pool, self.log_r, self.gold, self.rule)
        return One(IidLaw(log_gamma, 1, "keep"), slack)

    @property
    def size(self) -> int:
        return self.log_r.shape[-1]

    @property
    def error(self) -> Float[Array, ""]:
        return self.one.slack

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self.one.law.log_laplace(exposures)

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        return self.one.law.tilted(exposures)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        law = self.one.law
        terms = values * law.own_hits(exposures)
        xp = namespace(terms)
        return xp.broadcast_to(xp.sum(terms, axis=-1, keepdims=True), terms.shape)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self.one.law.own_hits(exposures)

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable:
        return self.one.law.separable(exposures)

    def repeated(self) -> tuple[IidLaw, ...]:
        return (self.one.law,)

    def inclusion(self) -> Separable:
        return self.one.law.inclusion()

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        return self.one.law.log_counts(like)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.one.law.log_proposal()

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return draw_by_weight((self.pool, self.log_r), 1, key, gold)


def log_chances_of_one(
    pool: Law, log_r: Float[Array, " V"], gold: Bool[Array, " V"] | None, rule: Rule
) -> tuple[Float[Array, " V"], Float[Array, ""]]:
    """log gamma, and what its entries may miss relative to the truth.

    Of the gold that is marked; of any where a pool does not depend on it and None is.
    """
    xp = namespace(log_r)
    marks = xp.arange(log_r.shape[-1]) == 0 if gold is None else gold
    unit = xp.asarray(marks, log_r.dtype)
    most = xp.max(log_r) + math.log(rule.most)
    grid: GammaGrid = gamma_grid(xp.min(log_r), most, 1, rule.nodes, rule.tolerance)

    ready = pool.prepared()

    def at_node(index):
        x = exposure(grid.left + grid.step * index, log_r)
        log_f, copies = ready.tilted(x)
        return x * copies(grid.weight(index)[..., None] * unit * xp.exp(log_f))

    chunk = max(1, min(CHUNK, BLOCK // pool.size))
    gamma = sum_of_nodes(at_node, rule.nodes, chunk, grid.left)
    never = gamma <= 0
    log_gamma = xp.where(never, -xp.inf, xp.log(xp.where(never, 1.0, gamma)))
    rounding = 64 * float(jnp.finfo(log_r.dtype).eps)
    return log_gamma, grid.error() + pool.error + rounding
