r"""The best m of M distinct labels, drawn one after another in proportion to what is left of q.

**Clocks.** As for `without_replacement` each label y rings once, at an exponential time of rate
q_y, and the pool is the first M to ring. Let the M-th ring be at tau. A label is then in the pool
with the factor 1 - x_y, x_y = e^{-q_y tau}, out of it with x_y, and with q_y x_y dtau it is the one
that rings at tau: M labels are in, of which one rings at tau.

**Best first.** Put the labels in the order of the key. A label of the pool has the factor f_y =
e^{-z_y} while fewer than m are before it, and 1 from then on. Let the i-th label be the m-th best.
Before it are m - 1 of the pool, and behind it the other M - m, whose f does not count:

    F = int dtau sum_i f_i { (1 - x_i) C_i + q_i x_i A_{m-1} B_{M-m} },
    C_i = A'_{m-1} B_{M-m} + A_{m-1} B'_{M-m},
    A_k(i + 1) = x_i A_k(i) + (1 - x_i) f_i A_{k-1}(i),
    A'_k(i + 1) = x_i A'_k(i) + (1 - x_i) f_i A'_{k-1}(i) + q_i x_i f_i A_{k-1}(i).

A and B are those of the i-th label: A_k of k labels of the pool among those before it, A' of such
with the one that rings at tau; B_k and B'_k are the same of the labels behind it, with f = 1, from
the other end. B and B' do not depend on z: they are made once. Every number is a probability,
nothing is subtracted.

**Rule in tau.** That of `without_replacement`, whose bound holds for the M-th ring whatever is
chosen of the pool; the result is divided by its value at z = 0, which is 1 exactly.

**Golds.** Excluded, the gold never rings. Kept, it is a label like another, and the law is the same
for every gold. Dropped, it takes a place in the pool and comes last, so that M > m others or M - 1
of them are there to choose from. Laws with a place for the gold are those of one gold.

**Limits.** With q uniform it is `BestOfDistinctLaw`, which takes no integral. M = V - 1, the gold
excluded, is `top`. m = M is the pool. Cost O(V m) for each pair of nodes and each gold, and
O(V (M - m)) for each node in tau; derivatives by reverse mode, some three times that.

Source: Yellott (1977) for the clocks; the count in place of a product is derived here.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from nce_bias.numerics.arrays import Array
from nce_bias.numerics.quadrature import gamma_bound
from nce_bias.samplers._same_for_all import SameForAll
from nce_bias.samplers._selected import SelectedLaw, best_first
from nce_bias.samplers._without_replacement import NODES_IN_T, WithoutReplacementLaw

#: Seconds for a node in t, a node in tau, a label and a number that is kept of them, gradient
#: included. Measured with V = 200 to 20,000, m = 4 to 100, on a core of a loaded machine.
SECONDS = 1e-8


class Rings(eqx.Module):
    """What does not depend on z, for labels in the order of the key and nodes in tau, `[V, N]`.

    `stay`, `gone` and `ring` are x, 1 - x and q tau x; `after` and `after_ring` are B and B'.
    `scale` is the step in log tau over the value at z = 0.
    """

    order: Int[Array, " V"]
    stay: Float[Array, "V N"]
    gone: Float[Array, "V N"]
    ring: Float[Array, "V N"]
    after: Float[Array, "V N"]
    after_ring: Float[Array, "V N"]
    scale: Float[Array, ""]


class BestOfClocksLaw(SameForAll, SelectedLaw):
    """The best m < M of M labels that rang first; of one gold where `gold` marks it.

    `removed` says that the gold never rings.
    """

    pool: WithoutReplacementLaw
    gold: Array | None
    removed: bool = eqx.field(static=True)
    rings: Rings | None = None

    def prepared(self) -> BestOfClocksLaw:
        return eqx.tree_at(
            lambda law: law.rings, self, self._rings(), is_leaf=lambda leaf: leaf is None
        )

    @property
    def size(self) -> int:
        return self.key.shape[-1] * self.pool.nodes * (2 * self.m + 6)

    @property
    def work(self) -> int:
        return 8 * self.size

    @property
    def error(self) -> Float[Array, ""]:
        """The rule's bound and what its ends cut; rounding of as many sums as there are labels."""
        rounding = 8 * float(jnp.finfo(self.key.dtype).eps) * (8 + self.key.shape[-1])
        rule = gamma_bound(self.pool.ages()[1], self.pool.m, jnp)
        return rule + 3 * self.pool.tolerance + rounding

    def _rings(self) -> Rings:
        if self.rings is not None:
            return self.rings
        order, _ = best_first(self.key, self.gold)
        log_q = jnp.asarray(self.pool.log_q)
        if self.removed and self.gold is not None:
            log_q = jnp.where(self.gold, -jnp.inf, log_q)
        log_tau, step = self.pool.ages()
        log_age = log_q[order][:, None] + log_tau
        age = jnp.exp(jnp.minimum(log_age, 700.0))
        stay, gone, ring = jnp.exp(-age), -jnp.expm1(-age), jnp.exp(log_age - age)
        after, after_ring = _behind(stay, gone, ring, self.pool.m - self.m)
        one = jnp.ones((), step.dtype)
        rings = Rings(order, stay, gone, ring, after, after_ring, one)
        at_zero = self._value(rings, jnp.zeros_like(log_q))
        scale = 1.0 / jnp.where(at_zero > 0, at_zero, 1.0)
        return eqx.tree_at(lambda own: own.scale, rings, scale)

    def _value(self, rings: Rings, exposures: Float[Array, " V"]) -> Float[Array, ""]:
        """F, by `scale`."""
        m, f = self.m, jnp.exp(-exposures[rings.order])
        nodes = rings.stay.shape[1]
        first = jnp.zeros((m, nodes), f.dtype).at[0].set(1.0)

        def step(before, label):
            few, few_ring = before
            stay, gone, ring, after, after_ring, f = label
            rung = gone * few_ring[m - 1] + ring * few[m - 1]
            here = f * jnp.sum(gone * few[m - 1] * after_ring + rung * after)
            more, more_ring = _one_more(few), _one_more(few_ring)
            few_ring = stay * few_ring + f * (gone * more_ring + ring * more)
            return (stay * few + f * gone * more, few_ring), here

        labels = (rings.stay, rings.gone, rings.ring, rings.after, rings.after_ring, f)
        return rings.scale * jnp.sum(jax.lax.scan(step, (first, 0 * first), labels)[1])

    def _log(self, f: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.log(jnp.maximum(f, float(jnp.finfo(f.dtype).tiny) ** 0.4))

    def at(self, exposures: Float[Array, " V"]) -> tuple[Array, Array]:
        rings = self._rings()
        f, pull_back = jax.vjp(lambda z: self._value(rings, z), exposures)
        (slope,) = pull_back(jnp.ones_like(f))
        log_f = self._log(f)
        return log_f[None], jnp.maximum(-slope, 0.0) * jnp.exp(-log_f)

    def log_laplace(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        return jnp.broadcast_to(self._log(self._value(self._rings(), exposures)), exposures.shape)

    def own_hits(self, exposures: Float[Array, " V"]) -> Float[Array, " V"]:
        return self.at(exposures)[1] if self.gold is None else jnp.zeros_like(exposures)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """Expected copies, of labels that are not the gold."""
        return self.at(jnp.zeros_like(share))[1] * (jnp.sum(share) - share)


def _one_more(few: Float[Array, "k N"]) -> Float[Array, "k N"]:
    """Of one label less."""
    return jnp.concatenate([jnp.zeros_like(few[:1]), few[:-1]])


def _behind(
    stay: Float[Array, "V N"], gone: Float[Array, "V N"], ring: Float[Array, "V N"], count: int
) -> tuple[Float[Array, "V N"], Float[Array, "V N"]]:
    """B and B' of `count` labels behind each."""
    last = jnp.zeros((count + 1, stay.shape[1]), stay.dtype).at[0].set(1.0)

    def step(behind, label):
        few, few_ring = behind
        stay, gone, ring = label
        more, more_ring = _one_more(few), _one_more(few_ring)
        found = stay * few + gone * more, stay * few_ring + gone * more_ring + ring * more
        return found, (few[count], few_ring[count])

    return jax.lax.scan(step, (last, 0 * last), (stay, gone, ring), reverse=True)[1]


def seconds_of_clocks(labels: int, m: int, nodes: int) -> float:
    """What one input and gold take, about."""
    return SECONDS * NODES_IN_T * nodes * labels * (2 * m + 6)
