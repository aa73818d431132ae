"""What the explorer shows of one state: numbers, and three values for each label in sight."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import refuse
from nce_bias._explore.state import State
from nce_bias.engine._exact import exact
from nce_bias.problem import Problem

#: Labels in sight: the most probable ones of the model.
IN_SIGHT = 40
#: Labels up to which a change takes about a tenth of a second, as measured of `iid` with a whole
#: population; beyond, and with distinct draws, which no slider should wait for, the view says so.
AT_ONCE = {"iid": 1000, "top": 1000, "without_replacement": 0}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is shown.

    Attributes
    ----------
    numbers : mapping
        Bias norm, cosine, variance, coverage, loss and error of the input, by exact computation.
    labels : int `[n]`
        The labels in sight, the most probable first.
    model, selection, bias : `[n]`
        p, gamma and p - gamma of them.
    code : str
        The call that gives these numbers.
    note : str
        What is not shown, or takes long; "" if nothing.
    """

    numbers: dict[str, float]
    labels: Int[np.ndarray, " n"]
    model: Float[np.ndarray, " n"]
    selection: Float[np.ndarray, " n"]
    bias: Float[np.ndarray, " n"]
    code: str
    note: str


def answer(problem: Problem, state: State) -> Answer:
    """The moments of one input with the state's negatives and loss.

    Raises ValueError where `nb.exact` does, with its message.
    """
    inputs = problem.score_rows.shape[0]
    if state.x >= inputs:
        raise refuse("x", f"got {state.x}", f"0 to {inputs - 1}", "Inputs are counted from 0.")
    one = problem.take([state.x])
    found = exact(one, state.negatives(), state.contrastive_loss())
    p = np.exp(np.asarray(one.log_model, float)).reshape(-1)
    seen = np.argsort(-p, kind="stable")[:IN_SIGHT]
    selection, bias = (
        np.asarray(part, float).reshape(-1)[seen] for part in (found.selection, found.bias)
    )
    names = ("bias_norm", "cosine", "variance", "coverage", "loss", "error")
    numbers = {name: float(getattr(found, name)) for name in names}
    return Answer(numbers, seen, p[seen], selection, bias, state.code(), note(problem, state))


def note(problem: Problem, state: State) -> str:
    """What a user should know of this view."""
    found = []
    if problem.labels > IN_SIGHT:
        found.append(f"{IN_SIGHT} of {problem.labels:,} labels are in sight, the most probable.")
    if problem.labels > AT_ONCE[state.sampler]:
        found.append("A change takes longer than a tenth of a second here.")
    return " ".join(found)
