"""Negatives drawn with replacement, and the policies for a draw that equals the gold."""

from __future__ import annotations

from typing import Literal, overload

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, refuse
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.leave_one_out import log_without_each, sum_without_each, without_largest
from nce_bias.numerics.separable import TERMS, Separable, expand
from nce_bias.problem import Problem
from nce_bias.proposals import Proposal, check_proposal, describe, log_proposal, reads_scores
from nce_bias.samplers._batch import SharedDraws
from nce_bias.samplers._line import Levels, Line, uniform
from nce_bias.samplers.base import Batch, Copies, Labels, Law, Present, Sampler

HITS = ("exclude", "mask", "mask_last", "keep")


class Rest(eqx.Module):
    """What is left of q without a gold: all of it over `left`, but for the most probable label."""

    top: Bool[Array, " V"]
    q: Float[Array, " V"]
    left: Float[Array, " V"]


def rest_of(log_q: Float[Array, " V"]) -> Rest:
    """1 - q_g of each label but the most probable one, for which the rest is renormalised."""
    log_rest, top = without_largest(log_q)
    xp = namespace(log_q)
    return Rest(top, xp.exp(log_rest), xp.where(top, 1.0, 1.0 - xp.exp(log_q)))


class IidLaw(Law):
    r"""m independent draws: F = phi^m with phi = sum_y q_y exp(-z_y).

    Computed through the complement x = 1 - phi = sum_y q_y (1 - exp(-z_y)), a sum of positive
    terms: m log1p(-x) has an absolute error in F of a few units in the last place for every m.

    The gold's own x_g:  keep x;  mask x - q_g (1 - e^{-z_g});  exclude that over 1 - q_g. Only the
    most probable label can have 1 - q_g < 1/2; for it the rest of q is renormalised in log space.
    """

    log_q: Float[Array, " V"]
    q: Float[Array, " V"]
    rest: Rest | None
    m: int | Float[Array, ""]
    hits: str = eqx.field(static=True)

    def __init__(self, log_q: Float[Array, " V"], m: int | Float[Array, ""], hits: str) -> None:
        self.log_q, self.q, self.m, self.hits = log_q, namespace(log_q).exp(log_q), m, hits
        self.rest = rest_of(log_q) if hits == "exclude" else None

    @property
    def size(self) -> int:
        return self.log_q.shape[-1]

    @property
    def work(self) -> int:
        """An excluded gold makes it a sum of `TERMS` products, twice."""
        return self.size * (1 if self.rest is None else 2 * TERMS)

    def _missed(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """x_g = 1 - phi_g of every gold."""
        xp = namespace(exposures, self.q)
        gone = -xp.expm1(-exposures)
        terms = self.q * gone
        if self.hits == "keep":
            x = xp.broadcast_to(xp.sum(terms, axis=-1, keepdims=True), terms.shape)
        elif self.rest is None:
            x = sum_without_each(terms)
        else:
            x = sum_without_each(terms) / self.rest.left
            without_top = xp.sum(self.rest.q * gone, axis=-1, keepdims=True)
            x = xp.where(self.rest.top, without_top, x)
        return xp.minimum(x, 1 - jnp.finfo(x.dtype).epsneg)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        missed = self._missed(exposures)
        return self.m * namespace(missed).log1p(-missed)

    @property
    def independent(self) -> bool:
        return True

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        factors, hits = self.separable(exposures), self.own_hits(exposures)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return factors.average_positive(share) + share * hits

        return self.log_laplace(exposures), copies

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        xp = namespace(exposures, self.q)
        if self.hits != "keep":
            return xp.zeros_like(exposures)
        return self.m * self.q * xp.exp(-exposures) / (1 - self._missed(exposures))

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """Each of m (m - 1) pairs is two independent tilted draws, sum_y (values q f / phi)^2."""
        factors = self.separable(exposures)
        pairs = sum_without_each((values[..., None, :] * factors.u) ** 2)
        off_gold = namespace(pairs).sum(factors.r**2 * pairs, axis=-2)
        on_gold = (values * self.own_hits(exposures)) ** 2
        return (1 - 1 / self.m) * (off_gold + on_gold)

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable:
        """m q_y f_y / phi_g, over what is left of q where the gold is excluded.

        The most probable label, as a gold, has the renormalised rest of q as factors of its own.
        """
        xp = namespace(exposures, self.q)
        f, draws = xp.exp(-exposures), self.m / (1 - self._missed(exposures))
        if self.rest is None:
            return Separable(draws[..., None, :], (self.q * f)[..., None, :])
        top = self.rest.top
        by_gold = [xp.where(top, 0.0, draws / self.rest.left), xp.where(top, draws, 0.0)]
        return Separable(
            xp.stack(by_gold, axis=-2), xp.stack([self.q * f, self.rest.q * f], axis=-2)
        )

    def repeated(self) -> tuple[IidLaw, ...]:
        return (self,)

    def inclusion(self) -> Separable:
        """1 - (1 - q_y)^m, with q_y / (1 - q_g) for q_y where the gold is excluded."""
        xp, chance = namespace(self.q), self._chance
        if self.rest is None:
            return Separable(xp.ones_like(self.q)[None], chance(self.q)[None])
        top = self.rest.top
        others = xp.where(top, 0.0, self.q)
        by_q = expand(lambda rho: chance(self.q / (1 - rho)), others, xp.max(others))
        r = xp.concatenate([xp.where(top, 0.0, by_q.r), top[None].astype(by_q.r.dtype)])
        return Separable(r, xp.concatenate([by_q.u, chance(self.rest.q)[None]]))

    @property
    def blind(self) -> bool:
        """Whether the law is the same for every gold."""
        return self.hits == "keep"

    def hit_chances(self) -> Float[Array, " V"]:
        """The chance of each label to be among the negatives of its own gold."""
        xp = namespace(self.q)
        return self._chance(self.q) if self.blind else xp.zeros_like(self.q)

    def _chance(self, q: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """Of a label to be among the draws, each of which it is with chance q."""
        xp = namespace(q)
        return -xp.expm1(self.m * xp.log1p(-xp.minimum(q, 1.0)))

    def included_for(
        self, golds: Int[Array, " G"], share: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """One pass over the labels for each gold."""
        xp = namespace(self.q, share)
        labels, total = xp.arange(len(self.q)), xp.zeros_like(share)
        rest = self.rest
        # of all golds at once: one entry alone XLA takes from all labels, sent to every device
        tops, left = (None, None) if rest is None else (rest.top[golds], rest.left[golds])
        for i, (gold, weight) in enumerate(zip(golds, share[golds], strict=True)):
            q = self.q
            if rest is not None and tops is not None and left is not None:
                q = xp.where(tops[i], rest.q, q / left[i])
            total = total + weight * xp.where(labels == gold, 0.0, self._chance(q))
        return total

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        log_q, log_rest = self.log_proposal()
        xp = namespace(log_q, self.m)
        return log_q + xp.log(xp.asarray(self.m, log_q.dtype)), -log_rest[:, None]

    @property
    def levels(self) -> int:
        return int(self.m)

    def placed(
        self, levels: Levels, gold: Int[Array, ""], order: Int[Array, " V"] | None = None
    ) -> tuple[Labels, Present]:
        """Inverse cdf; an excluded gold is skipped by jumping over its interval of the cdf.

        The sums over labels do not depend on the gold, so a batch of draws shares them. Where the
        gold is the most probable label, the rest of q has a cdf of its own (see the class).
        """
        line = Line(self.q, order)
        if self.rest is None:
            labels = line.find(levels)
            return labels, (labels != gold) | (self.hits == "keep")
        without_top = Line(self.rest.q, order).find(levels)
        labels = jnp.where(self.rest.top[gold], without_top, line.find_without(levels, gold))
        return labels, jnp.ones(labels.shape, bool)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return self.placed(uniform(key, self.levels, self.q.dtype), gold)

    def log_q_of(self, gold: Bool[Array, " V"] | None) -> Float[Array, " V"]:
        """log q of one draw for the gold that is marked; of every gold where hits are kept.

        A gold that is dropped keeps its q here.
        """
        if gold is None:
            return self.log_q
        log_q, log_rest = self.log_proposal()
        xp = namespace(log_q, gold)
        log_left = xp.sum(xp.where(gold, log_rest, 0.0))
        return xp.where(gold & (self.rest is not None), -xp.inf, log_q - log_left)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        if self.hits == "exclude":
            return self.log_q, log_without_each(self.log_q)
        return self.log_q, namespace(self.log_q).zeros_like(self.log_q)


class Iid(Sampler):
    """See `iid`."""

    proposal: Proposal
    m: int | Float[Array, ""]
    hits: str = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> IidLaw:
        return IidLaw(log_proposal(self.proposal, scores, popularity), self.m, self.hits)

    def batch(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Batch | None:
        if self.hits == "exclude":
            return None
        law = IidLaw(log_proposal(self.proposal, scores, popularity), self.m, "keep")
        return SharedDraws(law, self.hits == "mask")

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With m traced: nothing exact depends on it but through numbers, so all m compile once."""
        m = namespace(problem.scores).asarray(self.m, problem.scores.dtype)
        return Iid(proposal=self.proposal, m=m, hits=self.hits)

    @property
    def may_be_empty(self) -> bool:
        return self.hits == "mask"

    @property
    def portable(self) -> bool:
        return True

    @property
    def separable(self) -> bool:
        return True

    @property
    def reads_scores(self) -> bool:
        return reads_scores(self.proposal)

    def check(self, problem: Problem) -> None:
        check_proposal(self.proposal, problem, removed=self.hits != "keep")

    def __repr__(self) -> str:
        hits = "" if self.hits == "exclude" else f", hits={self.hits!r}"
        return f"iid({describe(self.proposal)}, m={self.m}{hits})"


@overload
def iid(
    proposal: Proposal, m: int, hits: Literal["exclude", "mask", "keep"] = "exclude"
) -> Iid: ...
@overload
def iid(proposal: Proposal, m: int, hits: str) -> Sampler: ...
def iid(proposal: Proposal, m: int, hits: str = "exclude") -> Sampler:
    """m negatives drawn independently, with replacement, from `proposal`.

    Parameters
    ----------
    proposal : callable
        ``(scores[V], popularity[V]) -> log q[V]``.
    m : int
        Number of draws, K - 1.
    hits : {"exclude", "mask", "mask_last", "keep"}
        What becomes of a draw that equals the gold (an *accidental hit*). "exclude": q is
        renormalised without the gold. "mask": the draw is dropped, so fewer than m remain; its mass
        stays with the gold. "mask_last": of several such draws the last alone is dropped, as
        TensorFlow does (`nce_bias.samplers._mask_last`). "keep": the gold is a candidate again and
        counts twice.

    Raises
    ------
    ValueError
        m < 1 or an unknown policy; when used, a proposal with no mass outside a gold.
    """
    if hits not in HITS:
        raise refuse("hits", f"got {hits!r}", " or ".join(map(repr, HITS)), "Pick one of them.")
    if hits == "mask_last":
        from nce_bias.samplers._mask_last import MaskLast

        return MaskLast(proposal=proposal, m=check_count("m", m))
    return Iid(proposal=proposal, m=check_count("m", m), hits=hits)
