r"""Exact moments of a contrastive gradient: one integral per gold, shared by all golds.

**Definition.** For an input with scores s, a gold g ~ pop and negatives y_2..y_K from a sampler,
the candidate softmax has weights w_+ (gold) and w (negatives), Z = w_+ + sum_k w(y_k), and loss
log Z - log w_+. By Frullani's integral the expected loss is

    L_g = E[log(Z / w_+)] = int_0^inf e^{-t w_+} (1 - F_g(t w)) dt / t,

with F_g the sampler's Laplace functional: positive terms alone, so even a loss of 1e-12 keeps its
digits. As a function of the log-weights (lambda_+ of the gold, lambda of the negatives, all copies
of a label sharing one) L is a potential:

    expected gradient   dL_g/ds = dL_g/dlambda + e_g dL_g/dlambda_+ = gamma(.|g) - e_g.

So one reverse-mode derivative of sum_g pop_g L_g gives the gradient averaged over the gold; nothing
is derived again for any sampler, and no V x V array appears. The selection probability is gamma =
gradient + pop, the bias eps = (p - pop) - gradient (Theorem 3.1 of Zhang & Stratos, 2021).

**Cost.** O(V N) for N nodes and one input; N is about 160 and grows by 4 per unit of the range of
the log-weights. Nodes are summed in chunks, so memory does not depend on N.

**Accuracy.** `error` bounds the absolute error of `selection`: the rule's a-priori bound
(`nce_bias.numerics.quadrature`), a rounding term eps (64 + size of the logarithms), and the
measured deviation of sum_y gamma from 1. Within a user's own `jax.jit` the number of nodes is fixed
and the step may grow: `error` says so.

**Limits.** A gold with score -inf has an infinite loss and p = 0; its gradient is still exact as
long as some negative has a positive weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import is_traced, refuse
from nce_bias.engine.in_blocks import goes_in_blocks, in_blocks
from nce_bias.engine.moments import Moments, Rows, assemble
from nce_bias.engine.on_devices import check_split, split_over
from nce_bias.engine.on_inputs import by_input, splits_inputs
from nce_bias.engine.plan import ENGINES, Wish, certified, check_asked, plan_at_once
from nce_bias.engine.shape import Plan, ask, input_rows, shape_of
from nce_bias.golds import share_of
from nce_bias.integrals.expectation import for_each_gold
from nce_bias.integrals.integrand import BLOCK
from nce_bias.losses import ExactLoss, Loss, infonce
from nce_bias.numerics.arrays import (
    each,
    is_numpy,
    namespace,
    softmax,
)
from nce_bias.numerics.devices import mesh_of, settled
from nce_bias.numerics.quadrature import CHUNK, TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


def exact(  # noqa: PLR0913 (keyword-only)
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    tolerance: float = TOLERANCE,
    split: bool | None = None,
    compiled: bool | None = None,
    engine: str = "auto",
    devices: Sequence[Any] | None = None,
    memory: float | int | None = None,
) -> Moments:
    """Exact moments of the contrastive gradient of `loss` with negatives from `sampler`.

    Parameters
    ----------
    problem : Problem
        Scores, population, popularity and input weights.
    sampler : Sampler
        `iid`, `without_replacement`, `poisson`, `top`, or sums of them.
    loss : Loss
        Any of `LOSSES`, or one of them `with_inclusion`; default `infonce`.
    tolerance : float
        Relative error allowed to the quadrature, in (0, 0.1). The default is exact to rounding; for
        a plot 1e-6 does, which makes sampling without replacement four times as fast.
    split : bool, optional
        Whether to split the variance into the negatives' and the gold's part. Default: where it is
        cheap, which it is but for many golds without replacement (NaN there; `method` says so).
    compiled: bool, optional
        Whether XLA compiles the integral for these shapes (seconds, once) or NumPy takes it as it
        is. The numbers are the same to rounding. Default: NumPy where that takes well under the
        time of a compilation.
    engine : {"auto", "direct", "atoms"}
        "direct" takes every label at every node. "atoms" spreads the labels of independent draws on
        a grid first, which costs some tens of softmaxes whatever m is; with more than 16 golds an
        input for losses that correct neither or both sides alike, the variance not split
        (`nce_bias.integrals.atoms`, `.crowd`). So it does those of `without_replacement`, m up to
        256, for at most 16 golds (`.distinct`), in seconds after a longer compilation. "auto" takes
        what is quicker; `method` says which it was.
    devices : sequence of JAX devices, optional
        Inputs are split over them where they are some times as many, of any problem, and labels
        otherwise, in equal parts: for observed golds, independent draws and losses that are a
        softmax over candidates (`nce_bias.engine.on_devices`). `selection`, `gradient` and `bias`
        stay where they are computed, the numbers are the same to rounding. Scores that a problem
        was given split by labels are computed where they are, without `devices`.
    memory : float, optional
        Bytes that the work may take, by default a quarter of what is free. Where `selection`,
        `gradient` and `bias` of all inputs are more, or scores are streamed and more than 2^26,
        inputs are taken in blocks under a progress bar, and the result has scalars and `by_input`
        without these fields.

    Returns
    -------
    Moments
        With `error`, a bound on the absolute error of `selection`.

    Raises
    ------
    ValueError
        A sampler or loss that does not fit the problem; the message says which argument and why.
    NoExactMethod
        A loss of another family, or a sampler whose exact law would take hours; the message names
        `monte_carlo`.

    Examples
    --------
    Two labels, one iid negative from the model with hits kept, at p = pop = (a, 1 - a): the bias
    norm is sqrt(2) a (1 - a) |2 a - 1|, not zero.

    >>> import numpy as np
    >>> a = 0.8
    >>> problem = Problem(np.log([a, 1 - a]), [a, 1 - a])
    >>> moments = exact(problem, iid(model(), m=1, hits="keep"))
    >>> bool(np.isclose(moments.bias_norm, 2**.5 * a * (1 - a) * abs(2 * a - 1), rtol=1e-12))
    True
    """
    if not 0 < tolerance < 0.1:
        raise refuse(
            "tolerance",
            f"got {tolerance!r}",
            "a number in (0, 0.1)",
            f"Leave it out for {TOLERANCE:g}.",
        )
    check_asked(problem, sampler, loss)
    if engine not in ENGINES:
        raise refuse("engine", f"got {engine!r}", " or ".join(map(repr, ENGINES)), "Pick one.")
    assert isinstance(loss, ExactLoss)
    if goes_in_blocks(problem, memory):
        return in_blocks(
            lambda part: exact(
                part,
                sampler,
                loss,
                tolerance=tolerance,
                split=split,
                compiled=compiled,
                engine=engine,
                devices=devices,
            ),
            problem,
            memory,
        )
    problem, inputs_apart = _on_devices(problem.dense(), devices)
    mesh = mesh_of(problem.kept)
    if mesh is not None:
        check_split(problem, sampler, loss, engine, compiled)
        engine = "atoms"
    with np.errstate(all="ignore"):  # infinities, and what they make, are meant
        note = certified(problem, sampler, loss)
        wish = Wish(tolerance, split, engine)
        asked, plan = plan_at_once(problem, sampler, loss, wish, bool(inputs_apart) or compiled)
        how = f"exact, {plan.rule.nodes} nodes" if plan.rule.nodes else "exact, closed form"
        how += f", {plan.rule.atoms.size} atoms" if plan.rule.atoms else ""
        count = len(inputs_apart) if mesh is None else mesh.size
        how += f", {count} devices" if count else ""
        if inputs_apart:
            asked, rows = by_input(_solve, (asked, loss, plan), inputs_apart)
        else:
            solve = _solve if is_numpy(asked.scores) else _compiled_solve
            rows = solve(asked, loss, plan)
        found = assemble(
            asked,
            rows if mesh is None else settled(rows),
            method=how + _left_out(plan),
            sampler=sampler,
            loss=loss,
        )
    qualified = note and found.status == "ok"
    return dataclasses.replace(found, status=f"ok: {note}") if qualified else found


def _on_devices(problem: Problem, devices: Sequence[Any] | None) -> tuple[Problem, Sequence[Any]]:
    """With its labels split over devices, or the devices for its inputs, which are split later."""
    if devices is None:
        return problem, ()
    whole = mesh_of(problem.kept) is None and not is_traced(problem)
    if whole and splits_inputs(problem, devices):
        return problem, devices
    return split_over(problem, devices), ()


def _left_out(plan: Plan) -> str:
    """What is NaN because it would take long."""
    if not plan.rule.squares:
        return ", variance left out, a plane of nodes (split=True takes it)"
    return "" if plan.golds else ", variance not split (split=True does)"


def _solve(problem: Problem, loss: ExactLoss, plan: Plan) -> Rows:
    shape = shape_of(problem, plan.sampler, loss)

    def row(inputs):
        scores, targets, seen = inputs
        population = share_of(targets, scores)
        asked = ask(problem, loss, plan, (scores, seen), prepared=True)
        if plan.golds and not shape.together:
            sums, error, squared_means = for_each_gold(asked.at, population, plan.golds)
        else:
            all_golds = asked.at(0, population)
            sums, error = all_golds.sums(), all_golds.error()
            squared_means = jnp.nan
            if plan.golds == 1:  # its own mean is that of all
                squared_means = namespace(scores).sum(sums.gradient**2)
            elif plan.golds:
                squared_means = all_golds.squared_means(plan.golds)
        xp = namespace(scores, asked.gold_scores)
        lost = xp.any((population > 0) & xp.isneginf(asked.gold_scores))
        model = softmax(scores)
        return Rows(
            loss=xp.where(lost, xp.inf, sums.loss),
            gradient=sums.gradient,
            second=sums.square - 2 * sums.own - 1,  # E||v - e||^2
            squared_means=xp.asarray(squared_means, scores.dtype),
            coverage=model @ (population + asked.included(population, plan.golds)),
            concentration=sums.concentration,
            error=error,
        )

    block = max(1, BLOCK // (CHUNK * shape.size))
    return each(row, input_rows(problem), batch_size=block if block > 1 else None)


_compiled_solve = eqx.filter_jit(_solve)
