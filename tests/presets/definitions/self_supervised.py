"""Self-supervised learning: what each name draws, and its loss, from its source."""

import numpy as np

from tests.presets.definitions.listing import (
    BATCH,
    POPULARITY,
    SCORES,
    SIDES,
    UNIFORM,
    M,
    binary_nce,
    both,
    chosen,
    decoupled,
    donsker_varadhan,
    hinge,
    iid,
    infonce,
    jsd,
    listed,
    normal,
    order,
    over,
    padded,
    softplus,
    total,
)


def debiased(tau, temperature, beta=0.0):
    def value(c):
        weights, hardness = np.exp(c.negatives), np.exp(beta * c.negatives)
        mean = (weights * hardness).sum() / hardness.sum()
        estimate = (mean - tau * np.exp(c.gold)) / (1 - tau)
        assert estimate.real > np.exp(-1 / temperature)  # the floor is idle in every set
        return np.log(np.exp(c.gold) + M * estimate) - c.gold

    return value


def siglip(c):
    return softplus(-(2 * c.gold - 1)) + softplus(2 * c.negatives - 1).sum()


def smile(c):
    clipped = np.where(np.abs(c.negatives.real) < 0.7, c.negatives, 0.7 * np.sign(c.negatives.real))
    return np.log(np.exp(clipped).mean()) - c.gold


def rpc(c):
    negatives = 0.8 * c.negatives + 0.35 * c.negatives**2
    return negatives.mean() - c.gold + 0.15 * c.gold**2


def robust(c):
    z = np.exp(c.gold) + np.exp(c.negatives).sum()
    return (0.3 * z) ** 0.4 / 0.4 - np.exp(0.4 * c.gold) / 0.4


def semi_hard(gold):
    return over(y for y in order(SCORES, gold) if -1.2 <= SCORES[y] - SCORES[gold] < 0)


def views(gold):
    blocks = padded(POPULARITY, 2).reshape(-1, 2).sum(axis=1)
    return ("batch", np.repeat(blocks / 2, 2), M, "keep", 2, None)


def mil_nce(c):
    """The one other positive comes first."""
    return total(c.gold, c.negatives) - total(c.gold, c.negatives[:1])


#: Known positives, and golds of inputs of another class.
CLASSES = both(listed("positives"), iid(normal(POPULARITY * (SIDES["positives"] == 0))))

#: Labels of an image.
VIEWS = {"simclr": 2, "decoupled_views": 2}
OPTIONS = {
    "vse_plus_plus": {"times": 2, "margin": 0.6},
    "siglip": {"temperature": 2.0, "bias": -1.0},
    "debiased_contrastive": {"tau": 0.02, "temperature": 0.5},
    "hard_contrastive": {"tau": 0.02, "temperature": 0.5, "beta": 0.6},
    "tuba": {"baseline": 0.4},
    "smile": {"clip": 0.7},
    "rince": {"q": 0.4, "lam": 0.3},
    "rpc": {"alpha": 0.8, "beta": 0.3, "gamma": 0.7},
    "instance_discrimination": {"log_z": 0.5},
    "cmc": {"log_z": 0.5},
    "ring": {"least": 0.3, "most": 0.6},
    "facenet_semi_hard": {"margin": 1.2},
}
DEFINITIONS = {
    "clip_one_way": (BATCH, infonce),
    "siglip": (BATCH, siglip),
    "simclr": (views, infonce),
    "decoupled_views": (views, decoupled),
    "supcon": (CLASSES, infonce),
    "supcon_in": (CLASSES, mil_nce),
    "mil_nce": (both(listed("positives"), BATCH), mil_nce),
    "vse_plus_plus": (chosen(iid(POPULARITY, "keep", 2 * M), SCORES), hinge(0.6)),
    "debiased_contrastive": (BATCH, debiased(0.02, 0.5)),
    "hard_contrastive": (BATCH, debiased(0.02, 0.5, beta=0.6)),
    "cpc": (BATCH, infonce),
    "n_pair": (BATCH, infonce),
    "spce": (BATCH, lambda c: total(c.gold, c.negatives) - np.log(M + 1) - c.gold),
    "decoupled_contrastive": (BATCH, decoupled),
    "flatnce": (BATCH, decoupled),
    "infoloob": (BATCH, donsker_varadhan),
    "snmc": (BATCH, donsker_varadhan),
    "dhel": (BATCH, decoupled),
    "donsker_varadhan": (BATCH, donsker_varadhan),
    "nwj": (BATCH, lambda c: np.exp(c.negatives - 1).mean() - c.gold),
    "tuba": (BATCH, lambda c: np.exp(c.negatives - 0.4).mean() + 0.4 - 1 - c.gold),
    "deep_infomax": (BATCH, jsd),
    "smile": (BATCH, smile),
    "spectral": (BATCH, lambda c: (c.negatives**2).mean() - 2 * c.gold),
    "rince": (BATCH, robust),
    "rpc": (BATCH, rpc),
    "instance_discrimination": (
        iid(UNIFORM, "keep"),
        lambda c: binary_nce(c, log_z=0.5),
    ),
    "cmc": (
        iid(UNIFORM, "keep"),
        lambda c: binary_nce(c, log_z=0.5),
    ),
    # 4 wrong labels: the share .3 begins at the second best, .6 ends with the third
    "ring": (iid(lambda gold: over(order(SCORES, gold)[1:3])), infonce),
    "facenet_semi_hard": (iid(semi_hard), hinge(1.2)),
}
