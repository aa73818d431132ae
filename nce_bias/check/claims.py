"""What a sampler says of one input: its q, the copies it expects of each label, and of equal pairs.

-dlog F_g / dz_y at z = 0 is the expected number of copies of y in a set of gold g, for any law.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import NoExactMethod
from nce_bias._reads import bind
from nce_bias.numerics.quadrature import TOLERANCE
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


class Claims(NamedTuple):
    """What is said of one gold of one input, beside what the problem knows of it."""

    input: int
    gold: int
    competes: np.ndarray  # [V] whether a label has mass beside the gold
    eps: float  # rounding of the problem's numbers
    independent: bool  # whether every draw of a set is one from q
    selects: bool  # whether a set is chosen among draws from q
    keeps: bool  # whether the gold may be drawn
    q: np.ndarray  # [V] of one draw
    left: float  # the mass that the gold leaves: a negative y is drawn by q_y / left
    copies: np.ndarray  # [V] expected in a set
    pairs: float  # expected pairs of equal labels in a set
    missing: Mapping[str, str]  # "q", "copies" -> why there are none


def claims(
    sampler: Sampler, problem: Problem, row: int, gold: int, inclusion: bool | None
) -> Claims:
    """What `sampler` says of the input `row`; `inclusion` is that of `check_sampler`."""
    scores, popularity = problem.score_rows[row], problem.popularity
    seen = jax.tree.map(lambda leaf: leaf[row], problem.seen_rows)
    law = bind(sampler, seen, gold).law(scores, popularity)
    occurs = (problem.population_rows[row] > 0) | (jax.nn.softmax(scores) > 0)
    q, left, copies, pairs = np.empty(0), math.nan, np.empty(0), math.nan
    missing: dict[str, str] = {}
    try:
        log_q, log_left = (np.asarray(part, float) for part in law.log_proposal())
        q, left = np.exp(log_q), float(np.exp(log_left[gold]))
    except ValueError:
        missing["q"] = "no single q"
    try:
        if inclusion is False:
            raise NotImplementedError("inclusion=False")
        sized = bind(sampler.sized(problem, TOLERANCE), seen, gold)
        expected = _expected(sized, scores, popularity, jnp.asarray(gold))
        copies, pairs = np.asarray(expected[0], float).clip(0.0), max(float(expected[1]), 0.0)
    except NotImplementedError as error:  # NoExactMethod is one
        if inclusion:
            raise
        known = isinstance(error, NoExactMethod)
        missing["copies"] = "it has no exact method" if known else str(error)
    return Claims(
        input=row,
        gold=gold,
        competes=np.asarray(occurs.at[gold].set(False)),
        eps=float(np.finfo(problem.scores.dtype).eps),
        independent=law.independent,
        selects=law.selects,
        keeps=bool(law.own_hits(jnp.zeros_like(scores))[gold] > 0),
        q=q,
        left=left,
        copies=copies,
        pairs=pairs,
        missing=missing,
    )


@eqx.filter_jit
def _expected(sampler: Sampler, scores: Any, popularity: Any, gold: Any):
    law = sampler.law(scores, popularity).unweighted().prepared()
    zero = jnp.zeros_like(scores)
    return law.counts(zero.at[gold].set(1.0)), law.coincidences(zero, zero + 1)[gold] / 2
