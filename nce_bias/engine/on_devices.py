r"""Labels split over devices: what may be asked there, and the problem put there.

Devices exchange atoms, so what goes on atoms with a few golds is taken: independent draws from a
proposal that looks at each label by itself (or at a sum over all of them), and a softmax over the
candidates. Everything else is refused by name: it would be computed, and rightly, with every label
sent to every device (a rank by popularity, golds on atoms, distinct draws), or label by label at
each node of the rule.

**What is exchanged**, for each input: the grid of atoms, twice (q and q^2), one number or two for
each sum and maximum over labels, and for each gold what it has of its own. None of it grows with V
(`tests/engine/test_devices.py` counts the bytes in the compiled program).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from nce_bias._checks import is_traced, refuse
from nce_bias.engine.on_atoms import FEW_GOLDS
from nce_bias.golds import Golds
from nce_bias.losses import ExactLoss
from nce_bias.losses.softmax import CandidateSoftmax
from nce_bias.numerics.arrays import Array, each
from nce_bias.numerics.devices import mesh_over, put_split, put_whole, settled
from nce_bias.problem import Problem
from nce_bias.proposals import LogUniform, Mixture, Model, Popularity, Uniform, log_proposal
from nce_bias.samplers import Sampler
from nce_bias.samplers._iid import Iid

#: What is taken where labels are split.
TAKEN = "nb.iid of uniform, popularity, model, log_uniform(by='index') or a mixture of them"
#: And what to do otherwise.
ONE_PLACE = "Bring scores to one place: np.asarray(scores), and no devices=."


def split_over(problem: Problem, devices: Sequence[Any]) -> Problem:
    """The problem with its labels split over devices, in equal parts and in their order."""
    devices = list(devices)
    if is_traced(problem):
        raise refuse("devices", "got some for traced values", "concrete ones", "Leave it out.")
    if not devices or len(set(devices)) < len(devices):
        raise refuse("devices", f"got {devices}", "different devices", "Pass jax.devices().")
    if problem.labels % len(devices):
        raise refuse(
            "devices",
            f"got {len(devices)} for {problem.labels} labels",
            "a number that divides the labels",
            f"Take {_divisor(problem.labels, len(devices))} of them, or add labels with score -inf "
            "and popularity 0, which proposals by scores or popularity never draw (uniform ones "
            "do).",
        )
    if len(devices) == 1:
        return problem
    if not isinstance(problem.targets, Golds):
        raise refuse(
            "population",
            "got rows of V numbers, with devices=",
            "observed golds",
            "Use nb.Problem.from_golds(scores, golds), or leave devices out.",
        )
    mesh = mesh_over(devices)
    whole = jax.tree.map(lambda leaf: put_whole(leaf, mesh), problem)
    split = put_split(problem.kept, mesh), put_split(problem.popularity, mesh)
    return eqx.tree_at(lambda p: (p.kept, p.popularity), whole, split)


def check_split(
    problem: Problem, sampler: Sampler, loss: ExactLoss, engine: str, compiled: bool | None
) -> None:
    """Refuse by name what would send labels, and values as `Sampler.check` and `Loss.check` do."""
    if engine == "direct":
        raise _refused("engine", "'direct'", "'atoms', which labels on devices take")
    if compiled is False:
        raise _refused("compiled", "False", "True: NumPy knows one device")
    if problem.sides:
        raise _refused("sides", ", ".join(map(repr, problem.sides)), "none there")
    if not isinstance(sampler, Iid) or not _by_label(sampler.proposal):
        raise _refused("sampler", repr(sampler), TAKEN)
    if not isinstance(loss, CandidateSoftmax) or loss.inclusion:
        raise _refused("loss", loss.name, "a softmax over candidates, corrected by q or not at all")
    assert isinstance(problem.targets, Golds)
    if problem.targets.labels.shape[-1] > FEW_GOLDS:
        given = f"{problem.targets.labels.shape[-1]} golds an input"
        raise _refused("golds", given, f"at most {FEW_GOLDS}")
    if not loss.competes and sampler.may_be_empty:
        loss.check(problem, sampler)  # which says so, and looks at no label
    _check_values(problem, sampler, loss)


def _refused(argument: str, given: str, expected: str) -> ValueError:
    return refuse(
        argument, f"got {given}, where labels are split over devices", expected, ONE_PLACE
    )


def _by_label(proposal: Any) -> bool:
    """Whether log q of a label is a function of what that label has."""
    if isinstance(proposal, Mixture):
        return all(map(_by_label, proposal.parts))
    if isinstance(proposal, LogUniform):
        return proposal.by == "index"
    return isinstance(proposal, Uniform | Popularity | Model)


def _check_values(problem: Problem, sampler: Iid, loss: CandidateSoftmax) -> None:
    broken, stuck, unseen = (np.asarray(found) for found in settled(_facts(problem, sampler)))
    golds = np.asarray(problem.targets.labels)  # type: ignore[union-attr]
    name = f"proposal {sampler.proposal!r}"
    for row in np.flatnonzero(broken):
        raise refuse(
            name,
            f"returned NaN or +inf, or -inf everywhere, for input {row}",
            "log-probabilities: finite, or -inf for labels never drawn",
            "Guard its logarithms and divisions; nothing was computed.",
        )
    for row, place in np.argwhere(stuck) if sampler.hits != "keep" else ():
        raise refuse(
            name,
            f"has no mass outside the gold {golds[row, place]} of input {row}",
            "at least one other label with q > 0",
            "Mix in another proposal: nb.mixture(q, nb.uniform(), share=0.9).",
        )
    for row, place in np.argwhere(unseen) if loss.gold != "none" else ():
        raise refuse(
            "loss",
            f"{loss.name} takes log q off the gold, and {sampler!r} has q = 0 at the gold "
            f"{golds[row, place]} of input {row}",
            "q > 0 at every label with pop(y|x) > 0",
            "Mix in another proposal, nb.mixture(q, nb.uniform(), share=0.99), or use "
            "nb.sampled_softmax, which corrects the negatives alone.",
        )


@eqx.filter_jit
def _facts(problem: Problem, sampler: Iid) -> tuple[Array, Array, Array]:
    """Whether log q of an input is broken, no other label than a gold is drawn, or no gold is."""

    def row(inputs: Any) -> tuple[Bool[Array, ""], Bool[Array, " G"], Bool[Array, " G"]]:
        scores, golds = inputs
        log_q = log_proposal(sampler.proposal, scores, problem.popularity)
        drawn, occurs = jnp.isfinite(log_q), golds.shares > 0
        own = drawn[golds.labels]
        return jnp.isnan(log_q).any(), occurs & own & (drawn.sum() == 1), occurs & ~own

    return each(row, (problem.score_rows, problem.targets))


def _divisor(labels: int, devices: int) -> int:
    """The largest number of devices up to that many that divides the labels."""
    return next(count for count in range(devices, 0, -1) if labels % count == 0)
