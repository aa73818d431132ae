r"""Candidate sets drawn from a problem, and their means over batches.

Each input gets pairs of candidate sets. A pair shares its gold ~ pop(.|x) and has two independent
sets of negatives, so that <v - e_gold, v' - e_gold> within it is unbiased for the gold's part of
the second moment. Pairs are added up in blocks, which bound the memory, and blocks in batches,
independent estimates from which `nce_bias.numerics.jackknife` takes standard errors.

v is the derivative of the loss's value by all copies of a label, plus 1 at the gold: for a softmax
over the candidates the chances to be picked.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from nce_bias._checks import check_count, concretely
from nce_bias._reads import Seen, bind, reads_gold
from nce_bias._split_input import check_whole
from nce_bias.golds import share_of
from nce_bias.losses import Corrected, Loss, check_loss
from nce_bias.numerics import two_floats as two
from nce_bias.problem import Problem
from nce_bias.proposals import check_sides
from nce_bias.samplers import Law, Sampler

#: Batches of the jackknife: a standard error from B batches is itself known to 1/sqrt(2 (B - 1)).
BATCHES = 64
#: Elements of one block of draws.
BLOCK = 2**18
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


def sample_means(
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    *,
    key: PRNGKeyArray,
    draws: int,
    measure: Measure | None = None,
) -> Means:
    """Batch means `[B, X]` from at least `draws` candidate sets per input, the question checked."""
    check_loss(loss)
    check_whole(problem, "sampling")
    check_count("draws", draws, least=2)
    with concretely(problem, sampler, loss):
        check_sides(sampler, problem)
        sampler.check(problem)
        loss.check(problem, sampler)
    return _sample_means(problem, sampler, loss, key, _layout(problem, sampler, draws), measure)


@eqx.filter_jit
def _sample_means(
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    key: PRNGKeyArray,
    layout: _Layout,
    measure: Measure | None,
) -> Means:
    def of_input(entry):
        scores, targets, seen, key, x = entry
        population = share_of(targets, scores)
        by_gold = reads_gold(sampler, problem.sides)
        law = None if by_gold else bind(sampler, seen).law(scores, problem.popularity)
        source = _Source(
            x=x,
            scores=scores,
            popularity=problem.popularity,
            seen=seen,
            cumulative=_cumulative(population),
            sampler=sampler,
            law=law,
            corrected=None if law is None else loss.corrected(scores, law, sampler.m),
            loss=loss,
            measure=measure,
            sparse=layout.sparse,
        )
        keys = jax.random.split(key, layout.batches)
        return jax.lax.map(lambda key: source.batch(key, layout), keys)

    keys = jax.random.split(key, problem.score_rows.shape[0])
    inputs = None if measure is None else measure.inputs
    rows = jax.lax.map(
        of_input, (problem.score_rows, problem.target_rows, problem.seen_rows, keys, inputs)
    )
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), rows)


class _Layout(NamedTuple):
    """How the draws of one input are cut up."""

    batches: int
    blocks: int  # of a batch
    pairs: int  # of candidate sets, in a block
    #: v on the slots of the candidates; if those are many, on all labels
    sparse: bool

    @property
    def sets(self) -> int:
        return 2 * self.batches * self.blocks * self.pairs


def _layout(problem: Problem, sampler: Sampler, draws: int) -> _Layout:
    pairs = math.ceil(draws / 2)
    batches = min(BATCHES, max(2, pairs))
    pairs_of_batch = math.ceil(pairs / batches)
    pairs_of_slots = (sampler.slots(problem.labels) + 1) ** 2
    most = 8 * problem.labels
    elements = 2 * (problem.labels + min(pairs_of_slots, most))
    block = max(1, min(pairs_of_batch, BLOCK // elements))
    return _Layout(batches, math.ceil(pairs_of_batch / block), block, pairs_of_slots <= most)


def sets_drawn(problem: Problem, sampler: Sampler, draws: int) -> int:
    """Candidate sets per input, `draws` rounded up to whole blocks of pairs."""
    return _layout(problem, sampler, draws).sets


def _cumulative(population: Float[Array, " V"]) -> Float[Array, " V"] | two.Pair:
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


class _Source(eqx.Module):
    """One input, as candidate sets are drawn from it."""

    x: PyTree
    scores: Float[Array, " V"]
    popularity: Float[Array, " V"]
    seen: Seen
    cumulative: Float[Array, " V"] | two.Pair  # of the population
    sampler: Sampler
    law: Law | None  # None where each gold has its own
    corrected: Corrected | None
    loss: Loss
    measure: Measure | None
    sparse: bool

    def pair(self, key: PRNGKeyArray) -> _Pair:
        """Two sets of negatives for one gold."""
        key_gold, *keys = jax.random.split(key, 3)
        gold = _drawn(key_gold, self.cumulative)
        labels, picked, loss, coverage = jax.vmap(lambda key: self.candidate_set(key, gold))(
            jnp.stack(keys)
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
        self, key: PRNGKeyArray, gold: Int[Array, ""]
    ) -> tuple[Int[Array, " K"], Float[Array, " K"], Float[Array, ""], Float[Array, ""]]:
        """Labels of the slots, v on them, the loss and the model mass covered."""
        own = self.law
        if own is None:
            own = bind(self.sampler, self.seen, gold).law(self.scores, self.popularity)
        labels, present, law = own.draw_by_lot(key, gold)
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

    def block(self, key: PRNGKeyArray, pairs: int) -> Means:
        """Sums over `pairs` pairs of candidate sets."""
        drawn = jax.vmap(self.pair)(jax.random.split(key, pairs))
        return Means(
            selection=jnp.zeros_like(self.scores).at[drawn.labels].add(drawn.picked / 2),
            loss=jnp.sum(drawn.loss),
            second_moment=jnp.sum(drawn.second_moment),
            same_gold=jnp.sum(drawn.same_gold),
            coverage=jnp.sum(drawn.coverage),
            concentration=jnp.sum(drawn.concentration),
            measured=jnp.sum(drawn.measured),
        )

    def batch(self, key: PRNGKeyArray, layout: _Layout) -> Means:
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
        sums, _ = jax.lax.scan(
            lambda total, key: (jax.tree.map(jnp.add, total, self.block(key, layout.pairs)), None),
            start,
            jax.random.split(key, layout.blocks),
        )
        return jax.tree.map(lambda leaf: leaf / (layout.blocks * layout.pairs), sums)
