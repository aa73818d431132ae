r"""The variance of a batch's mean gradient whose rows share their candidates.

**Definition.** A batch has B rows (x_i, g_i), independent from pop(x) pop(y|x) or the examples of
an epoch, and the gradient of their mean loss by the scores, G = (1/B) sum_i r_i at x_i, an
`[X, V]` array. Its variance is the trace of its covariance,

    Var = own + shared,    own = (A - M) / B,    shared = (1 - 1/B) (C - M),
    A = E||r||^2,    M = sum_x pop(x)^2 ||E[r | x]||^2,    C = E[r_i . r_j at one input], i != j.

`own` is what rows with negatives of their own would have; `shared`, the covariance of two rows,
is not divided by B. One set of negatives for all rows makes it positive. In-batch it has either
sign: rows share what they push down, but each also pushes down what another pulls up, and near the
population the two cancel. Rows meet where their inputs are the same, with chance pop(x)^2: scores
are taken for parameters, a table. Parameters that inputs share meet in all pairs of rows; nothing
here says how much.

**Exactly**, A and M are those of `exact`; C is an integral over a plane for each input
(`nce_bias.integrals.rows`; `.masked_rows` where hits are dropped). Independent rows: draws shared
by all rows, in-batch negatives, and, hits kept, both side by side. **By sampling**, whole batches
are drawn: epochs, views and hard negatives as well.

**Cost.** O(V N^2 / 2) for each input, N being about 160: a second for a thousand labels. O(V^2 N^2
/ 2) where hits are dropped: as long for thirty.

**Limits.** Golds of all rows and in-batch negatives are the same draws, so popularity has to be
that of the population. Two-row moments exist for softmax losses and losses that add up, uncorrected
or corrected by the q of the draws.

Source: derived in `nce_bias.integrals.rows`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from nce_bias._checks import NoExactMethod, check_count, concretely, is_traced, refuse
from nce_bias._gate import random_key
from nce_bias._reads import all_read, bind
from nce_bias._split_input import check_whole
from nce_bias.engine._exact import exact
from nce_bias.engine.batches import BatchVariance, estimated, sample_batches
from nce_bias.engine.plan import MOST_TERMS, Wish, check_asked, plan_for
from nce_bias.engine.shape import Plan, ask, input_rows
from nce_bias.golds import share_of
from nce_bias.losses import Loss, check_loss, infonce
from nce_bias.numerics.arrays import Array, each, to_jax, to_numpy
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.proposals import check_sides
from nce_bias.samplers import Sampler

#: Labels times pairs of nodes of an hour, 50 ns each.
MOST_PLANE = 2**36
#: What pop(y) may miss the population's by: rounding of sums over inputs in the given precision.
MISSED = 64.0


def batch_variance(  # noqa: PLR0913 (keyword-only)
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    batch: int | None = None,
    *,
    key: PRNGKeyArray | int | None = None,
    draws: int | None = None,
    tolerance: float = TOLERANCE,
) -> BatchVariance:
    """Variance of the mean gradient of a batch whose rows share their candidates.

    Parameters
    ----------
    problem : Problem
        Its popularity has to be the golds' own, as it is by default.
    sampler : Sampler
        `in_batch`; or independent draws with ``hits="keep"`` or "mask", drawn once for the whole
        batch; or sums of these.
    loss : Loss
        A softmax over candidates or `Additive`; sampled: any.
    batch : int, optional
        Rows, where `sampler` does not say how many.
    key : PRNG key or int, optional
    draws : int, optional
        With both, from so many sampled batches, at least 2, in place of exactly.
    tolerance : float
        Relative error allowed to each rule, in (0, 0.1).

    Returns
    -------
    BatchVariance

    Raises
    ------
    ValueError
        Negatives that rows cannot share, no number of rows or another than the sampler's, a
        popularity that is not the golds'.
    NoExactMethod
        Epochs, views, hard negatives, sums with dropped hits, losses without moments of two rows:
        the message names the call that samples.

    Examples
    --------
    Three log-uniform negatives shared by a whole batch: from 16 rows on more of them do not help.

    >>> problem = Problem([1.2, -0.4, 0.9, 0.3], [0.5, 0.1, 0.3, 0.1])
    >>> negatives = iid(log_uniform(), 3, hits="keep")
    >>> [round(batch_variance(problem, negatives, batch=b).variance, 3) for b in (1, 16, 256)]
    [0.487, 0.129, 0.106]

    In-batch negatives go the other way:

    >>> round(batch_variance(problem, in_batch(64)).ratio, 3)
    0.147

    Notes
    -----
    See `nce_bias.engine._batch_variance` for the definition and its limits.
    """
    check_whole(problem, "nb.batch_variance")
    check_asked(problem, sampler, loss) if draws is None else check_loss(loss)
    if not 0 < tolerance < 0.1:
        given = f"got {tolerance!r}"
        raise refuse("tolerance", given, "a number in (0, 0.1)", f"Leave it out for {TOLERANCE:g}.")
    problem = problem.dense()
    rows = _rows(sampler, batch)
    _check_shared(problem, sampler)
    if draws is not None or key is not None:
        if draws is None or key is None:
            raise refuse(
                "key" if key is None else "draws",
                "got None",
                "key and draws together",
                "batch_variance(problem, sampler, loss, key=0, draws=10_000) samples.",
            )
        check_count("draws", draws, least=2)
        with concretely(problem, sampler, loss):
            sampler.check(problem)
            loss.check(problem, sampler)
        means = sample_batches(problem, sampler, loss, rows, key=random_key(key), draws=draws)
        return estimated(means, rows)
    return _exactly(problem, sampler, loss, rows, tolerance)


def _rows(sampler: Sampler, batch: int | None) -> int:
    """How many rows a batch has."""
    if batch is None and sampler.rows is None:
        raise refuse(
            "batch",
            f"got None, and {sampler!r} does not say how many rows share it",
            "a whole number >= 1",
            "For example batch_variance(problem, sampler, loss, batch=64).",
        )
    rows = sampler.rows if batch is None else check_count("batch", batch)
    assert rows is not None
    if sampler.rows not in (None, rows):
        raise refuse(
            "batch",
            f"got {batch} with {sampler!r}",
            f"{sampler.rows}, the rows of its batches",
            "Leave batch out.",
        )
    return rows


def _check_shared(problem: Problem, sampler: Sampler) -> None:
    """Refuse negatives that differ by row, and a popularity that is not that of the golds."""
    check_sides(sampler, problem)
    reads = all_read(sampler, problem.sides) - {"popularity"}
    if len(problem.weights) == 1:
        reads -= {"scores", "input", *problem.sides}
    elif sampler.reads_scores:
        reads |= {"scores"}
    row, seen = problem.score_rows[0], _seen(problem)
    shared = None if reads else bind(sampler, seen).batch(row, problem.popularity)
    if shared is None:
        why = f"reads {', '.join(sorted(reads))}" if reads else "draws for each gold by itself"
        raise refuse(
            "sampler",
            f"{sampler!r} {why}, and rows of a batch differ in that",
            'nb.in_batch(size), nb.iid(proposal, m, hits="keep") or sums of them',
            "Negatives of one's own for each row have the variance of nb.exact over the batch.",
        )
    if is_traced(problem):
        return
    golds = np.asarray(problem.weights) @ np.asarray(problem.population_rows)
    missed = np.abs(golds - np.asarray(problem.popularity)).max()
    if missed > MISSED * np.finfo(golds.dtype).eps + float(problem.renormalised):
        raise refuse(
            "popularity",
            f"differs from weights @ population by {missed:.2g}",
            "the frequencies of the golds, which the rows of a batch have",
            "Leave popularity out; a proposal of other frequencies is nb.from_probabilities(q).",
        )


def _seen(problem: Problem) -> Any:
    return eqx.tree_at(
        lambda seen: (seen.input, *seen.sides.values()),
        problem.seen_rows,
        [0, *(side[0] for side in problem.seen_rows.sides.values())],
    )


def _exactly(
    problem: Problem, sampler: Sampler, loss: Any, rows: int, tolerance: float
) -> BatchVariance:
    one = exact(problem, sampler, loss, tolerance=tolerance, split=False)
    weights = np.asarray(problem.weights, np.float64)
    squares = np.asarray(one.by_input.gradient_square, np.float64)
    lengths = np.abs(np.atleast_2d(np.asarray(one.gradient, np.float64))).sum(axis=-1)
    second = float(weights @ (np.asarray(one.by_input.variance, np.float64) + squares))
    mean = float(weights**2 @ squares)
    own = (second - mean) / rows
    line = float(one.error) * ((2 * second + 4) / rows + 2 * float(weights**2 @ lengths))
    if rows == 1:
        return BatchVariance(1, own, own, 0.0, line, {}, one.method)
    with np.errstate(all="ignore"):  # infinities, and what they make, are meant
        plan = plan_for(
            to_numpy(problem), to_numpy(sampler), loss, Wish(tolerance, False, "direct")
        )
        golds = problem.labels if sampler.may_be_empty else 1  # hits are dropped
        terms = len(weights) * plan.rule.nodes**2 // 2 * problem.labels * golds
        if terms > MOST_PLANE:
            raise NoExactMethod(
                f"{len(weights)} inputs of {problem.labels} labels, {plan.rule.nodes} nodes a "
                "side, would take more than an hour. Use nb.batch_variance(problem, sampler, loss, "
                "batch, key=key, draws=10_000), or some of the inputs: problem.take(inputs)."
            )
        small = terms <= MOST_TERMS and sampler.portable
        asked = to_numpy(problem) if small else to_jax(problem)
        solve = _solve if small else _compiled_solve
        found = solve(asked, loss, plan if small else to_jax(plan))
    if found is None:
        raise NoExactMethod(
            f"{loss.name} with {sampler!r} has no exact moments of two rows: they are there for "
            "independent rows of one view and losses that are a softmax over candidates or add up "
            "without reading the gold. Use nb.batch_variance(problem, sampler, loss, batch, "
            "key=key, draws=10_000), which gives each number with its standard error."
        )
    product, size, errors = (np.asarray(part, np.float64) for part in found)
    share = 1 - 1 / rows
    shared = float(share * (weights**2 @ product - mean))
    plane = float(weights**2 @ (size * errors))
    how = f"exact, {plan.rule.nodes} nodes a side" if plan.rule.nodes else "exact, closed form"
    return BatchVariance(
        batch=rows,
        variance=own + shared,
        own=own,
        shared=shared,
        error=share * plane + line,
        standard_errors={},
        method=how,
    )


def _solve(
    problem: Problem, loss: Any, plan: Plan
) -> tuple[Float[Array, " X"], Float[Array, " X"], Float[Array, " X"]] | None:
    """E[r_i . r_j] of each input, the size of its terms, and their relative error."""
    missing = []

    def row(inputs):
        scores, targets, seen = inputs
        shared = bind(plan.sampler, seen).batch(scores, problem.popularity)
        assert shared is not None  # it was checked
        common = shared.common
        # the law knows no gold, so neither do corrections: those of gold 0 are everyone's
        at = ask(problem, loss, plan, (scores, seen)).at(0, share_of(targets, scores))
        kind = shared.crossed, shared.drops_hits
        found = None if common is None else at.two_rows(common, *kind)
        if found is None:
            missing.append(True)
            return (scores[0],) * 3
        error = at.error()
        return found.product, found.size, error * (2 + error)

    found = each(row, input_rows(problem))
    return None if missing else found


_compiled_solve = eqx.filter_jit(_solve)
