r"""What is known of whole batches; batches drawn from a problem, summed over groups.

The golds of a batch are drawn first, as its rows have them (`samplers.base.Batch.draw_golds`), and
then the input of each, by pop(x) pop(g|x) given its gold g; the negatives of all rows come from one
draw. The gradient of a batch is the mean of its rows', each at its input, an `[X, V]` array. Groups
of batches are independent, which is what the jackknife asks of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nce_bias._reads import bind
from nce_bias.engine.sampling import BATCHES
from nce_bias.losses import Loss
from nce_bias.numerics.jackknife import jackknife, left_out_means, unbiased_square
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Elements of the batches that are drawn at a time.
BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class BatchVariance:
    """Variance of the mean gradient over a batch, in score space, and its two parts.

    Attributes
    ----------
    batch : int
        Rows of the batch, B.
    variance : float
        Trace of the covariance of the mean gradient, `own` + `shared`.
    own : float
        Of rows with negatives of their own: the variance of one row, over B.
    shared : float
        (1 - 1/B) times the covariance of two rows, which sharing makes.
    error : float
        Exact: bound on the absolute error of `variance`. Sampled: its standard error.
    standard_errors : mapping
        Sampled only: of `variance`, `own` and `shared`.
    method : str
        How it was computed.
    """

    batch: int
    variance: float
    own: float
    shared: float
    error: float
    standard_errors: Mapping[str, float]
    method: str

    @property
    def ratio(self) -> float:
        """Variance over `own`: what sharing multiplies it by; above 1 it harms."""
        return self.variance / self.own


class BatchMeans(eqx.Module):
    """Means over groups of batches: of the gradient, of its square and of that of single rows."""

    gradient: Float[Array, "G X V"]
    square: Float[Array, " G"]
    row_square: Float[Array, " G"]
    draws: int = eqx.field(static=True)


def sample_batches(
    problem: Problem,
    sampler: Sampler,
    loss: Loss,
    rows: int,
    *,
    key: PRNGKeyArray,
    draws: int,
) -> BatchMeans:
    """At least `draws` batches of so many rows, in whole blocks that are drawn at once."""
    groups = min(BATCHES, draws)
    of_group = math.ceil(draws / groups)
    slots = sampler.slots(problem.labels) + 1
    elements = rows * min(slots**2, slots + problem.labels) + problem.scores.size
    block = max(1, min(of_group, BLOCK // elements))
    blocks = math.ceil(of_group / block)
    found = _groups(problem, sampler, loss, key, (rows, groups, blocks, block))
    return BatchMeans(*found, draws=groups * blocks * block)


def estimated(means: BatchMeans, rows: int) -> BatchVariance:
    """From means over groups of batches: products of different groups have no noise in them."""
    groups = means.gradient.reshape(len(means.gradient), -1)
    mean, mean_without = unbiased_square(groups @ groups.sum(axis=0), jnp.sum(groups**2, axis=1))
    found, without = {}, {}
    for name, squares, over in (("variance", means.square, 1), ("own", means.row_square, rows)):
        found[name] = (jnp.mean(squares) - mean) / over
        without[name] = (left_out_means(squares) - mean_without) / over
    for values in (found, without):
        values["shared"] = values["variance"] - values["own"]
    errors = {name: float(jackknife(values)) for name, values in without.items()}
    return BatchVariance(
        batch=rows,
        variance=float(found["variance"]),
        own=float(found["own"]),
        shared=float(found["shared"]),
        error=errors["variance"],
        standard_errors=errors,
        method=f"monte carlo, {means.draws} batches",
    )


@eqx.filter_jit
def _groups(
    problem: Problem,
    sampler: Sampler,
    loss: Any,
    key: PRNGKeyArray,
    layout: tuple[int, int, int, int],
) -> tuple[Array, Array, Array]:
    rows, groups, blocks, block = layout
    scores, population = problem.score_rows, problem.population_rows
    # the input of a row, given its gold
    joint = jnp.log(problem.weights)[:, None] + jnp.log(population)

    def of_input(at):
        row, seen = at
        law = bind(sampler, seen).law(row, problem.popularity)
        return loss.corrected(row, law, sampler.m)

    corrected = jax.lax.map(of_input, (scores, problem.seen_rows))
    first = jax.tree.map(lambda leaf: leaf[0], problem.seen_rows)
    shared = bind(sampler, first).batch(scores[0], problem.popularity)
    assert shared is not None

    def of_row(at):
        """Labels of the candidates, derivatives by their scores, and the square of the gradient."""
        x, gold, labels, present = at
        own = jax.tree.map(lambda leaf: leaf[x], corrected)
        _, (by_gold, by_negatives) = jax.value_and_grad(loss.value, (0, 1))(
            own.gold[gold], own.negatives_of(gold)[labels], present, **own.read(gold, labels)
        )
        values = jnp.concatenate([by_gold[None], jnp.where(present, by_negatives, 0.0)])
        return jnp.concatenate([gold[None], labels]), values

    def of_batch(key):
        of_golds, of_inputs, of_negatives = jax.random.split(key, 3)
        golds = shared.draw_golds(of_golds, rows, problem.popularity)
        inputs = jax.random.categorical(of_inputs, joint[:, golds], axis=0)
        labels, values = jax.vmap(of_row)((inputs, golds, *shared.draw(of_negatives, golds)))
        gradient = jnp.zeros_like(scores).at[inputs[:, None], labels].add(values) / rows
        squares = jax.vmap(_square, (0, 0, None))(labels, values, scores.shape[-1])
        return gradient, jnp.sum(gradient**2), jnp.mean(squares)

    def of_group(key):
        def add(total, key):
            drawn = jax.vmap(of_batch)(jax.random.split(key, block))
            return jax.tree.map(lambda a, b: a + jnp.sum(b, axis=0), total, drawn), None

        nothing = jnp.zeros((), scores.dtype)
        start = jnp.zeros_like(scores), nothing, nothing
        total, _ = jax.lax.scan(add, start, jax.random.split(key, blocks))
        return jax.tree.map(lambda leaf: leaf / (blocks * block), total)

    return jax.lax.map(of_group, jax.random.split(key, groups))


def _square(labels: Array, values: Array, size: int) -> Array:
    """Of a vector given by labels and values, labels possibly repeated."""
    if len(labels) ** 2 > size:
        return jnp.sum(jnp.zeros(size, values.dtype).at[labels].add(values) ** 2)
    same = labels[:, None] == labels
    return jnp.sum(jnp.where(same, values[:, None] * values, 0.0))
