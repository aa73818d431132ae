r"""Self-adversarial weights of uniform negatives against draws from the model.

m negatives are drawn uniformly and weighted by the softmax of alpha s over themselves, a constant
to the gradient. In the mean a label's share is

    E[ sum_k 1{y_k = y} e^{alpha s_k} / sum_k e^{alpha s_k} ],

the selection of a self-normalised loss with scores alpha s and hits kept: exact. Draws from the
model have softmax(alpha s). Of a label that holds most of the mass, m uniform draws of V labels
contain none with the chance (1 - 1/V)^m, whatever its weight would be.
"""

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

#: Entities of FB15k-237, and negatives in the authors' settings for it.
LABELS, SEED, DRAWS = 14_541, 0, 256
#: Spread of the scores early and late in training.
SPREADS = {"early": 1.0, "late": 4.0}
ALPHAS = (0.5, 1.0)
#: Of the distance between uniform draws and the model, what is taken for none.
NONE = 0.05
CLAIM = Claim(
    title="Weights by the model sample from it",
    paper="Sun et al., RotatE",
    year=2019,
    said=(
        "Weighting uniform negatives by the softmax of the model's scores over them trains as "
        "sampling negatives from the current model would, without its cost."
    ),
    read="formula and public code; the claim as it is usually cited",
    measured=(
        "distance of a label's mean share from the model's softmax, over that of uniform draws, "
        "256 of them; at most 0.05. Slope of its logarithm in log m, at most -0.95"
    ),
    prediction=(
        "Early, a per cent or two. Late nearly all of it at alpha = 1: 256 draws of 14,541 "
        "entities miss the one that matters in 98 of 100 cases. Slope -1 where m is large."
    ),
    lesson=(
        "Weights reach the labels that were drawn. Once few labels hold the model's mass, 256 "
        "uniform negatives of 14,541 entities rarely hold one of them; a smaller alpha asks for "
        "less."
    ),
)


def scores(spread: float) -> np.ndarray:
    """N(0, spread^2)."""
    return spread * np.random.default_rng(SEED).normal(size=LABELS)


def distance(s: np.ndarray, m: int) -> float:
    """||mean share - softmax||, over the same for uniform draws."""
    problem = nb.Problem(s, np.full(len(s), 1 / len(s)))
    sampler = nb.iid(nb.uniform(), m, hits="keep")
    found = nb.exact(problem, sampler, nb.self_normalized, split=False).bias_norm
    return float(found / np.linalg.norm(softmax(s) - 1 / len(s)))


def weigh(quick: bool = False) -> Evidence:
    """Distances at 256 draws, and along their number."""
    readings, details = [], []
    sizes = (256, 2**16) if quick else tuple(16**k for k in range(5))
    for name, spread in SPREADS.items():
        for alpha in ALPHAS:
            found = distance(alpha * scores(spread), DRAWS)
            readings.append(Reading(f"{name}, alpha = {alpha:g}", found, "<=", NONE))
        values = [distance(scores(spread), m) for m in sizes]
        rate = slope(sizes, values)
        readings.append(Reading(f"{name}, as m grows (slope)", rate, "<=", -0.95, beyond=True))
        details += [
            {"line": name, "m": m, "distance": value}
            for m, value in zip(sizes, values, strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
