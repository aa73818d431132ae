r"""A mean over the negatives by weights that they have among themselves.

    factor * sum_k pi_k h(s_g, s_k),        pi_k = r_k / sum_l r_l,

a term of `LogSums` beside its log-sums. The weights are constants to the gradient, as where
self-adversarial code detaches them, so

    its gradient is that of log sum_k r_k with h' in place of the derivative of log r,

and everything that is known of a log-sum, second moments too, is known of it
(`nce_bias.integrals.log_sums`).

**Beside resampling.** ``resampled(pool, weight, m)`` draws m of the pool by the same weights. The
mean of h over its draws has this mean, and more variance by the draws: with m = 1 all of it.

**Weights that are not normalised** are a factor of h, detached: `nce_bias.Additive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias.integrals import Term
from nce_bias.losses.base import Besides, Corrected
from nce_bias.losses.functions import Function
from nce_bias.losses.log_sum import amount
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers import Law


class WeightedMean(eqx.Module):
    """Factor times the mean of h over the negatives by their weights; a term of a `LogSums`.

    Parameters
    ----------
    factor : number, or a function of m and labels
        What it is multiplied by.
    negative : callable
        h. Its parameters say what it reads (`nce_bias.losses.functions`).
    weight : callable
        log r, up to a constant; no gradient goes through it. It may read what h may.

    Raises
    ------
    ValueError
        A function that reads what there is not.

    Examples
    --------
    Self-adversarial negatives (`self_adversarial`), written out:

    >>> import jax
    >>> term = WeightedMean(1.0, jax.nn.softplus, weight=lambda negative: negative)
    >>> loss = LogSums("ours", term, gold=lambda gold: jax.nn.softplus(-gold))
    >>> problem = Problem([1.0, 0.5, -1.0], [0.7, 0.2, 0.1])
    >>> ours, named = (exact(problem, iid(uniform(), 4), of) for of in (loss, self_adversarial()))
    >>> bool(abs(ours.loss - named.loss) < 1e-12)
    True
    """

    factor: Any
    negative: Function
    weight: Function

    def __init__(
        self, factor: float | Callable[..., Any], negative: Callable[..., Any], weight: Any
    ) -> None:
        self.factor = factor
        self.negative = Function.of("weighted mean", negative, "negative")
        self.weight = Function.of("weighted mean", weight, "negative")

    @property
    def gold(self) -> None:
        """The gold is no part of it."""

    @property
    def partial(self) -> bool:
        """Whether there are draws that are not in it."""
        return False

    @property
    def part(self) -> int | None:
        """Which part of a sum of samplers it is of; None for all."""
        return None

    def of(
        self, corrected: Corrected, besides: Besides, law: Law, share: Float[Array, " V"]
    ) -> Term:
        """Its log-weights and the derivatives of h; none of what a gold never has."""
        worth, slope, pair = self.negative.curve(corrected.negatives, besides)
        log_weights = self.weight.curve(corrected.negatives, besides)[0]
        xp = namespace(corrected.gold, share, worth)
        never = xp.isneginf(log_weights) | (law.counts(share) <= 0)
        zero = xp.zeros_like(corrected.gold)
        return Term(
            factor=xp.asarray(amount(self.factor, besides.m, besides.labels), zero.dtype),
            log_gold=xp.full_like(zero, -xp.inf),
            log_negative=xp.where(never, -xp.inf, log_weights),
            by_own=zero,
            slope=xp.where(never, 0.0, slope),
            pair=None if pair is None else xp.where(never, 0.0, pair),
            draws=None,
            leaves=False,
            worth=xp.where(never, 0.0, worth),
        )

    def value(self, given: dict[str, Any], present: Bool[Array, " m"]) -> Float[Array, ""]:
        """On one candidate set."""
        logs = jnp.where(present, self.weight(given), -jnp.inf)
        shares = jax.nn.softmax(jax.lax.stop_gradient(logs))
        mean = jnp.sum(jnp.where(present, shares * self.negative(given), 0.0))
        return amount(self.factor, given["m"], given["labels"]) * mean
