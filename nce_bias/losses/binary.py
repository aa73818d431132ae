"""Losses that add up over candidates: each is told from noise by itself."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias.integrals import ClosedForm, Rule
from nce_bias.losses.base import Corrected, check_gold, correct
from nce_bias.numerics.arrays import Array
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler


class Binary(eqx.Module):
    """softplus(-D_gold) + sum_k softplus(D_k) for corrected scores D; see the package's table.

    Its scale is not cross entropy's (the gradient has m + 1 terms of order 1): read its `cosine`
    beside its norm. `selection` is gradient + pop and sums to anything.
    """

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    gold: str = eqx.field(static=True)
    negatives: str = eqx.field(static=True)
    inclusion: bool = eqx.field(static=True, default=False)

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """The logits D."""
        return correct(scores, law, m, self.gold, self.negatives, self.inclusion)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> ClosedForm:
        """The closed form of one input, for golds that share the scores of their negatives."""
        return ClosedForm(share=share, law=law, gold=corrected.gold, negatives=corrected.negatives)

    def value(
        self, gold: Float[Array, ""], negatives: Float[Array, " m"], present: Bool[Array, " m"]
    ) -> Float[Array, ""]:
        """The sum of both kinds of logistic losses."""
        noise = jnp.where(present, jax.nn.softplus(negatives), 0.0)
        return jax.nn.softplus(-gold) + jnp.sum(noise)

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0."""
        if self.gold != "none":
            check_gold(self.name, problem, sampler)

    def __repr__(self) -> str:
        return self.name


binary_nce = Binary("binary_nce", "log_mq", "log_mq")
negative_sampling = Binary("negative_sampling", "none", "none")
