"""Bias, variance and cosine of a retriever's contrastive gradient over whole test worlds.

Labels are all entities of the mention's world. The observed gold stands for pop(y|x), as it does in
training. In score space eps(.|x) = p - gamma of each mention; over parameters the pull-back of its
mean over the mentions looked at, whose norm is that of these mentions: the same ones for every run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import jax
import numpy as np

import nce_bias as nb
from analysis.estimators import flat, root, root_ratio
from analysis.linking import setup
from nce_bias.retrieval import (
    Corpus,
    EncoderRetriever,
    Mentions,
    Retriever,
    Scored,
    pull_back,
    world_scores,
)
from nce_bias.retrieval.worlds import worlds_of
from nce_bias.samplers import Sampler

TOLERANCE = 1e-6  # scores are float32
Model = Retriever | EncoderRetriever


class Kinds(NamedTuple):
    """Kinds of negatives that are measured, and for how many mentions.

    Attributes
    ----------
    exact, sampled : mapping of name to Sampler
        Those that have an exact law, and those of which candidate sets are drawn.
    mentions : int
        Of each world.
    draws : int
        Candidate sets of each mention, twice.
    """

    exact: Mapping[str, Sampler]
    sampled: Mapping[str, Sampler]
    mentions: int
    draws: int


def measured_rows(corpus: Corpus, split: str, count: int) -> list[np.ndarray]:
    """`count` mentions of each world, evenly spread over the file."""
    rows = [world.rows for world in worlds_of(corpus[split].spans)]
    return [some[np.linspace(0, len(some) - 1, min(count, len(some))).astype(int)] for some in rows]


class Biases(NamedTuple):
    """A gradient, and the bias that each kind of negatives has in its place.

    In score space they have a row for each mention, the gradient p - pop(.|x); over parameters they
    are vectors, summed over the mentions of a world.

    Attributes
    ----------
    gradient : `[n, V]` or `[P]`
    halves : mapping of kind to two of these
        Independent estimates of its bias; where it is exact, one array twice.
    """

    gradient: np.ndarray
    halves: dict[str, tuple[np.ndarray, np.ndarray]]

    def squares(self, kind: str) -> np.ndarray:
        """Squared norms of a bias along the last axis, without the noise floor of an estimate."""
        a, b = self.halves[kind]
        return np.sum(a * b, axis=-1)


class Found(NamedTuple):
    """What was found of the mentions of one world in score space; scalars of each kind."""

    biases: Biases
    scalars: dict[str, dict[str, float]]


def moments(model: Model, corpus: Corpus, split: str, kinds: Kinds) -> list[dict[str, Any]]:
    """One row for each kind of negatives, means over the mentions of all worlds."""
    worlds, pulled = [], []
    for rows in measured_rows(corpus, split, kinds.mentions):
        scored = world_scores(model, corpus[split][rows])
        problem, ordered = world_problem(scored, corpus, split, rows)
        worlds.append(_measured(problem, kinds))
        pulled.append(_pulled(model, corpus[split][ordered], worlds[-1].biases))
    parameters = _parameters(pulled, sum(len(world.biases.gradient) for world in worlds))
    return [row | parameters[row["kind"]] for row in _score_space(worlds)]


def score_moments(problems: Iterable[nb.Problem], kinds: Kinds) -> list[dict[str, Any]]:
    """The columns of `moments` that need no model, of the mentions of each world."""
    return _score_space([_measured(problem, kinds) for problem in problems])


def _score_space(worlds: list[Found]) -> list[dict[str, Any]]:
    each = [np.sum(world.biases.gradient**2, axis=1) for world in worlds]
    exact = np.concatenate(each)
    weights = np.array([len(some) / len(exact) for some in each])
    rows = []
    for kind in worlds[0].scalars:
        squares = np.concatenate([world.biases.squares(kind) for world in worlds])
        relative, error = root_ratio(squares, exact)
        scalars = [world.scalars[kind] for world in worlds]
        rows.append(
            {
                "kind": kind,
                **{name: float(weights @ [part[name] for part in scalars]) for name in SCALARS},
                "bias_norm": root(squares.mean()),
                "relative_bias": relative,
                "relative_bias_error": error,
            }
        )
    return rows


def _parameters(worlds: list[Biases], total: int) -> dict[str, dict[str, float]]:
    """Of each kind the bias of the mean gradient over parameters, and its cosine."""
    gradient = np.sum([world.gradient for world in worlds], axis=0) / total
    square_norm, found = float(gradient @ gradient), {}
    for kind in worlds[0].halves:
        a, b = (
            np.sum([world.halves[kind][half] for world in worlds], axis=0) / total
            for half in (0, 1)
        )
        square = float(a @ b)
        contrastive = gradient - (a + b) / 2
        found[kind] = {
            "parameter_bias": root(square),
            "parameter_relative_bias": root(square / square_norm),
            "parameter_cosine": float(
                contrastive @ gradient / np.linalg.norm(contrastive) / np.linalg.norm(gradient)
            ),
            "parameter_gradient": float(np.linalg.norm(gradient)),
        }
    return found


def world_problem(
    parts: Iterable[Scored], corpus: Corpus, split: str, rows: np.ndarray
) -> tuple[nb.Problem, np.ndarray]:
    """Mentions of one world over all its labels, in float64, and the order they stand in.

    `parts` are the scores of ``corpus[split][rows]``.
    """
    some = list(parts)
    rows = rows[np.concatenate([part.rows for part in some])]
    scores = np.concatenate([part.scores for part in some]).astype(float)
    gold = corpus[split].labels[rows] - some[0].first
    population = np.zeros_like(scores)
    population[np.arange(len(rows)), gold] = 1.0
    counts = corpus.counts[some[0].first :][: scores.shape[1]] + 1.0
    return nb.Problem(scores, population, popularity=counts / counts.sum()), rows


def distinct(
    model: Retriever, corpus: Corpus, split: str, count: int, draws: int
) -> list[dict[str, Any]]:
    """Uniform negatives, independent (exactly) and distinct (sampled): what coincidences change."""
    found = []
    for rows in measured_rows(corpus, split, count):
        problem, _ = world_problem(world_scores(model, corpus[split][rows]), corpus, split, rows)
        independent = nb.exact(problem, nb.iid(nb.uniform(), setup.M), split=False)
        sampled = nb.monte_carlo(
            problem,
            nb.without_replacement(nb.uniform(), setup.M),
            key=jax.random.key(0),
            draws=draws,
        )
        found.append(
            {
                "labels": problem.labels,
                "independent": float(independent.bias_norm),
                "distinct": float(sampled.bias_norm),
                "standard_error": float(sampled.standard_errors["bias_norm"]),
            }
        )
    return found


SCALARS = ("loss", "cross_entropy", "cosine", "variance", "coverage", "error")


def _measured(problem: nb.Problem, kinds: Kinds) -> Found:
    """Each kind's bias of each mention, and its scalars, of one world."""
    gradient = np.exp(np.asarray(problem.log_model)) - np.asarray(problem.population)
    halves, scalars = {}, {}
    for kind, sampler in kinds.exact.items():
        result = nb.exact(problem, sampler, split=False, tolerance=TOLERANCE)
        if result.status != "ok":
            raise RuntimeError(f"{kind}: {result.status}")
        bias = np.asarray(result.bias)
        halves[kind], scalars[kind] = (bias, bias), _scalars(result)
    for kind, sampler in kinds.sampled.items():
        key = jax.random.key(zlib.crc32(kind.encode()))
        both = [
            nb.monte_carlo(problem, sampler, key=k, draws=kinds.draws)
            for k in jax.random.split(key)
        ]
        halves[kind] = np.asarray(both[0].bias), np.asarray(both[1].bias)
        each = [_scalars(half) for half in both]
        scalars[kind] = {name: float(np.mean([half[name] for half in each])) for name in SCALARS}
    return Found(Biases(gradient, halves), scalars)


def _pulled(model: Model, mentions: Mentions, biases: Biases) -> Biases:
    """The same over parameters: one backward pass of each array, summed over the mentions."""
    arrays = {id(array): array for array in (biases.gradient, *chain(*biases.halves.values()))}
    pulled = pull_back(model, mentions, np.stack([*arrays.values()]))
    vectors = dict(zip(arrays, np.asarray(flat(pulled, leading=1), float), strict=True))
    halves = {kind: (vectors[id(a)], vectors[id(b)]) for kind, (a, b) in biases.halves.items()}
    return Biases(vectors[id(biases.gradient)], halves)


def _scalars(result: nb.Moments) -> dict[str, float]:
    return {name: float(getattr(result, name)) for name in SCALARS}
