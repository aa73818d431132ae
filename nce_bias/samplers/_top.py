"""The highest-scoring wrong labels: a fixed set."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, check_distinct
from nce_bias.numerics.arrays import Array, is_numpy, mask, namespace, top_k
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler


class TopLaw(Law):
    """The m highest-scoring wrong labels: F_g = exp(-sum of their exposures), a point mass.

    They are the first m of the best m + 1 labels once the gold is taken out.
    """

    best: Int[Array, " m_plus_1"]
    labels: int = eqx.field(static=True)
    m: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.labels

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        xp, among_best = namespace(exposures, self.best), mask(self.best, self.labels)
        last = self.best[self.m]
        totals = sum_without_each(xp.where(among_best, exposures, 0.0))
        return -xp.where(among_best, totals, totals[..., last][..., None])

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        return self.log_laplace(exposures), self.separable(exposures).average_positive

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        return -self.log_laplace(values)  # linear: nothing of a fixed set depends on exposures

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable:
        """The best m labels for a gold outside them, the best m + 1 (but itself) for one inside."""
        xp = namespace(exposures, self.best)
        inside, outside = (
            xp.broadcast_to(mask(best, self.labels).astype(exposures.dtype), exposures.shape)
            for best in (self.best, self.best[: self.m])
        )
        by_gold = xp.stack([outside, 1.0 - outside], axis=-2)
        return Separable(by_gold, xp.stack([inside, outside], axis=-2))

    def inclusion(self) -> Separable:
        return self.separable(namespace(self.best).zeros(self.labels))

    @property
    def levels(self) -> int:
        return 0

    def placed(
        self, levels: Any, gold: Int[Array, ""], order: Int[Array, " V"] | None = None
    ) -> tuple[Labels, Present]:
        hit = self.best[: self.m] == gold
        after = jnp.cumsum(hit) > 0
        labels = jnp.where(after, self.best[1:], self.best[: self.m])
        return labels, jnp.ones(self.m, bool)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return self.placed(None, gold)


class Top(Sampler):
    """See `top`."""

    m: int = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> TopLaw:
        _, best = top_k(scores, self.m + 1)
        if is_numpy(best):
            return TopLaw(best, scores.shape[-1], self.m)
        # Seen through by XLA, a slice of `best` makes the selection a sort of all labels.
        return TopLaw(jax.lax.optimization_barrier(best), scores.shape[-1], self.m)

    @property
    def portable(self) -> bool:
        return True

    @property
    def separable(self) -> bool:
        return True

    def check(self, problem: Problem) -> None:
        check_distinct(repr(self), self.m, problem.labels)

    def __repr__(self) -> str:
        return f"top(m={self.m})"


def top(m: int) -> Top:
    """The m highest-scoring wrong labels, the same at every draw; ties go to the lower index.

    The adversarial negatives of Zhang & Stratos (2021): of all laws on m distinct wrong labels,
    this point mass maximises the contrastive loss. Raises ValueError for m < 1 and, when used, for
    m > V - 1.
    """
    return Top(m=check_count("m", m))
