"""Retrieval, graphs and theory: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    MODEL,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    binary_nce,
    both,
    bpr,
    by_inclusion,
    distinct,
    hinge,
    iid,
    infonce,
    jsd,
    negative_sampling,
    normal,
    order,
    over,
    power,
    ranking_nce,
    self_normalized,
    top,
    where,
)


def ambiguous(gold):
    near = np.exp(-0.7 * (SCORES - SCORES[gold] + 0.2) ** 2)
    return normal(near * over(order(SCORES, gold)[:3]))


def below_gold(gold):
    teacher = SIDES["teacher"]
    allowed = [y for y in order(teacher, gold) if teacher[y] <= 0.8 * teacher[gold]]
    return over(allowed[:M])


def denoised():
    best = order(SIDES["stale"])[:4]
    return over(y for y in best if SIDES["teacher"][y] < 0.65)


def best_by_generator():
    return normal(np.exp(SIDES["generator"]) * over(order(SIDES["generator"])[:4]))


def triplets(gold):
    """One other row; a label of which nothing is mined brings a number that is none."""
    mined = [[int(y)] if y >= 0 else [-1] for y in SIDES["mined"]]
    return ("triplets", POPULARITY, M // 2, mined)


def exponential(c):
    gold = np.exp(-(c.gold - np.log(M * c.q_gold)) / 2)
    return gold + np.exp((c.negatives - np.log(M * c.q)) / 2).sum()


OPTIONS = {
    "paper": {"temperature": 2.0},
    "blink": {"hard": 1},
    "ance": {"depth": 4},
    "rocketqa": {"hard": 1, "depth": 4, "below": 0.65},
    "ar2": {"depth": 4},
    "simans": {"a": 0.7, "b": -0.2, "depth": 3},
    "nv_retriever": {"share": 0.8},
    "transe": {"margin": 0.5},
    "line": {"power": 0.6},
}
DEFINITIONS = {
    "paper": (distinct(normal(np.exp(SCORES / 2))), infonce),
    "paper_replacement": (iid(MODEL), infonce),
    "random_negatives": (distinct(UNIFORM), infonce),
    "hardest": (top(), infonce),
    "mixed_50": (both(top(1), distinct(UNIFORM, 1)), infonce),
    "hard_nce": (distinct(MODEL), infonce),
    "in_batch_infonce": (BATCH, infonce),
    "henderson_2017": (BATCH, infonce),
    "multiple_negatives_ranking": (BATCH, infonce),
    "dpr_in_batch": (BATCH, infonce),
    "dpr": (triplets, infonce),
    "blink": (both(iid(POPULARITY, "keep", m=1), top(1)), infonce),
    "ance": (distinct(over(order(SIDES["stale"])[:4])), bpr),
    "adore": (top(), bpr),
    "star": (triplets, lambda c: bpr(c) / (M + 1)),  # the row has a mined one of its own
    "rocketqa": (both(iid(POPULARITY, "keep", m=1), iid(denoised(), m=1)), infonce),
    "ar2": (iid(best_by_generator()), infonce),
    "simans": (iid(ambiguous), infonce),
    "nv_retriever": (distinct(below_gold), infonce),
    "transe": (iid(UNIFORM), hinge(0.5)),
    "transh": (iid(UNIFORM), hinge(1.0)),
    "type_constrained": (iid(where("seen_in_slot")), hinge(1.0)),
    "complex_logistic": (iid(UNIFORM), negative_sampling),
    "rotate_uniform": (iid(where("positives", marked=False)), jsd),
    "pbg": (both(iid(POPULARITY, "keep", m=1), iid(UNIFORM, "keep", m=1)), infonce),
    "sans": (iid(where("neighbours")), jsd),
    "line": (iid(power(0.6), "keep"), negative_sampling),
    "graphsage": (iid(power(0.75), "keep"), negative_sampling),
    "node2vec": (iid(power(0.75), "mask"), negative_sampling),
    "poincare": (distinct(where("positives", marked=False)), infonce),
    "ranking_nce": (BATCH, ranking_nce),
    "conditional_importance_sampling": (BATCH, ranking_nce),
    "binary_nce": (BATCH, binary_nce),
    "exponential_nce": (BATCH, exponential),
    "mc_mle": (BATCH, self_normalized),
    "poisson_transform": (BATCH, lambda c: (np.exp(c.negatives) / (M * c.q)).sum() - c.gold),
    "horvitz_thompson": (distinct(POPULARITY), by_inclusion),
    "horvitz_thompson_poisson": (lambda gold: ("poisson", POPULARITY, M), by_inclusion),
}
