r"""Whether a proposal nearer to the model has less bias.

Bounds on the bias of sampled softmax grow with a divergence between q and the softmax, and a
smaller bound is read as a smaller bias. Here q is drawn at random many times; pairs of them are
*concordant* where the one of smaller divergence also has the smaller exact bias. Three divergences:
KL(q | p), KL(p | q), and log max p / q. All are 0 only at q = p, where the bias is 0 too.
"""

import numpy as np
from scipy.special import log_softmax, softmax

import nce_bias as nb
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS, SEED = 4, 2, 0
SCORES = (1.0, 0.5, 0.0, -1.0)
POPULATION = (0.5, 0.1, 0.3, 0.1)
CLAIM = Claim(
    title="Nearer to the softmax, less bias",
    paper="MIDX, inverted multi-index sampler",
    year=2025,
    said=(
        "The smaller the divergence of the proposal from the softmax, the smaller the bias of "
        "the gradient; so proposals are to be judged by their divergence."
    ),
    read="abstract",
    measured=(
        "rank correlation (Kendall) of divergence and exact bias over random proposals: above 0 "
        "as a tendency, 1 as an order"
    ),
    prediction="True as a tendency; false as an order, for all three divergences.",
    lesson=(
        "A bound that falls does not mean that the bias does. Compare two good proposals by "
        "their bias, not by their divergence."
    ),
)


def divergences(log_q: np.ndarray, log_p: np.ndarray) -> dict[str, np.ndarray]:
    """Of each proposal, rows of `log_q`."""
    q, p = np.exp(log_q), np.exp(log_p)
    return {
        "KL(q | p)": (q * (log_q - log_p)).sum(axis=-1),
        "KL(p | q)": (p * (log_p - log_q)).sum(axis=-1),
        "max p / q": (log_p - log_q).max(axis=-1),
    }


def concordance(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau, for values without ties: 1 less twice the share of pairs in wrong order."""
    signs = np.sign(a[:, None] - a) * np.sign(b[:, None] - b)
    return float(signs.sum() / (len(a) * (len(a) - 1)))


def biases(log_q: np.ndarray) -> np.ndarray:
    """Exact bias norms of sampled softmax with the gold excluded; each proposal is an input."""
    count = len(log_q)
    problem = nb.Problem(np.tile(SCORES, (count, 1)), np.tile(POPULATION, (count, 1)))
    sampler = nb.iid(nb.from_probabilities(np.exp(log_q)), DRAWS)
    found = nb.exact(problem, sampler, nb.sampled_softmax, split=False)
    return np.linalg.norm(np.asarray(found.bias), axis=1)


def weigh(quick: bool = False) -> Evidence:
    """Correlations as tendencies and as orders."""
    rng = np.random.default_rng(SEED)
    log_q = log_softmax(rng.normal(size=(100 if quick else 400, LABELS)), axis=-1)
    found, readings = biases(log_q), []
    apart = divergences(log_q, np.log(softmax(SCORES)))
    for name, values in apart.items():
        correlation = concordance(values, found)
        readings.append(Reading(f"{name}, as a tendency", correlation, ">=", 0.0, beyond=True))
        readings.append(Reading(f"{name}, as an order", correlation, ">=", 1.0))
    details = [
        {"line": "random q", "divergence": d, "bias_norm": b}
        for d, b in zip(apart["KL(q | p)"], found, strict=True)
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
