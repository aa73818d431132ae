"""One problem of five labels, and moments on it by listing every set of negatives.

Shares nothing with the library. A definition is a pair: what is drawn given a gold, as
`tests.oracles.drawing` has it, and the loss of one set, a function of a `Set` that takes complex
numbers, so that derivatives are complex steps.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from tests.oracles.drawing import ABSENT, draws, long, one_draw, softmax

STEP = 1e-30
M, V = 2, 5
SCORES = np.array([0.8, 1.5, 0.1, -0.6, -1.3])
POPULATION = np.array([0.0, 0.6, 0.0, 0.4, 0.0])
POPULARITY = np.array([0.25, 0.35, 0.05, 0.2, 0.15])
SIDES = {
    "positives": np.array([0.0, 1, 0, 1, 0]),
    "stale": np.array([0.2, 0.9, 0.5, -0.1, -0.4]),
    "queued": np.array([0.5, 1.9, -0.4, -0.2, 0.3]),
    "teacher": np.array([0.7, 0.9, 0.2, 0.6, 0.4]),
    "generator": np.array([-0.3, 0.8, 1.1, 0.0, 0.4]),
    "kernel": np.array([2.0, 3.0, 0.0, 0.7, 0.4]),
    "quantised": np.array([0.6, 1.1, 0.3, -0.2, -1.0]),
    "tree": np.log([0.2, 0.3, 0.1, 0.25, 0.15]),
    "pagerank": np.array([0.1, 0.3, 0.25, 0.2, 0.15]),
    "shortlist": np.array([1.0, 1, 1, 0, 1]),
    "seen_in_slot": np.array([1.0, 0, 1, 1, 0]),
    "mined": np.array([2.0, 0, -1, 1, 0]),
    "hardness": np.array([0.3, -0.2, 0.6, 0.1, 0.9]),
    "neighbours": np.array([0.0, 1, 1, 1, 1]),
}
LABELS = np.arange(V)
UNIFORM = np.full(V, 1 / V)
MODEL = np.exp(SCORES) / np.exp(SCORES).sum()


class Set(NamedTuple):
    """A candidate set: scores, and the numbers whose logarithms corrections take off.

    `q_gold`: what the proposal gives the gold; `q`: what one draw gives each negative; `copies`:
    how many there are of each negative's label on average, given the gold.
    """

    gold: complex
    negatives: np.ndarray
    q_gold: float
    q: np.ndarray
    copies: np.ndarray


def padded(rows, views=1):
    """Numbers of all labels, with a 0 for each that blocks of `views` have besides."""
    return np.append(rows, np.zeros(-V % views))


def moments(spec_of, value, views=1):
    """Loss, gradient, variance, coverage by enumeration; labels come in blocks of `views`."""
    scores, population = padded(SCORES, views), padded(POPULATION, views)
    p = np.asarray(softmax(long(scores)), float)
    chances, rows, values, coverage = [], [], [], 0.0
    for gold in np.flatnonzero(population):
        spec = spec_of(gold)
        chance, labels = draws(spec, gold, long(scores))
        chance = np.asarray(chance, float)
        copies = np.array([(chance * (labels == y).sum(1)).sum() for y in range(len(scores))])
        q_gold, q = _proposal(spec, gold)
        for row, share in zip(labels, chance, strict=True):
            drawn = row[row != ABSENT]

            def on_set(s, drawn=drawn, gold=gold, q_gold=q_gold, q=q, copies=copies):
                return value(Set(s[gold], s[drawn], q_gold, q[drawn], copies[drawn]))

            moved = scores + 1j * STEP * np.eye(len(scores))
            rows.append([np.imag(on_set(s)) / STEP for s in moved])
            values.append(np.real(on_set(scores)))
            chances.append(population[gold] * share)
            coverage += chances[-1] * p[list({gold, *drawn})].sum()
    chance, row = np.array(chances), np.array(rows)
    gradient = chance @ row
    bias = p - population - gradient
    exact = p - population
    return SimpleNamespace(
        loss=chance @ np.array(values),
        gradient=gradient,
        bias_norm=np.linalg.norm(bias),
        cosine=gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact),
        variance=chance @ ((row - gradient) ** 2).sum(-1),
        coverage=coverage,
    )


def _proposal(spec, gold):
    """q of the gold, and of one draw; of several parts there is none."""
    if spec[0] in ("concat", "either", "top", "triplets", "batch", "resampled"):
        return np.nan, np.full(2 * V, np.nan)
    q = np.asarray(spec[1], float)
    return q[gold] / q.sum(), np.asarray(one_draw(spec, gold), float)


# --- what is drawn


def iid(q, hits="exclude", m=M):
    """Independent draws; q may depend on the gold."""
    return lambda gold: ("iid", q(gold) if callable(q) else q, m, hits)


def distinct(q, m=M):
    """Successive draws without repetition."""
    return lambda gold: ("without_replacement", q(gold) if callable(q) else q, m)


def top(m=M):
    """The best wrong labels."""
    return lambda gold: ("top", m)


def both(*specs):
    """Several kinds together."""
    return lambda gold: ("concat", [spec(gold) for spec in specs])


def chosen(spec, key, m=M):
    """The m of a pool with the largest key."""
    return lambda gold: ("best_of", spec(gold)[1], m, spec(gold), np.tile(key, (V, 1)))


def listed(side):
    """All labels that a side marks, but the gold."""
    return lambda gold: ("listed", [np.flatnonzero(SIDES[side] > 0)] * V)


def by_weight(spec, weights, m=M):
    """m draws from a pool by weight."""
    return lambda gold: ("resampled", None, m, spec(gold), np.tile(weights, (V, 1)))


def labels_of(scores):
    """Whose they are: all scores differ."""
    return [int(np.argmin(np.abs(SCORES - score.real))) for score in scores]


def queued(scores):
    """Those of old copies; a copy's own score moves as its label's would."""
    return scores + (SIDES["queued"] - SCORES)[labels_of(scores)]


def over(labels):
    """Uniform over some labels."""
    q = np.isin(LABELS, list(labels)).astype(float)
    return q / q.sum()


def where(side, marked=True):
    """Uniform over the labels that a side marks, or the others."""
    return over(LABELS[(SIDES[side] > 0) == marked])


def power(exponent):
    """Popularity to a power."""
    return POPULARITY**exponent / (POPULARITY**exponent).sum()


def normal(weights):
    """Weights over their sum."""
    return np.asarray(weights) / np.sum(weights)


def order(key, without=None):
    """Labels, the largest key first."""
    return [y for y in sorted(LABELS, key=lambda y: -key[y]) if y != without]


def ranked(first, last):
    """Uniform over wrong labels of some ranks by score, 1 the best."""
    return lambda gold: over(order(SCORES, gold)[first - 1 : last])


def best_of(pool, key):
    """The law of the best of a pool of uniform wrong labels, by listing all pools."""

    def law(gold):
        wrong = [y for y in LABELS if y != gold]
        keys, q = key(gold), np.zeros(V)
        for members in itertools.product(wrong, repeat=pool):
            q[max(members, key=lambda y: keys[y])] += 1 / len(wrong) ** pool
        return q

    return law


BATCH = iid(POPULARITY, "keep")

# --- losses


def softplus(x):
    """log(1 + e^x)."""
    return np.log(1 + np.exp(x))


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def positive(x):
    """max(0, x)."""
    return np.where(x.real > 0, x, 0)


def total(gold, negatives):
    """log of the sum of all weights."""
    return np.log(np.exp(gold) + np.exp(negatives).sum())


def infonce(c):
    """No correction."""
    return total(c.gold, c.negatives) - c.gold


def sampled_softmax(c):
    """log(m q) off the negatives."""
    return total(c.gold, c.negatives - np.log(M * c.q)) - c.gold


def by_inclusion(c):
    """log of the expected copies off the negatives."""
    return total(c.gold, c.negatives - np.log(c.copies)) - c.gold


def ranking_nce(c):
    """log q off all."""
    gold = c.gold - np.log(c.q_gold)
    return total(gold, c.negatives - np.log(c.q)) - gold


def self_normalized(c):
    """Importance weights over the negatives alone."""
    return np.log((np.exp(c.negatives) / (M * c.q)).sum()) - c.gold


def binary_nce(c, log_z=0.0):
    """Logistic loss with log(m q) off all."""
    gold = c.gold - log_z - np.log(M * c.q_gold)
    return softplus(-gold) + softplus(c.negatives - log_z - np.log(M * c.q)).sum()


def negative_sampling(c):
    """Logistic loss without correction."""
    return softplus(-c.gold) + softplus(c.negatives).sum()


def bpr(c):
    """Pairs."""
    return softplus(c.negatives - c.gold).sum()


def hinge(margin):
    """Pairs with a margin."""
    return lambda c: positive(margin + c.negatives - c.gold).sum()


def jsd(c):
    """Logistic loss, the negatives averaged."""
    return softplus(-c.gold) + softplus(c.negatives).sum() / M


def decoupled(c):
    """The gold not in the sum."""
    return np.log(np.exp(c.negatives).sum()) - c.gold


def donsker_varadhan(c):
    """The same with a mean."""
    return np.log(np.exp(c.negatives).mean()) - c.gold
