r"""The proposal of least bias: what to draw negatives from.

The selection probability gamma(q) of m iid negatives is a smooth function of the proposal q, so the
q that minimises the bias can be found. For one input it solves

    minimise  ||p - gamma(q)||   over  q_y >= floor,  sum_y q_y = 1,

for several inputs, which share one q, it is the norm weighted by pop(x), sum_x pop(x) ||.||^2; with
a model, the norm of the bias of its parameters, b = sum_x pop(x) J_x^T eps(.|x).

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
problem is convex, half the squared norm exceeds its minimum by no more (Frank & Wolfe, 1956). The
search goes on until it is closed, and where rounding keeps it open the angle between residuals and
every move decides (`nce_bias.optimal.certificate`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from nce_bias import proposals
from nce_bias._checks import check_count, is_traced, refuse
from nce_bias.engine._exact import exact
from nce_bias.engine._pull_back import ScoreModel
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, infonce
from nce_bias.optimal.certificate import certify
from nce_bias.optimal.objective import Objective, parameter_space
from nce_bias.optimal.search import descend, least_squares
from nce_bias.problem import Problem
from nce_bias.samplers import Iid, iid

#: Elements of the Jacobian [X V, V] up to which it is formed.
DENSE = 2**21

F = TypeVar("F", bound=Callable[..., Any])


class OptimalProposal(eqx.Module):
    """The proposal of least bias and how it was found.

    Attributes
    ----------
    proposal : callable
        q, for wherever a proposal goes.
    log_q : [V]
        Its logarithm.
    bias_norm : scalar
        What was minimised: the weighted ||p - gamma||, or ||b|| of a model's parameters.
    moments : Moments
        Of the negatives drawn from q; `moments.bias_norm` is always the score-space norm.
    status : str
        "ok: zero reached", "ok: minimum" or "did not converge: best returned; ...".
    steps : int
        Evaluations of the bias.
    gradient_norm : float
        Of half the squared norm with respect to log q.
    gap : float
        See the module: 0 at a minimum, also where that has q = 0 somewhere.
    """

    proposal: proposals.FromProbabilities
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


def _old_call_for_one_release(function: F) -> F:
    """Take ``score_fn=`` and ``params=`` in place of ``model=`` too, and say so."""

    @functools.wraps(function)
    def either(*arguments: Any, **options: Any) -> Any:
        if "score_fn" in options and "params" in options:
            warnings.warn(
                "nb.optimal_proposal(..., score_fn=, params=) is nb.optimal_proposal(..., "
                "model=nb.ScoreModel(score_fn, params)) now; the next release takes the old call "
                "no more",
                DeprecationWarning,
                stacklevel=2,
            )
            options["model"] = ScoreModel(options.pop("score_fn"), options.pop("params"))
        return function(*arguments, **options)

    return either  # type: ignore[return-value]


@_old_call_for_one_release
def optimal_proposal(  # noqa: PLR0913
    problem: Problem,
    m: int,
    loss: Loss = infonce,
    *,
    hits: str = "mask",
    floor: float = 0.0,
    model: ScoreModel | None = None,
    inputs: PyTree = None,
    start: proposals.Proposal | None = None,
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
    model, inputs
        As for `gradient_bias`: minimise the bias of the model's parameters in place of that of the
        scores. The scores of `problem` must be those of the model.
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
        A floor outside [0, 1/V], scores that are not the model's, or what `ScoreModel`, `iid` and
        `exact` refuse.

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
    _check(problem, floor)
    to_parameters = parameter_space(problem, model, inputs)
    starts = [start] if start is not None else [factory() for factory in STARTS]
    sampler = iid(starts[0], m, hits)
    if not isinstance(sampler, Iid):
        raise refuse(
            "hits", f"got {hits!r}", "'exclude', 'mask' or 'keep'", "The search is made for these."
        )
    exact(problem, sampler, loss, split=False)  # refuses what does not fit
    objective = Objective.of(problem, sampler, loss, floor=floor, to_parameters=to_parameters)
    points = [_inside(proposal, problem, floor) for proposal in starts]
    norms = [float(np.linalg.norm(objective.residuals(b))) for b in points]
    dense = problem.scores.size * problem.labels <= DENSE
    search = least_squares if dense else descend
    b, used = search(objective, points[int(np.nanargmin(norms))], steps, tolerance)
    b = b / b.sum()
    certificate = certify(objective, b, dense=dense)
    q = floor + (1 - problem.labels * floor) * b
    proposal = proposals.from_probabilities(np.asarray(q / q.sum(), problem.scores.dtype))
    assert isinstance(proposal, proposals.FromProbabilities)
    moments = exact(problem, iid(proposal, m, hits), loss)
    in_scores = to_parameters is None
    return OptimalProposal(
        proposal=proposal,
        log_q=proposal.log_q,
        bias_norm=moments.bias_norm
        if in_scores
        else jnp.asarray(certificate.norm, proposal.log_q.dtype),
        moments=moments,
        status=certificate.status(max(tolerance, float(moments.error)), used >= steps),
        steps=used,
        gradient_norm=certificate.gradient_norm,
        gap=certificate.gap,
    )


#: Where a search may begin.
STARTS = (proposals.uniform, proposals.popularity, proposals.model)


def _check(problem: Problem, floor: float) -> None:
    if is_traced(problem):
        raise refuse(
            "problem",
            "got traced values",
            "concrete ones",
            "Call optimal_proposal outside jax.jit, jax.vmap and jax.grad.",
        )
    if not 0 <= floor <= 1 / problem.labels:
        raise refuse(
            "floor",
            f"got {floor!r}",
            f"0 <= floor <= 1/V = {1 / problem.labels:g}",
            "Every q_y is at least the floor, and they sum to 1.",
        )


def _inside(proposal: proposals.Proposal, problem: Problem, floor: float) -> np.ndarray:
    """A start: the mean q over inputs as b, with q = floor + (1 - V floor) b, and all b > 0."""
    log_q = proposals.log_proposal_rows(proposal, problem)
    q = np.asarray(problem.weights @ jnp.exp(log_q), float)
    room = 1 - problem.labels * floor
    b = np.maximum(q - floor, 0) / room if room > 0 else np.ones_like(q)
    b = b / b.sum() if b.sum() > 0 else np.ones_like(q) / q.size
    return (1 - 1e-6) * b + 1e-6 / q.size
