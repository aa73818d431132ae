"""Language models: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    MODEL,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    V,
    binary_nce,
    both,
    by_inclusion,
    chosen,
    distinct,
    hinge,
    iid,
    infonce,
    negative_sampling,
    normal,
    order,
    over,
    power,
    ranking_nce,
    sampled_softmax,
    self_normalized,
    softplus,
    top,
    total,
    where,
)

INDEX = np.log((np.arange(V) + 2) / (np.arange(V) + 1)) / np.log(V + 1)
RANKED = np.empty(V)
RANKED[order(POPULARITY)] = INDEX


def both_corrected(c):
    gold = c.gold - np.log(M * c.q_gold)
    return total(gold, c.negatives - np.log(M * c.q)) - gold


def blackout(c):
    gold, negatives = c.gold - np.log(c.q_gold), c.negatives - np.log(c.q)
    whole = total(gold, negatives)
    return whole - gold - np.log(1 - np.exp(negatives - whole)).sum()


def jackknife(c):
    def estimate(negatives):
        return np.log(np.exp(c.gold) + np.exp(negatives).mean())

    weighted = c.negatives - np.log(c.q)
    without = [estimate(np.delete(weighted, k)) for k in range(M)]
    return M * estimate(weighted) - (M - 1) * np.mean(without) - c.gold


def log_bound(c):
    a, z = np.exp(-0.4), np.exp(c.gold) + (np.exp(c.negatives) / c.copies).sum()
    return a * z - np.log(a) - 1 - c.gold


def u_max(c):
    u = 0.3
    return u + np.exp(-u) * (1 + (np.exp(c.negatives - c.gold) / c.copies).sum())


def softmax_of(side):
    return normal(np.exp(SIDES[side]))


OPTIONS = {
    "stochastic_negative_mining": {"times": 2, "margin": 0.5},
    "word2vec": {"power": 0.6},
    "log_bound": {"log_a": -0.4},
    "u_max": {"u": 0.3},
    "quadratic_kernel": {"alpha": 5.0},
}
DEFINITIONS = {
    "tf_sampled_softmax_repeats": (iid(INDEX, "mask_last"), both_corrected),
    "tf_nce_repeats": (iid(INDEX, "mask_last"), binary_nce),
    "log_uniform": (iid(RANKED), sampled_softmax),
    "bengio_senecal_2003": (BATCH, self_normalized),
    "bengio_senecal_2008": (iid(POPULARITY), sampled_softmax),
    "mnih_teh_2012": (BATCH, binary_nce),
    "shared_noise_nce": (BATCH, binary_nce),
    "importance_sampling_2016": (BATCH, ranking_nce),
    # weights q_gold / q_y of the negatives, one of the gold
    "relative_weighting": (
        BATCH,
        lambda c: np.log(1 + (np.exp(c.negatives - c.gold) * c.q_gold / c.q).sum()),
    ),
    "word2vec": (iid(power(0.6), "mask"), negative_sampling),
    "fasttext": (iid(power(0.5)), negative_sampling),
    "blackout": (iid(power(0.4), "mask"), blackout),
    "complementary_sum": (
        distinct(UNIFORM),
        lambda c: np.log(np.exp(c.gold) + (V - 1) / M * np.exp(c.negatives).sum()) - c.gold,
    ),
    "head_and_tail": (
        both(top(1), iid(lambda gold: over(order(SCORES, gold)[1:]), m=1)),
        by_inclusion,
    ),
    "blanc_rendle": (iid(MODEL), sampled_softmax),
    "quadratic_kernel": (iid(normal(5 * SCORES**2 + 1)), sampled_softmax),
    "quartic_kernel": (iid(normal(SCORES**4 + 1)), sampled_softmax),
    "rf_softmax": (iid(normal(SIDES["kernel"])), sampled_softmax),
    "midx": (iid(softmax_of("quantised")), sampled_softmax),
    "midx_popularity": (iid(normal(POPULARITY * softmax_of("quantised"))), sampled_softmax),
    "adversarial_tree": (iid(softmax_of("tree"), "keep"), negative_sampling),
    "one_vs_each": (
        distinct(UNIFORM),
        lambda c: (V - 1) / M * softplus(c.negatives - c.gold).sum(),
    ),
    "log_bound": (iid(UNIFORM), log_bound),
    "u_max": (iid(UNIFORM), u_max),
    "jackknife": (iid(POPULARITY), jackknife),
    "shortlist": (distinct(where("shortlist")), negative_sampling),
    "stochastic_negative_mining": (chosen(iid(UNIFORM, m=2 * M), SCORES), hinge(0.5)),
    "dexml": (iid(where("positives", marked=False)), infonce),
}
