"""What every family of losses answers for one input, and what is done gold by gold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Float, Int

from nce_bias.integrals.crowd import Crowd
from nce_bias.numerics.arrays import Array, each, namespace, one_hot, top_k
from nce_bias.numerics.interpolation import Lattice
from nce_bias.samplers import Law

#: Golds whose conditional moments are held at a time.
GOLDS = 128


class Rule(eqx.Module):
    """What the quadrature needs besides the integrand.

    `m` bounds the number of negatives, from which the left end follows; `nodes` is 0 where there is
    nothing to integrate; `tolerance` is the relative error allowed; `closes_gaps` says that the
    log-weights lie too far apart for nodes all the way (`nce_bias.numerics.gaps`). With `atoms`,
    labels are spread on that grid, but for the `golds` most frequent (`nce_bias.integrals.atoms`).
    `squares` says whether second moments that take a plane of nodes are wanted. With `crowd`, golds
    are spread too (`nce_bias.integrals.crowd`), or the law is that of distinct draws (`.distinct`);
    the at most `taken` labels that are often drawn are taken one by one. `mesh` is of devices that
    labels are split over.
    """

    m: int | Float[Array, ""]
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    closes_gaps: bool = eqx.field(static=True, default=False)
    atoms: Lattice | None = eqx.field(static=True, default=None)
    golds: int = eqx.field(static=True, default=0)
    squares: bool = eqx.field(static=True, default=True)
    crowd: Crowd | None = None
    taken: int = eqx.field(static=True, default=0)
    mesh: Mesh | None = eqx.field(static=True, default=None)

    @property
    def rings(self) -> bool:
        """Whether distinct draws are on atoms, which XLA alone computes."""
        return self.crowd is not None and self.golds > 0


class Sums(eqx.Module):
    """Moments averaged over the gold.

    `by_gold` and `by_negative` are the derivatives of the loss by the scores of golds and of
    negatives, `own` is E[v_g] - 1, `square` E[sum_a v_a^2] and `concentration` E[sum_k pi(k)^2],
    NaN where there is no softmax over the candidates. At nodes of a rule, with an axis of nodes.
    """

    loss: Float[Array, "*N"]
    by_gold: Float[Array, "*N V"]
    by_negative: Float[Array, "*N V"]
    own: Float[Array, "*N"]
    square: Float[Array, "*N"]
    concentration: Float[Array, "*N"]

    @property
    def gradient(self) -> Float[Array, "*N V"]:
        """The expected score-space gradient, gamma - pop."""
        return self.by_gold + self.by_negative


class Gram(eqx.Module):
    """G = J J^T of one input's scores by the parameters, as a product and as a diagonal."""

    times: Callable[[Float[Array, " V"]], Float[Array, " V"]]
    diagonal: Float[Array, " V"]

    @classmethod
    def of(cls, times: Callable[[Float[Array, " V"]], Float[Array, " V"]], like: Array) -> Gram:
        """With its diagonal, one product for each label."""
        units = jnp.eye(len(like), dtype=like.dtype)
        return cls(times, jax.lax.map(lambda e: times(e) @ e, units))

    def to_dense(self) -> Float[Array, "V V"]:
        """The matrix, for few labels."""
        return jax.lax.map(self.times, jnp.eye(len(self.diagonal), dtype=self.diagonal.dtype))


class Pairs(eqx.Module):
    """The mean of a product of the gradients of two rows, and of its terms without their signs."""

    product: Float[Array, "*N"]
    size: Float[Array, "*N"]


class Expectation(eqx.Module):
    """The gradient of one input on average, for golds that share the scores of their negatives.

    `share` says how often each label is the gold; it may leave golds out.
    """

    #: Whether there is a rule in log t.
    integrates: ClassVar[bool] = True

    @property
    def takes_atoms(self) -> bool:
        """Whether it sees labels, but for a few golds, through sums over all of them alone."""
        return False

    @property
    def lines(self) -> int:
        """How many integrals over log t there are."""
        return 1

    @property
    def planes(self) -> int:
        """How many integrals over two of them second moments take."""
        return 0

    share: eqx.AbstractVar[Float[Array, " V"]]

    @property
    @abstractmethod
    def length(self) -> Float[Array, ""]:
        """Of the rule in log t; 0 without an integral."""

    @abstractmethod
    def sums(self) -> Sums:
        """sum_g share_g of the loss, its derivatives and its second moments."""

    @abstractmethod
    def error(self) -> Float[Array, ""]:
        """Bound on the absolute error of each entry of the gradient."""

    def squared_means(self, golds: int) -> Float[Array, ""] | None:
        """sum_g share_g ||E[v | g] - e_g||^2 over the `golds` most frequent golds.

        None where there is no way but one gold after the other.
        """
        return None

    def two_rows(self, common: Law, crossed: bool, masked: bool = False) -> Pairs | None:
        """E[r_i . r_j] of two rows of a batch, with `common` draws (`nce_bias.integrals.rows`).

        `masked`: each row drops what equals its own gold (`.masked_rows`). None where it has no
        formula.
        """
        return None

    @abstractmethod
    def second_moment(self, gram: Gram) -> Float[Array, ""]:
        """sum_g share_g E||J^T (v - e_g)||^2."""


def for_each_gold(
    expectation: Callable[[Int[Array, ""], Float[Array, " V"]], Expectation],
    population: Float[Array, " V"],
    golds: int,
) -> tuple[Sums, Float[Array, ""], Float[Array, ""]]:
    """sum_g pop_g of the moments, their error, and of ||E[v | g] - e_g||^2, gold by gold.

    `expectation` takes a gold and a share that has it alone; the `golds` most frequent count.
    """
    xp = namespace(population)
    share, which = top_k(population, golds)

    def alone(gold):
        at = expectation(gold, one_hot(gold, population))
        sums = at.sums()
        return sums, at.error(), xp.sum(sums.gradient**2)

    def averaged(leaf):
        occurs = (share > 0).reshape(-1, *[1] * (leaf.ndim - 1))
        return xp.tensordot(share, xp.where(occurs, leaf, 0.0), 1)  # no 0 times infinity

    return jax.tree.map(averaged, each(alone, which))
