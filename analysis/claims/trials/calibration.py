r"""gBCE: whether the sigmoid of a score is the label's probability.

The loss is beta softplus(-s_g) + sum_k softplus(s_k), beta = alpha at t = 1, alpha = m / (V - 1).
Its expected gradient vanishes where, with n_y the expected copies of y among the negatives,

    sigma(s_y) = beta pop_y / (beta pop_y + E[n_y]).

Uniform draws without the gold: E[n_y] = (1 - pop_y) m / (V - 1) = alpha (1 - pop_y), and sigma =
pop. Uniform draws with it: E[n_y] = m / V, and sigma = pop / (pop + 1 - 1/V), at most one half for
a label that is always right.
"""

import numpy as np
from scipy.special import expit

import nce_bias as nb
from analysis.claims.optimum import at_rest
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 10, 3
CONDITIONS = {
    "exclude": "the gold is never drawn, as the theorem has it",
    "keep": "negatives from all labels, as the public code draws them",
}
CLAIM = Claim(
    title="gBCE at t = 1 calibrates",
    paper="Petrov & Macdonald, gSASRec",
    year=2023,
    said=(
        "With t = 1 the generalised binary cross entropy removes the overconfidence that comes "
        "from few negatives: the sigmoid of a score is the label's probability."
    ),
    read="abstract; the theorem as it is usually cited; public code",
    measured="largest |sigma(score) - pop| where the expected gradient vanishes, against 0",
    prediction=(
        "Exactly 0 where the gold is excluded. With the gold among the draws sigma is pop / "
        "(pop + 1 - 1/V), too small by up to a half."
    ),
    lesson=(
        "Take the gold out of the negatives, or the calibrated loss is under-confident where it "
        "matters most: at the labels that are nearly sure."
    ),
)


def population(labels: int = LABELS) -> np.ndarray:
    """1 / rank squared: one label that is likelier than all others together."""
    weights = 1.0 / np.arange(1, labels + 1) ** 2
    return weights / weights.sum()


def learnt(hits: str, m: int = DRAWS, labels: int = LABELS) -> np.ndarray:
    """sigma(s) at the fixed point."""
    problem = nb.Problem(np.zeros(labels), population(labels))
    found = at_rest(problem, nb.iid(nb.uniform(), m, hits=hits), nb.gbce(1.0))
    return expit(np.asarray(found.scores))


def weigh(quick: bool = False) -> Evidence:
    """Readings and the learnt probabilities of all labels."""
    wanted, readings, details = population(), [], []
    for hits, condition in CONDITIONS.items():
        found = learnt(hits)
        off = float(abs(found - wanted).max())
        readings.append(Reading(condition, off, "=", 0.0, 1e-8, beyond=hits == "keep"))
        details += [
            {"line": f"hits {hits}", "population": p, "learnt": s}
            for p, s in zip(wanted, found, strict=True)
        ]
    details += [{"line": "wanted", "population": p, "learnt": p} for p in wanted]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
