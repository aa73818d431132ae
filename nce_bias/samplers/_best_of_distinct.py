r"""The best m of M distinct labels that are all alike: sums of products over a prefix.

n labels may be in the pool, every set of M of them with the same chance. Put them in the order of
the key. Given that the (m + 1)-th best of the pool is the i-th label, the m better ones are any m
of the i - 1 before it:

    F = sum_i beta_i S_m(i - 1),        beta_i = C(i - 1, m) C(n - i, M - m - 1) / C(n, M),

with S_m(i) the mean over all m-subsets of the first i labels of the product of their f = e^{-z}.
The i-th label is in such a subset with chance k / i:

    S_k(i) = (1 - k/i) S_k(i - 1) + (k/i) f_i S_{k-1}(i - 1).

The complements D = 1 - S follow D_k(i) = (1 - k/i) D_k(i - 1) + (k/i) (1 - f_i + f_i D_{k-1}(i -
1)): positive terms alone, so F keeps its digits where it is nearly 1 and nothing cancels anywhere.

**Golds.** The gold is not among the n labels, so the law is that of one gold.

**Limits.** n = M is the m best labels there are, `top`. Cost O(n m) for each node of the rule in t
and each gold; derivatives by reverse mode, some three times that.

Source: David & Nagaraja (2003), section 2.5, for the order statistics of a finite population.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias.numerics.arrays import Array
from nce_bias.samplers._same_for_all import SameForAll
from nce_bias.samplers._selected import SelectedLaw, best_first


class BestOfDistinctLaw(SameForAll, SelectedLaw):
    """The best m < M of M distinct labels out of `members`, the gold not one of them."""

    members: Array
    of: int = eqx.field(static=True)
    count: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.count * (self.m + 1)

    @property
    def work(self) -> int:
        return 8 * self.size

    @property
    def error(self) -> float:
        """Rounding of as many convex combinations as there are labels, and of log beta."""
        return 8 * float(jnp.finfo(self.key.dtype).eps) * (8 + self.count)

    def _missed(self, exposures: Float[Array, " V"]) -> Float[Array, ""]:
        """1 - F."""
        order, _ = best_first(self.key, ~jnp.asarray(self.members))
        z = jnp.asarray(exposures)[order[: self.count]]
        sizes = jnp.arange(self.m + 1)

        def step(missed, label):
            i, z, beta = label
            share = jnp.minimum(sizes / i, 1.0).astype(z.dtype)
            with_it = -jnp.expm1(-z) + jnp.exp(-z) * jnp.roll(missed, 1)
            return (1 - share) * missed + share * with_it, beta * missed[self.m]

        places = jnp.arange(1, self.count + 1, dtype=z.dtype)
        start = jnp.zeros(self.m + 1, z.dtype)
        beta = jnp.asarray(self._thresholds(), z.dtype)
        return jnp.sum(jax.lax.scan(step, start, (places, z, beta))[1])

    def _thresholds(self) -> np.ndarray:
        """beta_i, i = 1, ..., n."""
        i, behind = np.arange(1, self.count + 1), self.of - self.m - 1
        possible = (i > self.m) & (self.count - i >= behind)
        before, after = (
            np.where(possible, i - 1, self.m),
            np.where(possible, self.count - i, behind),
        )
        logs = _log_choose(before, self.m) + _log_choose(after, behind)
        return np.where(possible, np.exp(logs - _log_choose(self.count, self.of)), 0.0)

    def at(self, exposures: Float[Array, " V"]) -> tuple[Array, Array]:
        missed, pull_back = jax.vjp(self._missed, exposures)
        (copies,) = pull_back(jnp.ones_like(missed))
        log_f = _log_left(missed)
        return log_f[None], jnp.maximum(copies, 0.0) * jnp.exp(-log_f)

    def log_laplace(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        return jnp.broadcast_to(_log_left(self._missed(exposures)), exposures.shape)


def _log_left(missed: Float[Array, ""]) -> Float[Array, ""]:
    """log(1 - missed)."""
    return jnp.log1p(-jnp.minimum(missed, 1 - jnp.finfo(missed.dtype).epsneg))


def _log_choose(n, k):
    """log C(n, k)."""
    from scipy.special import gammaln  # takes longer to import than all of this

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
