r"""The quadratic kernel: how many uniform negatives one of its is worth.

q(y) proportional to alpha s_y^2 + 1, alpha = 100, can be drawn from in O(log V) and follows the
scores; sampled softmax corrects by it. Asked at three stages of training: with how many uniform
negatives does the bias come down to that of `DRAWS` of the kernel's? Scores are centred. A square
also favours labels of very negative scores, and it is their number that decides.
"""

import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, softmax

import nce_bias as nb
from analysis.claims.rates import needed
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, SEED, ALPHA, DRAWS = 200, 0, 100.0, 4
#: Stage of training -> share of the logits that the scores have, and noise on top.
STAGES = {"untrained": (0.0, 0.5), "half trained": (0.5, 0.5), "trained": (1.0, 0.1)}
CLAIM = Claim(
    title="A quadratic kernel saves 10-100x",
    paper="Blanc & Rendle, adaptive sampled softmax with kernel based sampling",
    year=2018,
    said=(
        "Negatives from a quadratic kernel need ten to a hundred times fewer samples than "
        "uniform ones for the same bias."
    ),
    read="text",
    measured=(
        f"uniform negatives that {DRAWS} of the kernel are worth, divided by {DRAWS}, at equal "
        "exact bias of sampled softmax; at least 10"
    ),
    prediction=(
        "Large for a trained model, one for an untrained one, whose scores say nothing yet."
    ),
    lesson=(
        "An adaptive proposal pays once the scores are spread out; begin with uniform draws, "
        "and expect the factor at the end of training."
    ),
)


def quadratic(scores):
    """log q, q proportional to alpha s^2 + 1."""
    weights = ALPHA * jnp.square(scores) + 1
    return jnp.log(weights) - jnp.log(jnp.sum(weights))


def problem(stage: str) -> nb.Problem:
    """Zipf times e^N(0, 1.5^2), the scores centred."""
    learnt, noise = STAGES[stage]
    rng = np.random.default_rng(SEED)
    ranks = np.arange(1, LABELS + 1)
    logits = log_softmax(1.5 * rng.normal(size=LABELS) - np.log(ranks))
    scores = learnt * (logits - logits.mean()) + noise * rng.normal(size=LABELS)
    return nb.Problem(scores, softmax(logits))


def bias(given: nb.Problem, kernel: bool, m: int) -> float:
    """The bias norm of sampled softmax, gold excluded."""
    q = nb.proposal(quadratic, reads=("scores",)) if kernel else nb.uniform()
    return float(nb.exact(given, nb.iid(q, m), nb.sampled_softmax, split=False).bias_norm)


def weigh(quick: bool = False) -> Evidence:
    """Samples at equal bias, and the two curves of the trained model."""
    sizes = (1, 4, 16, 64, 256) if quick else tuple(2**k for k in range(10))
    readings, details = [], []
    for stage in STAGES:
        given = problem(stage)
        uniform = [bias(given, False, m) for m in sizes]
        wanted = bias(given, True, DRAWS)
        ratio = needed(wanted, sizes, uniform) / DRAWS
        readings.append(Reading(f"{stage} model", ratio, ">=", 10.0))
        if stage == "trained":
            for line, values in {
                "uniform": uniform,
                "quadratic kernel": [bias(given, True, m) for m in sizes],
            }.items():
                details += [
                    {"line": line, "m": m, "bias_norm": v}
                    for m, v in zip(sizes, values, strict=True)
                ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
