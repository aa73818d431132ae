"""Bias, variance and cosine of a retriever's contrastive gradient over whole test worlds.

Labels are all entities of the mention's world. The observed gold stands for pop(y|x), as it does in
training. In score space eps(.|x) = p - gamma of each mention; over parameters the pull-back of its
mean over the mentions looked at, whose norm is that of these mentions: the same ones for every run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import nce_bias as nb
from analysis.estimators import flat, root, root_ratio
from analysis.linking import setup
from nce_bias.retrieval import (
    Corpus,
    EncoderRetriever,
    Retriever,
    Scored,
    pull_back,
    world_scores,
)
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
    spans = corpus[split].spans
    found = []
    for first in np.unique(spans[:, 0]):
        inside = np.flatnonzero(spans[:, 0] == first)
        found.append(inside[np.linspace(0, len(inside) - 1, min(count, len(inside))).astype(int)])
    return found


def moments(model: Model, corpus: Corpus, split: str, kinds: Kinds) -> list[dict[str, Any]]:
    """One row for each kind of negatives, means over the mentions of all worlds."""
    worlds = [
        _world(model, corpus, split, rows, kinds)
        for rows in measured_rows(corpus, split, kinds.mentions)
    ]
    parameters = _parameters(worlds, (*kinds.exact, *kinds.sampled))
    return [row | parameters[row["kind"]] for row in _score_space(worlds, kinds)]


def score_moments(problems: Iterable[nb.Problem], kinds: Kinds) -> list[dict[str, Any]]:
    """The columns of `moments` that need no model, of the mentions of each world."""
    return _score_space([_measured(problem, kinds)[0] for problem in problems], kinds)


def _score_space(worlds: list[dict[str, Any]], kinds: Kinds) -> list[dict[str, Any]]:
    exact = np.concatenate([world["gradient_squares"] for world in worlds])
    weights = np.array([len(world["gradient_squares"]) / len(exact) for world in worlds])
    rows = []
    for kind in (*kinds.exact, *kinds.sampled):
        parts = [world[kind] for world in worlds]
        squares = np.concatenate([part["squares"] for part in parts])
        relative, error = root_ratio(squares, exact)
        rows.append(
            {
                "kind": kind,
                **{name: float(weights @ [part[name] for part in parts]) for name in SCALARS},
                "bias_norm": root(squares.mean()),
                "relative_bias": relative,
                "relative_bias_error": error,
            }
        )
    return rows


def _parameters(worlds: list[dict[str, Any]], kinds: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of each kind the bias of the mean gradient over parameters, and its cosine."""
    total = sum(len(world["gradient_squares"]) for world in worlds)
    gradient, found = _summed(worlds, "exact", total), {}
    for kind in kinds:
        halves = [_summed(worlds, f"{kind} {half}", total) for half in "ab"]
        square = float(halves[0] @ halves[1])  # of two independent halves: without a noise floor
        contrastive = gradient - (halves[0] + halves[1]) / 2
        found[kind] = {
            "parameter_bias": root(square),
            "parameter_relative_bias": root(square / float(gradient @ gradient)),
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


def _measured(problem: nb.Problem, kinds: Kinds) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Each kind's scalars and squares of one world; eps of each mention, to be pulled back."""
    exact = np.exp(np.asarray(problem.log_model)) - np.asarray(problem.population)
    found: dict[str, Any] = {"gradient_squares": np.sum(exact**2, axis=1)}
    cotangents = {"exact": exact}
    for kind, sampler in kinds.exact.items():
        result = nb.exact(problem, sampler, split=False, tolerance=TOLERANCE)
        if result.status != "ok":
            raise RuntimeError(f"{kind}: {result.status}")
        bias = np.asarray(result.bias)
        found[kind] = _scalars(result) | {"squares": np.sum(bias**2, axis=1)}
        cotangents |= {f"{kind} a": bias}
    for kind, sampler in kinds.sampled.items():
        key = jax.random.key(zlib.crc32(kind.encode()))
        halves = [
            nb.monte_carlo(problem, sampler, key=k, draws=kinds.draws)
            for k in jax.random.split(key)
        ]
        a, b = (np.asarray(half.bias) for half in halves)
        means = {n: np.mean([_scalars(half)[n] for half in halves]) for n in SCALARS}
        found[kind] = means | {"squares": np.sum(a * b, axis=1)}
        cotangents |= {f"{kind} a": a, f"{kind} b": b}
    return found, cotangents


def _world(
    model: Model, corpus: Corpus, split: str, rows: np.ndarray, kinds: Kinds
) -> dict[str, Any]:
    """What `_measured` finds of one world, and pull-backs of eps summed over its mentions."""
    scored = world_scores(model, corpus[split][rows])
    problem, rows = world_problem(scored, corpus, split, rows)
    found, cotangents = _measured(problem, kinds)
    pulled = pull_back(model, corpus[split][rows], np.stack([*cotangents.values()]))
    gradients = np.asarray(flat(pulled, leading=1), float)
    found["pulled"] = dict(zip(cotangents, gradients, strict=True))
    for kind in kinds.exact:
        found["pulled"][f"{kind} b"] = found["pulled"][f"{kind} a"]
    return found


def _scalars(result: nb.Moments) -> dict[str, float]:
    return {name: float(getattr(result, name)) for name in SCALARS}


def _summed(worlds: list[dict[str, Any]], name: str, total: int) -> np.ndarray:
    return np.sum([world["pulled"][name] for world in worlds], axis=0) / total
