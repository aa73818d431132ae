r"""Ranking and binary NCE of a conditional model: consistency, and variance against draws.

s(x, y) = theta f(x, y) with one theta, pop(y|x) = e^s / Z(x) at the truth, k draws of q, hits kept.

*Ranking.* Which of the k + 1 candidates is the gold is a likelihood of its own: the expected
gradient at the truth is 0 for every input, and the variance of its score equals the curvature I_k,
so the asymptotic variance of theta is 1 / I_k with I_k = sum_x pop(x) Var(sum_y f v_y - f_gold),
v the candidate softmax; that of maximum likelihood is 1 / J, J = sum_x pop(x) Var_pop(f). Drawing
f apart costs a share of the order 1/k. `nce_bias.gradient_bias` gives I_k as the variance.

*Binary.* It classifies by s - log(k q) as if Z(x) were e^{one constant}: with that constant learnt
and Z(x) = Z for all x its expected gradient at the truth is 0; where Z(x) differs it is not.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp, softmax

import nce_bias as nb
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, INPUTS, THETA, SEED = 12, 4, 1.0, 0
CLAIM = Claim(
    title="Ranking NCE tends to the likelihood",
    paper="Ma & Collins",
    year=2018,
    said=(
        "Ranking NCE is consistent for conditional models, and its asymptotic variance tends to "
        "maximum likelihood's as one over the number of draws; binary NCE is consistent where the "
        "partition function is the same for all inputs."
    ),
    read="the theorems as they are usually cited",
    measured=(
        "size of the expected gradient at the truth, against 0; slope of log (variance over "
        "maximum likelihood's - 1) in log k, at most -0.95"
    ),
    prediction=(
        "0 and -1. Binary NCE has a gradient at the truth as soon as partition functions differ."
    ),
    lesson=(
        "Ranking needs no normalised scores and soon wastes little. With binary NCE give every "
        "input a constant of its own, or scores that are normalised already."
    ),
)


def features(normalised: bool = False) -> np.ndarray:
    """f(x, y); `normalised`: such that Z(x) is the same for all x, by a permutation of labels."""
    rng = np.random.default_rng(SEED)
    if normalised:
        one = rng.normal(size=LABELS)
        return np.array([rng.permutation(one) for _ in range(INPUTS)])
    return rng.normal(size=(INPUTS, LABELS)) * np.array([[0.5], [1.0], [1.5], [2.0]])


def ranking(k: int) -> nb.GradientBias:
    """The gradient by theta at the truth, q popular."""
    f = features()
    model = nb.ScoreModel(lambda theta, row: theta * row, jnp.asarray(THETA))
    sampler = nb.iid(nb.popularity(), k, hits="keep")
    population = softmax(THETA * f, axis=1)
    return nb.gradient_bias(
        model, jnp.asarray(f), population, sampler, nb.ranking_nce, variance=True
    )


def of_ranking(k: int) -> float:
    """Its expected gradient at the truth; that of cross entropy is 0, so it is the bias."""
    return abs(float(ranking(k).bias))


def excess(k: int) -> float:
    """Ranking's asymptotic variance over maximum likelihood's, less 1."""
    f = features()
    p = softmax(THETA * f, axis=1)
    fisher = np.mean((p * f**2).sum(1) - (p * f).sum(1) ** 2)
    return float(fisher / float(ranking(k).variance)) - 1


def of_binary(k: int, normalised: bool) -> float:
    """Binary NCE's expected gradient by theta at the truth, uniform draws, c where its own is 0."""
    f = features(normalised)
    scores = THETA * f
    constants = np.asarray(logsumexp(scores, axis=1))

    def by_score(c: float) -> np.ndarray:
        d = scores - c - np.log(k / LABELS)
        return k / LABELS * expit(d) - np.exp(scores - constants[:, None]) * expit(-d)

    least, most = constants.min() - 1, constants.max() + 1
    c: Any = brentq(lambda c: by_score(c).sum(), least, most, xtol=1e-14)
    return abs(float(np.mean((by_score(c) * f).sum(axis=1))))


def weigh(quick: bool = False) -> Evidence:
    """Gradients at the truth with few and many draws; the excess variance along them."""
    sizes = (16, 64) if quick else (1, 4, 16, 64, 256)
    values = [excess(k) for k in sizes]
    readings = [
        Reading("ranking, 1 draw: gradient", of_ranking(1), "=", 0.0, 1e-9),
        Reading("ranking, 16 draws: gradient", of_ranking(16), "=", 0.0, 1e-9),
        Reading("ranking: slope", slope(sizes, values), "<=", -0.95),
        Reading("binary, partitions alike: gradient", of_binary(16, True), "=", 0.0, 1e-9),
        Reading("binary, partitions differ: gradient", of_binary(16, False), "=", 0.0, 1e-9, True),
    ]
    details = [{"line": "ranking", "k": k, "excess": v} for k, v in zip(sizes, values, strict=True)]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
