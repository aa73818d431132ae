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

**Without the floor** it is two log-sums (`nce_bias.losses.log_sums`): with w = e^s,

    loss = -s_+ + log sum_k w_k^beta (c_1 + c_2 w_k) - log sum_k w_k^beta,
    c_1 = (1 - m tau / (1 - tau)) w_+,    c_2 = m / (1 - tau),

for a number m of draws that is the same in every set and c_1 + c_2 w_y > 0; for beta = 0 also one
log-sum with the gold in it,

    loss = -s_+ + log( w_+ + sum_k (w_k - tau w_+) / (1 - tau) ),

for any number of draws and w_y > tau w_+. So `exact` has its moments where the floor never acts,
and `nce_bias.losses.floor` bounds how often it does: `error` holds what that may change in an entry
of `selection`, `status` says it, and where it is more than 1e-3 there is `monte_carlo` alone. tau
= 0 has no floor.

Source: Chuang, Robinson, Lin, Torralba & Jegelka (2020), arXiv 2007.00224; Robinson, Chuang, Sra &
Jegelka (2021), arXiv 2010.04592, with the estimators of their public code.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import refuse
from nce_bias.integrals import LogSumsMoments, Rule
from nce_bias.losses.base import Corrected
from nce_bias.losses.floor import certify, floor_of
from nce_bias.losses.log_sum import LogSum
from nce_bias.losses.log_sums import LogSums
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler


class Apart(eqx.Module):
    """beta s + log(c_1 + c_2 w)."""

    tau: float = eqx.field(static=True)
    beta: float = eqx.field(static=True)

    def __call__(self, gold, negative, m):
        """Its value."""
        rest = 1 - m * self.tau / (1 - self.tau)
        return self.beta * negative + _log_weights(gold, negative, rest, m, self.tau)


class Hardness(eqx.Module):
    """beta s."""

    beta: float = eqx.field(static=True)

    def __call__(self, negative):
        """Its value."""
        return self.beta * negative


class Together(eqx.Module):
    """log((w - tau w_+) / (1 - tau)) beside the gold, or log((c_1 + c_2 w) / m) without it."""

    tau: float = eqx.field(static=True)
    inside: Any

    def __call__(self, gold, negative, m):
        """Its value."""
        less = self.tau / (1 - self.tau)
        rest = jnp.where(self.inside, -less, 1 / m - less)
        return _log_weights(gold, negative, rest, 1.0, self.tau)


class Inside(eqx.Module):
    """log w_+, or of nothing."""

    inside: Any

    def __call__(self, gold):
        """Its value."""
        return jnp.where(self.inside, gold, -jnp.inf)


def _negated(gold):
    return -gold


class Reweighted(eqx.Module):
    """See the module; an engine asks `certify` whether the exact moments are those of the loss."""

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    tau: float = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    temperature: float = eqx.field(static=True)

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """The scores as they are; each gold is asked alone."""
        return self._sums(None).corrected(scores, law, m)

    def portable(self, sampler: Sampler) -> bool:
        """Whether NumPy has its second moments."""
        return self._sums(None).portable(sampler)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> LogSumsMoments:
        """The integrals of one input and gold without the floor, which has its part of the error.

        For beta = 0 the gold is in the log-sum where that has positive weights.
        """
        xp = namespace(share, corrected.gold)
        assert corrected.besides is not None
        own = corrected.besides.gold
        assert own is not None
        least = xp.min(xp.where(law.counts(share) > 0, corrected.negatives, xp.inf))
        inside = least > own + (math.log(self.tau) if self.tau else -math.inf)
        found = self._sums(inside).expectation(law, corrected, share, rule)
        gold = xp.argmax(share)
        floor = floor_of(self.parameters, law, corrected.gold, gold, rule.m)
        slack = xp.where(xp.any(share > 0), floor.error, 0.0)
        return dataclasses.replace(found, slack=slack)

    @property
    def parameters(self) -> tuple[float, float, float]:
        """(tau, beta, temperature)."""
        return self.tau, self.beta, self.temperature

    def _sums(self, inside: Bool[Array, ""] | None) -> LogSums:
        """Without the floor; `inside` says whether the gold is in the sum, for beta = 0."""
        tau, beta = self.tau, self.beta
        if beta:
            terms = [LogSum(1.0, Apart(tau, beta)), LogSum(-1.0, Hardness(beta))]
        else:
            terms = [LogSum(1.0, Together(tau, inside), Inside(inside))]
        return LogSums(self.name, terms, _negated)

    def certify(self, problem: Problem, sampler: Sampler) -> str:
        """What an exact result has to say of the floor; NoExactMethod where it acts too often."""
        return certify(self, problem, sampler)

    def value(
        self,
        gold: Float[Array, ""],
        negatives: Float[Array, " m"],
        present: Bool[Array, " m"],
        **read: Any,
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


def _log_weights(gold, negative, rest, scale, tau):
    """log(rest w_+ + scale w / (1 - tau)), NaN where that is not positive."""
    drawn = negative + jnp.log(scale) - math.log1p(-tau)
    size = jnp.log(jnp.where(rest == 0, 1.0, jnp.abs(rest))) + gold
    less = jnp.minimum(size - drawn, 50.0)
    ratio = jnp.where(rest == 0, 0.0, jnp.sign(rest) * jnp.exp(less))
    # far below the gold's part a negative's own is lost in it
    return jnp.where(
        (size - drawn > 50.0) & (rest > 0), jnp.logaddexp(size, drawn), drawn + jnp.log1p(ratio)
    )


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
