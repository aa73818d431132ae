"""Numbers that a sampler orders or weighs labels by: a function of what its names say, or a side.

They are constants to the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias._gate import floating
from nce_bias._reads import bind, proposal
from nce_bias.numerics.arrays import Array, each, is_numpy, one_hot
from nce_bias.problem import Problem
from nce_bias.proposals import cases_of, describe
from nce_bias.proposals.base import of_a_user


class TheScore(eqx.Module):
    """The score itself."""

    portable: ClassVar[bool] = True

    def __call__(self, scores, popularity):
        return scores

    def __repr__(self) -> str:
        return "scores"


class TheSide(eqx.Module):
    """A side of the problem."""

    portable: ClassVar[bool] = True
    reads_scores: ClassVar[bool] = False
    side: str = eqx.field(static=True)

    def __call__(self, side):
        return side

    def __repr__(self) -> str:
        return self.side


class GoldItself(eqx.Module):
    """Marks the gold: a law that reads it is that of one gold."""

    portable: ClassVar[bool] = True

    def __call__(self, scores, gold):
        return one_hot(gold, scores) > 0


def function_of(argument: str, given: Any, example: str) -> Callable[..., Any]:
    """What was given for an argument: None for the score, the name of a side, or a function."""
    if given is None:
        return TheScore()
    if isinstance(given, str):
        return proposal(TheSide(given), (given,))
    if not callable(given):
        raise refuse(
            argument,
            f"got {given!r}",
            "a function of scores, popularity, gold or sides, or the name of a side",
            f"For example {example}.",
        )
    return given


def numbers(
    argument: str,
    function: Callable[..., Any],
    scores: Float[Array, " V"],
    popularity: Float[Array, " V"],
) -> Array:
    """What a bound function says of each label, `[V]`; not differentiated."""
    scores = scores if is_numpy(scores) else jax.lax.stop_gradient(scores)
    found: Any
    if is_numpy(scores, popularity) and not getattr(function, "portable", False):
        found = of_a_user(function, scores, popularity)
    else:
        found = function(scores, popularity)
        found = found if is_numpy(found) else floating(f"{argument} {describe(function)}", found)
    if found.shape != scores.shape:
        raise refuse(
            f"{argument} {describe(function)}",
            f"returned shape {found.shape}",
            f"[V] = {scores.shape}",
            "Return one number per label, for one input at a time.",
        )
    return found


def all_numbers(
    argument: str, function: Callable[..., Any], problem: Problem
) -> tuple[np.ndarray, np.ndarray]:
    """Those of every input, and of every gold that occurs if it reads the gold; their inputs."""
    inputs, golds = cases_of(function, problem)

    def of_case(case):
        at, gold = case
        seen = jax.tree.map(lambda leaf: leaf[at], problem.seen_rows)
        bound = bind(function, seen, gold)
        return numbers(argument, bound, problem.score_rows[at], problem.popularity)

    return np.asarray(each(of_case, (inputs, golds))), np.asarray(inputs)
