"""What a sampler says of one input: its q, the copies it expects of each label, and of equal pairs.

-dlog F_g / dz_y at z = 0 is the expected number of copies of y in a set of gold g, for any law. A
reverse-mode derivative for each gold asked for, O(V) each for iid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import NoExactMethod
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import IidLaw, Sampler


class Claims(NamedTuple):
    """For one input; G golds."""

    q: np.ndarray | None  # [V] of one draw; None where there is no single q
    left: np.ndarray | None  # [G] the mass a gold leaves: a negative y is drawn by q_y / left
    copies: np.ndarray | None  # [G, V] expected in a set
    pairs: np.ndarray | None  # [G] expected pairs of equal labels in a set
    keeps: np.ndarray  # [G] whether the gold may be drawn
    iid: bool
    reason: str  # why there are no copies


def claims(
    sampler: Sampler, problem: Problem, row: int, golds: np.ndarray, inclusion: bool | None
) -> Claims:
    """What `sampler` says of the input `row`."""
    scores, popularity = problem.score_rows[row], problem.popularity
    law = sampler.law(scores, popularity)
    try:
        log_q, log_left = (np.asarray(each, float) for each in law.log_proposal())
        q, left = np.exp(log_q), np.exp(log_left)[golds]
    except ValueError:
        q = left = None
    copies = pairs = None
    reason = "inclusion=False"
    if inclusion is not False:
        try:
            sized = sampler.sized(problem, TOLERANCE)
            expected = _expected(sized, scores, popularity, jnp.asarray(golds))
            copies, pairs = (np.asarray(each, float).clip(0.0) for each in expected)
        except NotImplementedError as error:  # NoExactMethod is one
            if inclusion:
                raise
            reason = "it has no exact method" if isinstance(error, NoExactMethod) else str(error)
    keeps = np.asarray(law.own_hits(jnp.zeros_like(scores)))[golds] > 0
    return Claims(q, left, copies, pairs, keeps, isinstance(law, IidLaw), reason)


@eqx.filter_jit
def _expected(sampler: Sampler, scores: Any, popularity: Any, golds: Any):
    law = sampler.law(scores, popularity).prepared()
    zero = jnp.zeros_like(scores)
    _, pull = jax.vjp(law.log_laplace, zero)
    copies = -jax.lax.map(lambda gold: pull(zero.at[gold].set(1.0))[0], golds)
    pairs = law.coincidences(zero, zero + 1)[golds] / 2
    return copies, pairs
