r"""BlackOut against noise-contrastive estimation: noise and direction of the gradient.

Both draw m words from unigram^alpha. *Noise* is the variance of one gradient divided by the squared
norm of its mean, so that the scale of a loss does not matter: the number of examples after which
signal and noise are equal. *Direction* is the cosine with the gradient of cross entropy. NCE with
hits kept as its theory has it, BlackOut without the gold among its draws as its formula has it, q
being that of such draws.
"""

import numpy as np
from scipy.special import log_softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, POWER, DRAWS = 10, 0.4, (2, 8)
CLAIM = Claim(
    title="BlackOut is steadier than NCE",
    paper="Ji et al., BlackOut",
    year=2016,
    said=(
        "BlackOut is more stable and more sample-efficient than noise-contrastive estimation; a "
        "power of about 0.4 of the unigram works well."
    ),
    read="abstract; the power as it is usually cited",
    measured=(
        "BlackOut's against NCE's, half trained, power 0.4: noise at most, direction at least"
    ),
    prediction=("Better direction, since it is a softmax over candidates; noise about the same."),
    lesson=(
        "A little quieter than NCE at equal draws. Its direction gets no better with more "
        "draws, NCE's does: choose BlackOut for few of them."
    ),
)
LOSSES = {"BlackOut": (nb.blackout, "exclude"), "NCE": (nb.binary_nce, "keep")}


def problem() -> nb.Problem:
    """Zipf, half trained, with normalised scores as NCE wants them."""
    given = problems.zipf(LABELS)
    scores = log_softmax(np.asarray(given.scores))
    return nb.Problem(scores, given.population, given.popularity)


def measure(name: str, m: int, power: float) -> dict[str, float]:
    """Noise and direction."""
    loss, hits = LOSSES[name]
    found = nb.exact(problem(), nb.iid(nb.popularity(power), m, hits=hits), loss, split=False)
    signal = float(np.sum(np.asarray(found.gradient) ** 2))
    return {"noise": float(found.variance) / signal, "direction": float(found.cosine)}


def weigh(quick: bool = False) -> Evidence:
    """Noise and direction of both at the recommended power; noise along the power."""
    readings, details = [], []
    for m in DRAWS[:1] if quick else DRAWS:
        at = {name: measure(name, m, POWER) for name in LOSSES}
        for key, relation in {"noise": "<=", "direction": ">="}.items():
            beyond = key == "direction"
            number, expected = (at[name][key] for name in LOSSES)
            readings.append(Reading(f"{key}, {m} draws", number, relation, expected, beyond=beyond))
    m = DRAWS[0]
    for power in (POWER,) if quick else (0.0, POWER, 1.0):
        for name in LOSSES:
            found = measure(name, m, power)
            details.append({"line": f"{name}, {m} draws", "power": power} | found)
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
