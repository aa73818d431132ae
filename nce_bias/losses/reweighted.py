r"""InfoNCE whose negatives are reweighted by themselves: debiased and hard-reweighted.

With one positive score s_+ and m negative scores s_k (logits, the temperature divided out),

    loss = -s_+ + log(e^{s_+} + m G),
    G = max{ (R - tau e^{s_+}) / (1 - tau),  e^{-1/temperature} },
    R = sum_k e^{(1 + beta) s_k} / sum_k e^{beta s_k}.

tau is the chance that a negative is a positive in disguise, beta how much hard ones count. beta = 0
is Chuang et al. (2020), equation 8 with one positive; tau = beta = 0 is InfoNCE. The floor
e^{-1/temperature} is the least that e^s can be for cosine similarities; scores are not bounded
here, and where G is at the floor the gradient by the negatives is 0. As in the published code, the
gradient goes through the weights e^{beta s}. Dropped draws count neither in m nor in R.

No Laplace functional gives their expectation (the maximum, and a ratio of two sums): `monte_carlo`.

Source: Chuang, Robinson, Lin, Torralba & Jegelka (2020), arXiv 2007.00224; Robinson, Chuang, Sra &
Jegelka (2021), arXiv 2010.04592, with the estimators of their public code.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nce_bias._checks import refuse
from nce_bias.losses.base import Corrected
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler


class Reweighted(eqx.Module):
    """See the module."""

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    tau: float = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    temperature: float = eqx.field(static=True)

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """The scores as they are."""
        return Corrected(scores, scores)

    def value(
        self, gold: Float[Array, ""], negatives: Float[Array, " m"], present: Bool[Array, " m"]
    ) -> Float[Array, ""]:
        """The loss on one candidate set; 0 without negatives."""
        count = jnp.sum(present)
        some = count > 0
        log_count = jnp.log(jnp.maximum(count, 1).astype(gold.dtype))
        s = jnp.where(present | ~some, negatives, -jnp.inf)
        log_weights = jax.nn.logsumexp(self.beta * s) if self.beta else log_count
        log_r = jax.nn.logsumexp((1 + self.beta) * s) - log_weights
        excess = log_r - gold - math.log(self.tau) if self.tau else jnp.full_like(gold, jnp.inf)
        positive = excess > 0
        safe = jnp.where(positive, excess, 1.0)
        log_g = log_r - math.log1p(-self.tau) + jnp.log(-jnp.expm1(-safe))
        log_g = jnp.where(positive, log_g, -jnp.inf)
        log_g = jnp.maximum(log_g, -1 / self.temperature) if self.tau else log_g
        found = jax.nn.softplus(log_count + log_g - gold)
        return jnp.where(some, found, 0.0)

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Nothing to refuse."""

    def __repr__(self) -> str:
        return self.name


def debiased(tau: float = 0.1, temperature: float = 1.0) -> Reweighted:
    """Contrastive loss corrected for negatives that are positives with chance `tau`.

    >>> debiased(tau=0.05)
    debiased(tau=0.05)

    Raises ValueError for tau outside [0, 1) or temperature <= 0. See the module for the formula.
    """
    return _make("debiased", tau, 0.0, temperature, ("tau", tau))


def hard_reweighted(beta: float = 1.0, tau: float = 0.1, temperature: float = 1.0) -> Reweighted:
    """The same with negatives weighted by e^{beta s}: hard ones count more.

    >>> hard_reweighted(beta=0.5)
    hard_reweighted(beta=0.5, tau=0.1)

    Raises ValueError for beta < 0, tau outside [0, 1) or temperature <= 0.
    """
    return _make("hard_reweighted", tau, beta, temperature, ("beta", beta), ("tau", tau))


def _make(
    name: str, tau: float, beta: float, temperature: float, *shown: tuple[str, float]
) -> Reweighted:
    if not 0 <= tau < 1:
        raise refuse("tau", f"got {tau!r}", "a number in [0, 1)", "Pass tau=0.1.")
    if not 0 <= beta < math.inf:
        raise refuse("beta", f"got {beta!r}", "a number >= 0", "Pass beta=1.0.")
    if not 0 < temperature < math.inf:
        raise refuse("temperature", f"got {temperature!r}", "a number > 0", "Pass temperature=1.0.")
    if temperature != 1:
        shown = (*shown, ("temperature", temperature))
    words = ", ".join(f"{key}={value:g}" for key, value in shown)
    return Reweighted(f"{name}({words})", float(tau), float(beta), float(temperature))
