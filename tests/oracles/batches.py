"""The gradient of a whole batch, by listing all batches one by one.

Nothing is derived here: every batch of rows (input, gold), with the negatives that its rows share,
is written down with its probability, the mean gradient by the scores is worked out from the losses'
definitions, and the trace of its covariance follows. Arithmetic is in ``numpy.longdouble``. For a
handful of labels and three rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tests.oracles.drawing import long

#: log w of the gold and of the negatives from scores, by the names of losses; q_y is of one draw
#: and m their number.
WEIGHTS: dict[str, Callable] = {
    "infonce": lambda s, q, m: (s, s),
    "sampled_softmax": lambda s, q, m: (s, s - np.log(m * q)),
    "sampled_softmax_both": lambda s, q, m: (s - np.log(m * q), s - np.log(m * q)),
    "ranking_nce": lambda s, q, m: (s - np.log(q), s - np.log(q)),
    "self_normalized": lambda s, q, m: (np.full_like(s, -np.inf), s - np.log(m * q)),
    "binary_nce": lambda s, q, m: (s - np.log(m * q), s - np.log(m * q)),
    "negative_sampling": lambda s, q, m: (s, s),
}
BINARY = ("binary_nce", "negative_sampling")


def row_gradient(loss, scores, q, m, gold, negatives) -> np.ndarray:
    """Derivative of one row's loss by the scores of its input."""
    of_gold, of_negatives = WEIGHTS[loss](long(scores), long(q), m)
    gradient = np.zeros(len(scores), np.longdouble)
    if loss in BINARY:
        gradient[gold] -= 1 / (1 + np.exp(of_gold[gold]))
        for y in negatives:
            gradient[y] += 1 / (1 + np.exp(-of_negatives[y]))
        return gradient
    weights = [np.exp(of_gold[gold]), *(np.exp(of_negatives[y]) for y in negatives)]
    for y, weight in zip((gold, *negatives), weights, strict=True):
        gradient[y] += weight / sum(weights)
    gradient[gold] -= 1
    return gradient


def variance(batches: Iterable[tuple], scores, loss, q, m) -> float:
    """Trace of the covariance of the mean gradient over batches (chance, rows, negatives).

    ``rows`` are pairs (input, gold), ``negatives`` a tuple of labels for each row.
    """
    scores = np.atleast_2d(long(scores))
    mean, square = np.zeros(scores.shape, np.longdouble), np.longdouble(0)
    for chance, rows, negatives in batches:
        total = np.zeros(scores.shape, np.longdouble)
        for (x, gold), drawn in zip(rows, negatives, strict=True):
            total[x] += row_gradient(loss, scores[x], q, m, gold, drawn)
        total /= len(rows)
        mean += chance * total
        square += chance * (total**2).sum()
    return float(square - (mean**2).sum())


def rows_of(size, weights, population) -> Iterator[tuple]:
    """All (chance, rows) of independent rows."""
    weights, population = long(weights), np.atleast_2d(long(population))
    cells = [(x, y) for x, y in np.ndindex(population.shape) if population[x, y] > 0]
    for rows in itertools.product(cells, repeat=size):
        yield np.prod([weights[x] * population[x, y] for x, y in rows]), rows


def epoch_rows(size, counts, population) -> Iterator[tuple]:
    """All (chance, rows) of distinct examples of one input; ``population`` is within blocks."""
    views = len(population) // len(counts)
    examples = [block for block, count in enumerate(counts) for _ in range(count)]
    batches = list(itertools.combinations(examples, size))
    within = long(population).reshape(-1, views)
    within = within / within.sum(axis=1, keepdims=True)
    for blocks in batches:
        for places in itertools.product(range(views), repeat=size):
            chance = np.prod([within[b, v] for b, v in zip(blocks, places, strict=True)])
            rows = tuple((0, b * views + v) for b, v in zip(blocks, places, strict=True))
            yield chance / len(batches), rows


def triplets(rows: Iterable[tuple], hard) -> Iterator[tuple]:
    """Every row brings its gold y and ``hard[y]``; a row meets its own hard negatives too."""
    for chance, batch in rows:
        golds = [gold for _, gold in batch]
        mined = [y for gold in golds for y in hard[gold] if y >= 0]
        yield chance, batch, [(*golds[:i], *golds[i + 1 :], *mined) for i in range(len(golds))]


def in_batch(rows: Iterable[tuple], views=1, masked=False, beside=None) -> Iterator[tuple]:
    """Negatives are what the other rows bring; ``beside``: (q, m) drawn for all rows as well."""
    for chance, batch in rows:
        blocks = [gold // views for _, gold in batch]
        negatives = [
            tuple(
                b * views + v
                for j, b in enumerate(blocks)
                if j != i and not (masked and b == own)
                for v in range(views)
            )
            for i, own in enumerate(blocks)
        ]
        for more, drawn in _sets(*(beside or ((1.0,), 0))):
            yield chance * more, batch, [own + drawn for own in negatives]


def shared(rows: Iterable[tuple], q, m, masked=False) -> Iterator[tuple]:
    """m independent draws from q serve all rows; a row drops its own gold where ``masked``."""
    for chance, batch in rows:
        for more, drawn in _sets(q, m):
            own = [tuple(y for y in drawn if not (masked and y == gold)) for _, gold in batch]
            yield chance * more, batch, own


def _sets(q, m) -> Iterator[tuple]:
    q = long(q)
    for drawn in itertools.product(range(len(q)), repeat=m):
        yield np.prod(q[list(drawn)]), drawn
