"""Queues and memories: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    POPULARITY,
    both,
    iid,
    positive,
    queued,
    total,
)


def queued_infonce(c):
    return total(c.gold, queued(c.negatives)) - c.gold


def memory(c):
    return 1 - c.gold + positive(queued(c.negatives) - 0.1).sum()


def half_queued(c):
    """The second of two is an old copy."""
    return total(c.gold, np.append(c.negatives[:1], queued(c.negatives[1:]))) - c.gold


ONE = iid(POPULARITY, "keep", m=1)
OPTIONS = {"cross_batch_memory": {"margin": 0.1}}
DEFINITIONS = {
    "moco": (BATCH, queued_infonce),
    "clrec": (BATCH, queued_infonce),
    "contriever": (BATCH, queued_infonce),
    "laprador": (both(ONE, ONE), half_queued),
    "cross_batch_memory": (BATCH, memory),
}
