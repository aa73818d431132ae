r"""The power 3/4 against uniform negatives and the unigram.

Negatives from pop^a, a = 0 uniform and a = 1 the unigram. Asked of the bias of the gradient of one
context, at several strengths of the context (the spread of log pop(y|x) / pop(y)), for InfoNCE as
it is and for sampled softmax, which corrects by what is drawn.
"""

import numpy as np
from scipy.special import log_softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS, SEED, POWER, STEP = 40, 5, 0, 0.75, 0.125
SPREADS = (0.5, 1.0, 2.0)
LOSSES = {"corrected": nb.sampled_softmax, "uncorrected": nb.infonce}
CLAIM = Claim(
    title="The power 3/4 beats 0 and 1",
    paper="Mikolov et al., word2vec",
    year=2013,
    said=(
        "Negatives from the unigram to the power 3/4 are clearly better than uniform ones and "
        "than the unigram itself."
    ),
    read="text",
    measured="bias norm at 3/4 divided by the smaller of those at 0 and at 1; at most 1",
    prediction=(
        "True with the correction, which profits from a compromise; without it any power above "
        "0 adds bias."
    ),
    lesson=(
        "The best power belongs to the loss and the problem: for an uncorrected softmax it is "
        "0, for a corrected one about a half here. (word2vec was judged by its vectors, not by "
        "a gradient.)"
    ),
)


def problem(spread: float) -> nb.Problem:
    """Zipf times e^N(0, spread^2), half trained."""
    rng = np.random.default_rng(SEED)
    popularity = 1 / np.arange(1, LABELS + 1)
    popularity /= popularity.sum()
    logits = log_softmax(np.log(popularity) + spread * rng.normal(size=LABELS))
    return problems.half_trained(logits, rng, popularity=popularity)


def bias(given: nb.Problem, loss: nb.Loss, power: float) -> float:
    """The bias norm, gold excluded."""
    sampler = nb.iid(nb.popularity(power), DRAWS)
    return float(nb.exact(given, sampler, loss, split=False).bias_norm)


def weigh(quick: bool = False) -> Evidence:
    """Ratios at 3/4, and curves along the power."""
    readings, details = [], []
    for name, loss in LOSSES.items():
        for spread in SPREADS:
            given = problem(spread)
            at = {a: bias(given, loss, a) for a in (0.0, POWER, 1.0)}
            ratio = at[POWER] / min(at[0.0], at[1.0])
            readings.append(Reading(f"{name} loss, context of spread {spread:g}", ratio, "<=", 1.0))
        powers = np.arange(0, 1 + STEP / 2, 2 * STEP if quick else STEP)
        given = problem(SPREADS[1])
        details += [
            {"line": name, "power": float(a), "bias_norm": bias(given, loss, float(a))}
            for a in powers
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
