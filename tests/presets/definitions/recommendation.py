"""Recommendation, of sessions too: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    LABELS,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    V,
    best_of,
    both,
    bpr,
    chosen,
    decoupled,
    hinge,
    iid,
    infonce,
    negative_sampling,
    normal,
    order,
    over,
    positive,
    power,
    ranked,
    ranking_nce,
    sampled_softmax,
    sigmoid,
    softplus,
    where,
)


def by_rank(key, scale):
    place = {y: rank for rank, y in enumerate(order(key))}
    return normal([np.exp(-place[y] / scale) for y in LABELS])


def gbce(alpha, t):
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    return lambda c: beta * softplus(-c.gold) + softplus(c.negatives).sum()


def top1(c):
    return (sigmoid(c.negatives - c.gold) + sigmoid(c.negatives**2)).mean()


def bpr_max(c):
    pi = np.exp(c.negatives) / np.exp(c.negatives).sum()
    return -np.log((pi * sigmoid(c.gold - c.negatives)).sum())


def from_many(gold):
    return 0.7 * UNIFORM + 0.3 * ranked(1, 2)(gold)


BLEND = 0.3 * POPULARITY + 0.7 * UNIFORM
NEGATIVE_POPULAR = normal(POPULARITY * (SIDES["positives"] == 0))
OPTIONS = {
    "bpr_popularity": {"power": 0.75},
    "dns": {"pool": 3},
    "dns_m_n": {"times": 2},
    "tfrs_hard_negatives": {"times": 2},
    "in_batch_hardest": {"times": 2},
    "ahns": {"pool": 3, "alpha": 1.2, "beta": 0.5, "power": -2.0},
    "popularity_rank_bpr": {"scale": 2.0},
    "adaptive_rank_bpr": {"scale": 2.0},
    "irgan": {"temperature": 0.5},
    "pinsage": {"first": 2, "last": 4, "margin": 0.5},
    "facebook_ebr": {"share": 0.7, "first": 1, "last": 2, "margin": 0.5},
    "mixed_negative_sampling": {"share": 0.3},
    "simplex": {"weight": 3.0, "margin": 0.05},
    "bsl": {"temperature": 0.7},
    "psl": {"temperature": 0.5},
    "gsasrec": {"t": 0.5},
    "gsasrec_public_code": {"t": 0.5},
    "gru4rec_bpr_max": {"power": 0.7},
}
UNSEEN = iid(where("positives", marked=False))
DEFINITIONS = {
    "bpr": (iid(UNIFORM), bpr),
    "bpr_unseen": (UNSEEN, bpr),
    "bpr_popularity": (iid(power(0.75)), bpr),
    "implicit_bpr": (iid(NEGATIVE_POPULAR), bpr),
    "dns": (iid(best_of(3, lambda gold: SCORES)), bpr),
    "dns_m_n": (chosen(iid(UNIFORM, "keep", 2 * M), SCORES), bpr),
    "tfrs_hard_negatives": (
        chosen(iid(POPULARITY, "mask", 2 * M), SCORES - np.log(POPULARITY)),
        ranking_nce,
    ),
    "in_batch_hardest": (chosen(iid(POPULARITY, "keep", 2 * M), SCORES), infonce),
    "ahns": (
        iid(best_of(3, lambda gold: -np.abs(SCORES - 0.5 / (SCORES[gold] + 1.2)))),
        bpr,
    ),
    "popularity_rank_bpr": (iid(by_rank(POPULARITY, 2.0)), bpr),
    "adaptive_rank_bpr": (iid(by_rank(SCORES, 2.0)), bpr),
    "irgan": (iid(normal(np.exp(2 * SIDES["generator"])), "keep"), negative_sampling),
    "pinsage": (
        both(iid(UNIFORM, m=1), iid(over(order(SIDES["pagerank"])[1:4]), m=1)),
        hinge(0.5),
    ),
    "facebook_ebr": (iid(from_many), hinge(0.5)),
    "tfrs_in_batch": (iid(POPULARITY, "mask"), ranking_nce),
    "tfrs_in_batch_with_hits": (BATCH, ranking_nce),
    "yi_2019": (BATCH, ranking_nce),
    "corrected_logq": (iid(POPULARITY), sampled_softmax),
    "mixed_negative_sampling": (iid(BLEND, "mask"), ranking_nce),
    "negative_cache": (iid(normal(np.exp(SIDES["stale"])), "keep"), decoupled),
    "ssm": (BATCH, infonce),
    "uniform_infonce": (iid(UNIFORM), infonce),
    "simplex": (
        iid(UNIFORM),
        lambda c: 1 - c.gold + 3 * positive(c.negatives - 0.05).mean(),
    ),
    "bsl": (iid(UNIFORM), lambda c: 0.7 * np.log(np.exp(c.negatives / 0.7).sum()) - c.gold),
    "psl": (iid(UNIFORM), lambda c: np.log((sigmoid(c.negatives - c.gold) ** 2).sum())),
    "ncf": (UNSEEN, negative_sampling),
    "item2vec": (iid(power(0.75), "mask"), negative_sampling),
    "gru4rec_top1": (BATCH, top1),
    "gru4rec_bpr": (BATCH, bpr),
    "gru4rec_bpr_max": (iid(power(0.7), "keep"), bpr_max),
    "gru4rec_cross_entropy": (iid(power(0.5), "keep"), infonce),
    "sasrec": (UNSEEN, negative_sampling),
    "gsasrec": (iid(UNIFORM), gbce(M / (V - 1), 0.5)),
    "gsasrec_public_code": (iid(UNIFORM, "keep"), gbce(M / (V - 2), 0.5)),
    "sasrec_sampled_ce": (iid(UNIFORM), infonce),
    "hstu_sampled_softmax": (iid(UNIFORM, "mask"), infonce),
    "cce_minus": (iid(UNIFORM), infonce),
}
