r"""Losses without the gold in Z: whether there is anything to converge to.

loss = log sum_k e^{s_k} - s_g, the sum over the negatives alone. Its expected gradient at y is

    gamma_y - pop_y,    gamma_y = E[sum_k 1{y_k = y} e^{s_y} / Z] <= P(y is among the draws),

the bound being reached as s_y grows. For independent draws from q with hits kept the right side is
1 - (1 - q_y)^m. Where pop_y is larger the gradient pushes s_y up at every score: the loss falls
without end and has no minimum. With the gold excluded y is drawn only when another label is the
gold, so pop_y <= (1 - pop_y) P(drawn | another gold), and no label of more than a half can have an
optimum, whatever m.

For uniform draws `nb.self_normalized` corrects by a constant, so that its gradient is this loss's.
"""

import numpy as np

import nce_bias as nb
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS = 10
#: (draws, hits, probability of the commonest label)
SETTINGS = ((4, "keep", 0.4), (8, "keep", 0.4), (64, "exclude", 0.4), (64, "exclude", 0.6))
HIGHEST = 60.0
CLAIM = Claim(
    title="Decoupled losses have an optimum",
    paper="Yeh et al., decoupled contrastive learning (also FlatNCE, InfoLOOB, BSL)",
    year=2022,
    said=(
        "Leaving the positive pair out of the denominator removes a coupling that slows "
        "learning, most of all with small batches."
    ),
    read="abstract and formula",
    measured=(
        "gradient of the commonest label where its score is as high as may be: below 0 there is "
        "nothing that stops it, so the optimum needs at least 0"
    ),
    prediction=(
        "None where pop(y|x) exceeds the chance that y is drawn: 4 uniform draws of 10 labels "
        "reach a third, 8 reach more than a half; without the gold in the draws never above one "
        "half."
    ),
    lesson=(
        "With few negatives and unbounded scores such a loss is a push without an end. Bound "
        "the scores (a sphere and a temperature do), or take enough draws for the surest label."
    ),
)


def population(most: float, labels: int = LABELS) -> np.ndarray:
    """One label of probability `most`, the others alike."""
    return np.array([most, *[(1 - most) / (labels - 1)] * (labels - 1)])


def along(m: int, hits: str, most: float, heights: np.ndarray) -> nb.Moments:
    """Moments where the commonest label has these scores and all others 0."""
    scores = np.zeros((len(heights), LABELS))
    scores[:, 0] = heights
    problem = nb.Problem(scores, np.tile(population(most), (len(heights), 1)))
    return nb.exact(problem, nb.iid(nb.uniform(), m, hits=hits), nb.self_normalized, split=False)


def weigh(quick: bool = False) -> Evidence:
    """The gradient at the highest score, and the expected loss along the way there."""
    readings, details = [], []
    heights = np.append(np.linspace(-4, 16, 6 if quick else 41), HIGHEST)
    for m, hits, most in SETTINGS:
        found = along(m, hits, most, heights)
        last = float(found.gradient[-1, 0])
        drawn = "hits kept" if hits == "keep" else "gold excluded"
        name = f"{m} draws, {drawn}, pop = {most:g}"
        readings.append(Reading(name, last, ">=", 0.0, 1e-9))
        losses = np.asarray(found.losses)
        details += [
            {"line": name.replace(" draws", ""), "score": height, "loss": loss}
            for height, loss in zip(heights[:-1], losses[:-1] - losses[:-1].min(), strict=True)
        ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
