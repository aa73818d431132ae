"""One input as engines ask it: the law, the loss and the rule brought together, and their shape."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax

from nce_bias._reads import Seen, bind, reads_gold
from nce_bias.golds import Population
from nce_bias.integrals import Rule
from nce_bias.losses import ExactLoss, infonce
from nce_bias.losses.expectations import Expectations, expectations, expectations_by_gold
from nce_bias.numerics.arrays import Array, is_numpy
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


class Wish(NamedTuple):
    """What is asked for besides: `tolerance`, `split` and `engine` of `exact`."""

    tolerance: float
    split: bool | None = None
    engine: str = "auto"


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
    ready = prepared and plan.rule.atoms is None  # what atoms need is made on them
    return expectations(loss, scores, one.prepared() if ready else one, plan.rule)


class Shape(NamedTuple):
    """What shapes alone tell of a problem, a sampler and a loss.

    `coupled`: the corrected scores of negatives depend on the gold. `separable`: the negatives' law
    is (`samplers.base.Law.separable`). `plain`: NumPy computes it. `atoms`: labels may be spread
    on them, as those of `independent` draws or otherwise. `lines` and `planes`: how many integrals
    there are. `together`: second moments of all golds come together.
    """

    coupled: bool
    separable: bool
    integrates: bool
    plain: bool
    atoms: bool
    independent: bool
    lines: int
    planes: int
    size: int
    work: int
    work_of_a_gold: int

    @property
    def together(self) -> bool:
        """Whether the second moments of all golds come at once."""
        return (self.separable or self.plain) and self.integrates and not self.coupled


def shape_of(problem: Problem, sampler: Sampler, loss: ExactLoss) -> Shape:
    """From the first input; JAX computes nothing for it, also of what does not depend on inputs."""

    def parts(problem):
        scores, _, seen = jax.tree.map(lambda leaf: leaf[0], input_rows(problem))
        law = bind(sampler, seen, 0).law(scores, problem.popularity)
        asked = ask(problem, loss, Plan(sampler, Rule(sampler.m, 2, 0.01), 0), (scores, seen))
        at = asked.at(0, scores)
        own = at.integrates, at.takes_atoms and not asked.coupled, at.lines, at.planes
        return law, asked.coupled, law.separable(scores), own

    plain = is_numpy(problem.scores)
    found = parts(problem) if plain else eqx.filter_eval_shape(parts, problem)
    law, coupled, factors, (integrates, atoms, lines, planes) = found
    return Shape(
        bool(coupled),
        factors is not None,
        bool(integrates),
        plain,
        bool(atoms),
        bool(law.independent),
        int(lines),
        int(planes),
        law.size,
        law.work,
        law.work_of_a_gold,
    )


def is_separable(problem: Problem, sampler: Sampler) -> bool:
    """Whether the negatives' law is (`samplers.base.Law.separable`)."""
    return shape_of(problem, sampler, infonce).separable
