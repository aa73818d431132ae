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

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import NoExactMethod, check_kind, concretely, is_traced, refuse
from nce_bias._reads import Seen, bind, reads_gold
from nce_bias.engine.in_blocks import MOST_KEPT, in_blocks
from nce_bias.engine.moments import Moments, Rows, assemble
from nce_bias.golds import Golds, Population, share_of
from nce_bias.inner_products import InnerProducts
from nce_bias.integrals import Rule
from nce_bias.integrals.atoms import atoms_for
from nce_bias.integrals.expectation import for_each_gold
from nce_bias.integrals.integrand import BLOCK
from nce_bias.losses import ExactLoss, Loss, check_loss, infonce
from nce_bias.losses.expectations import Expectations, expectations, expectations_by_gold
from nce_bias.numerics.arrays import (
    Array,
    each,
    is_numpy,
    namespace,
    one_hot,
    softmax,
    to_jax,
    to_numpy,
    top_k,
)
from nce_bias.numerics.gaps import MOST
from nce_bias.numerics.quadrature import CHUNK, TOLERANCE, TRACED_NODES, nodes_for, step_for
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
#: Golds an input up to which labels are spread on atoms.
FEW_GOLDS = 16
#: What spreading and reading back cost a label, in terms of an integral.
PASSES = 32
#: Ways to take the integral.
ENGINES = ("auto", "direct", "atoms")
#: Calls of a user's proposal, of JAX's operations one by one, some 10 ms each.
MOST_FOREIGN = 64
#: Terms that NumPy takes, some 60 ns each: a quarter of a second, where a compilation takes five.
MOST_TERMS = 2**22


def exact(  # noqa: PLR0913 (keyword-only)
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    tolerance: float = TOLERANCE,
    split: bool | None = None,
    compiled: bool | None = None,
    engine: str = "auto",
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
        a grid first, which costs a few softmaxes whatever m is; a few golds an input
        (`nce_bias.integrals.atoms`). "auto" takes what is quicker; `method` says which it was.

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
    checkask(problem, sampler, loss)
    if engine not in ENGINES:
        raise refuse("engine", f"got {engine!r}", " or ".join(map(repr, ENGINES)), "Pick one.")
    if isinstance(problem.kept, InnerProducts) and problem.kept.size > MOST_KEPT:
        return in_blocks(
            lambda part: exact(
                part, sampler, loss, tolerance=tolerance, split=split, compiled=compiled
            ),
            problem,
        )
    problem = problem.dense()
    with np.errstate(all="ignore"):  # infinities, and what they make, are meant
        assert isinstance(loss, ExactLoss)
        wish = Wish(tolerance, split, engine)
        asked, plan = _at_once(problem, sampler, loss, wish, compiled)
        how = f"exact, {plan.rule.nodes} nodes" if plan.rule.nodes else "exact, closed form"
        how += f", {plan.rule.atoms.size} atoms" if plan.rule.atoms else ""
        solve = _solve if is_numpy(asked.scores) else _compiled_solve
        return assemble(
            asked,
            solve(asked, loss, plan),
            method=how + ("" if plan.golds else ", variance not split (split=True does)"),
            sampler=sampler,
            loss=loss,
        )


def checkask(problem: Any, sampler: Any, loss: Any) -> None:
    """Refuse what is of the wrong kind, and a loss whose moments no integral gives."""
    check_kind("problem", problem, Problem, "nb.exact(problem, nb.iid(nb.uniform(), m=16))")
    check_kind("sampler", sampler, Sampler, "nb.iid(nb.uniform(), m=16), not the proposal alone")
    check_loss(loss)
    if not isinstance(loss, ExactLoss):
        raise NoExactMethod(
            f"{loss.name} has no exact moments: its expectation follows from no "
            "Laplace functional. Use nb.monte_carlo(problem, sampler, loss, key=key, "
            "draws=100_000), which gives each number with its standard error."
        )


class Wish(NamedTuple):
    """What is asked for besides: `tolerance`, `split` and `engine` of `exact`."""

    tolerance: float
    split: bool | None = None
    engine: str = "auto"


def _at_once(problem, sampler, loss, wish, compiled) -> tuple[Problem, Plan]:
    """The problem in the arrays it is solved in, and the plan."""
    foreign = compiled is None and _foreign_calls(problem, sampler) > MOST_FOREIGN
    if compiled or foreign or not sampler.portable or is_traced(problem, sampler, loss):
        return problem, plan_for(problem, sampler, loss, wish)
    small = to_numpy(problem)
    plan = plan_for(small, to_numpy(sampler), loss, wish)
    if compiled is None and plan.terms > MOST_TERMS:
        return problem, to_jax(plan)
    return small, plan


def terms(problem: Problem, sampler: Sampler, loss: Loss, tolerance: float) -> int:
    """How many numbers the integrals of a problem sum, from shapes and score ranges alone."""
    checkask(problem, sampler, loss)
    assert isinstance(loss, ExactLoss)
    if sampler.portable and not is_traced(problem, sampler):
        problem, sampler = to_numpy(problem), to_numpy(sampler)
    with np.errstate(all="ignore"):
        return plan_for(problem, sampler, loss, Wish(tolerance)).terms


def _foreign_calls(problem: Problem, sampler: Sampler) -> int:
    """How often a proposal of a user's own would be called outside of a compiled program."""
    if written_for_numpy(sampler):
        return 0
    golds = problem.labels if reads_gold(sampler, problem.sides) else 1
    return len(problem.weights) * golds


class Plan(eqx.Module):
    """What is settled before anything is integrated.

    `sampler` is the one asked for with its inner rule sized; `golds` says how many golds take
    moments of their own, 0 where all are taken together;
    `terms` how many numbers all nodes of all inputs have.
    """

    sampler: Sampler
    rule: Rule
    golds: int = eqx.field(static=True)
    terms: int = eqx.field(static=True, default=0)


def plan_for(problem: Problem, sampler: Sampler, loss: ExactLoss, wish: Wish) -> Plan:
    """Check the values, and size both rules for the widest input."""
    split = wish.split
    tolerance = max(wish.tolerance, float(jnp.finfo(problem.scores.dtype).eps) / 16)
    with concretely(problem, sampler, loss):
        check_sides(sampler, problem)
        sampler.check(problem)
        loss.check(problem, sampler)
        sized = sampler.sized(problem, tolerance)
        shape = _shape(problem, sized, loss)
        golds = _golds(problem, shape, split)
        rule = Rule(sized.m, 0, tolerance)
        if not shape.integrates:
            _check_engine(wish.engine, sampler)
            return Plan(sized, rule, golds)
        if is_traced(problem, sampler, loss):
            _check_engine(wish.engine, sampler)
            return Plan(sized, Rule(sized.m, TRACED_NODES, tolerance), golds)
        measured = Plan(sized, rule, _golds(problem, shape, None))
        longest = _longest(problem, loss, measured)
        if not longest <= LONG:
            rule = Rule(sized.m, 0, tolerance, closes_gaps=True)
            longest = _longest(problem, loss, Plan(sized, rule, measured.golds))
            _check_length(longest)
    nodes = nodes_for(longest, step_for(tolerance))
    few = _few_golds(problem) if shape.atoms and not rule.closes_gaps else 0
    atoms = atoms_for(longest, tolerance, problem.labels, nodes)
    work = nodes * atoms.size + PASSES * problem.labels
    if few and (wish.engine == "atoms" or (wish.engine == "auto" and work < nodes * shape.work)):
        spread = Rule(sized.m, nodes, tolerance, atoms=atoms, golds=few)
        return Plan(sized, spread, 0 if split is False else few, len(problem.weights) * work)
    _check_engine(wish.engine, sampler)
    if split is None and shape.together and golds and nodes * problem.labels > MOST_HELD:
        golds = 0
    work = shape.work + golds * shape.work_of_a_gold
    if golds and not shape.together:
        work = golds * shape.work
    terms = len(problem.weights) * nodes * work
    return Plan(sized, Rule(sized.m, nodes, tolerance, rule.closes_gaps), golds, terms)


def _few_golds(problem: Problem) -> int:
    """The most golds any input has; 0 where they are many."""
    targets = problem.targets
    if isinstance(targets, Golds):
        most = targets.labels.shape[-1]
    else:
        rows = np.asarray(problem.population_rows)
        most = int(np.max(np.count_nonzero(rows, axis=-1)))
    return most if most <= FEW_GOLDS else 0


def _check_engine(engine: str, sampler: Sampler) -> None:
    """Atoms were asked for where there are none."""
    if engine == "atoms":
        raise refuse(
            "engine",
            f"got 'atoms' for {sampler!r}",
            f"independent draws, a loss that is a softmax over candidates, at most {FEW_GOLDS} "
            "golds an input, and concrete values",
            "Leave engine out: it takes atoms where they serve.",
        )


def _longest(problem: Problem, loss: ExactLoss, plan: Plan) -> float:
    """The length of the rule in log t that the widest input needs."""
    measure = _lengths if is_numpy(problem.scores) else _compiled_lengths
    return float(np.max(np.asarray(measure(problem, loss, plan))))


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


class Shape(NamedTuple):
    """What shapes alone tell of a problem, a sampler and a loss.

    `coupled`: the corrected scores of negatives depend on the gold. `separable`: the negatives' law
    is (`samplers.base.Law.separable`). `plain`: NumPy computes it. `atoms`: labels may be spread
    on them. `together`: second moments of all golds come together.
    """

    coupled: bool
    separable: bool
    integrates: bool
    plain: bool
    atoms: bool
    size: int
    work: int
    work_of_a_gold: int

    @property
    def together(self) -> bool:
        return (self.separable or self.plain) and self.integrates and not self.coupled


def _shape(problem: Problem, sampler: Sampler, loss: ExactLoss) -> Shape:
    def parts(inputs):
        scores, _, seen = inputs
        law = bind(sampler, seen, 0).law(scores, problem.popularity)
        asked = ask(problem, loss, Plan(sampler, Rule(sampler.m, 2, 0.01), 0), (scores, seen))
        at = asked.at(0, scores)
        own = at.integrates, at.takes_atoms and not asked.coupled
        return law, asked.coupled, law.separable(scores), own

    first = jax.tree.map(lambda leaf: leaf[0], input_rows(problem))
    plain = is_numpy(problem.scores)
    found = parts(first) if plain else eqx.filter_eval_shape(parts, first)
    law, coupled, factors, (integrates, atoms) = found
    return Shape(
        bool(coupled),
        factors is not None,
        bool(integrates),
        plain,
        bool(atoms),
        law.size,
        law.work,
        law.work_of_a_gold,
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


def input_rows(problem: Problem) -> tuple[Array, Population, Seen]:
    """What is asked input by input: scores, population, and what proposals read besides."""
    return problem.score_rows, problem.target_rows, problem.seen_rows


def ask(
    problem: Problem, loss: ExactLoss, plan: Plan, at: tuple[Array, Seen], *, prepared: bool = False
) -> Expectations:
    """The expectations of one input: of one law, or of one for each gold if proposals read it."""
    scores, seen = at

    def law(gold):
        return bind(plan.sampler, seen, gold).law(scores, problem.popularity)

    if reads_gold(plan.sampler, problem.sides):
        return expectations_by_gold(loss, scores, law, plan.rule, prepared=prepared)
    one = law(None)
    return expectations(loss, scores, one.prepared() if prepared else one, plan.rule)


def _solve(problem: Problem, loss: ExactLoss, plan: Plan) -> Rows:
    shape = _shape(problem, plan.sampler, loss)

    def row(inputs):
        scores, targets, seen = inputs
        population = share_of(targets, scores)
        asked = ask(problem, loss, plan, (scores, seen), prepared=True)
        if plan.golds and not shape.together:
            sums, error, squared_means = for_each_gold(asked.at, population, plan.golds)
        else:
            all_golds = asked.at(0, population)
            sums, error = all_golds.sums(), all_golds.error()
            squared_means = all_golds.squared_means(plan.golds) if plan.golds else jnp.nan
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


_compiled_lengths, _compiled_solve = eqx.filter_jit(_lengths), eqx.filter_jit(_solve)


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


def is_separable(problem: Problem, sampler: Sampler) -> bool:
    """Whether the negatives' law is (`samplers.base.Law.separable`)."""
    return _shape(problem, sampler, infonce).separable
