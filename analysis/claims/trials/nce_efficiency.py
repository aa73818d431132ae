r"""NCE against the likelihood with a sampled partition function: asymptotic variances.

Both estimate an unnormalised model from n examples and k n draws of noise; the formulas are in
`analysis.claims.asymptotics`. The claim is about every direction of the parameters: the largest
ratio over them is asked.
"""

import numpy as np
from scipy.special import softmax

from analysis.claims import asymptotics
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, FEATURES, SEED = 40, 3, 0
RATIOS = (1, 16)
CLAIM = Claim(
    title="NCE is never worse than MC-MLE",
    paper="Riou-Durand & Chopin",
    year=2018,
    said=(
        "With independent noise, as data and noise grow together, NCE's asymptotic variance is at "
        "most that of Monte Carlo maximum likelihood."
    ),
    read="abstract",
    measured="NCE's variance over MC-MLE's in the worst direction of the parameters, at most 1",
    prediction=(
        "At most 1 for every noise: Cauchy-Schwarz. Nothing is promised where the constant is "
        "held at its true value, as neural language models do: more than 1 somewhere."
    ),
    lesson=(
        "Where the partition function is sampled, a classifier wastes less of the noise, the more "
        "so the further noise is from the data; with noise like the data both are the same. A "
        "constant that is known does not have to be learnt."
    ),
)


def model() -> tuple[np.ndarray, np.ndarray]:
    """Features, and the p of the true parameters."""
    rng = np.random.default_rng(SEED)
    features = rng.normal(size=(LABELS, FEATURES))
    return features, softmax(features @ np.array([1.0, -0.7, 0.5]))


def noises() -> dict[str, np.ndarray]:
    """Noise like the data, uniform, and where the data are not."""
    _, p = model()
    return {
        "noise like the data": p,
        "uniform noise": np.full(LABELS, 1 / LABELS),
        "noise against the data": p**-0.5 / np.sum(p**-0.5),
    }


def weigh(quick: bool = False) -> Evidence:
    """Worst ratios; traces against maximum likelihood along the amount of noise."""
    features, p = model()
    readings, details = [], []
    for (name, q), k in ((item, k) for item in noises().items() for k in RATIOS):
        other = asymptotics.mc_mle(features, p, q, k)
        found = asymptotics.largest(asymptotics.nce(features, p, q, k), other)
        readings.append(Reading(f"{name}, k = {k}", found, "<=", 1.0, 1e-9))
    for (name, q), k in ((item, k) for item in noises().items() for k in RATIOS):
        other = asymptotics.mc_mle(features, p, q, k)
        held = asymptotics.nce_with_known_constant(features, p, q, k)
        found = asymptotics.largest(held, other)
        place = f"constant known, {name}, k = {k}"
        readings.append(Reading(place, found, "<=", 1.0, 1e-9, beyond=True))
    q = noises()["uniform noise"]
    least = np.trace(asymptotics.likelihood(features, p))
    ways = {
        "MC-MLE": asymptotics.mc_mle,
        "NCE": asymptotics.nce,
        "NCE, constant known": asymptotics.nce_with_known_constant,
    }
    for name, way in ways.items():
        for k in (1, 16) if quick else (0.25, 1, 4, 16, 64):
            ratio = float(np.trace(way(features, p, q, k)) / least)
            details.append({"line": name, "k": k, "ratio": ratio})
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
