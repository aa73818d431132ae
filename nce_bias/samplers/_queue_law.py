r"""A law whose negatives weigh what scores of their own say.

Alone it says which scores (`Law.scores_of`), and is otherwise the law of the labels. In a sum with
parts of other scores all have one reference, and a part whose weights are rho times those of the
reference is asked at rho z for z. With N_y = rho_y n_y the copies by their weight,

    F(z) = F'(rho z),       -dlog F / dz_y = rho_y E'[n_y] = E[N_y],
    E[N_y^2] - E[N_y] = rho_y^2 E'[n_y (n_y - 1)] + (rho_y^2 - rho_y) E'[n_y],

expectations tilted at rho z. The last term is `excess`: second moments count it with the
coincidences, and so does the concentration, whose candidates are single copies.
"""

from __future__ import annotations

import functools

import equinox as eqx
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, namespace
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.samplers.base import Chances, Copies, Labels, Law, Present


class QueueLaw(Law):
    """The law of `part` with scores of its own; `log_ratio` to a reference's weights in a sum."""

    part: Law
    own: Float[Array, " V"]
    log_ratio: Float[Array, " V"] | None = None

    @property
    def size(self) -> int:
        return self.part.size

    @property
    def work(self) -> int:
        return self.part.work * (1 if self.log_ratio is None else 2)

    @property
    def work_of_a_gold(self) -> int:
        return self.part.work_of_a_gold

    @property
    def error(self) -> Float[Array, ""] | float:
        return self.part.error

    @property
    def selects(self) -> bool:
        return self.part.selects

    def prepared(self) -> QueueLaw:
        return eqx.tree_at(lambda law: law.part, self, self.part.prepared())

    @property
    def scaled(self) -> bool:
        """Whether its weights are relative to those of a reference."""
        return self.log_ratio is not None

    @property
    def lowest(self) -> Array | float:
        """The least log ratio."""
        if self.log_ratio is None:
            return 0.0
        xp = namespace(self.log_ratio)
        return xp.min(xp.where(xp.isfinite(self.log_ratio), self.log_ratio, 0.0))

    def scores_of(self, scores: Float[Array, " V"]) -> Float[Array, " V"]:
        return self.own if self.log_ratio is None else self.own - self.log_ratio

    def unweighted(self) -> Law:
        return self.part.unweighted()

    @property
    def _rho(self) -> Array | float:
        if self.log_ratio is None:
            return 1.0
        return namespace(self.log_ratio).exp(self.log_ratio)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self.part.log_laplace(exposures * self._rho)

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        rho = self._rho
        log_f, copies = self.part.tilted(exposures * rho)
        return log_f, lambda share: rho * copies(share)

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        rho = self._rho
        return rho * self.part.copies_by_gold(exposures * rho, golds)

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        rho = self._rho
        return self.part.copies_along(exposures * rho, values * rho)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        rho = self._rho
        return rho * self.part.own_hits(exposures * rho)

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        rho = self._rho
        pairs = self.part.coincidences(exposures * rho, values * rho)
        return pairs + self.excess(exposures, values)

    def excess(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        if self.log_ratio is None:
            return namespace(exposures).zeros_like(exposures)
        rho, squares = self._rho, values**2
        heavy, light = rho**2 * squares, rho * squares
        return self._along(exposures * rho, heavy) - self._along(exposures * rho, light)

    def _along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """sum_y values_y >= 0 times the part's tilted copies of y."""
        factors = self.part.separable(exposures)
        if factors is None:
            return self.part.copies_along(exposures, values)
        others = sum_without_each(values[..., None, :] * factors.u)
        xp = namespace(others, values)
        return xp.sum(factors.r * others, axis=-2) + values * self.part.own_hits(exposures)

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable | None:
        rho = self._rho
        factors = self.part.separable(exposures * rho)
        return None if factors is None else Separable(factors.r, factors.u * rho)

    def repeated(self) -> tuple[Law, ...]:
        return self.part.repeated()

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        return self.part.counts(share)

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        return self.part.log_counts(like)

    def log_chances(self, labels: int, inclusion: bool) -> Chances | None:
        return self.part.log_chances(labels, inclusion)

    def inclusion(self) -> Separable | None:
        return self.part.inclusion()

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        return self.part.included(share)

    def shifts(self, labels: Labels) -> Array | float:
        return 0.0 if self.log_ratio is None else self.log_ratio[labels]

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return self.part.draw(key, gold)

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        return self.part.log_proposal()


def to_one_reference(laws: tuple[Law, ...], scores: Float[Array, " V"]) -> tuple[Law, ...]:
    """The parts of a sum, relative to the largest score of each label where any has its own.

    A label that weighs nothing anywhere is as heavy as the reference.
    """
    if not any(isinstance(law, QueueLaw) for law in laws):
        return laws
    xp, own = namespace(scores), [law.scores_of(scores) for law in laws]
    reference = functools.reduce(xp.maximum, own)
    none = xp.isneginf(reference)
    safe = xp.where(none, 0.0, reference)
    parts = [law.part if isinstance(law, QueueLaw) else law for law in laws]
    return tuple(
        QueueLaw(part, mine, xp.where(none, 0.0, mine - safe))
        for part, mine in zip(parts, own, strict=True)
    )
