r"""Noise shared by all rows of a batch: what it does to the variance of the batch's mean gradient.

Of B rows (x_i, g_i) with gradients r_i by the scores, parameters see the mean of J(x_i)^T r_i.
Where they are output vectors of labels on features h(x), two rows multiply to K(x, x') r . r' with
K(x, x') = h(x) . h(x'): a table of scores has K = 1 for equal inputs alone, output biases K = 1 for
all. Then

    Var = (A - M) / B + (1 - 1/B) (C - M),      A = E K(x, x) |r|^2,
    M = sum pop(x) pop(x') K(x, x') E[r|x] . E[r|x'],     C the same of E[r . r' | shared noise],

and rows with noise of their own have C = M. For binary NCE, hits kept, a row is r = -a(g) e_g +
sum_k b(y_k) e_{y_k}, a = 1 - sigma(D), b = sigma(D), D = s - log(m q), and everything is closed:

    E|r|^2 = pop.(a^2) - 2 m (pop a).(q b) + m q.(b^2) + m (m - 1) |q b|^2,
    E[r . r'] - E[r] . E[r'] = m (q.(b b') - (q b).(q b')).

Shared draws push down the same labels in all rows, a variance that the batch does not divide. Rows
that are each other's negatives also push down what another pulls up, which takes variance away:
`nce_bias.batch_variance`, a table of scores.
"""

import numpy as np
from scipy.special import expit, log_softmax, softmax

import nce_bias as nb
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, CONTEXTS, DRAWS, SEED = 100, 24, 25, 0
ASKED = (16, 64)
#: A tenth more is taken for no harm.
HARMLESS = 1.1
BATCHES = (1, 4, 16, 64, 256)
CLAIM = Claim(
    title="Noise shared by a batch does not hurt",
    paper="Zoph et al., fast noise-contrastive estimation",
    year=2016,
    said=(
        "One set of noise words may serve all rows of a batch: it makes training fast and does "
        "not hurt."
    ),
    read="as it is usually cited",
    measured=(
        "variance of the batch's mean gradient over that with noise of its own for each row, at "
        "most 1.1 (a tenth is taken for no harm)"
    ),
    prediction=(
        "A few per cent more in a table of scores, whose rows hardly meet; many times as much in "
        "output biases and vectors, which all rows share. In-batch negatives: less than 1."
    ),
    lesson=(
        "A batch does not average out what its rows share: with more rows take more noise, for "
        "the output biases first. Vectors fare better, whose rows meet with either sign. Each "
        "other's golds are the one shared noise that takes variance away."
    ),
)


def problem() -> nb.Problem:
    """Zipf words seen through N(0, 1), contexts alike often; half trained, normalised scores."""
    rng = np.random.default_rng(SEED)
    logits = -np.log(np.arange(1, LABELS + 1)) + rng.normal(size=(CONTEXTS, LABELS))
    scores = 0.5 * logits + 0.5 * rng.normal(size=logits.shape)
    return nb.Problem(log_softmax(scores, axis=1), softmax(logits, axis=1))


def kernels() -> dict[str, np.ndarray]:
    """How much the gradients of two contexts meet."""
    features = np.random.default_rng(SEED + 1).normal(size=(CONTEXTS, 8)) / 8**0.5
    return {
        "a table of scores": np.eye(CONTEXTS),
        "output vectors": features @ features.T,
        "output biases": np.ones((CONTEXTS, CONTEXTS)),
    }


def ratio(given: nb.Problem, kernel: np.ndarray, m: int, rows: int) -> float:
    """Variance with shared noise over that without, of binary NCE with m popular draws."""
    scores, population = np.asarray(given.score_rows), np.asarray(given.population_rows)
    q, weights = np.asarray(given.popularity), np.asarray(given.weights)
    b = expit(scores - np.log(m * q))
    pull, push = population * (1 - b), q * b
    square = (pull * (1 - b)).sum(1) - 2 * m * (pull * push).sum(1)
    square += m * (push * b).sum(1) + m * (m - 1) * (push**2).sum(1)
    mean = m * push - pull
    pairs = kernel * np.outer(weights, weights)
    own = weights @ (np.diag(kernel) * square) - np.sum(pairs * (mean @ mean.T))
    common = m * np.sum(pairs * (push @ b.T - push @ push.T))
    return float(1 + (rows - 1) * common / own)


def in_batch(given: nb.Problem, loss: nb.Loss, rows: int) -> float:
    """The same for negatives that are each other's golds; a table of scores."""
    return nb.batch_variance(given, nb.in_batch(rows), loss).ratio


def weigh(quick: bool = False) -> Evidence:
    """Ratios at one batch under all conditions, and along the batch."""
    given, found = problem(), kernels()
    readings = [
        Reading(f"{name}, {rows} rows", ratio(given, kernel, DRAWS, rows), "<=", HARMLESS)
        for name, kernel in found.items()
        for rows in ASKED
    ]
    names = {"InfoNCE": nb.infonce} if quick else {"InfoNCE": nb.infonce, "log q": nb.ranking_nce}
    readings += [
        Reading(
            f"in-batch negatives, {name}, a table of scores, {ASKED[-1]} rows",
            in_batch(given, loss, ASKED[-1]),
            "<=",
            HARMLESS,
            beyond=True,
        )
        for name, loss in names.items()
    ]
    details = [
        {"line": name, "batch": rows, "ratio": ratio(given, kernel, DRAWS, rows)}
        for name, kernel in found.items()
        for rows in BATCHES
    ]
    details += [
        {"line": "in-batch, a table", "batch": rows, "ratio": in_batch(given, nb.infonce, rows)}
        for rows in (BATCHES[1:3] if quick else BATCHES[1:])
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
