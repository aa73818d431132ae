r"""Golds that are many: a whole pop(y|x) on the atoms of a grid, at the price of a few more passes.

With S = 1 - phi the chance that a draw is missed (`nce_bias.integrals.atoms`), x_g = 1 - e^{-z_g}
and f_g = e^{-z_g}, a gold that is not among its own negatives has

    phi_g = phi + nu_g D_g,     nu_g = q_g / (1 - q_g),  D_g = x_g - S    where it is excluded,
                                nu_g = q_g,              D_g = x_g        where hits are masked,

exactly. So phi_g^n is a polynomial in nu_g with coefficients that know g through its log-weight
alone,

    phi_g^n = sum_j C(n, j) phi^{n - j} D_g^j nu_g^j,

and everything the integrand asks of a gold is such a sum, with factors z_g, f_g and e^{-z_g} of the
gold's own weight, which is the weight it has as a negative. A gold enters with the products
share_g nu_g^j: these are spread on the grid, and the gold's own first moment is read back from as
many functions. No gold is left out of a sum by a subtraction of large numbers: for small t both S
and D are of the order of t.

**How many powers.** With kappa = n nu the j-th term is at most kappa^j / j! times phi^{n - j}.
Golds with m nu above a limit of the plan's (at most 1) are taken one by one, there are at most 2 m
of them; below it ten powers or so are exact to rounding. They are held as Chebyshev polynomials on
the interval of nu, of which fewer are needed, and only one where all nu are equal (uniform q).

**Limits.** One weight for a label as gold and as negative: losses without a correction, or with the
same one on both sides (`infonce`, `ranking_nce`). The variance is not split.

**Error.** In the strip |Im lambda| < pi / 2, |D| <= 2, so the functions that are interpolated are
at most e^{2 kappa} times those of `nce_bias.integrals.atoms`; what the powers leave out is in
`Crowd`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from nce_bias.numerics.arrays import Array, each, is_numpy, namespace, scan
from nce_bias.numerics.powers import binomials, taylor_terms

#: Limits of m nu that a plan may choose from.
LIMITS = tuple(4.0**-k for k in range(7))
#: Golds that are taken one by one at most.
MOST_TAKEN = 2**14
#: What a power costs a label, and what a gold taken alone costs a node, in terms of an integral.
POWER, ALONE = 4.0, 8.0
#: Labels whose places are looked for together.
WIDTH = 512
#: Where what the powers leave out may enter a moment.
PLACES = 8
#: Powers of nu besides those of phi_g: two negatives of one set bring (1 + nu)^2.
BESIDES = 2


class Crowd(eqx.Module):
    """How the golds of a problem are spread: those with nu up to `limit`, on [least, most].

    `basis` `[powers, waves]` has the Chebyshev coefficients of (nu / most)^j, as many as leave out
    no more than `error`; `kappa` bounds m nu. The golds lie on the upper `atoms` grid points.
    """

    limit: Float[Array, ""]
    least: Float[Array, ""]
    most: Float[Array, ""]
    basis: Float[Array, "P K"]
    atoms: int = eqx.field(static=True)
    kappa: float = eqx.field(static=True)
    error: float = eqx.field(static=True)

    @property
    def growth(self) -> float:
        """What the powers do to the error of the interpolation."""
        return math.exp(2 * self.kappa)

    def waves(self, nu: Float[Array, " V"]) -> list[Float[Array, " V"]]:
        """T_k(nu) on the interval."""
        xp = namespace(nu)
        half = (self.most - self.least) / 2
        safe = xp.where(half > 0, half, 1.0)
        y = xp.where(half > 0, xp.clip((nu - self.least) / safe - 1, -1, 1), xp.zeros_like(nu))
        waves = [xp.ones_like(nu), y]
        while len(waves) < self.basis.shape[1]:
            waves.append(2 * y * waves[-1] - waves[-2])
        return waves[: self.basis.shape[1]]


class Crowding(NamedTuple):
    """What a plan asks of one input.

    How many labels are above each of `LIMITS`, the least nu of a gold and the largest of a label,
    whether all golds weigh what they weigh as negatives, and whether hits are kept.
    """

    above: Int[Array, " T"]
    least: Float[Array, ""]
    largest: Float[Array, ""]
    alike: Bool[Array, ""]
    keeps: Bool[Array, ""]


def odds(q: Float[Array, " V"], hits: str) -> Float[Array, " V"]:
    """nu of each label as the gold."""
    if hits != "exclude":
        return q
    xp = namespace(q)
    return q / xp.maximum(1 - q, jnp.finfo(q.dtype).tiny)


def crowding(
    share: Float[Array, " V"],
    weights: tuple[Float[Array, " V"], Float[Array, " V"]],
    law: Any,
) -> Crowding:
    """From the log-weights of golds and negatives and the law of the latter."""
    nu, (gold, negative) = odds(law.q, law.hits), weights
    xp = namespace(share, nu)
    occurs = share > 0
    # one after the other: XLA makes one loop of many sums, and that five times as slow
    above = each(lambda limit: xp.sum(nu > limit / law.m), xp.asarray(LIMITS, nu.dtype))
    least = xp.min(xp.where(occurs, nu, xp.inf))
    off = xp.where(occurs, gold != negative, False) | (occurs & ~xp.isfinite(gold))
    keeps = xp.asarray(law.hits == "keep")
    return Crowding(above, least, xp.max(nu), ~xp.any(off), keeps)


def basis_for(interval: tuple[float, float], sizes: np.ndarray, tolerance: float) -> np.ndarray:
    """Chebyshev coefficients of (nu / most)^j on an interval, j < len(sizes).

    Without those that count for less than the tolerance where the j-th power has `sizes[j]`.
    """
    (least, most), powers = interval, len(sizes)
    middle, half = (most + least) / 2, (most - least) / 2
    step = np.array([middle, half]) / (most or 1.0)
    rows, row = np.zeros((powers, powers)), np.ones(1)
    for j in range(powers):
        rows[j, : len(row)] = row
        row = np.polynomial.chebyshev.chebmul(row, step)
    left = np.cumsum((sizes @ np.abs(rows))[::-1])[::-1]
    waves = int(np.argmax(left <= tolerance)) if np.any(left <= tolerance) else powers
    return rows[:, : max(waves, 1)]


def crowd_for(
    found: Crowding, m: float, sizes: tuple[int, int, int], tolerance: float
) -> tuple[Crowd, int, float] | None:
    """The cheapest `Crowd` for all inputs, how many golds it takes one by one, and its cost.

    `sizes`: labels, nodes and atoms of golds. None where too many golds would be taken.
    """
    labels, nodes, atoms = sizes
    tolerance = tolerance / PLACES  # what is left out enters a moment so often
    keeps = bool(np.any(found.keeps))
    above = np.max(np.atleast_2d(found.above), axis=0)
    least, largest = float(np.min(found.least)), float(np.max(found.largest))
    if not np.all(found.alike):
        return None
    choices = []
    for bound, count in zip(LIMITS, above, strict=True):
        taken, limit, kappa = (0, math.inf, 0.0) if keeps else (int(count), bound / m, bound)
        if taken > MOST_TAKEN:
            continue
        most = min(limit, largest)
        powers, low = taylor_terms(kappa, tolerance), min(least, most)
        weights = np.array([kappa**j / math.factorial(j) for j in range(powers + BESIDES)])
        weights[1] = weights[1] or 1.0  # hits that are kept are one power of q, whatever phi_g
        basis: Any = basis_for((low, most), weights, tolerance)
        cost = labels * POWER * basis.shape[1] + nodes * (ALONE * taken + atoms * powers)
        ends: Any = [np.float64(end) for end in (limit, low, most)]
        crowd = Crowd(ends[0], ends[1], ends[2], basis, atoms, kappa, PLACES * tolerance)
        choices.append((cost, 2 ** math.ceil(math.log2(max(taken, 1))), crowd))
    if not choices:
        return None
    cost, taken, crowd = min(choices, key=lambda choice: choice[0])
    return crowd, taken, cost


class Light(NamedTuple):
    """What is asked of golds on the atoms: all of them at the nodes of the rule.

    `weight` `[N]` of nodes, `missed` S; of the golds' atoms `[N, A]` z, e^{-z} and 1 - e^{-z}.
    """

    weight: Float[Array, " N"]
    missed: Float[Array, " N"]
    z: Float[Array, "N A"]
    f: Float[Array, "N A"]
    gone: Float[Array, "N A"]


class Crowded(NamedTuple):
    """Sums over the golds on the atoms.

    `draws` and `pairs` `[N]` are the factors of each negative and of two equal ones at the nodes,
    golds not yet left out; the `own_` numbers are what leaving them out takes off. `by_gold` is
    minus 1 - E[pi(1)] and, where hits are out, less the gold's part of `draws`: waves on atoms
    `[K, A]`.
    """

    loss: Float[Array, ""]
    lost: Float[Array, ""]
    squared: Float[Array, ""]
    draws: Float[Array, " N"]
    pairs: Float[Array, " N"]
    own_first: Float[Array, ""]
    own_second: Float[Array, ""]
    own_pairs: Float[Array, ""]
    by_gold: Float[Array, "K A"]


def crowded(
    at: Light, spread: Float[Array, "K A"], crowd: Crowd, m: Float[Array, ""], hits: str
) -> Crowded:
    """All sums, one power of nu after the other; `spread` has share T_k(nu) on the atoms."""
    xp = namespace(at.z, spread)
    powers, scale = crowd.basis.shape[0] - BESIDES, crowd.most
    basis = xp.asarray(crowd.basis, at.z.dtype)
    moments = basis @ spread  # [P + 2, A]: share (nu / most)^j
    missed = xp.minimum(at.missed, 1 - jnp.finfo(at.z.dtype).epsneg)
    log_phi = xp.log1p(-missed)
    m = xp.asarray(m, at.z.dtype)
    by_power = [binomials(m - k, powers, log_phi, scale) for k in range(3)]
    none, one, two = (at.weight * rows for rows in by_power)
    one, two = m * one, m * (m - 1) * two
    besides = scale if hits == "exclude" else 0.0  # (1 + nu)^n of what is left of q
    once = moments[:-2] + besides * moments[1:-1]
    twice = once + besides * (moments[1:-1] + besides * moments[2:])
    not_drawn = xp.concatenate([(at.weight * -xp.expm1(m * log_phi))[None], -none[1:]])
    away = at.gone - at.missed[:, None] if hits == "exclude" else at.gone

    def power(current, rows):
        """e^{-z} D^j on the atoms, and what its coefficients make of it."""
        missing, kept, drawn, paired, once, twice = rows
        first = at.z * current
        second = at.z * first
        own = second * at.f
        of_atoms = (
            missing @ current,
            missing @ first,
            kept @ second,
            drawn @ (first * at.f),
            drawn @ own,
            paired @ (own * at.f),
        )
        return current * away, (of_atoms, drawn * (current @ once), paired * (current @ twice))

    rows = not_drawn, none, one, two, once, twice
    _, (of_atoms, draws, pairs) = scan(power, at.f, rows)
    loss, lost, squared, first, second, paired = of_atoms
    now, next_, after = moments[:-2], scale * moments[1:-1], scale**2 * moments[2:]
    by_gold = -basis[:-2].T @ lost
    if hits != "keep":
        by_gold = by_gold - scale * basis[1:-1].T @ first
    return Crowded(
        xp.sum(now * loss),
        xp.sum(now * lost),
        xp.sum(now * squared),
        xp.sum(draws, axis=0),
        xp.sum(pairs, axis=0),
        xp.sum(next_ * first),
        xp.sum(next_ * second),
        xp.sum(after * paired),
        by_gold,
    )


def places(taken: Bool[Array, " V"], size: int) -> tuple[Int[Array, " G"], Bool[Array, " G"]]:
    """Where `taken` holds, filled up to `size` with label 0, and which entries are meant.

    By counts in blocks: the running sum of a million numbers costs a few softmaxes.
    """
    if is_numpy(taken):
        found = np.flatnonzero(taken)[:size]
        which: Any = np.pad(found, (0, size - len(found)))
        meant: Any = np.arange(size) < len(found)
        return which, meant
    labels, number = len(taken), jnp.arange(size)
    width = min(labels, WIDTH)
    blocks = jnp.pad(taken, (0, -labels % width)).reshape(-1, width)
    until = jnp.cumsum(jnp.sum(blocks, axis=-1))
    block = jnp.searchsorted(until, number, side="right")
    own = blocks[jnp.minimum(block, len(until) - 1)]  # [G, width]
    before = jnp.where(block > 0, until[block - 1], 0)
    reached = jnp.cumsum(own, axis=-1) > (number - before)[:, None]
    meant = number < until[-1]
    return jnp.where(meant, block * width + jnp.argmax(reached, axis=-1), 0), meant
