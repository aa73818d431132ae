"""What a sampler says of one input: its q, the copies it expects of each label, and of equal pairs.

-dlog F_g / dz_y at z = 0 is the expected number of copies of y in a set of gold g, for any law.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import NoExactMethod
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


class Claims(NamedTuple):
    """What is said of one input and G of its golds, beside the masses of the problem."""

    input: int
    golds: list[int]
    population: np.ndarray  # [V]
    model: np.ndarray  # [V]
    eps: float  # rounding of the problem's numbers
    independent: bool  # whether every draw of a set is one from q
    keeps: np.ndarray  # [G] whether the gold may be drawn
    q: np.ndarray  # [V] of one draw
    left: np.ndarray  # [G] the mass a gold leaves: a negative y is drawn by q_y / left
    copies: np.ndarray  # [G, V] expected in a set
    pairs: np.ndarray  # [G] expected pairs of equal labels in a set
    missing: Mapping[str, str]  # "q", "copies" -> why there are none


def claims(
    sampler: Sampler, problem: Problem, row: int, golds: list[int], inclusion: bool | None
) -> Claims:
    """What `sampler` says of the input `row`; `inclusion` is that of `check_sampler`."""
    scores, popularity = problem.score_rows[row], problem.popularity
    law = sampler.law(scores, popularity)
    missing: dict[str, str] = {}
    q = left = copies = pairs = np.empty(0)
    try:
        log_q, log_left = (np.asarray(part, float) for part in law.log_proposal())
        q, left = np.exp(log_q), np.exp(log_left)[golds]
    except ValueError:
        missing["q"] = "no single q"
    try:
        if inclusion is False:
            raise NotImplementedError("inclusion=False")
        sized = sampler.sized(problem, TOLERANCE)
        expected = _expected(sized, scores, popularity, jnp.asarray(golds))
        copies, pairs = (np.asarray(part, float).clip(0.0) for part in expected)
    except NotImplementedError as error:  # NoExactMethod is one
        if inclusion:
            raise
        known = isinstance(error, NoExactMethod)
        missing["copies"] = "it has no exact method" if known else str(error)
    return Claims(
        input=row,
        golds=golds,
        population=np.asarray(problem.population_rows[row]),
        model=np.exp(np.atleast_2d(np.asarray(problem.log_model))[row]),
        eps=float(np.finfo(problem.scores.dtype).eps),
        independent=law.independent,
        keeps=np.asarray(law.own_hits(jnp.zeros_like(scores)))[golds] > 0,
        q=q,
        left=left,
        copies=copies,
        pairs=pairs,
        missing=missing,
    )


@eqx.filter_jit
def _expected(sampler: Sampler, scores: Any, popularity: Any, golds: Any):
    law = sampler.law(scores, popularity).prepared()
    zero = jnp.zeros_like(scores)
    copies = jax.lax.map(lambda gold: law.counts(zero.at[gold].set(1.0)), golds)
    return copies, law.coincidences(zero, zero + 1)[golds] / 2
