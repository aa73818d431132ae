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
from nce_bias.engine._pull_back import ScoreModel, check_model, linearize_scores
from nce_bias.losses import Loss
from nce_bias.problem import Problem
from nce_bias.proposals import FromProbabilities
from nce_bias.samplers import Iid, iid

#: Elements of the derivative [X V, d] of a score function's scores.
LARGEST_PULL_BACK = 2**26
#: Labels times reverse passes taken at a time; small enough to stay in cache.
BLOCK = 2**14


class Objective(eqx.Module):
    """Residuals r(b) whose norm is the bias, weighted over inputs or taken to the parameters.

    `to_parameters` is a matrix A with ||A eps|| = ||b|| (`parameter_space`); None for the norm of
    the scores' bias.
    """

    problem: Problem
    loss: Loss
    m: Float[Array, ""]
    hits: str = eqx.field(static=True)
    floor: Float[Array, ""]
    to_parameters: Float[Array, "k XV"] | None

    @classmethod
    def of(cls, problem: Problem, sampler: Iid, loss: Loss, *, floor: float, to_parameters: Any):
        """For the m and hits of `sampler`; traced, so that all m and floors share a compilation."""
        dtype = problem.scores.dtype
        m, least = jnp.asarray(sampler.m, dtype), jnp.asarray(floor, dtype)
        return cls(problem, loss, m, sampler.hits, least, to_parameters)

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
        of_inputs = jax.lax.map(function, rows)
        flat = of_inputs.reshape(-1, *of_inputs.shape[2:])
        if self.to_parameters is not None:
            return self.to_parameters @ flat
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


def parameter_space(
    problem: Problem, model: ScoreModel | None, inputs: PyTree
) -> Float[Array, "k XV"] | None:
    """A matrix A with ||A eps|| = ||b||, of min(d, X V) rows; None for a bias of scores."""
    if model is None:
        return None
    check_model(model)
    size = sum(leaf.size for leaf in jax.tree.leaves(model.trainable))
    if problem.scores.size * size > LARGEST_PULL_BACK:
        raise refuse(
            "model",
            f"got {size} parameters for {problem.scores.size} scores",
            f"a product of at most {LARGEST_PULL_BACK}",
            "Pass fewer inputs or fewer of the parameters, or leave model out.",
        )
    scores, back = linearize_scores(model, inputs, many=problem.scores.ndim == 2)
    if scores.shape != problem.scores.shape or not np.allclose(
        scores, problem.scores, rtol=1e-5, atol=1e-5
    ):
        raise refuse(
            "model",
            f"its scores, of shape {scores.shape}, are not those of the problem, "
            f"of shape {problem.scores.shape}",
            "the same scores",
            "Make the problem of model.scores(inputs), or model(x) for one input.",
        )
    units = jnp.eye(scores.size, dtype=scores.dtype).reshape(-1, *scores.shape)
    rows = jax.vmap(lambda unit: ravel_pytree(back(unit))[0])(units).astype(problem.scores.dtype)
    rows = jnp.repeat(problem.weights, problem.labels)[:, None] * rows
    return rows.T if size <= problem.scores.size else jnp.linalg.qr(rows.T, mode="r")
