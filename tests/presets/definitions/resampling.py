"""Resampled pools and weighted negatives: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    bpr,
    by_weight,
    hinge,
    iid,
    infonce,
    normal,
    softplus,
    where,
)


def rotate(c):
    share = normal(np.exp(0.7 * c.negatives.real))
    return softplus(-c.gold) + (share * softplus(c.negatives)).sum()


def rotate_with_gradient_through_weights(c):
    share = normal(np.exp(0.7 * c.negatives))
    return softplus(-c.gold) + (share * softplus(c.negatives)).sum()


def pris(c):
    share = normal(np.exp((c.negatives.real - c.gold.real) / 0.6) / c.q)
    return (share * softplus(c.negatives - c.gold)).sum()


def alpha_cl(c):
    fixed = np.exp(-(1 - c.negatives.real) / 0.8)
    return (fixed * (c.negatives - c.gold)).sum()


OPTIONS = {
    "rotate": {"alpha": 0.7},
    "kbgan": {"pool": 3, "margin": 0.5},
    "pris": {"temperature": 0.6},
    "adasir": {"pool": 3},
    "bir": {"times": 2},
    "alpha_cl": {"temperature": 0.8},
}
DEFINITIONS = {
    "rotate": (iid(where("positives", marked=False)), rotate),
    "kbgan": (by_weight(iid(UNIFORM, m=3), np.exp(SIDES["generator"])), hinge(0.5)),
    "pris": (iid(POPULARITY), pris),
    "adasir": (by_weight(iid(UNIFORM, "keep", 3), np.exp(SCORES)), lambda c: bpr(c) / M),
    "bir": (by_weight(iid(POPULARITY, "keep", 2 * M), np.exp(SCORES) / POPULARITY), infonce),
    "alpha_cl": (BATCH, alpha_cl),
}
