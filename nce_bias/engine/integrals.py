r"""The integrals of one input: first and second moments of the candidate softmax, node by node.

With z = t w the exposures, z_+ = t w_+ and F_g the sampler's Laplace functional, for one gold g:

    loss             E[l]           = int e^{-z_+} (1 - F) dt/t,    or E[log Z] without the gold
                                      in Z: int (e^{-t} - F) dt/t
    first moment     E[v_a]         = int e^{-z_+} F (-dlog F/dz_a) z_a dt/t,            a != g
    second moment    E[sum_a v_a^2] = int e^{-z_+} F { z_+^2 + 2 z_+ z_g h_g
                                          + sum_a z_a (-dlog F/dz_a) z_a + C_g } dt/t

where v_a = sum_k pi(k) 1{y_k = a}, h_g is the tilted number of accidental hits and C_g the tilted
coincidences of negatives (`samplers.base.Law`), 0 for distinct ones. They come from 1/Z^n =
int t^{n-1} e^{-tZ} dt / (n - 1)!, and n_a^2 = n_a + n_a (n_a - 1) for the copies n_a of a label.

The first line is differentiated once per node, by reverse mode, for all golds together; its
derivative by z_a, times z_a, is the second line, and times z_a again the sum in the third.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import CHUNK, Grid
from nce_bias.samplers import Law

#: Elements of one [inputs, nodes, labels] block; small enough to stay in cache.
BLOCK = 2**17
#: Golds whose conditional moments are held at a time.
GOLDS = 128


class Sums(eqx.Module):
    """Moments averaged over the gold.

    `by_gold` and `by_negative` are the derivatives of the loss by the scores of golds and of
    negatives, `own` is E[v_g] - 1, `square` E[sum_a v_a^2] and `concentration` E[sum_k pi(k)^2].
    """

    loss: Float[Array, ""]
    by_gold: Float[Array, " V"]
    by_negative: Float[Array, " V"]
    own: Float[Array, ""]
    square: Float[Array, ""]
    concentration: Float[Array, ""]

    @property
    def gradient(self) -> Float[Array, " V"]:
        """The expected score-space gradient, gamma - pop."""
        return self.by_gold + self.by_negative


def integrate(
    law: Law,
    log_gold: Float[Array, " V"],
    log_negative: Float[Array, " V"],
    population: Float[Array, " V"],
    grid: Grid,
) -> Sums:
    """sum_g pop_g of the loss, its derivatives by log w_+ and log w, and second moments.

    For a gold of weight 0 the loss is E[log Z], Z being the negatives' alone.
    """
    absent = jnp.isneginf(log_gold)

    def at_node(index):
        log_t = grid.left + grid.step * index
        ends, z = exposure(log_t, log_gold), exposure(log_t, log_negative)
        share, nothing = grid.weight(index) * population, jnp.exp(-jnp.exp(log_t))

        def potential(ends, z):
            log_f = law.log_laplace(z)
            alone, beside = nothing - jnp.exp(log_f), jnp.exp(-ends) * -jnp.expm1(log_f)
            return jnp.sum(share * jnp.where(absent, alone, beside)), log_f

        (loss, log_f), slopes = jax.value_and_grad(potential, (0, 1), has_aux=True)(ends, z)
        by_gold, by_negative = ends * slopes[0], z * slopes[1]
        tilted, hits = share * jnp.exp(log_f - ends), z * law.own_hits(z)
        own = jnp.sum(by_gold) + jnp.sum(tilted * hits)
        each = jnp.sum(tilted * ends**2) + jnp.sum(z * by_negative)
        pairs = jnp.sum(tilted * (2 * ends * hits + law.coincidences(z, z)))
        return Sums(loss, by_gold, by_negative, own, each + pairs, each)

    def add(total, first):
        index = first + jnp.arange(chunk, dtype=grid.left.dtype)
        sums = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(at_node)(index))
        return jax.tree.map(jnp.add, total, sums), None

    chunk = nodes_at_a_time(law)
    empty, zero = jnp.zeros_like(log_gold), jnp.zeros_like(grid.left)
    starts = jnp.arange(0, grid.nodes, chunk, dtype=grid.left.dtype)
    sums = jax.lax.scan(jax.checkpoint(add), Sums(zero, empty, empty, zero, zero, zero), starts)[0]
    lost = _lost(log_gold, population)
    return eqx.tree_at(
        lambda s: (s.by_gold, s.own), sums, (sums.by_gold - lost, sums.own - jnp.sum(lost))
    )


def _lost(log_gold: Float[Array, " V"], share: Float[Array, " V"]) -> Float[Array, " V"]:
    """What golds of weight 0 lose: 1 - E[pi(1)] = 1, which the integrals of w_+ t = 0 leave out."""
    return jnp.where(jnp.isneginf(log_gold), share, 0.0)


def nodes_at_a_time(law: Law) -> int:
    """Nodes of one block."""
    return max(1, min(CHUNK, BLOCK // law.size))


def for_each_gold(
    moments: Callable[[Int[Array, ""], Float[Array, " V"]], tuple[Sums, Float[Array, ""]]],
    population: Float[Array, " V"],
    golds: int,
) -> tuple[tuple[Sums, Float[Array, ""]], Float[Array, ""]]:
    """sum_g pop_g of the moments with their error, and of ||E[v | g] - e_g||^2, gold by gold.

    `moments` takes a gold and a population that has it alone; the `golds` most frequent count.
    """
    share, which = jax.lax.top_k(population, golds)

    def alone(gold):
        found = moments(gold, jnp.zeros_like(population).at[gold].set(1.0))
        return found, jnp.sum(found[0].gradient ** 2)

    each = jax.lax.map(alone, which)
    return jax.tree.map(lambda leaf: jnp.tensordot(share, leaf, 1), each)


def squared_means(
    law: Law,
    log_gold: Float[Array, " V"],
    log_negative: Float[Array, " V"],
    population: Float[Array, " V"],
    grid: Grid,
    golds: int,
) -> Float[Array, ""]:
    """sum_g pop_g ||E[v | g] - e_g||^2 over the `golds` most frequent golds.

    For a separable law: the conditional means are products of two [nodes, labels] matrices, taken
    for a block of golds at a time.
    """
    share, which = jax.lax.top_k(population, golds)

    def at_node(index):
        log_t = grid.left + grid.step * index
        ends, z = exposure(log_t, log_gold), exposure(log_t, log_negative)
        held, log_f = grid.weight(index) * jnp.exp(-ends), law.log_laplace(z)
        r, u = law.separable(z)  # type: ignore[misc]
        hits = held * jnp.exp(log_f) * z * law.own_hits(z)
        missed = held * -jnp.expm1(log_f) * ends  # 1 - E[pi(1)]
        return (held * jnp.exp(log_f) * r)[:, which], z * u, (hits - missed)[which]

    index = jnp.arange(grid.nodes, dtype=grid.left.dtype)
    left, right, own = jax.lax.map(at_node, index, batch_size=nodes_at_a_time(law))
    left, right = (part.reshape(-1, part.shape[-1]) for part in (left, right))
    own = jnp.sum(own, axis=0) - _lost(log_gold, jnp.ones_like(population))[which]

    def conditional(gold):
        row, label, own_slope = gold
        return jnp.sum((row @ right).at[label].set(own_slope) ** 2)

    each = jax.lax.map(conditional, (left.T, which, own), batch_size=min(GOLDS, golds))
    return jnp.sum(share * each)
