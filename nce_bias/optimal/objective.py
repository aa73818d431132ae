"""The exact bias as a function of the proposal, with its derivatives.

The proposal is q = floor + (1 - V floor) b / sum(b) with b >= 0: all of it is a function of b `[V]`
that does not change with the scale of b, so its gradient is orthogonal to b.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from nce_bias._checks import refuse
from nce_bias.engine._exact import exact
from nce_bias.losses import Loss
from nce_bias.problem import Problem
from nce_bias.proposals import FromProbabilities
from nce_bias.samplers import iid

#: Elements of the derivative [X V, d] of a score function's scores.
LARGEST_PULL_BACK = 2**26
#: Labels times reverse passes taken at a time; small enough to stay in cache.
BLOCK = 2**14


class Objective(eqx.Module):
    """Residuals r(b) whose norm is the bias, weighted over inputs or pulled back by `pull`."""

    problem: Problem
    loss: Loss
    hits: str = eqx.field(static=True)
    floor: Float[Array, ""]
    pull: Float[Array, "k XV"] | None
    m: Float[Array, ""]

    def __init__(
        self,
        problem: Problem,
        loss: Loss,
        hits: str,
        floor: float,
        pull: Float[Array, "k XV"] | None,
        m: int,
    ) -> None:
        dtype = problem.scores.dtype
        self.problem, self.loss, self.hits, self.pull = problem, loss, hits, pull
        # Traced, so that all m and floors share a compilation.
        self.floor, self.m = jnp.asarray(floor, dtype), jnp.asarray(m, dtype)

    def residuals(self, b: np.ndarray) -> np.ndarray:
        """r `[k]`."""
        return np.asarray(_residuals(self, self._inside(b)), float)

    def jacobian(self, b: np.ndarray) -> np.ndarray:
        """dr/db `[k, V]`."""
        return np.asarray(_jacobian(self, self._inside(b)), float)

    def half_square(self, b: np.ndarray) -> tuple[float, np.ndarray]:
        """||r||^2 / 2 and its gradient `[V]`."""
        half, slope = _half_square(self, self._inside(b))
        return float(half), np.asarray(slope, float)

    def _inside(self, b: np.ndarray) -> Array:
        """No b is so small that log b or its derivative overflows."""
        dtype = self.problem.scores.dtype
        return jnp.asarray(np.maximum(b, 1e8 * float(jnp.finfo(dtype).tiny)), dtype)

    def _bias(self, b, row):
        """eps(.|x) of one input."""
        scores, population = row
        b = b / jnp.sum(b)
        q = self.floor + (1 - b.size * self.floor) * b
        fixed = iid(FromProbabilities(jnp.log(q)), 1, self.hits)
        sampler = eqx.tree_at(lambda s: s.m, fixed, self.m)
        problem = Problem(scores, population, self.problem.popularity)
        return exact(problem, sampler, self.loss, split=False).bias

    def _over_inputs(self, function):
        rows = (self.problem.score_rows, self.problem.population_rows)
        each = jax.lax.map(function, rows)
        flat = each.reshape(-1, *each.shape[2:])
        if self.pull is not None:
            return self.pull @ flat
        return (jnp.repeat(jnp.sqrt(self.problem.weights), self.problem.labels) * flat.T).T


@eqx.filter_jit
def _residuals(objective, b):
    return objective._over_inputs(lambda row: objective._bias(b, row))


@eqx.filter_jit
def _jacobian(objective, b):
    def slopes(row):
        back = jax.vjp(lambda b: objective._bias(b, row), b)[1]
        labels = jnp.eye(b.size, dtype=b.dtype)
        return jax.lax.map(lambda label: back(label)[0], labels, batch_size=block)

    block = min(b.size, max(1, BLOCK // b.size))
    return objective._over_inputs(slopes)


@eqx.filter_jit
def _half_square(objective, b):
    return jax.value_and_grad(lambda b: 0.5 * jnp.sum(_residuals(objective, b) ** 2))(b)


def pull_back(
    problem: Problem, score_fn: Any, params: PyTree, inputs: PyTree
) -> Float[Array, "k XV"] | None:
    """A with ||A eps|| = ||b||, of min(d, X V) rows; None in score space."""
    given = {"score_fn": score_fn, "params": params, "inputs": inputs}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        return None
    if missing:
        raise refuse(
            ", ".join(given),
            f"{', '.join(missing)} missing",
            "all three (bias of the parameters) or none (bias of the scores)",
            "Pass score_fn(params, x), its params and the inputs of the problem.",
        )
    trainable, fixed = eqx.partition(params, eqx.is_inexact_array)
    flat, restore = ravel_pytree(trainable)
    if problem.scores.size * flat.size > LARGEST_PULL_BACK:
        raise refuse(
            "params",
            f"got {flat.size} parameters for {problem.scores.size} scores",
            f"a product of at most {LARGEST_PULL_BACK}",
            "Pass fewer inputs or fewer of the parameters, or leave score_fn out.",
        )

    def all_scores(flat):
        both = eqx.combine(restore(flat), fixed)
        if problem.scores.ndim == 1:
            return score_fn(both, inputs)
        return jax.vmap(lambda x: score_fn(both, x))(inputs)

    scores = all_scores(flat)
    if scores.shape != problem.scores.shape or not np.allclose(
        scores, problem.scores, rtol=1e-5, atol=1e-5
    ):
        raise refuse(
            "score_fn",
            f"its scores, of shape {scores.shape}, are not those of the problem, "
            f"of shape {problem.scores.shape}",
            "the same scores",
            "Make the problem of score_fn(params, x) for the same inputs.",
        )
    rows = jax.jacobian(all_scores)(flat).reshape(problem.scores.size, flat.size)
    rows = jnp.repeat(problem.weights, problem.labels)[:, None] * rows
    return rows.T if flat.size <= problem.scores.size else jnp.linalg.qr(rows.T, mode="r")
