r"""One negative from the model's own softmax: whether its gradient is unbiased.

loss = s_k - s_g with one draw k from p, hits kept: the gradient e_k - e_g has the mean p - pop,
which is that of cross entropy. It is the decoupled loss with m = 1. With more draws in one log-sum
they are weighted by e^s once more, and with the gold in the sum too. From a stale softmax p' the
mean is p' - pop: the bias is p - p'.
"""

import numpy as np
from scipy.special import softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.losses import decoupled
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, SEED, DRIFT = 40, 1, 0.3
CLAIM = Claim(
    title="One draw from the softmax is enough",
    paper="Lindgren et al., negative cache",
    year=2021,
    said=(
        "One negative drawn by Gumbel-max from the cached softmax gives the gradient of cross "
        "entropy, up to an error bounded by how stale the cache is."
    ),
    read="abstract",
    measured=("bias norm, against 0; with a stale cache against the distance of the two softmaxes"),
    prediction=(
        "Exactly 0 with fresh scores and one draw; exactly the distance with stale ones. More "
        "draws in one log-sum, or the gold in the sum, bring a bias."
    ),
    lesson=("To use several such draws, average their losses. Do not put them into one softmax."),
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def stale(drift: float) -> np.ndarray:
    """The softmax of scores that were N(0, drift^2) away."""
    rng = np.random.default_rng(SEED)
    return softmax(np.asarray(problem().scores) + drift * rng.normal(size=LABELS))


def bias(q: np.ndarray, m: int, loss: nb.Loss = decoupled) -> float:
    """The bias norm with m draws from q, hits kept."""
    sampler = nb.iid(nb.from_probabilities(q), m, hits="keep")
    return float(nb.exact(problem(), sampler, loss, split=False).bias_norm)


def weigh(quick: bool = False) -> Evidence:
    """Fresh and stale, one draw and four."""
    fresh, old = stale(0.0), stale(DRIFT)
    apart = float(np.linalg.norm(fresh - old))
    readings = [
        Reading("fresh scores, one draw", bias(fresh, 1), "=", 0.0, 1e-10),
        Reading("stale scores, one draw: bounded", bias(old, 1), "<=", apart, 1e-10),
        Reading("fresh scores, four draws in one softmax", bias(fresh, 4), "=", 0.0, 1e-10, True),
        Reading("fresh scores, gold in the sum", bias(fresh, 1, nb.infonce), "=", 0.0, 1e-10, True),
    ]
    drifts = (0.0, 1.0) if quick else (0.0, 0.1, DRIFT, 1.0)
    details = [
        {"line": "1 draw" if m == 1 else f"{m} draws", "drift": d, "bias_norm": bias(stale(d), m)}
        for m in (1, 4)
        for d in drifts
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
