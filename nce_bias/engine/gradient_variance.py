r"""The exact variance of one example's parameter gradient, without a V x V matrix.

With J = ds/dtheta `[V, d]` of one input, G = J J^T, n the copies of each label and e the unit
vector of the gold, what is wanted is E||J^T (v - e)||^2. Given a gold, v = (z_+ e + z n) / (t Z)
under the integral in t (`nce_bias.engine.integrals`, whose notation this is), so

    E||J^T v||^2 = int e^{-z_+} F E_tilted[ ||J^T (z_+ e + z n)||^2 ] dt/t,

and the tilted expectation is that of the mean of n plus that of its covariance. For independent
draws the mean is sum_c r[c, g] u[c, y] (`Law.separable`) and the covariance diag(mean) - mean
mean^T / m; a fixed set has none; those of the parts of a sum add up. With w_c = z u_c everything
follows from G w_c, one vector-Jacobian and one Jacobian-vector product for each node and c, for all
golds together, and from the diagonal of G, once.

Binary losses are the same with sigma(D) for z and no integral.

**Where this is not to be had.** The covariance without replacement is no such sum. There the second
moment is taken as a matrix, diag(gamma) minus the Hessian of the potential: V Hessian-vector
products, for few labels only.

Source: THEORY of the documentation, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from nce_bias.engine.integrals import Sums, integrate, nodes_at_a_time
from nce_bias.engine.integrand import setting
from nce_bias.losses import Binary, Corrected, Loss
from nce_bias.numerics.leave_one_out import exposure
from nce_bias.numerics.quadrature import make_grid
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler

#: G times a vector of scores.
Gram = Callable[[Float[Array, " V"]], Float[Array, " V"]]


@eqx.filter_jit
def second_moments(
    score_one: Callable[[PyTree, PyTree], Float[Array, " V"]],
    params: PyTree,
    inputs: PyTree,
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    nodes: int,
    tolerance: float,
) -> Float[Array, " X"]:
    """E||J^T (v - e)||^2 of each input; leaves of `inputs` have a leading axis X."""

    def row(entry):
        x, scores, population = entry
        _, pull_back = jax.vjp(lambda p: score_one(p, x), params)

        def gram(cotangent):
            (pulled,) = pull_back(cotangent)
            return jax.jvp(lambda p: score_one(p, x), (params,), (pulled,))[1]

        law = sampler.law(scores, problem.popularity).prepared()
        corrected = loss.corrected(scores, law, sampler.m)
        how = _separably if law.separable(jnp.zeros_like(scores)) is not None else _densely

        def of(gold, share):
            at = (law, loss, corrected, gold, share, sampler.m, nodes, tolerance)
            return how(gram, diagonal, *at)

        diagonal = jax.lax.map(lambda e: gram(e) @ e, jnp.eye(len(scores), dtype=scores.dtype))
        if corrected.by_gold is None:
            return of(jnp.zeros((), int), population)
        golds = jnp.arange(len(scores))
        each = jax.lax.map(lambda g: of(g, population * (golds == g)), golds)
        return jnp.sum(each)

    return jax.lax.map(row, (inputs, problem.score_rows, problem.population_rows))


def _separably(
    gram: Gram, diagonal, law: Law, loss, corrected: Corrected, gold, share, m, nodes, tolerance
) -> Float[Array, ""]:
    def square(z, values, own):
        """Of each gold, with a = own e + values n: tilted means of a G a and of a G e."""
        cross, mean = _products(gram, diagonal, law, z, values, own)
        spread = jnp.zeros_like(mean)
        for part in law.repeated():
            _, together = _products(gram, diagonal, part, z, values, jnp.zeros_like(own))
            r, u = part.separable(z)
            apart = r * (u @ (diagonal * values**2)[:, None] - u * diagonal * values**2)
            hits = part.own_hits(z) * diagonal * values**2
            spread = spread + jnp.sum(apart, axis=0) + hits - together / part.m
        return mean + spread, cross

    if isinstance(loss, Binary):
        picked = jax.nn.sigmoid(corrected.negatives_of(gold))
        found, _ = square(jnp.zeros_like(picked), picked, -jax.nn.sigmoid(-corrected.gold))
        return share @ found
    at = setting(loss, corrected, gold, share, m, tolerance)
    grid = make_grid(*at.ends, nodes, tolerance)

    def at_node(index):
        log_t = grid.left + grid.step * index
        ends, z = exposure(log_t, at.log_gold), exposure(log_t, at.log_negative)
        held = grid.weight(index) * share * jnp.exp(law.log_laplace(z) - ends)
        found, cross = square(z, z, ends)
        return held @ (found - 2 * cross)

    index = jnp.arange(grid.nodes, dtype=grid.left.dtype)
    each = jax.lax.map(at_node, index, batch_size=nodes_at_a_time(law))
    return jnp.sum(each) + share @ diagonal


def _products(gram: Gram, diagonal, law: Law, z, values, own):
    """a G e and a G a of each gold, with a = own e + values times the tilted mean of n."""
    r, u = law.separable(z)  # type: ignore[misc]
    w = values * u
    gw = jax.vmap(gram)(w)
    on_gold = own + values * law.own_hits(z) - jnp.sum(r * w, axis=0)
    along = jnp.sum(r * gw, axis=0)
    whole = jnp.einsum("cg,dg,cd->g", r, r, w @ gw.T)
    return along + on_gold * diagonal, whole + 2 * on_gold * along + on_gold**2 * diagonal


def _densely(
    gram: Gram, diagonal, law: Law, loss, corrected: Corrected, gold, share, m, nodes, tolerance
) -> Float[Array, ""]:
    """tr(G E[(v - e)(v - e)^T]) from the matrix itself."""
    golds = jnp.arange(len(share))
    units = jnp.eye(len(share), dtype=share.dtype)
    matrix = jax.lax.map(gram, units)
    if isinstance(loss, Binary):
        picked = jax.nn.sigmoid(corrected.negatives_of(gold))
        missed = -jax.nn.sigmoid(-corrected.gold)

        def copies(z, share):
            return jax.grad(lambda z: -(share @ law.log_laplace(z)))(z)

        at_zero = jnp.zeros_like(share)
        means = jax.lax.map(lambda e: copies(at_zero, e), units) * picked + missed * units
        spread = -jax.jacrev(lambda z: copies(z, share))(at_zero)
        second = jnp.einsum("g,ga,gb->ab", share, means, means)
        return jnp.sum(matrix * (second + spread * picked[:, None] * picked))
    at = setting(loss, corrected, gold, share, m, tolerance)
    grid = make_grid(*at.ends, nodes, tolerance)

    def gradient(shift, share) -> Float[Array, " V"]:
        found: Sums = integrate(law, at.log_gold + shift, at.log_negative + shift, share, grid)
        return found.gradient

    at_zero = jnp.zeros_like(share)
    means = jax.lax.map(lambda g: gradient(at_zero, share * (golds == g)), golds)  # E[v - e] pop
    selected = jnp.sum(means, axis=0) + share
    second = jnp.diag(selected) - jax.jacrev(gradient)(at_zero, share)
    crossed = means + jnp.diag(share)
    return jnp.sum(matrix * (second - crossed - crossed.T + jnp.diag(share)))
