"""Whether labels go on atoms, and how: what an input costs then, and what has to be settled.

Three ways: independent draws with a few golds beside the atoms, with many golds on them, and
distinct draws with a few golds. The second and the third ask the inputs first, which labels are so
often drawn that they are taken one by one.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from nce_bias.engine.shape import Plan, Shape, Wish, ask, input_rows
from nce_bias.golds import Golds, share_of
from nce_bias.integrals import Rule
from nce_bias.integrals.atoms import atoms_for
from nce_bias.integrals.crowd import Crowding, crowd_for
from nce_bias.integrals.crowded import atoms_of_golds
from nce_bias.integrals.rings import Ringing, ringing, rings_for
from nce_bias.losses import ExactLoss
from nce_bias.numerics.arrays import each, is_numpy, to_numpy
from nce_bias.numerics.devices import mesh_of
from nce_bias.numerics.quadrature import ends, step_for
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: Golds an input up to which they stand beside the atoms.
FEW_GOLDS = 16
#: What spreading and reading back cost a label, in terms of an integral.
PASSES = 32
#: Rules have a multiple of so many nodes: on atoms one costs little beside the labels, and inputs,
#: blocks of them, and numbers of negatives share what was compiled.
ROUND = 32


class Spread(NamedTuple):
    """A plan with labels on atoms, and what an input costs, in terms of an integral."""

    sampler: Sampler
    rule: Rule
    golds: int
    work: float

    def plan(self, inputs: int) -> Plan:
        """For so many inputs."""
        return Plan(self.sampler, self.rule, self.golds, int(inputs * self.work))


def spread_for(
    asked: tuple[Problem, ExactLoss, Shape], plan: Plan, longest: float, wish: Wish
) -> Spread | None:
    """With few golds beside the atoms, or with many on them; None where neither can be."""
    problem, loss, shape = asked
    rule, labels = plan.rule, problem.labels
    rule = dataclasses.replace(rule, nodes=ROUND * math.ceil(rule.nodes / ROUND))
    longest = (rule.nodes - 1) * step_for(rule.tolerance)
    atoms = atoms_for(longest, rule.tolerance, labels, rule.nodes)
    rule = dataclasses.replace(rule, atoms=atoms, mesh=mesh_of(problem.kept))
    work = rule.nodes * atoms.size + PASSES * labels
    few = _few_golds(problem)
    if few and not shape.independent:
        if wish.split and few > 1:
            return None  # one gold's own mean is that of all, several are not kept apart
        return _rung(problem, loss, dataclasses.replace(plan, rule=rule), few)
    if few:
        rule = dataclasses.replace(rule, golds=few)
        return Spread(plan.sampler, rule, 0 if wish.split is False else few, work)
    if wish.split or not shape.independent or (plan.golds and wish.engine == "auto"):
        return None  # golds on atoms are those of independent draws, their variance not split
    found = to_numpy(
        (_crowding if is_numpy(problem.scores) else _compiled_crowding)(problem, loss, plan)
    )
    m = float(np.asarray(plan.sampler.m))
    reach = atoms_of_golds(longest, atoms, ends(rule.tolerance), m)
    many = crowd_for(found, m, (labels, rule.nodes, reach), rule.tolerance)
    if many is None:
        return None
    crowd, taken, more = many
    rule = dataclasses.replace(rule, taken=taken, crowd=crowd)
    return Spread(plan.sampler, rule, 0, work + more)


def _rung(problem: Problem, loss: ExactLoss, plan: Plan, few: int) -> Spread | None:
    """For distinct draws: which labels are taken one by one follows from the last node in tau."""
    sampler: Any = plan.sampler
    found = to_numpy(_compiled_ringing(problem, loss, plan))
    sizes = problem.labels, plan.rule.nodes * sampler.nodes
    rings = rings_for(found, few, sampler.m, sizes, plan.rule.tolerance)
    if rings is None:
        return None
    crowd, taken, work = rings
    rule = dataclasses.replace(plan.rule, golds=few, taken=taken, crowd=crowd)
    return Spread(plan.sampler, rule, int(few == 1), work)


def _crowding(problem: Problem, loss: ExactLoss, plan: Plan) -> Crowding:
    """What golds on atoms depend on, input by input."""

    def row(inputs):
        scores, targets, seen = inputs
        asked = ask(problem, loss, plan, (scores, seen))
        at: Any = asked.at(0, share_of(targets, scores))
        return at.crowding()

    return each(row, input_rows(problem))


_compiled_crowding = eqx.filter_jit(_crowding)


def _ringing(problem: Problem, loss: ExactLoss, plan: Plan) -> Ringing:
    """The same for distinct draws."""

    def row(inputs):
        scores, targets, seen = inputs
        at: Any = ask(problem, loss, plan, (scores, seen)).at(0, share_of(targets, scores))
        return ringing(at.law)

    return each(row, input_rows(problem))


_compiled_ringing = eqx.filter_jit(_ringing)


def _few_golds(problem: Problem) -> int:
    """The most golds any input has; 0 where they are many."""
    targets = problem.targets
    if isinstance(targets, Golds):
        most = targets.labels.shape[-1]
    else:
        rows = np.asarray(problem.population_rows)
        most = int(np.max(np.count_nonzero(rows, axis=-1)))
    return most if most <= FEW_GOLDS else 0
