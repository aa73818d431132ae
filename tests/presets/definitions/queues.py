"""Queues and memories: what each name draws, and its loss, from its source."""

from tests.presets.definitions.listing import BATCH, positive, queued, total


def queued_infonce(c):
    return total(c.gold, queued(c.negatives)) - c.gold


def memory(c):
    return 1 - c.gold + positive(queued(c.negatives) - 0.1).sum()


OPTIONS = {"cross_batch_memory": {"margin": 0.1}}
DEFINITIONS = {
    "moco": (BATCH, queued_infonce),
    "clrec": (BATCH, queued_infonce),
    "contriever": (BATCH, queued_infonce),
    "cross_batch_memory": (BATCH, memory),
}
