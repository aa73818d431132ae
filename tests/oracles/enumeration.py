"""Every moment of a contrastive loss, by listing all candidate sets one by one.

The reference that the exact engine is tested against. Nothing clever happens here: for each gold
every set of negatives is written down with its probability, the loss and its gradient are worked
out on that set from their definitions, and sums are taken. Arithmetic is in ``numpy.longdouble``
(64-bit mantissa where the platform has it), so rounding stays below that of the engine under test.
Meant for V <= 6 labels and m <= 4 negatives.

Samplers are the tuples of ``tests/oracles/drawing.py``.

Sources: Zhang & Stratos 2021 (losses, selection probability); Bengio & Senecal 2003, 2008, Ma &
Collins 2018, Mnih & Teh 2012, Mikolov et al. 2013 (the other losses).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.oracles.drawing import draws, long, one_draw, outcomes, proposals, softmax

__all__ = ["LOSSES", "Enumerated", "enumerate_moments", "outcomes", "proposals"]

SOFTMAX_LOSSES = (
    "infonce",
    "sampled_softmax",
    "sampled_softmax_both",
    "ranking_nce",
    "self_normalized",
)
BINARY_LOSSES = ("binary_nce", "negative_sampling")
LOSSES = SOFTMAX_LOSSES + BINARY_LOSSES
UNCORRECTED = ("infonce", "negative_sampling")
GOLD_CORRECTED = ("sampled_softmax_both", "ranking_nce", "binary_nce")


@dataclass(frozen=True)
class Enumerated:
    """Moments of one input. v is the loss's score gradient plus one at the gold.

    For the candidate-softmax losses v_y is the candidate softmax's mass on label y, so
    ``selection`` is gamma(y|x); for the binary losses it is gradient + pop and sums to anything.
    """

    loss: float
    cross_entropy: float
    selection: np.ndarray  # [V]     E[v]
    selection_given_gold: np.ndarray  # [V, V]  row g: E[v | gold g]; NaN where pop(g) = 0
    gradient: np.ndarray  # [V]     E[v - e_gold]
    bias: np.ndarray  # [V]     (p - pop) - gradient
    bias_norm: float
    cosine: float  # between gradient and p - pop
    second_moment: np.ndarray  # [V, V]  E[(v - e_gold)(v - e_gold)^T]
    variance: float  # tr Cov(v - e_gold)
    variance_negatives: float  # E_gold tr Cov(v | gold)
    variance_gold: float  # tr Cov_gold E[v - e_gold | gold]
    loss_variance_negatives: float  # E_gold Var(loss | gold)
    coverage: float  # expected model mass of the set {gold} + negatives
    concentration: float  # E[sum_k pi(k)^2]; NaN for the binary losses


def log_weights(spec, loss, gold, scores, *, inclusion=False) -> tuple[np.ndarray, np.ndarray]:
    """Corrected scores: of each label as a negative ``[V]``, and of the gold as the gold.

    With ``inclusion`` the expected number of times a label is drawn takes the place of m q_y for
    the negatives (the gold keeps q_gold).
    """
    scores = long(scores)
    if loss not in LOSSES:
        raise ValueError(f"no loss called {loss!r}")
    if loss in UNCORRECTED:
        return scores.copy(), scores[gold]
    m = 1 if loss == "ranking_nce" else spec[2] if len(spec) > 2 else None
    if inclusion:
        probability, labels = draws(spec, gold, scores)
        expected = np.array(
            [(probability * (labels == y).sum(1)).sum() for y in range(len(scores))]
        )
        expected = expected / spec[2] if loss == "ranking_nce" else expected
    else:
        expected = m * one_draw(spec, gold)
    with np.errstate(divide="ignore"):
        negative = np.where(expected > 0, scores - np.log(expected), -np.inf)
    if loss == "self_normalized":
        return negative, long(-np.inf)
    if loss not in GOLD_CORRECTED:
        return negative, scores[gold]
    own = (long(spec[1]) / long(spec[1]).sum())[gold]  # never renormalised
    if own == 0:
        raise ValueError(f"{loss} corrects the gold {gold}, which q cannot draw")
    return negative, scores[gold] - np.log(m * own)


def on_sets(loss, gold, score, labels, negative, own) -> tuple[np.ndarray, ...]:
    """Loss ``[N]``, v ``[N, V]`` and sum_k pi(k)^2 ``[N]`` on each set of negatives."""
    count, size = len(labels), len(negative)
    logs = np.append(negative, -np.inf)[labels]  # [N, draws]; an absent draw has weight 0
    logs = np.hstack([np.full((count, 1), own), logs])  # [N, 1 + draws], the gold first
    who = np.hstack([np.full((count, 1), gold), labels])
    if loss in SOFTMAX_LOSSES:
        top = logs.max(axis=1, keepdims=True)
        if np.any(np.isneginf(top)):
            raise ValueError(f"{loss} is undefined: a candidate set without any weight")
        total = np.exp(logs - top).sum(axis=1, keepdims=True)
        share = np.exp(logs - top) / total
        value = (np.log(total) + top)[:, 0] - (score if loss == "self_normalized" else own)
    else:
        share = np.exp(-softplus(-logs))  # sigma
        value = softplus(-logs[:, 0]) + softplus(logs[:, 1:]).sum(axis=1)
    v = np.zeros((count, size + 1), np.longdouble)  # the last column takes the absent draws
    for k in range(who.shape[1]):
        v[np.arange(count), who[:, k]] += share[:, k]
    return value, v[:, :size], (share**2).sum(axis=1)


def enumerate_moments(scores, population, spec, loss="infonce", *, inclusion=False) -> Enumerated:
    """All moments of one input by listing every gold and every set of negatives.

    Parameters
    ----------
    scores, population : array [V]
    spec : tuple, a sampler (see the module)
    loss : str, one of ``LOSSES``
    inclusion : bool, correct with expected counts instead of m q

    Raises
    ------
    ValueError
        For a correction without a q, a corrected gold with q = 0, a candidate set without weight.
    """
    scores, population = long(scores), long(population)
    size, p = len(scores), softmax(long(scores))
    chances, errors, values, coverage = [], [], [], np.longdouble(0)
    given = np.full((size, size), np.nan, np.longdouble)
    inner = inner_loss = concentration = np.longdouble(0)
    for gold in np.flatnonzero(population > 0):
        probability, labels = draws(spec, gold, scores)
        negative, own = log_weights(spec, loss, gold, scores, inclusion=inclusion)
        value, v, squares = on_sets(loss, gold, scores[gold], labels, negative, own)
        given[gold] = probability @ v
        inner += population[gold] * (probability @ ((v - given[gold]) ** 2).sum(axis=1))
        with np.errstate(invalid="ignore"):  # a gold of score -inf has loss inf, variance NaN
            inner_loss += population[gold] * (probability @ (value - probability @ value) ** 2)
        chances.append(population[gold] * probability)
        errors.append(v - np.eye(size, dtype=np.longdouble)[gold])
        values.append(value)
        present = (labels[:, :, None] == np.arange(size)).any(axis=1)  # [N, V]
        present[:, gold] = True
        coverage += population[gold] * (probability @ (present @ p))
        concentration += population[gold] * (probability @ squares)
    chance, error, value = np.concatenate(chances), np.concatenate(errors), np.concatenate(values)
    gradient = chance @ error
    golds = np.flatnonzero(population > 0)
    centred = given[golds] - np.eye(size)[golds] - gradient
    exact = p - population
    norms = np.sqrt((gradient @ gradient) * (exact @ exact))
    with np.errstate(divide="ignore"):
        cross_entropy = -(population[golds] @ np.log(p[golds]))
    return Enumerated(
        loss=float(chance @ value),
        cross_entropy=float(cross_entropy),
        selection=_double(gradient + population),
        selection_given_gold=_double(given),
        gradient=_double(gradient),
        bias=_double(exact - gradient),
        bias_norm=float(np.sqrt(((exact - gradient) ** 2).sum())),
        cosine=float(gradient @ exact / norms) if norms > 0 else float("nan"),
        second_moment=_double((error * chance[:, None]).T @ error),
        variance=float(chance @ ((error - gradient) ** 2).sum(axis=1)),
        variance_negatives=float(inner),
        variance_gold=float(population[golds] @ (centred**2).sum(axis=1)),
        loss_variance_negatives=float(inner_loss),
        coverage=float(coverage),
        concentration=float("nan") if loss in BINARY_LOSSES else float(concentration),
    )


def softplus(x) -> np.ndarray:
    """log(1 + e^x) = -log sigma(-x), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _double(values) -> np.ndarray:
    return np.asarray(values, np.float64)
