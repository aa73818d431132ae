"""A proposal as engines see it: log q of one input, of every input, and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias._gate import floating
from nce_bias._reads import bind, reads_gold
from nce_bias.numerics.arrays import Array, each, is_numpy, log_softmax, namespace
from nce_bias.problem import Problem

#: ``(scores[V], popularity[V]) -> log q[V]``, or whatever else its parameters' names say.
Proposal = Callable[..., Float[Array, " V"]]


def log_proposal(
    proposal: Proposal, scores: Float[Array, " V"], popularity: Float[Array, " V"]
) -> Float[Array, " V"]:
    """Normalise what `proposal` returns: log q `[V]`, summing to 1, no gradient through it.

    Negatives drawn from the model are not differentiated through, as in practice.
    Raises ValueError if the shape is not `[V]`, TypeError if it is not an array of floats.
    """
    name = f"proposal {describe(proposal)}"
    if not is_numpy(scores, popularity):
        log_q = floating(name, proposal(jax.lax.stop_gradient(scores), popularity))
    elif getattr(proposal, "portable", False):
        log_q = proposal(scores, popularity)
    else:
        log_q = of_a_user(proposal, scores, popularity)
    if log_q.shape != scores.shape:
        raise refuse(
            f"proposal {describe(proposal)}",
            f"returned shape {log_q.shape}",
            f"[V] = {scores.shape}",
            "Return one log-probability per label, for one input at a time.",
        )
    return log_softmax(log_q.astype(scores.dtype))


def of_a_user(proposal: Proposal, scores: Array, popularity: Array) -> np.ndarray:
    """What a proposal written in jax.numpy returns, unnormalised."""
    log_q = proposal(jnp.asarray(scores), jnp.asarray(popularity))
    return np.asarray(floating(f"proposal {describe(proposal)}", log_q))


def log_proposal_rows(proposal: Proposal, problem: Problem) -> Float[Array, "C V"]:
    """log q(.|x) of every input; of every gold that occurs, where the proposal reads the gold."""
    rows = _rows if is_numpy(problem.scores) else _compiled_rows
    return rows(proposal, problem, *cases_of(proposal, problem))


def cases_of(proposal: Proposal, problem: Problem) -> tuple[Any, Any]:
    """The inputs of the rows above, and their golds; None where the gold does not matter."""
    xp = namespace(problem.scores)
    if not reads_gold(proposal, problem.sides):
        return xp.arange(len(problem.weights)), None
    inputs, golds = np.nonzero(np.asarray(problem.population_rows) > 0)
    return xp.asarray(inputs), xp.asarray(golds)


def golds_of(proposal: Proposal, problem: Problem) -> np.ndarray:
    """Which labels are golds in the cases of `cases_of`, [C, V]."""
    _, golds = cases_of(proposal, problem)
    if golds is None:
        return np.asarray(problem.population_rows) > 0
    return np.arange(problem.labels) == np.asarray(golds)[:, None]


def _rows(proposal: Proposal, problem: Problem, inputs: Any, golds: Any) -> Any:
    scores, seen = problem.score_rows, problem.seen_rows

    def row(case):
        at, gold = case
        given = bind(proposal, jax.tree.map(lambda leaf: leaf[at], seen), gold)
        return log_proposal(given, scores[at], problem.popularity)

    return each(row, (inputs, golds))


_compiled_rows = eqx.filter_jit(_rows)


def written_for_numpy(sampler: Any) -> bool:
    """Whether every proposal of a sampler takes NumPy arrays: the built-in ones do."""
    parts = jax.tree.leaves(sampler, is_leaf=callable)
    return all(written_for_numpy_itself(part) for part in parts if callable(part))


def written_for_numpy_itself(proposal: Any) -> bool:
    """As above, of one proposal and the parts of a mixture."""
    parts = parts_of(proposal)
    if parts:
        return all(map(written_for_numpy_itself, parts))
    return getattr(proposal, "portable", False)


def parts_of(proposal: Any) -> tuple[Proposal, ...]:
    """What a mixture mixes; nothing for another proposal."""
    return getattr(proposal, "parts", ())


def reads_scores(proposal: Proposal) -> bool:
    """Whether q depends on the scores; a function of a user's own does unless it says otherwise."""
    return getattr(proposal, "reads_scores", True)


def describe(proposal: Proposal) -> str:
    """A name for tables and messages: the repr of ours, the name of a user's function."""
    if isinstance(proposal, eqx.Module):
        return repr(proposal)
    return getattr(proposal, "__name__", type(proposal).__name__)
