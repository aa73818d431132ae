r"""Negatives from a queue or a memory: labels whose keys were made some time ago.

A queue keeps the keys of former batches, a memory bank one old key for every label. A negative from
there has the score that its old key has with the query of today, not the label's score: a side of
the problem. ``queue(pool, scores)`` draws what `pool` draws, with such scores; ages, and what is
drawn fresh, are parts of a sum,

    in_batch(256) + queue(iid(popularity(), 1024, "keep"), "a_step_ago") + queue(..., "two_ago").

With the parts a of a sum independent given the gold, and w^a the weights of each,

    F(t) = prod_a F^a(t w^a).

**One age alone**, every negative from the queue: the negatives' scores are the side in place of the
problem's, the gold's are not. Exact with every loss and every pool that is.

**Several.** A law is asked at the exposures t w of one reference w = max_a w^a, and scales them for
each part by w^a / w <= 1, `QueueLaw`. A label's gradient is the sum over its copies, each as heavy
as it is; so are second moments. That is for losses that are a softmax over the candidates, which
see weights alone; others have a function of each score to take, and say so.

**Whose gradient.** A copy's score moves with the query; its key is a constant. `gradient` and
`selection` have for each label the sum over all its copies, which is what the query's side sees
where old keys point where the new ones do. The side of the keys sees the fresh candidates alone,
which is not told apart here: of a queue alone, nothing but the gold. Over parameters: `pull_back`
with a model whose keys are held fixed.

**Hits.** Those of the pool: "keep" where old copies of the gold stay in the queue, as in most code.

**Limits.** With the problem's own scores as the side it is the pool itself, and a sum is a sum.

Source: He et al. (2020), MoCo; Wang et al. (2020), cross-batch memory; Wang et al. (2021), CBNS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from nce_bias._checks import check_kind, refuse
from nce_bias.numerics.arrays import Array
from nce_bias.problem import Problem
from nce_bias.proposals import describe
from nce_bias.samplers._from_pool import FromPool, Message
from nce_bias.samplers._per_label import function_of
from nce_bias.samplers._queue_law import QueueLaw
from nce_bias.samplers.base import Sampler, check_of_today


class Queue(FromPool):
    """See `queue`."""

    message: ClassVar[Message] = Message(
        "scores",
        "{value} at the label {label} of input {input}",
        "the score of an old copy of each label, -inf for one that weighs nothing",
        "Where a label has no old copy, let its pool not draw it.",
    )

    m: int | Float[Array, ""]
    pool: Sampler
    by: Callable[..., Any]

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> QueueLaw:
        own = self.numbers(scores, popularity)
        return QueueLaw(self.pool.law(scores, popularity), own.astype(scores.dtype))

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        pool = self.pool.sized(problem, tolerance)
        return dataclasses.replace(self, m=pool.m, pool=pool)

    @property
    def separable(self) -> bool:
        return self.pool.separable

    @property
    def aged(self) -> bool:
        return True

    def slots(self, labels: int) -> int:
        return self.pool.slots(labels)

    def wrong(self, rows: np.ndarray) -> np.ndarray:
        return np.isnan(rows) | np.isposinf(rows)

    def __repr__(self) -> str:
        return f"queue({self.pool!r}, {describe(self.by)})"


def queue(pool: Any, scores: Any) -> Sampler:
    """What `pool` draws, as old copies of the labels that have scores of their own.

    Parameters
    ----------
    pool : Sampler
        Draws the labels whose copies are in the queue.
    scores : str or callable
        The name of the side that holds the copies' scores with today's queries, `[V]` or `[X, V]`;
        or a function of what its parameters' names say.

    Returns
    -------
    Sampler
        To be used alone, or as a part of a sum with others, fresh or of other ages.

    Raises
    ------
    ValueError
        A pool that is none; when used, scores that are NaN or +inf, or of another shape; several
        ages with a loss that is no softmax over the candidates.

    Examples
    --------
    Half of the negatives from the batch, half from a queue whose keys are a little off:

    >>> problem = Problem(
    ...     [1.0, 0.5, 0.0], [0.2, 0.3, 0.5], sides={"stale": [0.6, 0.7, 0.1]}
    ... )
    >>> old = queue(iid(popularity(), 4, hits="keep"), "stale")
    >>> sampler = iid(popularity(), 4, hits="keep") + old
    >>> sampler
    iid(popularity, m=4, hits='keep') + queue(iid(popularity, m=4, hits='keep'), stale)
    >>> round(float(exact(problem, sampler).loss), 6)
    2.265432
    """
    check_kind("pool", pool, Sampler, "nb.queue(nb.iid(nb.popularity(), 1024, 'keep'), 'stale')")
    check_of_today("pool", pool)
    if scores is None:
        raise refuse(
            "scores",
            "got None",
            "the name of a side, or a function of scores, popularity, gold or sides",
            "Without scores of their own the copies are the labels: use the pool itself.",
        )
    return Queue(m=pool.m, pool=pool, by=function_of("scores", scores, "scores='stale'"))
