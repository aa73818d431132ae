r"""The proposal of least bias: what to draw negatives from.

The selection probability gamma(q) of m iid negatives is a smooth function of the proposal q, so the
q that minimises the bias can be found. For one input it solves

    minimise  ||p - gamma(q)||   over  q_y >= floor,  sum_y q_y = 1,

for several inputs, which share one q, it is the norm weighted by pop(x), sum_x pop(x) ||.||^2; with
a score function, the norm of the bias of its parameters, b = sum_x pop(x) J_x^T eps(.|x).

**When zero can be reached.** One input has V - 1 unknowns for V - 1 equations: q can be exactly
unbiased, at an isolated point. X inputs have X times as many equations, so a shared q is unbiased
by accident alone; d < V - 1 parameters have fewer, so there it is unbiased in many ways, or none.
What often stands in the way is q >= 0. Against m negatives, each of a weight of at most that of the
best other label, an uncorrected loss picks a gold y with a chance of at least
p_y / (p_y + m max_{y' != y} p_y'), whatever they are drawn from. So gamma = p needs

    pop(y) <= p_y + m max_{y' != y} p_y'    for every label y:

few negatives cannot draw attention away from a gold that is much more frequent than the model
thinks. Where scores are flat and hits kept this is sufficient too: gamma = (pop + m q) / (m + 1),
so q = ((m + 1) / V - pop) / m. Two labels and m = 1: q is proportional to p / pop. For m to
infinity and hits kept, uniform q is unbiased and the Jacobian there is regular, so zero is reached
for every m that is large enough. With hits excluded the share of y is also at most
1 - pop(y) + pop(y) p_y / (p_y + m min p): a label with p_y + pop(y) > 1 keeps a bias for large m.
There the least bias is a limit that no q attains, the point mass on y, without which as a gold the
rest of q is renormalised: with a `floor` there is a minimum.

**Method.** Bounded least squares (`scipy.optimize.least_squares`, a trust region whose iterates
stay inside the bounds) on the exact bias with its exact Jacobian, V reverse passes per input and
step; for more than `DENSE` elements of Jacobian L-BFGS, which is far slower to converge. The start
is the best of uniform, popularity and mean model negatives. For m = 1, uncorrected, hits masked or
kept, gamma is linear in q and the minimum global; otherwise it is local.

**Certificate.** `gap` is max over q' of <grad, q - q'> with grad that of half the squared norm: 0
exactly at a stationary point of the constrained problem, labels with q = 0 included; where the
problem is convex, half the squared norm exceeds its minimum by no more (Frank & Wolfe, 1956).
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from nce_bias._checks import check_count, is_traced, refuse
from nce_bias.engine._exact import exact
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, infonce
from nce_bias.optimal.objective import Objective, pull_back
from nce_bias.optimal.search import descend, least_squares
from nce_bias.problem import Problem
from nce_bias.proposals import (
    FromProbabilities,
    Proposal,
    from_probabilities,
    log_proposal_rows,
    model,
    popularity,
    uniform,
)
from nce_bias.samplers import iid

#: Elements of the Jacobian [X V, V] up to which it is formed.
DENSE = 2**21
#: `gap` at a minimum, relative to half the squared norm; and in rounding errors, for float32.
GAP, ROUNDINGS = 1e-6, 256


class OptimalProposal(eqx.Module):
    """The proposal of least bias and how it was found.

    Attributes
    ----------
    proposal : callable
        q, for wherever a proposal goes.
    log_q : [V]
        Its logarithm.
    bias_norm : scalar
        What was minimised: the weighted ||p - gamma||, or ||b|| of a score function's parameters.
    moments : Moments
        Of the negatives drawn from q; `moments.bias_norm` is always the score-space norm.
    status : str
        "ok: zero reached", "ok: minimum" or "did not converge: ..., best returned".
    steps : int
        Evaluations of the bias.
    gradient_norm : float
        Of half the squared norm with respect to log q.
    gap : float
        See the module: 0 at a minimum, also where that has q = 0 somewhere.
    """

    proposal: FromProbabilities
    log_q: Float[Array, " V"]
    bias_norm: Float[Array, ""]
    moments: Moments
    status: str = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    gradient_norm: float = eqx.field(static=True)
    gap: float = eqx.field(static=True)

    def __repr__(self) -> str:
        q = np.exp(np.asarray(self.log_q))
        return (
            f"OptimalProposal of {self.moments.loss_name} with {self.moments.sampler}\n"
            f"  bias_norm {float(self.bias_norm):.6g}, q from {q.min():.3g} to {q.max():.3g}\n"
            f"  {self.status}; {self.steps} steps, gap {self.gap:.1g}, "
            f"gradient_norm {self.gradient_norm:.1g}"
        )


def optimal_proposal(
    problem: Problem,
    m: int,
    loss: Loss = infonce,
    *,
    hits: str = "mask",
    floor: float = 0.0,
    score_fn: Callable[[PyTree, PyTree], Float[Array, " V"]] | None = None,
    params: PyTree = None,
    inputs: PyTree = None,
    start: Proposal | None = None,
    steps: int = 200,
    tolerance: float = 1e-12,
) -> OptimalProposal:
    """The q from which m iid negatives have the least bias, shared by all inputs.

    Parameters
    ----------
    problem : Problem
        Scores, population, popularity and input weights. For a q of each input's own, solve each
        input alone.
    m, loss, hits
        As for `iid` and `exact`.
    floor : float
        Least probability of a label, in [0, 1/V]: q_y >= floor. Without it q may leave labels out,
        and they are never drawn.
    score_fn, params, inputs
        As for `gradient_bias`, all three or none: minimise the bias of the parameters. The scores
        of `problem` must be those of the score function.
    start : proposal, optional
        Where to begin. Default: the best of uniform, popularity and model (its mean over inputs).
    steps : int
        Most evaluations of the bias (of bias and gradient for L-BFGS).
    tolerance : float
        A bias norm that counts as zero; at least the `error` of the exact result.

    Returns
    -------
    OptimalProposal
        Also where the search did not converge: its best, and `status` says so.

    Raises
    ------
    ValueError
        A floor outside [0, 1/V], some of score_fn, params, inputs, scores that are not the score
        function's, or what `iid` and `exact` refuse.

    Notes
    -----
    Seconds for V = 200, one to three minutes for V = 1000 on two cores: a step costs
    O(X V^2 (N + V)), and there are 5 to 20 of them.

    Examples
    --------
    Two labels and one negative: q is proportional to p / pop.

    >>> import numpy as np
    >>> problem = Problem(np.log([0.6, 0.4]), [0.9, 0.1])
    >>> found = optimal_proposal(problem, m=1)
    >>> found.status
    'ok: zero reached'
    >>> bool(np.allclose(np.exp(found.log_q), [1 / 7, 6 / 7], rtol=1e-12))
    True
    """
    check_count("steps", steps)
    if is_traced(problem):
        raise refuse(
            "problem",
            "got traced values",
            "concrete ones",
            "Call optimal_proposal outside jax.jit, jax.vmap and jax.grad.",
        )
    labels = problem.labels
    if not 0 <= floor <= 1 / labels:
        raise refuse(
            "floor",
            f"got {floor!r}",
            f"0 <= floor <= 1/V = {1 / labels:g}",
            "Every q_y is at least the floor, and they sum to 1.",
        )
    pull = pull_back(problem, score_fn, params, inputs)
    candidates = [start] if start is not None else [uniform(), popularity(), model()]
    exact(problem, iid(candidates[0], m, hits), loss, split=False)  # refuses what does not fit
    objective = Objective(problem, loss, hits, floor, pull, m)
    points = [_inside(proposal, problem, floor) for proposal in candidates]
    norms = [float(np.linalg.norm(objective.residuals(b))) for b in points]
    search = least_squares if problem.scores.size * labels <= DENSE else descend
    b, used = search(objective, points[int(np.nanargmin(norms))], steps)
    b = b / b.sum()
    half, slope = objective.half_square(b)
    norm, gap = (2 * half) ** 0.5, max(0.0, -float(slope.min()))
    q = floor + (1 - labels * floor) * b
    proposal = from_probabilities(np.asarray(q / q.sum(), problem.scores.dtype))
    moments = exact(problem, iid(proposal, m, hits), loss)
    zero = max(tolerance, float(moments.error))
    eps = float(np.finfo(problem.scores.dtype).eps)
    return OptimalProposal(
        proposal=proposal,
        log_q=proposal.log_q,
        bias_norm=moments.bias_norm if pull is None else jnp.asarray(norm, proposal.log_q.dtype),
        moments=moments,
        status=_status(norm, gap, zero, eps, used, steps),
        steps=used,
        gradient_norm=float(np.linalg.norm(b * slope)),
        gap=gap,
    )


def _status(norm: float, gap: float, zero: float, eps: float, used: int, steps: int) -> str:
    if norm <= zero:
        return "ok: zero reached"
    relative = gap / (0.5 * norm**2)
    if relative <= max(GAP, ROUNDINGS * eps):
        return "ok: minimum"
    remedy = "raise steps" if used >= steps else "try another start or a floor > 0"
    return (
        f"did not converge: after {used} steps the gap is {relative:.1g} of the squared norm, "
        f"best returned; {remedy}"
    )


def _inside(proposal: Proposal, problem: Problem, floor: float) -> np.ndarray:
    """A start: the mean q over inputs as b, with q = floor + (1 - V floor) b, and all b > 0."""
    q = np.asarray(problem.weights @ jnp.exp(log_proposal_rows(proposal, problem)), float)
    room = 1 - problem.labels * floor
    b = np.maximum(q - floor, 0) / room if room > 0 else np.ones_like(q)
    b = b / b.sum() if b.sum() > 0 else np.ones_like(q) / q.size
    return (1 - 1e-6) * b + 1e-6 / q.size
