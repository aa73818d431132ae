"""Candidates that are picked, masked or moved after they were drawn, of several families.

A mask gives a candidate no weight, and none is drawn in its place: its score is -inf
(`nce_bias.queue`, whose copies have scores of their own). Some picked of a pool are `best_of`.
"""

from functools import partial

from nce_bias.losses import hinge, infonce
from nce_bias.presets._convention import IN_BATCH, READ, Convention
from nce_bias.presets._losses import multi_similarity
from nce_bias.presets._score_proposals import masked_above
from nce_bias.presets._side_proposals import masked_above_by, moved_by, sides
from nce_bias.proposals import mixture, popularity, uniform
from nce_bias.samplers import best_of, iid, queue

passages = partial(Convention, family="retrieval", popular=True)
items = partial(Convention, family="recommendation")
images = partial(Convention, family="self_supervised", popular=True)
ROWS = [
    passages(
        name="gist_embed",
        year=2024,
        of=lambda m, margin=0.0: (
            queue(iid(popularity(), m, hits="keep"), masked_above_by("teacher", margin)),
            infonce,
        ),
        words="golds of the batch's other rows, those masked that a guide scores above the gold; "
        "softmax, no correction",
        source="Solatorio (2024), GISTEmbed; Sentence Transformers, GISTEmbedLoss",
        status=READ,
        differs="Candidates are queries and golds of the other rows too, masked likewise; its "
        f"margin may be relative. {IN_BATCH}",
        sides=sides("teacher"),
    ),
    passages(
        name="qwen3_embedding",
        year=2025,
        of=lambda m, margin=0.1: (
            queue(iid(popularity(), m, hits="keep"), masked_above(margin)),
            infonce,
        ),
        words="golds of the batch's other rows, those masked that score above the gold by more "
        "than 0.1; softmax, no correction",
        source="Zhang et al. (2025), Qwen3 Embedding, the passages of other rows; the margin is "
        "that of cosines over their temperature",
        differs="Mined passages, other queries and the other passages of a row are candidates "
        f"besides. {IN_BATCH}",
    ),
    items(
        name="adv_infonce",
        year=2023,
        of=lambda m: (queue(iid(uniform(), m), moved_by("hardness")), infonce),
        words="m wrong items, uniform, each score raised by a hardness that an adversary has "
        "learned; softmax, no correction",
        source="Zhang et al. (2023), AdvInfoNCE, the model's step at a frozen adversary",
        sides=sides("hardness"),
    ),
    items(
        name="simce",
        year=2024,
        of=lambda m, margin=1.0: (best_of(iid(uniform(), m), 1), hinge(margin)),
        words="the hardest of m wrong items, uniform; hinge of that one",
        source="Yang et al. (2024), SimCE: a bound of the sampled softmax; the margin is the "
        "user's",
    ),
    items(
        name="tron",
        year=2023,
        of=lambda m, times=4, share=0.5: (
            best_of(iid(mixture(popularity(), uniform(), share), times * m), m),
            infonce,
        ),
        words="a pool of in-batch and uniform items, the m with the largest scores in the softmax, "
        "no correction",
        source="Wilm et al. (2023), TRON; the size of the pool is the user's",
        differs="A fixed number of each kind, not a coin for each draw.",
        popular=True,
    ),
    images(
        name="multi_similarity",
        year=2019,
        of=lambda m, alpha=2.0, beta=50.0, centre=1.0: (
            iid(popularity(), m, hits="keep"),
            multi_similarity(alpha, beta, centre),
        ),
        words="log(1 + e^(-alpha (s_gold - centre))) / alpha and log(1 + the sum of e^(beta (s_y - "
        "centre))) / beta over the batch, for cosines",
        source="Wang et al. (2019), multi-similarity loss, one positive and without mining",
        differs="Several positives stand in one sum; pairs are mined: one far from all of the "
        f"other kind is left out. {IN_BATCH}",
    ),
]
