"""Moments with distinct draws, by listing every set that can be drawn.

Independent of the library and of ``enumeration``. Here what is taken off the scores belongs to the
outcome, as it does where it depends on how many tries it took. An outcome of a gold is

    (chance, negatives, taken_negative [V], taken_gold)

with the labels that are left among the negatives, and the numbers whose logarithms are taken off
their scores and off the gold's.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from types import SimpleNamespace

import numpy as np

HITS = ("exclude", "mask", "keep")


def distinct(q, m, hits, *, corrected=False, **_):
    """m labels one after another in proportion to what is left of q, the gold like any other.

    `corrected`: m q is taken off both.
    """

    def of_gold(gold):
        chance = defaultdict(float)
        own = _left(q, gold) if hits == "exclude" else np.asarray(q, float)
        for order in itertools.permutations(np.flatnonzero(own), m):
            probability, left = 1.0, own.sum()
            for y in order:
                probability *= own[y] / left
                left -= own[y]
            chance[_dropped(order, gold, hits)] += probability
        taken = m * np.asarray(q, float) if corrected else np.ones(len(q))
        return [(p, labels, taken, taken[gold]) for labels, p in chance.items()]

    return of_gold


def unique(q, m, hits, *, corrected=False, **_):
    """The set of m independent draws; `corrected`: the chance to be among them is taken off."""

    def of_gold(gold):
        chance = defaultdict(float)
        own = _left(q, gold) if hits == "exclude" else np.asarray(q, float)
        for draws in itertools.product(np.flatnonzero(own), repeat=m):
            chance[_dropped(set(draws), gold, hits)] += float(np.prod(own[list(draws)]))
        taken, gold_taken = np.ones(len(q)), 1.0
        if corrected:
            taken, gold_taken = 1 - (1 - own) ** m, 1 - (1 - q[gold]) ** m
            taken[taken == 0] = np.nan  # never drawn
        return [(p, labels, taken, gold_taken) for labels, p in chance.items()]

    return of_gold


def until_distinct(q, m, hits, *, corrected=False, longest=400, single=False):
    """Draws from q until m are distinct, n of them; `corrected`: 1 - (1 - q)^n, or m q for n = m.

    `single`: takes m q whatever n, a wrong reading.
    """
    q = np.asarray(q, float)
    ended = []
    running = {frozenset(): 1.0}
    for n in range(1, longest + 1):
        after = defaultdict(float)
        for labels, chance in running.items():
            for y in np.flatnonzero(q):
                after[labels | {int(y)}] += chance * q[y]
        ended += [(n, labels, p) for labels, p in after.items() if len(labels) == m]
        running = {labels: p for labels, p in after.items() if len(labels) < m and p > 1e-30}

    def of_gold(gold):
        found = []
        for n, labels, chance in ended:
            taken = m * q if n == m or single else -np.expm1(n * np.log1p(-q))
            taken = taken if corrected else np.ones(len(q))
            found.append((chance, _dropped(labels, gold, hits), taken, taken[gold]))
        return found

    return of_gold


def _left(q, gold):
    q = np.array(q, float)
    q[gold] = 0
    return q / q.sum()


def _dropped(labels, gold, hits):
    return tuple(sorted(int(y) for y in labels if hits == "keep" or y != gold))


def moments(scores, population, of_gold, *, binary=False):
    """Loss, gradient, bias and the parts of the variance of one input."""
    scores, population = np.asarray(scores, float), np.asarray(population, float)
    size, model = len(scores), np.exp(scores) / np.exp(scores).sum()
    loss, coverage, second = 0.0, 0.0, 0.0
    gradient, squared_means = np.zeros(size), 0.0
    for gold in np.flatnonzero(population):
        mean = np.zeros(size)
        for chance, negatives, taken, gold_taken in of_gold(gold):
            who = [gold, *negatives]
            logits = scores[who] - np.log([gold_taken, *taken[list(negatives)]])
            if binary:
                value = np.logaddexp(0, -logits[0]) + np.logaddexp(0, logits[1:]).sum()
                picked = 1 / (1 + np.exp(-logits))
            else:
                value = np.logaddexp.reduce(logits) - logits[0]
                picked = np.exp(logits - np.logaddexp.reduce(logits))
            v = np.bincount(who, picked, size)
            v[gold] -= 1
            share = population[gold] * chance
            loss += share * value
            second += share * (v @ v)
            coverage += share * model[list(set(who))].sum()
            mean += chance * v
        gradient += population[gold] * mean
        squared_means += population[gold] * (mean @ mean)
    bias = (model - population) - gradient
    return SimpleNamespace(
        loss=loss,
        gradient=gradient,
        bias_norm=np.linalg.norm(bias),
        cosine=gradient
        @ (model - population)
        / np.linalg.norm(gradient)
        / np.linalg.norm(model - population),
        variance=second - gradient @ gradient,
        variance_negatives=second - squared_means,
        variance_gold=squared_means - gradient @ gradient,
        coverage=coverage,
    )
