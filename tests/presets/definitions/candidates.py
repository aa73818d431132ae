"""Candidates picked, masked or moved: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    chosen,
    hinge,
    iid,
    infonce,
    labels_of,
    softplus,
    total,
)


def guided(c):
    (gold,), labels = labels_of([c.gold]), labels_of(c.negatives)
    left = SIDES["teacher"][labels] <= SIDES["teacher"][gold] - 0.1
    return total(c.gold, c.negatives[left]) - c.gold


def near(c):
    return total(c.gold, c.negatives[c.negatives.real <= c.gold.real + 0.3]) - c.gold


def adversarial(c):
    return total(c.gold, c.negatives + SIDES["hardness"][labels_of(c.negatives)]) - c.gold


def multi_similarity(c):
    negatives = np.log(1 + np.exp(3 * (c.negatives - 0.4)).sum()) / 3
    return softplus(-1.5 * (c.gold - 0.4)) / 1.5 + negatives


OPTIONS = {
    "gist_embed": {"margin": 0.1},
    "qwen3_embedding": {"margin": 0.3},
    "simce": {"margin": 0.5},
    "tron": {"times": 2, "share": 0.4},
    "multi_similarity": {"alpha": 1.5, "beta": 3.0, "centre": 0.4},
}
DEFINITIONS = {
    "gist_embed": (BATCH, guided),
    "qwen3_embedding": (BATCH, near),
    "adv_infonce": (iid(UNIFORM), adversarial),
    "simce": (chosen(iid(UNIFORM), SCORES, m=1), hinge(0.5)),
    "tron": (chosen(iid(0.4 * POPULARITY + 0.6 * UNIFORM, m=2 * M), SCORES), infonce),
    "multi_similarity": (BATCH, multi_similarity),
}
