"""What negatives can be drawn and how probably: proposals and samplers, written out in full.

Everything follows from the definitions; arithmetic is in ``numpy.longdouble``.

Samplers are plain tuples, q being an array of V probabilities over *all* labels:

=====================================  ==========================================================
``("iid", q, m, hits)``                m draws with replacement; ``hits`` says what becomes of a
                                       draw equal to the gold: ``"exclude"`` (q without the gold,
                                       renormalised), ``"mask"`` (drawn, then dropped),
                                       ``"mask_last"`` (only the last such draw), ``"keep"``
``("without_replacement", q, m)``      m successive draws among the labels not yet taken; with a
                                       fourth, ``hits``, from all of q: a gold that is drawn is
                                       dropped (``"mask"``) or not (``"keep"``)
``("poisson", q, m)``                  each wrong label y by itself, with chance min(1, c q_y)
``("poisson", inclusion)``             the same, chances given: row g of ``inclusion`` for gold g
``("top", m)``                         the m highest-scoring wrong labels, ties to the lower index
``("listed", lists)``                  the labels ``lists[gold]``, each once, the gold left out
``("concat", [sampler, ...])``         independent samplers, all their negatives together
``("either", [(sampler, share), ..])``  the negatives of one of them, drawn by lot
``("batch", q, m, hits, views, counts)``  the m / views other rows of a batch, each with a block of
                                       ``views`` labels in a row of chance views q_y; with
                                       ``counts`` (or None) distinct examples of an epoch, in
                                       which each block occurs that often
``("triplets", q, rows, hard)``        what that many other rows bring, gold y with chance q_y and
                                       the labels ``hard[y]`` with it, and ``hard[gold]``
``("best_of", q, m, pool, key)``       the m of what ``pool`` draws with the largest ``key`` (a row
                                       for each gold), ties to the lower index, dropped draws last;
                                       q is the pool's
``("resampled", q, m, pool, weights)``  m draws with replacement from what ``pool`` draws, with
                                       chances proportional to ``weights`` (a row for each gold);
                                       none from an empty one; q is of no matter
=====================================  ==========================================================
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

ABSENT = -1  # the label number that stands for "this draw was dropped"


def proposals(name, scores, popularity, **options) -> np.ndarray:
    """Proposal probabilities ``[V]`` from their definitions.

    ``uniform``; ``popularity`` (``power``); ``log_uniform``: the label of rank k = 0, 1, ... by
    decreasing popularity (ties to the lower index) has log((k+2)/(k+1)) / log(V+1); ``model``
    (``temperature``); ``mixture`` (``a``, ``b``, ``share`` of a; a and b are themselves
    ``(name, options)`` pairs); ``from_probabilities`` (``q``).
    """
    scores, popularity = long(scores), long(popularity)
    size = len(scores)
    if name == "uniform":
        return np.full(size, 1 / np.longdouble(size))
    if name == "popularity":
        mass = popularity ** np.longdouble(options.get("power", 1.0))
        return mass / mass.sum()
    if name == "log_uniform":
        q = np.empty(size, np.longdouble)
        by_rank = sorted(range(size), key=lambda y: -popularity[y])  # sorted() is stable
        for rank, label in enumerate(by_rank):
            q[label] = np.log(np.longdouble(rank + 2) / (rank + 1)) / np.log(long(size + 1))
        return q
    if name == "model":
        return softmax(scores / np.longdouble(options.get("temperature", 1.0)))
    if name == "mixture":
        (first, first_options), (second, second_options) = options["a"], options["b"]
        share = np.longdouble(options.get("share", 0.5))
        return share * proposals(first, scores, popularity, **first_options) + (
            1 - share
        ) * proposals(second, scores, popularity, **second_options)
    if name == "from_probabilities":
        return long(options["q"])
    raise ValueError(f"no proposal called {name!r}")


def outcomes(spec, gold, scores) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every outcome of a sampler for one gold: (probability, labels present among the negatives).

    Draws are ordered and kept apart, so the same multiset may appear several times; dropped draws
    are left out of the tuple.
    """
    probability, labels = draws(spec, gold, scores)
    for chance, row in zip(probability, labels, strict=True):
        yield float(chance), tuple(int(y) for y in row if y != ABSENT)


def draws(spec, gold, scores) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes as arrays: probabilities ``[N]``, labels ``[N, draws]`` (``ABSENT`` = none)."""
    kind, wrong = spec[0], [y for y in range(len(scores)) if y != gold]
    if kind == "iid":
        _, q, m, hits = spec
        q = one_draw(spec, gold)
        support = np.flatnonzero(q > 0)
        labels = np.array(list(itertools.product(support, repeat=m)), int).reshape(-1, m)
        probability = np.prod(q[labels], axis=1)
        if hits == "mask":
            labels = np.where(labels == gold, ABSENT, labels)
        if hits == "mask_last":
            for row in labels:
                if gold in row:
                    row[np.flatnonzero(row == gold)[-1]] = ABSENT
        return probability, labels
    if kind == "without_replacement":
        m, q = spec[2], one_draw(spec, gold)
        labels = np.array(list(itertools.permutations(np.flatnonzero(q > 0), m)), int)
        if len(labels) == 0:
            raise ValueError(f"fewer than {m} wrong labels can be drawn for gold {gold}")
        probability = np.ones(len(labels), np.longdouble)
        left = np.tile(q, (len(labels), 1))  # mass not yet taken
        row = np.arange(len(labels))
        for column in labels.T:
            probability *= left[row, column] / left.sum(axis=1)
            left[row, column] = 0
        if spec[3:] == ("mask",):
            labels = np.where(labels == gold, ABSENT, labels)
        return probability, labels
    if kind == "poisson":
        inclusion = (
            long(spec[1])[gold] if len(spec) == 2 else poisson_inclusion(spec[1], spec[2], gold)
        )
        drawn = np.array(list(itertools.product([False, True], repeat=len(wrong))))
        chance = inclusion[wrong]
        probability = np.prod(np.where(drawn, chance, 1 - chance), axis=1)
        labels = np.where(drawn, wrong, ABSENT)
        return probability[probability > 0], labels[probability > 0]
    if kind == "top":
        if spec[1] > len(wrong):
            raise ValueError(f"top({spec[1]}) of {len(wrong)} wrong labels")
        best = sorted(wrong, key=lambda y: -scores[y])[: spec[1]]  # sorted() is stable
        return np.ones(1, np.longdouble), np.array([best])
    if kind == "listed":
        return np.ones(1, np.longdouble), np.array([sorted({*spec[1][gold]} - {gold})], int)
    if kind == "concat":
        probability, labels = np.ones(1, np.longdouble), np.zeros((1, 0), int)
        for part in spec[1]:
            chance, more = draws(part, gold, scores)
            labels = np.hstack(
                [np.repeat(labels, len(more), axis=0), np.tile(more, (len(labels), 1))]
            )
            probability = np.repeat(probability, len(more)) * np.tile(chance, len(probability))
        return probability, labels
    if kind == "batch":
        return _other_rows(spec, gold)
    if kind == "triplets":
        _, q, rows, hard = spec
        golds = np.array(list(itertools.product(range(len(q)), repeat=rows)), int)
        mined = np.array([list(row) for row in hard])
        brought = np.hstack([golds, mined[golds].reshape(len(golds), -1)])
        own = np.tile(mined[gold], (len(golds), 1))
        return np.prod(long(q)[golds], axis=1), np.hstack([brought, own])
    if kind == "best_of":
        _, _, m, pool, key = spec
        probability, labels = draws(pool, gold, scores)
        order = [*sorted(range(len(scores)), key=lambda y: -key[gold][y]), ABSENT]  # stable
        return probability, np.array([sorted(row, key=order.index)[:m] for row in labels], int)
    if kind == "resampled":
        return _by_weight(spec, gold, scores)
    if kind == "either":
        drawn = [(share, *draws(part, gold, scores)) for part, share in spec[1]]
        slots = max(labels.shape[1] for _, _, labels in drawn)
        sets = [
            np.pad(labels, ((0, 0), (0, slots - labels.shape[1])), constant_values=ABSENT)
            for _, _, labels in drawn
        ]
        return np.concatenate([long(share) * chance for share, chance, _ in drawn]), np.vstack(sets)
    raise ValueError(f"no sampler called {kind!r}")


def _other_rows(spec, gold) -> tuple[np.ndarray, np.ndarray]:
    """Rows one by one: independent blocks, or all sets of other examples of an epoch, listed."""
    _, q, m, hits, views, counts = spec
    rows, own = m // views, gold // views
    if counts is None:
        chance = long(q).reshape(-1, views).sum(axis=1)
        blocks = np.array(list(itertools.product(range(len(chance)), repeat=rows)), int)
        probability = np.prod(chance[blocks], axis=1)
    else:
        examples = [block for block, count in enumerate(counts) for _ in range(int(count))]
        examples.remove(own)
        blocks = np.array(list(itertools.combinations(examples, rows)), int)
        probability = np.full(len(blocks), 1 / np.longdouble(len(blocks)))
    labels = (blocks[:, :, None] * views + np.arange(views)).reshape(len(blocks), -1)
    if hits == "mask":
        labels = np.where(labels // views == own, ABSENT, labels)
    return probability, labels


def _by_weight(spec, gold, scores) -> tuple[np.ndarray, np.ndarray]:
    """Every pool, and every m of its slots in order."""
    _, _, m, pool, weights = spec
    chance, pools = draws(pool, gold, scores)
    weight = np.where(pools == ABSENT, 0, long(weights)[gold][pools])
    total = weight.sum(axis=1)
    empty = total == 0
    share = weight[~empty] / total[~empty, None]
    slots = np.array(list(itertools.product(range(pools.shape[1]), repeat=m)), int)
    of_slots = np.prod(share[:, slots], axis=2) * chance[~empty, None]
    labels = pools[~empty][:, slots].reshape(-1, m)
    none = np.full((1, m), ABSENT)
    labels, of_slots = np.vstack([labels, none]), np.append(of_slots, chance[empty].sum())
    return of_slots[of_slots > 0], labels[of_slots > 0]


def one_draw(spec, gold) -> np.ndarray:
    """The law of a single draw ``[V]``: q, without the gold and renormalised where it is excluded.

    A correction of the negatives uses exactly this; ``top`` and ``concat`` have none.
    """
    if spec[0] == "best_of":
        return one_draw(spec[3], gold)
    if spec[0] == "resampled":
        chance, labels = draws((*spec[:2], 1, *spec[3:]), gold, np.zeros(len(spec[4])))
        return np.array([chance[labels[:, 0] == y].sum() for y in range(len(spec[4]))])
    if spec[0] not in ("iid", "without_replacement", "poisson", "batch") or len(spec) == 2:
        raise ValueError(f"{spec[0]} has no single q to correct with")
    q = long(spec[1]) / long(spec[1]).sum()
    if spec[0] == "batch" and spec[5] is not None:  # without the example of the row itself
        return q / (1 - 1 / long(np.sum(spec[5])))
    if len(spec) == 3 or spec[3] == "exclude":
        q[gold] = 0
        q = q / q.sum()
    elif spec[3] not in ("mask", "mask_last", "keep"):
        raise ValueError(f"no hits policy called {spec[3]!r}")
    return q


def poisson_inclusion(q, m, gold) -> np.ndarray:
    """min(1, c q_y) over wrong labels (0 at the gold), with c such that the sum is m.

    Labels reach 1 in order of decreasing q; with the k largest at 1 the rest share m - k in
    proportion to q, and the right k is the first for which none of them exceeds 1.
    """
    q = long(q).copy()
    q[gold] = 0
    if np.count_nonzero(q) < m:
        raise ValueError(f"fewer than {m} wrong labels can be drawn for gold {gold}")
    order = np.argsort(-q, kind="stable")
    for full in range(m + 1):
        rest = order[full:]
        inclusion = np.zeros(len(q), np.longdouble)
        inclusion[order[:full]] = 1
        if full < m:
            inclusion[rest] = (m - full) * q[rest] / q[rest].sum()
        if np.all(inclusion <= 1):
            break
    return inclusion


def softmax(scores) -> np.ndarray:
    """exp(s_y) / sum exp(s)."""
    weight = np.exp(scores - np.max(scores))
    return weight / weight.sum()


def long(values) -> np.ndarray:
    """The same numbers in extended precision, copied only if they have to be."""
    return np.asarray(values, np.longdouble)
