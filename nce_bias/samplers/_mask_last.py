r"""Draws with replacement, of which the last that equals the gold is dropped, and no other.

TensorFlow's removal of accidental hits looks each gold up among the candidates by a table from
label to place, where a later copy overwrites an earlier one: of several copies of the gold one is
taken out, the last. Hits are neither all masked nor all kept. With R = sum_{y != g} q_y f_y,
f = e^{-z}, and phi = R + q_g f_g, a sum over the number of copies gives

    F_g = R^m + (phi^m - R^m) / f_g = R^m + q_g P_m,
    P_m = (phi^m - R^m) / (phi - R) = phi^{m-1} E_m(delta),    delta = q_g f_g / phi,

E_m(delta) = (1 - (1 - delta)^m) / delta, which is m at 0: nothing is divided by f_g.

**Complements.** With all hits masked F is (R + q_g)^m; copies that stay make it smaller by
q_g (P_m at f_g = 1, less P_m), of which rounding leaves some eps m q_g. It is at most
C(m, 2) q_g^2 (1 - f_g), and taken to be: so nothing is left of it where z is small.

**Derivatives.** One draw is y, m - 1 others are left: copies of y != g are m q_y f_y F^{(m-1)} /
F^{(m)}, pairs of them m (m - 1) (q_y f_y)^2 F^{(m-2)} / F^{(m)}. Of the gold, all copies but one:
q_g (m phi^{m-1} - P_m) / F, and pairs

    q_g (m (m - 1) q_g f_g phi^{m-2} - 2 m phi^{m-1} + 2 P_m) / F.

**Limits.** m = 1 is "mask". A gold of small q_g hits at most once: the law tends to "mask" like
(m q_g)^2 / 2. A popular gold in many draws stays, nearly as with "keep". Cost O(V) for each node;
labels depend on each other through the copies of the gold, so nothing is separable.

Source: TensorFlow, ``compute_accidental_hits``, as it was observed to act; the formula is derived
above.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.proposals import Proposal, check_proposal, describe, log_proposal, reads_scores
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler


class Powers(eqx.Module):
    """What every moment is made of, for each gold `[*N, V]`.

    `logs` of R + q_g (all hits dropped) and phi; `delta` of both.
    """

    log_dropped: Float[Array, "*N V"]
    log_phi: Float[Array, "*N 1"]
    delta_dropped: Float[Array, "*N V"]
    delta: Float[Array, "*N V"]


class MaskLastLaw(Law):
    """`draws`, which keep hits, without the last copy of the gold."""

    draws: IidLaw

    @property
    def size(self) -> int:
        return self.draws.size

    @property
    def work(self) -> int:
        return 4 * self.size

    @property
    def work_of_a_gold(self) -> int:
        return self.size

    @property
    def error(self) -> Float[Array, ""] | float:
        """Of the copies that stay, at most m q_g of them."""
        q, m = self.draws.q, self.draws.m
        return 8 * float(jnp.finfo(q.dtype).eps) * m * namespace(q).max(q)

    def _powers(self, exposures: Float[Array, "*N V"]) -> Powers:
        xp, q = namespace(exposures, self.draws.q), self.draws.q
        gone = -xp.expm1(-exposures)
        terms = q * gone
        near = 1 - jnp.finfo(terms.dtype).epsneg
        dropped = xp.log1p(-xp.minimum(sum_without_each(terms), near))
        phi = xp.log1p(-xp.minimum(xp.sum(terms, axis=-1, keepdims=True), near))
        delta = xp.minimum(q * xp.exp(-exposures - phi), 1.0)
        return Powers(dropped, phi, xp.minimum(q * xp.exp(-dropped), 1.0), delta)

    def _missed(self, at: Powers, exposures: Float[Array, "*N V"], fewer: int = 0):
        """1 - F of m draws, or of some fewer."""
        xp, q, m = namespace(exposures, self.draws.q), self.draws.q, self.draws.m - fewer
        most = m * (m - 1) / 2 * q**2 * -xp.expm1(-exposures)
        stay = q * (
            xp.exp((m - 1) * at.log_dropped) * _shared(at.delta_dropped, m)
            - xp.exp((m - 1) * at.log_phi) * _shared(at.delta, m)
        )
        stay = xp.where(stay > most, most, xp.where(stay < 0, 0.0, stay))  # z = 0: its derivatives
        missed = -xp.expm1(m * at.log_dropped) + stay
        return xp.minimum(missed, 1 - jnp.finfo(missed.dtype).epsneg)

    def _log_f(self, at: Powers, exposures: Float[Array, "*N V"], fewer: int = 0):
        missed = self._missed(at, exposures, fewer)
        return namespace(missed).log1p(-missed)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._log_f(self._powers(exposures), exposures)

    def _drawn(self, exposures: Float[Array, "*N V"]):
        """log F, what copies of other labels share for each gold, those labels' q f, own copies."""
        xp, q, m = namespace(exposures, self.draws.q), self.draws.q, self.draws.m
        at = self._powers(exposures)
        log_f = self._log_f(at, exposures)
        by_gold = m * xp.exp(self._log_f(at, exposures, 1) - log_f)
        more = xp.maximum(m - _shared(at.delta, m), 0.0)
        own = q * xp.exp((m - 1) * at.log_phi - log_f) * more
        return log_f, by_gold, q * xp.exp(-exposures), own

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        log_f, by_gold, of_label, own = self._drawn(exposures)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return of_label * sum_without_each(by_gold * share) + share * own

        return log_f, copies

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        _, by_gold, of_label, own = self._drawn(exposures)
        xp = namespace(exposures, own)
        here = xp.arange(exposures.shape[-1]) == xp.asarray(golds)[:, None]
        dense = by_gold[..., golds][..., None] * of_label[..., None, :]
        return xp.where(here, own[..., None, :], dense)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        _, by_gold, of_label, own = self._drawn(exposures)
        xp, terms = namespace(exposures, own), of_label * values
        others = xp.sum(terms, axis=-1, keepdims=True) - terms
        return by_gold * others + own * values

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._drawn(exposures)[3]

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        xp, q, m = namespace(exposures, self.draws.q), self.draws.q, self.draws.m
        at = self._powers(exposures)
        log_f = self._log_f(at, exposures)
        others = sum_without_each((values * q * xp.exp(-exposures)) ** 2)
        pairs = m * (m - 1) * xp.exp(self._log_f(at, exposures, 2) - log_f)
        own = m * (m - 1) * at.delta - 2 * m + 2 * _shared(at.delta, m)
        own = q * xp.exp((m - 1) * at.log_phi - log_f) * xp.maximum(own, 0.0)
        return pairs * others + values**2 * own

    def inclusion(self) -> Separable:
        """That of the draws: only the gold loses a copy."""
        return self.draws.inclusion()

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        labels, _ = self.draws.draw(key, gold)
        slots = jnp.arange(len(labels))
        last = jnp.max(jnp.where(labels == gold, slots, -1))
        return labels, slots != last

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.draws.log_proposal()


def _shared(delta: Float[Array, "*N V"], m: int | Float[Array, ""]) -> Float[Array, "*N V"]:
    """(1 - (1 - delta)^m) / delta."""
    xp = namespace(delta, m)
    small = delta < jnp.finfo(delta.dtype).tiny
    safe = xp.where(small, 0.5, xp.minimum(delta, 1 - jnp.finfo(delta.dtype).epsneg))
    return xp.where(small, 0.0 * safe + m, -xp.expm1(m * xp.log1p(-safe)) / safe)


class MaskLast(Sampler):
    """``iid(..., hits="mask_last")``."""

    proposal: Proposal
    m: int | Float[Array, ""]

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> MaskLastLaw:
        return MaskLastLaw(IidLaw(log_proposal(self.proposal, scores, popularity), self.m, "keep"))

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With m traced, so that all m compile once."""
        m = namespace(problem.scores).asarray(self.m, problem.scores.dtype)
        return MaskLast(proposal=self.proposal, m=m)

    @property
    def may_be_empty(self) -> bool:
        """Where the only draw is the gold."""
        return isinstance(self.m, int) and self.m == 1

    @property
    def portable(self) -> bool:
        return True

    @property
    def reads_scores(self) -> bool:
        return reads_scores(self.proposal)

    def check(self, problem: Problem) -> None:
        check_proposal(self.proposal, problem, removed=False)

    def __repr__(self) -> str:
        return f"iid({describe(self.proposal)}, m={self.m}, hits='mask_last')"
