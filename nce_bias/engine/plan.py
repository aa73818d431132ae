"""What is settled before anything is integrated: checked values, the rule, who computes.

A plan is made of shapes and score ranges alone: how many nodes the widest input needs, whether gaps
between scores are closed, whether labels are spread on atoms, for how many golds the variance is
split, and whether the whole is small enough for NumPy, which compiles nothing.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import NoExactMethod, check_kind, concretely, is_traced, refuse
from nce_bias._reads import reads_gold
from nce_bias.engine.on_atoms import FEW_GOLDS, PASSES, spread_for
from nce_bias.engine.shape import Plan, Shape, Wish, ask, input_rows, shape_of
from nce_bias.golds import Golds, share_of
from nce_bias.integrals import Rule
from nce_bias.integrals.log_sums import plane_nodes
from nce_bias.losses import ExactLoss, Loss, check_loss
from nce_bias.numerics.arrays import (
    Array,
    each,
    is_numpy,
    namespace,
    one_hot,
    to_jax,
    to_numpy,
    top_k,
)
from nce_bias.numerics.devices import mesh_of, settled
from nce_bias.numerics.gaps import MOST
from nce_bias.numerics.quadrature import TRACED_NODES, nodes_for, step_for
from nce_bias.problem import Problem
from nce_bias.proposals import check_sides, written_for_numpy
from nce_bias.samplers import Sampler

#: Golds times labels up to which a law that is not separable has its variance split by default.
CHEAP = 4096
#: The same for a separable law, where the split is a matrix product.
MATRIX = 2**24
#: Nats of log t from which on wide gaps between log-weights are closed (`numerics.gaps`) ...
LONG = 500.0
#: ... and how many there may be then: some four million nodes.
LONGEST = 1e6
#: Entries of the [nodes, labels] matrices of a split variance, half a gigabyte each.
MOST_HELD = 2**26
#: Numbers of the planes of nodes up to which second moments that need them are taken by default.
MOST_PLANE = 2**27
#: Ways to take the integral: those of `Wish.engine`.
ENGINES = ("auto", "direct", "atoms")
#: Calls of a user's proposal, of JAX's operations one by one, some 10 ms each.
MOST_FOREIGN = 64
#: Terms that NumPy takes, some 60 ns each: a quarter of a second, where a compilation takes five.
MOST_TERMS = 2**22


def check_asked(problem: Any, sampler: Any, loss: Any) -> None:
    """Refuse what is of the wrong kind, and a loss whose moments no integral gives."""
    check_kind("problem", problem, Problem, "nb.exact(problem, nb.iid(nb.uniform(), m=16))")
    check_kind("sampler", sampler, Sampler, "nb.iid(nb.uniform(), m=16), not the proposal alone")
    check_loss(loss)
    if not isinstance(loss, ExactLoss):
        raise NoExactMethod(
            f"{loss.name} has no exact moments: it has no `expectation` "
            "(nb.Additive and nb.LogSums do). Use nb.monte_carlo(problem, sampler, loss, key=key, "
            "draws=100_000), which gives each number with its standard error."
        )


def certified(problem: Problem, sampler: Sampler, loss: ExactLoss) -> str:
    """What a loss that is exact up to a certified chance has to say, or its NoExactMethod."""
    certify = getattr(loss, "certify", None)
    if certify is None or is_traced(problem, sampler, loss):
        return ""
    with concretely(problem, sampler, loss):
        return certify(problem, sampler)


def plan_at_once(
    problem: Problem, sampler: Sampler, loss: ExactLoss, wish: Wish, compiled: bool | None
) -> tuple[Problem, Plan]:
    """The problem in the arrays it is solved in, and the plan."""
    foreign = compiled is None and _foreign_calls(problem, sampler) > MOST_FOREIGN
    large = compiled is None and PASSES * problem.labels > MOST_TERMS
    ready = compiled or large or foreign or mesh_of(problem.kept) is not None
    if ready or not _portable(sampler, loss) or is_traced(problem, sampler, loss):
        return problem, plan_for(problem, sampler, loss, wish)
    small = to_numpy(problem)
    plan = plan_for(small, to_numpy(sampler), loss, wish)
    if plan.rule.rings or (compiled is None and plan.terms > MOST_TERMS):
        return problem, to_jax(plan)
    return small, plan


def terms(problem: Problem, sampler: Sampler, loss: Loss, tolerance: float) -> int:
    """How many numbers the integrals of a problem sum, from shapes and score ranges alone."""
    check_asked(problem, sampler, loss)
    assert isinstance(loss, ExactLoss)
    if _portable(sampler, loss) and not is_traced(problem, sampler):
        problem, sampler = to_numpy(problem), to_numpy(sampler)
    with np.errstate(all="ignore"):
        return plan_for(problem, sampler, loss, Wish(tolerance)).terms


def _portable(sampler: Sampler, loss: ExactLoss) -> bool:
    """Whether NumPy computes everything; a loss that says nothing leaves it to the sampler."""
    return sampler.portable and getattr(loss, "portable", lambda _: True)(sampler)


def _foreign_calls(problem: Problem, sampler: Sampler) -> int:
    """How often a proposal of a user's own would be called outside of a compiled program."""
    if written_for_numpy(sampler):
        return 0
    golds = problem.labels if reads_gold(sampler, problem.sides) else 1
    return len(problem.weights) * golds


def plan_for(problem: Problem, sampler: Sampler, loss: ExactLoss, wish: Wish) -> Plan:
    """Check the values, and size both rules for the widest input."""
    split = wish.split
    tolerance = max(wish.tolerance, float(jnp.finfo(problem.scores.dtype).eps) / 16)
    with concretely(problem, sampler, loss):
        if mesh_of(problem.kept) is None:  # else they were, `nce_bias.engine.on_devices`
            check_sides(sampler, problem)
            sampler.check(problem)
            loss.check(problem, sampler)
        spreads = (
            sampler.takes_atoms
            and wish.engine != "direct"
            and not is_traced(problem, sampler, loss)
        )
        sized = (sampler.measured if spreads else sampler.sized)(problem, tolerance)
        shape = shape_of(problem, sized, loss)
        golds = _golds(problem, shape, split)
        rule = Rule(sized.m, 0, tolerance)
        if not shape.integrates:
            _check_engine(wish.engine, sampler, problem)
            return Plan(sized, rule, golds)
        if is_traced(problem, sampler, loss):
            _check_engine(wish.engine, sampler, problem)
            traced = Rule(sized.m, TRACED_NODES, tolerance, squares=bool(split) or not shape.planes)
            return Plan(sized, traced, golds)
        measured = Plan(sized, rule, _golds(problem, shape, None))
        longest = _longest(problem, loss, measured)
        if not longest <= LONG:
            rule = Rule(sized.m, 0, tolerance, closes_gaps=True)
            longest = _longest(problem, loss, Plan(sized, rule, measured.golds))
            _check_length(longest)
    nodes = nodes_for(longest, step_for(tolerance))
    measured = Plan(sized, Rule(sized.m, nodes, tolerance, rule.closes_gaps), golds)
    # of what NumPy does at once, asking whether atoms would do it compiles more than it saves
    at_once = not shape.independent and nodes * shape.work <= MOST_TERMS and wish.engine == "auto"
    if shape.atoms and not rule.closes_gaps and wish.engine != "direct" and not at_once:
        spread = spread_for((problem, loss, shape), measured, longest, wish)
        if spread and (wish.engine == "atoms" or spread.work < nodes * shape.work):
            return spread.plan(len(problem.weights))
    _check_engine(wish.engine, sampler, problem)
    if spreads:
        sized.check_affordable(problem)
    if split is None and shape.together and golds and nodes * problem.labels > MOST_HELD:
        golds = 0
    work = shape.work + golds * shape.work_of_a_gold
    if golds and not shape.together:
        work = golds * shape.work
    terms = len(problem.weights) * nodes * work * shape.lines
    sides = len(problem.weights) * plane_nodes(nodes, tolerance) ** 2 * shape.planes
    plane = sides * max(1, golds) * (shape.size if shape.separable else shape.work)
    squares = bool(split) or plane <= MOST_PLANE
    final = Rule(sized.m, nodes, tolerance, rule.closes_gaps, squares=squares)
    return Plan(sized, final, golds, terms + (plane if squares else 0))


def _check_engine(engine: str, sampler: Sampler, problem: Problem) -> None:
    """Atoms were asked for where there are none."""
    if mesh_of(problem.kept) is not None:
        raise refuse(
            "scores",
            f"corrected, they spread over more than {LONG:g} nats, or values are traced, where "
            "labels are split over devices",
            "fewer nats, and concrete values",
            "Set labels that no one picks to -inf, or bring scores to one place: "
            "np.asarray(scores), and no devices=.",
        )
    if engine == "atoms":
        raise refuse(
            "engine",
            f"got 'atoms' for {sampler!r}",
            "independent or distinct draws, a loss that is a softmax over candidates, at most "
            f"{FEW_GOLDS} golds an input (more for independent draws, if the loss corrects neither "
            "or both sides alike and the variance is not split), and concrete values",
            "Leave engine out: it takes atoms where they serve.",
        )


def _longest(problem: Problem, loss: ExactLoss, plan: Plan) -> float:
    """The length of the rule in log t that the widest input needs."""
    measure = _lengths if is_numpy(problem.scores) else _compiled_lengths
    return float(np.max(np.asarray(settled(measure(problem, loss, plan)))))


def _check_length(longest: float) -> None:
    """Refuse scores that spread over so many nats, in so many steps, that it takes hours."""
    if not longest <= LONGEST:
        raise refuse(
            "scores",
            f"corrected, they spread over {longest:.3g} nats, in more than {MOST} steps",
            f"at most {LONGEST:.0g} nats besides {MOST} wide gaps",
            "Divide them by a temperature, or set labels that no one picks to -inf, and their "
            "population to 0.",
        )


def _lengths(problem: Problem, loss: ExactLoss, plan: Plan) -> Float[Array, " X"]:
    """The lengths of the rule in log t, for each input and, where they differ, each gold."""

    def row(inputs):
        scores, targets, seen = inputs
        population = share_of(targets, scores)
        asked = ask(problem, loss, plan, (scores, seen))

        def length(gold, share):
            return asked.at(gold, share).length

        if not asked.coupled:
            return length(0, population)
        which = top_k(population, plan.golds)[1]
        lengths = each(lambda gold: length(gold, one_hot(gold, scores)), which)
        return namespace(lengths).max(lengths)

    return each(row, input_rows(problem))


_compiled_lengths = eqx.filter_jit(_lengths)


def _golds(problem: Problem, shape: Shape, split: bool | None) -> int:
    """How many golds take moments of their own; 0 where all are taken together."""
    if split is False and not shape.coupled:
        return 0
    if is_traced(problem):
        return problem.labels if split or shape.coupled else 0
    kept = problem.targets
    population = np.atleast_2d(np.asarray(kept.shares if isinstance(kept, Golds) else kept))
    occurs = population > np.finfo(population.dtype).eps / problem.labels
    most = int(np.max(np.count_nonzero(occurs, axis=-1)))
    golds = min(problem.labels, 2 ** math.ceil(math.log2(most)))
    limit = MATRIX if shape.separable or not shape.integrates else CHEAP
    if split is None and not shape.coupled and golds * problem.labels > limit:
        return 0
    return golds
