"""Queues and memories of older keys, of several families.

Their negatives have scores of their own, the side ``queued``: those of today's queries with the
keys of some time ago. A queue of several ages is here of one.
"""

from functools import partial

from nce_bias.losses import infonce
from nce_bias.presets._convention import READ, Convention, halves
from nce_bias.presets._losses import memory_pairs
from nce_bias.presets._side_proposals import sides
from nce_bias.proposals import popularity
from nce_bias.samplers import Sampler, iid, queue


def _queue(m: int) -> Sampler:
    return queue(iid(popularity(), m, hits="keep"), "queued")


def _batch_and_queue(batch: int, older: int) -> Sampler:
    return iid(popularity(), batch, hits="keep") + _queue(older)


row = partial(Convention, popular=True, sides=sides("queued"))
ROWS = [
    row(
        name="moco",
        family="self_supervised",
        year=2020,
        of=lambda m: (_queue(m), infonce),
        words="m keys of former batches from a queue, older ones of the same image among them; "
        "softmax over them and the gold",
        source="He et al. (2020), MoCo, its code",
        status=READ,
        differs="Keys of a queue are of several ages and no image is in it twice for an epoch; "
        "those of the gold are of the momentum encoder too, whose scores the problem's then are. "
        "Nothing moves keys: the gradient is the query's.",
    ),
    row(
        name="clrec",
        family="recommendation",
        year=2021,
        of=lambda m: (_queue(m), infonce),
        words="m items exposed some time ago, from a queue; softmax over them and the gold, no "
        "correction",
        source="Zhou et al. (2021), CLRec",
        same_as="moco",
    ),
    row(
        name="contriever",
        family="retrieval",
        year=2022,
        of=lambda m: (_queue(m), infonce),
        words="m passages of former batches from a queue, encoded by a momentum encoder; softmax "
        "over them and the gold",
        source="Izacard et al. (2022), Contriever: MoCo on crops of documents",
        same_as="moco",
    ),
    row(
        name="laprador",
        family="retrieval",
        year=2022,
        of=lambda m: (_batch_and_queue(*halves(m)), infonce),
        words="half of the negatives from the batch, half from a cache of former batches' "
        "passages; softmax over them and the gold",
        source="Xu et al. (2022), LaPraDoR, one side of its iterative contrastive learning; how m "
        "is shared is the user's",
        differs="A cache is of several ages. Nothing moves what is cached: its gradient is the "
        "query's.",
    ),
    row(
        name="cross_batch_memory",
        family="self_supervised",
        year=2020,
        of=lambda m, margin=0.5: (_queue(m), memory_pairs(margin)),
        words="m embeddings of former batches from a memory; 1 - cosine of the gold, and the sum "
        "of cosines of negatives above a margin",
        source="Wang et al. (2020), XBM with the contrastive loss",
        differs="The memory's loss is one of two, that of the batch the other; pairs of the same "
        "class in the memory are golds there.",
    ),
]
