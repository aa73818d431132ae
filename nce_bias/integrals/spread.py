r"""Second moments of one example's parameter gradient, without a V x V matrix where that can be.

With J = ds/dtheta `[V, d]` of one input, G = J J^T, n the copies of each label and e the unit
vector of the gold, what is wanted is E||J^T (v - e)||^2. Given a gold, v = (z_+ e + z n) / (t Z)
under the integral in t (`nce_bias.integrals.integrand`, whose notation this is), so

    E||J^T v||^2 = int e^{-z_+} F E_tilted[ ||J^T (z_+ e + z n)||^2 ] dt/t,

and the tilted expectation is that of the mean of n plus that of its covariance. For independent
draws the mean is sum_c r[c, g] u[c, y] (`Law.separable`) and the covariance diag(mean) - mean
mean^T / m; a fixed set has none; those of the parts of a sum add up. With w_c = z u_c everything
follows from G w_c, one vector-Jacobian and one Jacobian-vector product for each node and c, for all
golds together, and from the diagonal of G, once.

Losses that add up over candidates are the same with h' for z and no integral. Where what a negative
adds depends on the gold's score, the gradient is h'_+ e + (diag(h') + e e'^T) n with e' the
derivatives by it, of one gold at a time: `pair_square`.

**Where this is not to be had.** The covariance without replacement is no such sum. There the second
moment is taken as a matrix, diag(gamma) minus the Hessian of the potential: V Hessian-vector
products, for few labels only.

Source: THEORY of the documentation, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from nce_bias.integrals.expectation import Gram
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers import Law

Labels = Float[Array, " V"]


def separable_squares(
    gram: Gram, law: Law, z: Labels, values: Labels, on_gold: Labels
) -> tuple[Labels, Labels]:
    """Tilted means of a G a and of a G e for each gold, with a = on_gold e + values n."""
    mean, cross = _square_of_mean(gram, law, z, values, on_gold)
    weighted = gram.diagonal * values**2
    spread = jnp.zeros_like(mean)
    for part in law.repeated():
        together, _ = _square_of_mean(gram, part, z, values, jnp.zeros_like(on_gold))
        factors = part.separable(z)
        r, u = factors.r, factors.u
        apart = r * (u @ weighted[:, None] - u * weighted)
        hits = part.own_hits(z) * weighted
        spread = spread + jnp.sum(apart, axis=0) + hits - together / part.m
    return mean + spread, cross


def _square_of_mean(
    gram: Gram, law: Law, z: Labels, values: Labels, on_gold: Labels
) -> tuple[Labels, Labels]:
    """a G a and a G e of each gold, with a = on_gold e + values times the tilted mean of n."""
    factors = law.separable(z)
    assert factors is not None
    r, w = factors.r, values * factors.u
    gw = jax.vmap(gram.times)(w)
    at_gold = on_gold + values * law.own_hits(z) - jnp.sum(r * w, axis=0)
    along = jnp.sum(r * gw, axis=0)
    whole = jnp.einsum("cg,dg,cd->g", r, r, w @ gw.T)
    square = whole + 2 * at_gold * along + at_gold**2 * gram.diagonal
    return square, along + at_gold * gram.diagonal


def dense_square(
    gram: Gram, gradient: Callable[[Labels, Labels], Labels], share: Labels
) -> Float[Array, ""]:
    """tr(G E[(v - e)(v - e)^T]) from the matrix itself.

    `gradient` takes a shift of all log-weights and the golds' shares.
    """
    golds, no_shift = jnp.arange(len(share)), jnp.zeros_like(share)
    means = jax.lax.map(lambda g: gradient(no_shift, share * (golds == g)), golds)  # E[v - e] pop
    selected = jnp.sum(means, axis=0) + share
    second = jnp.diag(selected) - jax.jacrev(gradient)(no_shift, share)
    crossed = means + jnp.diag(share)
    return jnp.sum(gram.to_dense() * (second - crossed - crossed.T + jnp.diag(share)))


def covariance_along(law: Law, share: Labels, values: Labels) -> Labels:
    """sum_z Cov(N_y, N_z) values_z for every y, where `share` is on one gold, times that share."""
    xp = namespace(share, values)
    nothing = xp.zeros_like(values)
    if law.separable(nothing) is None:

        def moved(z):
            return law.tilted(z)[1](jnp.asarray(share)) @ values

        return -jax.grad(moved)(jnp.asarray(nothing))
    total, found = xp.sum(share), nothing
    for part in law.repeated():
        copies = part.counts(share)
        mean = copies @ values / xp.where(total > 0, total * part.m, 1.0)
        found = found + copies * (values - mean)
    return found


def pair_square(
    gram: Gram, law: Law, share: Labels, of_gold: Labels, slopes: tuple[Labels, Labels]
) -> Float[Array, ""]:
    """E||J^T r||^2 of one gold, on which `share` is, times that share.

    r = h'_+ unit + M n with M = diag(slope) + unit e^T; `slopes` are (slope, e), `of_gold` is h'_+.
    """
    slope, e = slopes
    total = jnp.sum(share)
    safe = jnp.where(total > 0, total, 1.0)
    unit = share / safe
    times = gram.times

    def moved(copies):
        """M n."""
        return slope * copies + unit * (e @ copies)

    mean = of_gold * unit + moved(law.counts(share) / safe)
    nothing = jnp.zeros_like(slope)
    if law.separable(nothing) is None:
        covariance = -jax.jacrev(lambda z: law.tilted(z)[1](unit))(nothing)
        matrix = jnp.diag(slope) + unit[:, None] * e
        spread = jnp.sum(gram.to_dense() * (matrix @ covariance @ matrix.T))
    else:
        along = times(unit)
        columns = slope**2 * gram.diagonal + 2 * slope * e * along + e**2 * (along @ unit)
        spread = jnp.zeros(())
        for part in law.repeated():
            copies = part.counts(share) / safe
            spread = spread + copies @ columns - moved(copies) @ times(moved(copies)) / part.m
    return total * (mean @ times(mean) + spread)
