"""The question: what do the bias curves of the paper's synthetic experiment cost.

30 training steps, V = 1000 labels, m = 4 negatives with replacement from four distributions (model,
uniform, popularity, mixed), exactly; in score space, and pulled back to the 391,600 parameters of
each step.

`REFERENCE` is what the published reference code took for two curves (model and uniform, 10 Monte
Carlo draws without replacement), measured once on a machine of the same type.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, rounds
from analysis.estimators import along, inner_each
from analysis.problems import KINDS, proposal
from analysis.synthetic import model as synthetic

NEGATIVES = 4
REFERENCE = 63.0
#: Seconds that the four curves may take.
TARGET = 1.0
COLUMNS = {
    "call": "all steps, four distributions",
    "wall": "seconds",
    "cpu": "processor seconds",
    "times_faster": "63 s are longer by ×",
}

SAMPLERS = {kind: nb.iid(proposal(kind), NEGATIVES) for kind in KINDS}

#: What the target is held against: the curves alone, and all that `exact` gives unasked.
AIMED_AT = (
    "bias in score space, `split=False`",
    "its norm over the parameters too, `split=False`",
    "bias and variances in score space, `exact` as it is",
)
STEP_BY_STEP = "the norm by `gradient_bias`, step by step"


def run(*, steps: int = synthetic.STEPS, count: int = FEWER_ROUNDS) -> pd.DataFrame:
    trained = synthetic.trajectory(seed=0, steps=steps)
    calls = {
        name: lambda curve=curve: [curve(trained, s) for s in SAMPLERS.values()]
        for name, curve in zip((*AIMED_AT, STEP_BY_STEP), CURVES, strict=True)
    }
    slow = {STEP_BY_STEP: calls[STEP_BY_STEP]}  # a minute and a half: once is enough
    quick = {name: call for name, call in calls.items() if name not in slow}
    timed = pd.concat([rounds(quick, count), rounds(slow, 1)])
    rows = [
        {
            "call": call,
            "wall": median(timed, call),
            "cpu": median(timed, call, "cpu"),
            "times_faster": REFERENCE / median(timed, call),
        }
        for call in calls
    ]
    return pd.DataFrame(rows)


def in_scores(
    trained: synthetic.Trajectory, sampler: Any, *, split: bool | None = False
) -> Float[Array, "steps labels"]:
    """The bias of every step: the steps are the inputs of one problem."""
    population = np.tile(synthetic.population(), (len(trained.scores), 1))
    return nb.exact(nb.Problem(trained.scores, population), sampler, split=split).bias


def in_parameters(trained: synthetic.Trajectory, sampler: Any) -> Float[Array, " steps"]:
    """The norm of the bias over the parameters, for every step at once."""
    return _norms(trained.params, in_scores(trained, sampler))


@eqx.filter_jit
def _norms(models: synthetic.Model, biases: Array) -> Array:
    pulled = along(synthetic.score_fn, models, biases)
    return jnp.sqrt(inner_each(pulled, pulled))


def step_by_step(trained: synthetic.Trajectory, sampler: Any) -> Float[Array, " steps"]:
    """As a user would who keeps one model at a time."""
    population = synthetic.population()
    return jnp.stack(
        [
            nb.gradient_bias(
                nb.ScoreModel(synthetic.score_fn, trained.at(k)), None, population, sampler
            ).norm
            for k in range(1, len(trained.scores) + 1)
        ]
    )


#: In the order of `AIMED_AT` and `STEP_BY_STEP`.
CURVES = (in_scores, in_parameters, partial(in_scores, split=None), step_by_step)
