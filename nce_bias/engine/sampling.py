r"""Means over batches of candidate sets (`candidate_sets`), drawn from every input of a problem.

Pairs of sets are added up in blocks, which bound the memory, and blocks in batches, independent
estimates from which `nce_bias.numerics.jackknife` takes standard errors.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from nce_bias._checks import check_count, concretely, refuse
from nce_bias._reads import bind, reads_gold
from nce_bias._split_input import check_whole
from nce_bias.engine.candidate_sets import Layout, Means, Measure, Source, cumulative
from nce_bias.golds import share_of
from nce_bias.losses import Loss, check_loss
from nce_bias.problem import Problem
from nce_bias.proposals import check_sides
from nce_bias.samplers import Sampler

#: Batches of the jackknife: a standard error from B batches is itself known to 1/sqrt(2 (B - 1)).
BATCHES = 64
#: Elements of one block of draws.
BLOCK = 2**18


def sample_means(  # noqa: PLR0913
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    *,
    key: PRNGKeyArray,
    draws: int,
    measure: Measure | None = None,
    stratified: bool = False,
) -> Means:
    """Batch means `[B, X]` from at least `draws` candidate sets per input, the question checked."""
    check_loss(loss)
    check_whole(problem, "sampling")
    check_count("draws", draws, least=2)
    with concretely(problem, sampler, loss):
        check_sides(sampler, problem)
        sampler.check(problem)
        loss.check(problem, sampler)
        if stratified:
            check_placed(problem, sampler)
    layout = _layout(problem, sampler, draws)._replace(stratified=stratified)
    return _sample_means(problem, sampler, loss, key, layout, measure)


def check_placed(problem: Problem, sampler: Sampler) -> None:
    """Refuse a sampler whose sets are not placed by uniform numbers."""
    if not reads_gold(sampler, problem.sides):
        seen = jax.tree.map(lambda leaf: leaf[0], problem.seen_rows)
        law = bind(sampler, seen).law(problem.score_rows[0], problem.popularity)
        if law.levels is not None:
            return
    raise refuse(
        "stratified",
        f"got True with {sampler!r}",
        "nb.iid or nb.top negatives, or sums of them, of a proposal that does not read the gold",
        "Leave stratified=False: independent draws work with every sampler.",
    )


@eqx.filter_jit
def _sample_means(
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    key: PRNGKeyArray,
    layout: Layout,
    measure: Measure | None,
) -> Means:
    def of_input(entry):
        scores, targets, seen, key, x = entry
        population = share_of(targets, scores)
        by_gold = reads_gold(sampler, problem.sides)
        law = None if by_gold else bind(sampler, seen).law(scores, problem.popularity)
        source = Source(
            x=x,
            scores=scores,
            popularity=problem.popularity,
            seen=seen,
            population=population,
            cumulative=cumulative(population),
            sampler=sampler,
            law=law,
            corrected=None if law is None else loss.corrected(scores, law, sampler.m),
            loss=loss,
            measure=measure,
            sparse=layout.sparse,
            order=jnp.argsort(scores) if layout.stratified else None,
        )
        keys = jax.random.split(key, layout.batches)
        return jax.lax.map(lambda key: source.batch(key, layout), keys)

    keys = jax.random.split(key, problem.score_rows.shape[0])
    inputs = None if measure is None else measure.inputs
    rows = jax.lax.map(
        of_input, (problem.score_rows, problem.target_rows, problem.seen_rows, keys, inputs)
    )
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), rows)


def _layout(problem: Problem, sampler: Sampler, draws: int) -> Layout:
    pairs = math.ceil(draws / 2)
    batches = min(BATCHES, max(2, pairs))
    pairs_of_batch = math.ceil(pairs / batches)
    pairs_of_slots = (sampler.slots(problem.labels) + 1) ** 2
    most = 8 * problem.labels
    elements = 2 * (problem.labels + min(pairs_of_slots, most))
    block = max(1, min(pairs_of_batch, BLOCK // elements))
    return Layout(batches, math.ceil(pairs_of_batch / block), block, pairs_of_slots <= most)


def sets_drawn(problem: Problem, sampler: Sampler, draws: int) -> int:
    """Candidate sets per input, `draws` rounded up to whole blocks of pairs."""
    return _layout(problem, sampler, draws).sets
