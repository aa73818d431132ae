"""The log-weights of golds that share the scores of their negatives, and the rule they need."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nce_bias.losses import CandidateSoftmax, Corrected
from nce_bias.numerics.quadrature import span


class Setting(eqx.Module):
    """The log-weights of golds and negatives, the largest of the negatives' being 1."""

    log_gold: Float[Array, " V"]
    log_negative: Float[Array, " V"]
    offset: Float[Array, ""]  # what the loss has besides the integral
    ends: tuple[Float[Array, ""], Float[Array, ""]]  # of the rule in log t


def setting(
    loss: CandidateSoftmax,
    corrected: Corrected,
    gold: Int[Array, ""],
    share: Float[Array, " V"],
    m: int | Float[Array, ""],
    tolerance: float,
) -> Setting:
    """For golds that share the scores of their negatives with `gold`, `share` being theirs."""
    negatives = corrected.negatives_of(gold)
    top = jnp.max(negatives)
    log_negative, log_gold = negatives - top, corrected.gold - top
    offset = jnp.zeros_like(top)
    if not loss.competes:
        offset = -jnp.sum(jnp.where(share > 0, share * log_gold, 0.0))
        log_gold = jnp.full_like(log_gold, -jnp.inf)
    log_gold = jnp.where(share > 0, log_gold, log_negative)
    ends = span(log_gold, log_negative, share, m, tolerance)
    return Setting(log_gold, log_negative, offset, ends)


def logarithms(at: Setting, share: Float[Array, " V"]) -> Float[Array, ""]:
    """The size of the logarithms that are rounded: those of t w, and of exp(-44)."""
    finite = jnp.where(jnp.isfinite(at.log_negative), jnp.abs(at.log_negative), 0.0)
    golds = jnp.where((share > 0) & jnp.isfinite(at.log_gold), jnp.abs(at.log_gold), 0.0)
    return 64 + jnp.maximum(jnp.max(finite), jnp.max(golds))
