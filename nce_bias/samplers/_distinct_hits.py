r"""Distinct draws from *all* of q, the gold among them, and what becomes of the gold if drawn.

`without_replacement` never draws the gold. Candidate samplers do: m distinct labels are drawn from
all of q, and a draw of the gold is then dropped ("mask") or left as a candidate that counts a
second time ("keep").

**Clocks.** As for `without_replacement` let each label y ring once, at an exponential time of rate
q_y, the gold too; the first m to ring are drawn. Let tau be the m-th ring among the labels *other
than the gold*, by label j. If the gold has not rung by then (chance x_g = e^{-q_g tau}), the draws
are these m labels. If it has (chance 1 - x_g), the gold is among the draws, and the others are the
first m - 1 alone: j comes too late. With f = e^{-z} and f_g the gold's own factor, 1 where it is
dropped,

    F_g(z) = int_0^inf { x_g W_g[q x f] + (1 - x_g) f_g W_g[q x] } dtau,
    W_g[b] = [zeta^{m-1}] sum_{j != g} b_j prod_{y != g, j} D_y(zeta),
    D_y = x_y + zeta (1 - x_y) f_y.

Both W_g are the products without each label that `without_replacement` has. The second term alone,
at z = 0, is the chance that g is among the draws, whatever the gold is.

**Rule in tau.** Given the order in which all labels ring, tau is the m-th ring of all where the
gold has not rung and the (m + 1)-th where it has. Either is S sum_k D_k / R_k with S a gamma
variable of that shape (`without_replacement`), and the bound of the larger shape is the larger one:
it holds for both. The ends are those of `without_replacement`.

**Limits.** With q_g = 0 the law is that of `without_replacement`. "keep" does not depend on the
gold. At most V - 1 labels can be drawn; m = V draws everything, which is `without_replacement` with
m = V - 1 where the gold is dropped. With m = 1 and "mask" a set may be empty.

Source: Yellott (1977) for the clocks; TensorFlow's ``compute_accidental_hits`` for the policies.
`until_distinct` is the same law with TensorFlow's own corrections.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, refuse
from nce_bias.numerics.leave_one_out import best
from nce_bias.numerics.quadrature import gamma_bound, nodes_for, step_for
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.proposals import Proposal, describe, log_proposal
from nce_bias.samplers._without_replacement import (
    Clocks,
    WithoutReplacement,
    WithoutReplacementLaw,
)
from nce_bias.samplers.base import Chances, Copies, Labels, Law, Present, Sampler

#: What becomes of a gold that is drawn.
DISTINCT_HITS = ("exclude", "mask", "keep")


class DistinctHitsLaw(WithoutReplacementLaw):
    """Distinct labels drawn one after another from all of q; the gold dropped or kept if drawn."""

    hits: str = eqx.field(static=True, default="mask")

    @property
    def error(self) -> Float[Array, ""]:
        """The rule's bound for one ring more, and what the two ends cut."""
        assert self.clocks is not None
        larger = gamma_bound(self.clocks.step, self.m + 1, jnp)
        return super().error + larger - gamma_bound(self.clocks.step, self.m, jnp)

    @property
    def size(self) -> int:
        return 2 * super().size

    def tilted(self, exposures: Float[Array, " V"]) -> tuple[Float[Array, " V"], Copies]:
        return Law.tilted(self, exposures)

    def copies_along(
        self, exposures: Float[Array, " V"], values: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        return Law.copies_along(self, exposures, values)

    def _laplace(self, clocks: Clocks, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        missed, hit = self._without_and_with_gold(clocks, exposures)
        return missed + hit

    def _without_and_with_gold(
        self, clocks: Clocks, exposures: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """The integrals over the draws without and with each gold."""
        log_age = self.log_q[:, None] + clocks.log_tau  # of q tau, [V, nodes]
        age, z = jnp.exp(log_age), exposures[:, None]
        missed, hit = (
            self._ways.value(self._ways.factors(log_age, z, last)) for last in (z, 0 * z)
        )
        gone = -jnp.expm1(-age)
        own = jnp.exp(-z) if self.hits == "keep" else 1.0
        over_tau = jnp.exp(-age) * jnp.asarray(missed), gone * own * jnp.asarray(hit)
        return clocks.step * jnp.sum(over_tau[0], -1), clocks.step * jnp.sum(over_tau[1], -1)

    def own_hits(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        """The share of the draws with the gold in F; 0 where they are dropped."""
        if self.hits != "keep":
            return jnp.zeros_like(exposures)
        missed, hit = self._without_and_with_gold(self._rule, exposures)
        return hit / jnp.maximum(missed + hit, jnp.finfo(exposures.dtype).tiny ** 0.4)

    def chances(self) -> Float[Array, " V"]:
        """P(y among the draws), the same for every gold."""
        nothing = jnp.zeros_like(self.log_q)
        missed, hit = self._without_and_with_gold(self._rule, nothing)
        return hit / (missed + hit)

    def inclusion(self) -> Separable:
        chances = self.chances()
        return Separable(jnp.ones_like(chances)[None], chances[None])

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        chances = self.chances()
        others = jnp.sum(share) - (0.0 if self.hits == "keep" else share)
        return chances * others

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        return jnp.log(self.chances()), jnp.zeros((len(like), 1), self.log_q.dtype)

    def log_chances(self, labels: int, inclusion: bool) -> Chances | None:
        """Where the loss asks for them, for the gold too: it may be drawn like any label."""
        return (jnp.log(self.chances()), *self.log_counts(self.log_q)) if inclusion else None

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """Gumbel top-m over all labels; the gold is not present where it is dropped."""
        noisy = self.log_q + jax.random.gumbel(key, self.log_q.shape, self.log_q.dtype)
        value, labels = best(noisy, self.m)
        return labels, jnp.isfinite(value) & ((labels != gold) | (self.hits == "keep"))

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.log_q, jnp.zeros_like(self.log_q)


class DistinctHits(WithoutReplacement):
    """`without_replacement` with hits masked or kept."""

    hits: str = eqx.field(static=True, default="mask")

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        return DistinctHitsLaw(**self._of_the_law(scores, popularity))

    def _of_the_law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Any:
        return {
            "log_q": log_proposal(self.proposal, scores, popularity),
            "m": self.m,
            "nodes": self.nodes,
            "tolerance": self.tolerance,
            "hits": self.hits,
        }

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With the nodes that one ring more needs."""
        found = WithoutReplacement(proposal=self.proposal, m=self.m).sized(problem, tolerance)
        assert isinstance(found, WithoutReplacement)
        now, wanted = (step_for(found.tolerance, self.m + more) for more in (0, 1))
        nodes = nodes_for((found.nodes - 1) * now, wanted)
        return dataclasses.replace(self, nodes=nodes, tolerance=found.tolerance)

    @property
    def takes_atoms(self) -> bool:
        """No: labels on atoms are those of a gold that is not drawn."""
        return False

    @property
    def portable(self) -> bool:
        return False

    @property
    def may_be_empty(self) -> bool:
        return self.hits == "mask" and self.m == 1

    def __repr__(self) -> str:
        return f"without_replacement({describe(self.proposal)}, m={self.m}, hits={self.hits!r})"


def without_replacement(proposal: Proposal, m: int, hits: str = "exclude") -> WithoutReplacement:
    """m *distinct* labels, drawn one after another in proportion to what is left of `proposal`.

    The law is that of Plackett-Luce, of successive sampling and of the Gumbel top-m trick.

    Parameters
    ----------
    proposal : callable
        ``(scores[V], popularity[V]) -> log q[V]``.
    m : int
        Number of draws, K - 1.
    hits : {"exclude", "mask", "keep"}
        What becomes of the gold. "exclude": it is never drawn, so there are m negatives. "mask": it
        is drawn like any other label, and dropped, which leaves m - 1. "keep": if drawn it is a
        candidate again and counts twice.

    Raises
    ------
    ValueError
        m < 1 or an unknown policy; when used, m > V - 1 or fewer than m labels with q > 0 besides a
        gold.
    """
    if hits not in DISTINCT_HITS:
        raise refuse(
            "hits", f"got {hits!r}", " or ".join(map(repr, DISTINCT_HITS)), "Pick one of them."
        )
    if hits == "exclude":
        return WithoutReplacement(proposal=proposal, m=check_count("m", m))
    return DistinctHits(proposal=proposal, m=check_count("m", m), hits=hits)
