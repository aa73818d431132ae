r"""What negatives are drawn from: q(y|x), as unnormalised log-probabilities.

A **proposal** is any callable ``(scores[V], popularity[V]) -> log q[V]`` written in jax.numpy; it
need not be normalised (`log_proposal` does that) and it may return -inf for labels it never draws.
The functions below make the ones the literature uses. Their numbers are traced, so a sweep over
temperatures or shares compiles once.

Examples
--------
>>> import jax.numpy as jnp
>>> hardest_half = lambda scores, popularity: jnp.where(
...     scores >= jnp.median(scores), 0.0, -jnp.inf)
>>> jnp.exp(log_proposal(hardest_half, jnp.array([3., 2., 1., 0.]), jnp.full(4, .25)))
Array([0.5, 0.5, 0. , 0. ], dtype=float64)
"""

from __future__ import annotations

from collections.abc import Callable

from nce_bias.proposals.base import (
    Proposal,
    cases_of,
    describe,
    golds_of,
    log_proposal,
    log_proposal_rows,
    reads_scores,
    written_for_numpy,
)
from nce_bias.proposals.builtin import (
    FromProbabilities,
    FromRows,
    LogUniform,
    Mixture,
    Model,
    Popularity,
    Uniform,
    from_probabilities,
    log_uniform,
    mixture,
    model,
    popularity,
    uniform,
)
from nce_bias.proposals.checks import check_enough, check_proposal, check_sides

#: Name on the command line and in tables -> factory.
PROPOSALS: dict[str, Callable[..., Proposal]] = {
    "uniform": uniform,
    "popularity": popularity,
    "log_uniform": log_uniform,
    "model": model,
    "mixture": mixture,
    "from_probabilities": from_probabilities,
}

__all__ = [
    "PROPOSALS",
    "FromProbabilities",
    "FromRows",
    "LogUniform",
    "Mixture",
    "Model",
    "Popularity",
    "Proposal",
    "Uniform",
    "cases_of",
    "check_enough",
    "check_proposal",
    "check_sides",
    "describe",
    "from_probabilities",
    "golds_of",
    "log_proposal",
    "log_proposal_rows",
    "log_uniform",
    "mixture",
    "model",
    "popularity",
    "reads_scores",
    "uniform",
    "written_for_numpy",
]
