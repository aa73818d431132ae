r"""Candidate sets of one input, and what they add to the sums of a batch.

Candidate sets come in pairs. A pair shares its gold ~ pop(.|x) and has two independent sets of
negatives, so that <v - e_gold, v' - e_gold> within it is unbiased for the gold's part of the second
moment. v is the derivative of the loss's value by all copies of a label, plus 1 at the gold: for a
softmax over the candidates the chances to be picked.

**Stratified.** The golds of a batch, its first sets and its second ones are then each placed by a
Latin hypercube of its own (`numerics.latin`), labels laid out by score. Golds and both sets of a
pair stay independent, every set has its own law, so all means stay unbiased; batches are
independent, so standard errors stay right.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from nce_bias._reads import Seen, bind
from nce_bias.losses import Corrected, Loss
from nce_bias.numerics import two_floats as two
from nce_bias.numerics.latin import hypercube
from nce_bias.samplers import Law, Sampler
from nce_bias.samplers._line import Levels, Line

#: Labels up to which golds are drawn with one float32 number, which has 23 bits.
MOST_IN_SINGLE = 2**16


@runtime_checkable
class Measure(Protocol):
    """What a caller measures on each candidate set besides: a pytree with these two members."""

    @property
    def inputs(self) -> PyTree:
        """Leaves with a leading axis X."""
        ...

    def __call__(self, x: PyTree, residual: Float[Array, " V"]) -> Float[Array, ""]:
        """A number from one input and the v - e_gold of one of its candidate sets."""
        ...


class Means(eqx.Module):
    """Means over batches of candidate sets, for each input.

    `second_moment` is that of ||v - e_gold||^2; `same_gold` of <v - e_gold, v' - e_gold> for two
    sets of negatives of one gold, whose expectation is E_gold ||E[v | gold] - e_gold||^2;
    `concentration` of sum_k pi(k)^2; `measured` of what a `Measure` measures. While a batch is
    added up, they are sums.
    """

    selection: Float[Array, "*B_X V"]
    loss: Float[Array, "*B_X"]
    second_moment: Float[Array, "*B_X"]
    same_gold: Float[Array, "*B_X"]
    coverage: Float[Array, "*B_X"]
    concentration: Float[Array, "*B_X"]
    measured: Float[Array, "*B_X"]


class Layout(NamedTuple):
    """How the draws of one input are cut up."""

    batches: int
    blocks: int  # of a batch
    pairs: int  # of candidate sets, in a block
    #: v on the slots of the candidates; if those are many, on all labels
    sparse: bool
    stratified: bool = False

    @property
    def sets(self) -> int:
        """Of all batches."""
        return 2 * self.batches * self.blocks * self.pairs


def cumulative(population: Float[Array, " V"]) -> Float[Array, " V"] | two.Pair:
    """The cdf; in float32, where labels are too many for it, as pairs of numbers."""
    if population.dtype == jnp.float32 and len(population) > MOST_IN_SINGLE:
        return two.cumulative_sum(population)
    return jnp.cumsum(population)


def _drawn(key: PRNGKeyArray, cumulative: Float[Array, " V"] | two.Pair) -> Int[Array, ""]:
    """A label, by inverting the cdf."""
    if isinstance(cumulative, tuple):
        level = two.multiply(two.uniform(key, 1), two.take(cumulative, -1))
        return two.invert(cumulative, level)[0]
    level = jax.random.uniform(key, dtype=cumulative.dtype) * cumulative[-1]
    return jnp.searchsorted(cumulative, level, side="right")


class Placed(NamedTuple):
    """What fixes pairs of candidate sets, where draws are stratified: golds and places of sets."""

    gold: Int[Array, "*B"]
    sets: Levels


#: What fixes a pair: a key, or the places.
Lot = PRNGKeyArray | Placed


class _Pair(eqx.Module):
    """What two candidate sets of one gold add to the sums; slots `[2, K]`, the gold's first."""

    labels: Int[Array, "2 K"]
    picked: Float[Array, "2 K"]
    loss: Float[Array, ""]
    second_moment: Float[Array, ""]
    same_gold: Float[Array, ""]
    coverage: Float[Array, ""]
    concentration: Float[Array, ""]
    measured: Float[Array, ""]


class Source(eqx.Module):
    """One input, as candidate sets are drawn from it."""

    x: PyTree
    scores: Float[Array, " V"]
    popularity: Float[Array, " V"]
    seen: Seen
    population: Float[Array, " V"]
    cumulative: Float[Array, " V"] | two.Pair  # of the population
    sampler: Sampler
    law: Law | None  # None where each gold has its own
    corrected: Corrected | None
    loss: Loss
    measure: Measure | None
    sparse: bool
    order: Int[Array, " V"] | None = None  # of the labels on a line, where draws are stratified

    def pair(self, lot: Lot) -> _Pair:
        """Two sets of negatives for one gold."""
        if isinstance(lot, Placed):
            gold, of_sets = lot.gold, lot.sets
        else:
            key_gold, *keys = jax.random.split(lot, 3)
            gold, of_sets = _drawn(key_gold, self.cumulative), jnp.stack(keys)
        labels, picked, loss, coverage = jax.vmap(lambda lot: self.candidate_set(lot, gold))(
            of_sets
        )
        on_gold = jnp.sum(jnp.where(labels == gold, picked, 0.0), axis=-1)
        squares = [self.product(labels[i], picked[i], labels[i], picked[i]) for i in range(2)]
        crossed = self.product(labels[0], picked[0], labels[1], picked[1])
        # a softmax picks one candidate with the chances pi(k); other losses pick none
        softmax = getattr(self.loss, "normalized", False)
        dtype = self.scores.dtype
        return _Pair(
            labels=labels,
            picked=picked,
            loss=jnp.mean(loss),
            second_moment=(squares[0] + squares[1]) / 2 - jnp.sum(on_gold) + 1,
            same_gold=crossed - jnp.sum(on_gold) + 1,
            coverage=jnp.mean(coverage),
            concentration=jnp.sum(picked**2) / 2 if softmax else jnp.asarray(jnp.nan, dtype),
            measured=jnp.zeros((), dtype)
            if self.measure is None
            else self.measured(labels, picked),
        )

    def candidate_set(
        self, lot: Any, gold: Int[Array, ""]
    ) -> tuple[Int[Array, " K"], Float[Array, " K"], Float[Array, ""], Float[Array, ""]]:
        """Labels of the slots, v on them, loss and model mass covered; `lot`: a key or levels."""
        own = self.law
        if own is None:
            own = bind(self.sampler, self.seen, gold).law(self.scores, self.popularity)
        if self.order is None:
            labels, present, law = own.draw_by_lot(lot, gold)
        else:
            (labels, present), law = own.placed(lot, gold, self.order), own
        corrected = self.corrected
        if corrected is None or law is not own:
            corrected = self.loss.corrected(self.scores, law, self.sampler.m)
        value, (by_gold, by_negatives) = jax.value_and_grad(self.loss.value, (0, 1))(
            corrected.gold[gold],
            corrected.negatives_of(gold)[labels] + law.shifts(labels),
            present,
            **corrected.read(gold, labels),
        )
        picked = jnp.concatenate([by_gold[None] + 1, jnp.where(present, by_negatives, 0.0)])
        labels = jnp.concatenate([gold[None], labels])
        present = jnp.concatenate([jnp.ones(1, bool), present])
        return labels, picked, value, self.covered(labels, present)

    def product(self, labels, picked, other_labels, other_picked) -> Float[Array, ""]:
        """<v, v'> of two vectors given by labels and values, labels possibly repeated."""
        if self.sparse:
            same = labels[:, None] == other_labels
            return jnp.sum(jnp.where(same, picked[:, None] * other_picked, 0.0))
        zero = jnp.zeros_like(self.scores)
        return zero.at[labels].add(picked) @ zero.at[other_labels].add(other_picked)

    def covered(self, labels: Int[Array, " K"], present: Bool[Array, " K"]) -> Float[Array, ""]:
        """Model mass on the labels of the present slots, each counted once."""
        model = jax.nn.softmax(self.scores)
        if not self.sparse:
            return model @ jnp.zeros_like(model).at[labels].max(present.astype(model.dtype))
        before = jnp.tril(labels[:, None] == labels, -1) & present
        return jnp.sum(jnp.where(present & ~jnp.any(before, axis=-1), model[labels], 0.0))

    def measured(self, labels, picked) -> Float[Array, ""]:
        """What is measured on v - e_gold of the first set."""
        assert self.measure is not None
        residual = jnp.zeros_like(self.scores).at[labels[0]].add(picked[0]).at[labels[0, 0]].add(-1)
        return self.measure(self.x, residual)

    def block(self, lots: Any) -> Means:
        """Sums over some pairs of candidate sets, whose lots have one more axis."""
        drawn = jax.vmap(self.pair)(lots)
        return Means(
            selection=jnp.zeros_like(self.scores).at[drawn.labels].add(drawn.picked / 2),
            loss=jnp.sum(drawn.loss),
            second_moment=jnp.sum(drawn.second_moment),
            same_gold=jnp.sum(drawn.same_gold),
            coverage=jnp.sum(drawn.coverage),
            concentration=jnp.sum(drawn.concentration),
            measured=jnp.sum(drawn.measured),
        )

    def batch(self, key: PRNGKeyArray, layout: Layout) -> Means:
        """Means over one batch."""
        nothing = jnp.zeros((), self.scores.dtype)
        start = Means(
            selection=jnp.zeros_like(self.scores),
            loss=nothing,
            second_moment=nothing,
            same_gold=nothing,
            coverage=nothing,
            concentration=nothing,
            measured=nothing,
        )
        if self.order is not None:
            lots: Any = self.placed(key, layout)
        else:
            keys = jax.random.split(key, layout.blocks)
            lots = jax.vmap(lambda key: jax.random.split(key, layout.pairs))(keys)
        sums, _ = jax.lax.scan(
            lambda total, some: (jax.tree.map(jnp.add, total, self.block(some)), None), start, lots
        )
        return jax.tree.map(lambda leaf: leaf / (layout.blocks * layout.pairs), sums)

    def placed(self, key: PRNGKeyArray, layout: Layout) -> Placed:
        """The lots of all pairs of a batch, `[blocks, pairs]`, by three hypercubes."""
        assert self.law is not None
        points, columns = layout.blocks * layout.pairs, self.law.levels
        assert columns is not None
        dtype = self.scores.dtype

        def split(leaf):
            return leaf.reshape(layout.blocks, layout.pairs, *leaf.shape[1:])

        of_golds, *of_sets = jax.random.split(key, 3)
        line = Line(self.population, self.order)
        golds = hypercube(of_golds, points, 1, dtype)
        first, second = (hypercube(key, points, columns, dtype) for key in of_sets)
        return Placed(
            split(line.find(jax.tree.map(lambda leaf: leaf[:, 0], golds))),
            jax.tree.map(lambda a, b: split(jnp.stack([a, b], axis=1)), first, second),
        )
