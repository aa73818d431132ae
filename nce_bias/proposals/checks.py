"""What is refused of a proposal, and what is remarked on, before anything is computed."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import look_like_probabilities, remark
from nce_bias._reads import all_read, bind
from nce_bias.problem import Problem
from nce_bias.proposals.base import (
    Proposal,
    cases_of,
    describe,
    golds_of,
    log_proposal_rows,
    of_a_user,
    parts_of,
    reads_scores,
)

#: A score so far below the row's largest is a mask: half precision has -1e4 or -65504 for -inf.
MASK = 9e3


def check_sides(sampler: Any, problem: Problem) -> None:
    """A word about a side that no proposal reads; a name that is no side is refused."""
    unread = set(problem.sides) - all_read(sampler, problem.sides)
    if unread:
        remark(
            f"sides: no proposal of {sampler!r} reads {', '.join(map(repr, sorted(unread)))}. A "
            "proposal reads a side by a parameter of its name."
        )


def check_proposal(proposal: Proposal, problem: Problem, *, removed: bool) -> None:
    """Refuse a proposal that returns NaN or +inf, or has no mass outside a gold.

    Mass outside a gold matters where the gold's own mass is `removed`: a point mass on a gold that
    occurs then has nothing left to draw.
    """
    if is_traced(problem, proposal):
        return
    if check_inputs := getattr(proposal, "check_inputs", None):
        check_inputs(problem)
    log_q = np.asarray(log_proposal_rows(proposal, problem))
    inputs, golds = cases_of(proposal, problem)
    name = f"proposal {describe(proposal)}"

    def place(case: int) -> str:
        return f"input {inputs[case]}" + ("" if golds is None else f", gold {golds[case]}")

    if np.isnan(log_q).any():
        raise refuse(
            name,
            "returned NaN or +inf, or -inf everywhere, for "
            + place(int(np.argwhere(np.isnan(log_q))[0][0])),
            "log-probabilities: finite, or -inf for labels never drawn",
            "Guard its logarithms and divisions; nothing was computed."
            if golds is None
            else "Widen its condition, give golds without such labels population 0, or let a "
            "function of your own fall back on another q for them; nothing was computed.",
        )
    support = np.isfinite(log_q)
    if golds is None:
        _remark_on_masked(proposal, problem, support)
    _remark_on_probabilities(proposal, problem)
    occurs = golds_of(proposal, problem)
    stuck = removed & occurs & support & (support.sum(axis=-1, keepdims=True) == 1)
    if stuck.any():
        case, label = (int(i) for i in np.argwhere(stuck)[0])
        raise refuse(
            name,
            f"has no mass outside the gold {label} of input {inputs[case]}",
            "at least one other label with q > 0",
            "Mix in another proposal: nb.mixture(q, nb.uniform(), share=0.9).",
        )


def _remark_on_masked(proposal: Proposal, problem: Problem, support: np.ndarray) -> None:
    """A word about labels that a mask took out of the scores, and that q draws all the same."""
    scores = np.asarray(problem.score_rows)
    top = scores.max(axis=-1, keepdims=True)
    if reads_scores(proposal) or not np.any(scores < top - MASK):
        return
    drawn = (scores < top - MASK) & support & (np.asarray(problem.population_rows) == 0)
    if drawn.any():
        row, label = (int(i) for i in np.argwhere(drawn)[0])
        remark(
            f"proposal {describe(proposal)}: it draws labels that a score of "
            f"{scores[row, label]:g} masks (label {label} of input {row}, {int(drawn.sum())} in "
            "all). Such a draw takes a negative's place and adds nothing; a proposal with q = 0 "
            "there, such as one of the scores, never does."
        )


def _remark_on_probabilities(proposal: Proposal, problem: Problem) -> None:
    """A word about a user's proposal that returns q where log q is meant."""
    if parts := parts_of(proposal):
        for part in parts:
            _remark_on_probabilities(part, problem)
    elif not isinstance(proposal, eqx.Module):
        inputs, golds = cases_of(proposal, problem)
        seen = jax.tree.map(lambda leaf: leaf[int(inputs[0])], problem.seen_rows)
        bound = bind(proposal, seen, None if golds is None else golds[0])
        given = of_a_user(bound, problem.score_rows[int(inputs[0])], problem.popularity)
        if given.shape == problem.scores.shape[-1:] and look_like_probabilities(given):
            remark(
                f"proposal {describe(proposal)}: it returned probabilities that sum to 1, and is "
                "taken to have returned logarithms. Return jnp.log of them, or "
                "jax.nn.log_softmax in place of jax.nn.softmax."
            )


def check_enough(sampler: str, proposal: Proposal, m: int, problem: Problem) -> None:
    """Refuse q with fewer than m labels to draw besides a gold."""
    if is_traced(problem, proposal):
        return
    support = np.isfinite(log_proposal_rows(proposal, problem))
    left = support.sum(axis=-1, keepdims=True) - support
    short = golds_of(proposal, problem) & (left < m)
    if short.any():
        row, label = (int(i) for i in np.argwhere(short)[0])
        inputs, _ = cases_of(proposal, problem)
        raise refuse(
            "m",
            f"{sampler} asks for {m} distinct labels besides the gold {label} of input "
            f"{inputs[row]}, where only {left[row, label]} have q > 0",
            "m at most the number of labels the proposal can draw",
            "Lower m, or mix in another proposal: nb.mixture(q, nb.uniform(), share=0.99).",
        )
