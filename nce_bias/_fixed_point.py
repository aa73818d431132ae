r"""What a contrastive loss learns: the scores at which its expected gradient vanishes.

A tabular model trained on the contrastive loss stops at scores s with

    gamma(y|x; s) = pop(y|x)    for all labels,

the population held fixed and the negatives following the scores where they depend on them (model
negatives), as they do in training. Cross entropy stops at s = log pop(y|x) + c(x); a loss is
*Fisher consistent* where this agrees.

**Existence.** Where the negatives do not depend on the scores, the expected candidate-softmax loss
is convex in s (the mean of log-sum-exps less linear terms). If every label occurs as a gold and
every other one as its negative, it grows in all directions but the constant one: there is exactly
one fixed point up to a constant. Negatives that follow the scores are the gradient of nothing:
there may be several, or none (`top`, whose negatives jump).

**A family of answers.** Uncorrected, hits kept, any iid q(y; s): the gradient vanishes where
s + log q = log pop + c, for every m. So a fixed q teaches log pop - log q (popularity negatives the
pointwise mutual information), and model negatives of temperature T teach T / (1 + T) log pop: at
T = 1 the model learns the square root of the population. Masked or excluded, hits change this.

**Method.** With F_y = log(gamma_y / pop_y) = log(1 + gradient_y / pop_y), which has full relative
precision for rare labels too, Newton's method on F_y + log sum_y' exp s_y' for each input, from
log pop. The second term fixes the constant, and vanishes with the first where the gradient sums to
0, since then sum_y pop_y e^{F_y} = 1; for other losses, whose scores have no free constant, it is
left out. Steps by GMRES on differences of F, halved until the norm of F falls: the negatives are
simply drawn at the other scores, so their dependence is in the derivative although no gradient
flows through it in the loss.

Source: Knoll & Keyes (2004), "Jacobian-free Newton-Krylov methods", for the solver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator, gmres

from nce_bias._checks import check_count, is_traced, refuse
from nce_bias.engine._exact import exact
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, infonce
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Relative accuracy of a Newton step, and the most directions it may take.
INNER, DIRECTIONS = 1e-3, 200
#: Most that a step may change a score.
LONGEST = 20.0
#: Halvings of a step before the search gives up.
HALVINGS = 12

#: A function of scores [V] to [V].
Vector = Callable[[np.ndarray], np.ndarray]


class FixedPoint(eqx.Module):
    """Scores at which the expected contrastive gradient vanishes, and how they were found.

    Attributes
    ----------
    scores : [X, V]
        Log-probabilities (each row normalised) for a loss over a candidate softmax; as found for
        one whose gradient does not sum to 0 over labels.
    distance : scalar
        sqrt(sum_x pop(x) ||softmax(s) - pop||^2): how far from Fisher consistent.
    residual : float
        Largest |gamma / pop - 1| over inputs and labels.
    moments : Moments
        At these scores; `moments.gradient` is what is left of the gradient.
    status : str
        "ok" or "did not converge: best returned; ...".
    steps : int
        Newton steps, the most of any input.
    """

    scores: Float[Array, "*X V"]
    distance: Float[Array, ""]
    residual: float = eqx.field(static=True)
    moments: Moments
    status: str = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.scores.shape))
        return (
            f"FixedPoint of {self.moments.loss_name} with {self.moments.sampler}, "
            f"scores [{shape}]\n"
            f"  distance to the population {float(self.distance):.6g}\n"
            f"  {self.status}; {self.steps} steps, residual {self.residual:.1g}"
        )


def fixed_point(
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    steps: int = 200,
    tolerance: float = 1e-10,
) -> FixedPoint:
    """The scores at which the expected gradient of `loss` with negatives from `sampler` vanishes.

    Parameters
    ----------
    problem : Problem
        Population, popularity and input weights. Its scores do not matter.
    sampler, loss
        As for `exact`.
    steps : int
        Most Newton steps for each input.
    tolerance : float
        The `residual` at which a point counts as fixed; at least 64 rounding errors of the dtype.

    Returns
    -------
    FixedPoint
        Also where the search did not converge: its best, and `status` says so.

    Raises
    ------
    ValueError
        A population with zeros, or what `exact` refuses.

    Notes
    -----
    Seconds for one input and V = 1000 with iid negatives. Two integrals deep, sampling without
    replacement is for few labels.

    Examples
    --------
    Popularity negatives, uncorrected, hits kept: what is learnt is the pointwise mutual information
    log pop(y|x) - log pop(y).

    >>> import numpy as np
    >>> population, popular = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    >>> problem = Problem(np.zeros(3), population, popularity=popular)
    >>> found = fixed_point(problem, iid(popularity(), m=2, hits="keep"))
    >>> found.status
    'ok'
    >>> ratio = population / popular
    >>> bool(np.allclose(np.exp(found.scores), ratio / ratio.sum(), rtol=1e-9))
    True
    """
    check_count("steps", steps)
    _check(problem)
    tolerance = max(tolerance, 64 * float(np.finfo(problem.scores.dtype).eps))
    at_start = eqx.tree_at(lambda p: p.kept, problem, jnp.log(problem.population))
    exact(at_start, sampler, loss, split=False)  # refuses what does not fit
    sized = sampler.sized(at_start, TOLERANCE)
    solutions = [
        _solve(_log_ratio(at_start.take([x]), sized, loss), row, steps, tolerance)
        for x, row in enumerate(np.asarray(problem.population_rows))
    ]
    scores = np.stack([solution.scores for solution in solutions]).reshape(problem.scores.shape)
    solved = eqx.tree_at(lambda p: p.kept, problem, jnp.asarray(scores, problem.scores.dtype))
    residual = max(solution.residual for solution in solutions)
    used = max(solution.steps for solution in solutions)
    difference = jnp.exp(jnp.atleast_2d(solved.log_model)) - problem.population_rows
    return FixedPoint(
        scores=solved.scores,
        distance=jnp.sqrt(problem.weights @ jnp.sum(difference**2, axis=-1)),
        residual=residual,
        moments=exact(solved, sampler, loss),
        status=_status(residual <= tolerance, used >= steps),
        steps=used,
    )


def _check(problem: Problem) -> None:
    if is_traced(problem):
        raise refuse(
            "problem",
            "got traced values",
            "concrete ones",
            "Call fixed_point outside jax.jit, jax.vmap and jax.grad.",
        )
    missing = np.argwhere(np.asarray(problem.population_rows) == 0)
    if missing.size:
        row, label = (int(i) for i in missing[0])
        raise refuse(
            "population",
            f"pop(y|x) = 0 at label {label} of input {row}, where the fixed point has score -inf",
            "pop(y|x) > 0 everywhere",
            "Leave out the label or smooth the population.",
        )


def _status(converged: bool, exhausted: bool) -> str:
    """In words without a measured number, which two machines round differently."""
    if converged:
        return "ok"
    remedy = "raise steps" if exhausted else "there may be no fixed point"
    return f"did not converge: best returned; {remedy}"


@eqx.filter_jit
def _gradient(problem: Problem, scores: Array, sampler: Sampler, loss: Loss) -> Array:
    at = eqx.tree_at(lambda p: p.kept, problem, scores[None])
    return exact(at, sampler, loss, split=False).gradient[0]


def _log_ratio(one: Problem, sampler: Sampler, loss: Loss) -> Vector:
    """s -> log(gamma / pop) of a problem of one input, which keeps its number and its sides."""
    population = np.asarray(one.population_rows[0], float)

    def function(scores: np.ndarray) -> np.ndarray:
        at = jnp.asarray(scores, one.popularity.dtype)
        gradient = np.asarray(_gradient(one, at, sampler, loss), float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log1p(gradient / population)

    return function


def _difference_step(dtype: Any) -> float:
    """sqrt(eps): a step of differences, and the size of what they cannot tell from 0."""
    return float(np.sqrt(np.finfo(dtype).eps))


def _log_sum(scores: np.ndarray) -> float:
    return float(np.logaddexp.reduce(scores))


class _Solution(NamedTuple):
    """One input's: see the fields of `FixedPoint`."""

    scores: np.ndarray
    residual: float
    steps: int


def _solve(log_ratio: Vector, population: np.ndarray, steps: int, tolerance: float) -> _Solution:
    """Newton's method on `system` for one input; see the module."""
    scores = np.log(population.astype(float))
    scores -= _log_sum(scores)
    value = log_ratio(scores)
    total = population @ np.expm1(log_ratio(scores + 1.0))
    free = bool(np.abs(total) < _difference_step(population.dtype))

    def system(scores: np.ndarray) -> np.ndarray:
        return log_ratio(scores) + (_log_sum(scores) if free else 0.0)

    taken, enough = 0, 0.01 * tolerance
    for taken in range(1, steps + 1):
        if not np.isfinite(value).all() or np.max(np.abs(np.expm1(value))) <= enough:
            taken -= 1
            break
        direction = _newton_step(system, scores, value, population.dtype)
        length, moved = _line_search(system, scores, value, direction)
        if length == 0:
            break
        scores, value = scores + length * direction, moved
    if free:
        scores = scores - _log_sum(scores)
    residual = np.max(np.abs(np.expm1(log_ratio(scores))))
    return _Solution(scores, float(np.nan_to_num(residual, nan=np.inf)), taken)


def _newton_step(system: Vector, scores: np.ndarray, value: np.ndarray, dtype: Any) -> np.ndarray:
    """The step of GMRES on differences, cut to `LONGEST`."""
    spacing = _difference_step(dtype)

    def along(direction: np.ndarray) -> np.ndarray:
        size = np.max(np.abs(direction))
        if size == 0:
            return np.zeros_like(direction)
        step = spacing / size
        return (system(scores + step * direction) - value) / step

    operator = LinearOperator((scores.size, scores.size), matvec=along, dtype=np.float64)  # type: ignore[call-arg]
    restart = min(scores.size, DIRECTIONS)
    direction = gmres(operator, -value, rtol=INNER, atol=0.0, restart=restart, maxiter=1)[0]
    return direction * min(1.0, LONGEST / max(np.max(np.abs(direction)), LONGEST))


def _line_search(
    system: Vector, scores: np.ndarray, value: np.ndarray, direction: np.ndarray
) -> tuple[float, np.ndarray]:
    """The longest of 1, 1/2, 1/4, ... that brings the residual down; 0 if none does."""
    size = np.linalg.norm(value)
    for halving in range(HALVINGS):
        length = 0.5**halving
        moved = system(scores + length * direction)
        if np.linalg.norm(moved) < (1 - 1e-4 * length) * size:
            return length, moved
    return 0.0, value
