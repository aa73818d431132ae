r"""Estimates of mutual information by NWJ: variance against e^MI, and what clipping buys.

With the best critic r = p / q the NWJ estimate is 1 + mean of log r over pairs - mean of r over N
products; the second mean has the variance (E_q r^2 - 1) / N = chi^2 / N. As E_q r^2 = E_p r >=
e^{E_p log r} by Jensen, it is at least (e^MI - 1) / N, and as much only where r is one constant
wherever p is not 0. Donsker-Varadhan takes the log of that mean, whose variance tends to the same
chi^2 / N. SMILE clips r to [e^-tau, e^tau] there, which bounds the variance by e^{2 tau} / 4 N and
shifts the mean by E_q r - E_q clip(r).

Pairs are X inputs, alike but for their label, in X labels: right with a chance, else any, and r has
two values. Labels of unequal chance are Zipf.
"""

import numpy as np

from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS = (4, 16, 64, 256, 1024)
RIGHT, TAU = 0.9, 1.0
CLAIM = Claim(
    title="Variance of NWJ grows like e^MI",
    paper="Song & Ermon, limitations of mutual information estimators",
    year=2020,
    said=(
        "The variance of NWJ and of Donsker-Varadhan grows exponentially with the mutual "
        "information, even with the best critic; clipping the ratio takes it away for a bias."
    ),
    read="abstract; the theorem as it is usually cited",
    measured=(
        "variance times N over e^MI - 1, at least 1; over e^(2 tau) / 4 with ratios clipped at "
        "tau = 1, at most 1; what clipping adds to the estimate, in nats, against 0"
    ),
    prediction=(
        "At least 1 always, by Jensen; up to some times as much with Zipf labels. Clipping at 1 "
        "overestimates by about 0.7 nats of any large information."
    ),
    lesson=(
        "To estimate I nats this way takes more than e^I products. A clipped estimate is quiet "
        "and no lower bound any more."
    ),
)


def pairs(labels: int, zipf: bool) -> tuple[np.ndarray, np.ndarray]:
    """Joint and product probabilities `[X, V]`: the label is x, or with the rest of chances any."""
    marginal = 1 / np.arange(1, labels + 1) if zipf else np.ones(labels)
    marginal /= marginal.sum()
    joint = RIGHT * np.diag(marginal) + (1 - RIGHT) * np.outer(marginal, marginal)
    return joint, np.outer(marginal, marginal)


def information(joint: np.ndarray, product: np.ndarray) -> float:
    """In nats."""
    return float(np.sum(joint * np.log(joint / product)))


def variance(joint: np.ndarray, product: np.ndarray, tau: float = np.inf) -> float:
    """N times the variance of the mean of the ratio, clipped, over N products."""
    clipped = np.clip(joint / product, np.exp(-tau), np.exp(tau))
    return float(np.sum(product * clipped**2) - np.sum(product * clipped) ** 2)


def added(joint: np.ndarray, product: np.ndarray, tau: float) -> float:
    """What clipping adds to the Donsker-Varadhan estimate, N large."""
    clipped = np.clip(joint / product, np.exp(-tau), np.exp(tau))
    return float(-np.log(np.sum(product * clipped)))


def weigh(quick: bool = False) -> Evidence:
    """At two amounts of information; along it."""
    readings, details = [], []
    for zipf, words in {False: "labels alike", True: "Zipf labels"}.items():
        for labels in LABELS[1::3]:
            at = pairs(labels, zipf)
            nats = information(*at)
            place = f"{words}, {nats:.1f} nats"
            grown = variance(*at) / np.expm1(nats)
            held = variance(*at, TAU) / (np.exp(2 * TAU) / 4)
            readings += [
                Reading(place, float(grown), ">=", 1.0, 1e-9),
                Reading(f"{place}, clipped: variance", float(held), "<=", 1.0, 1e-9),
                Reading(f"{place}, clipped: added", added(*at, TAU), "=", 0.0, 1e-9, beyond=True),
            ]
    for labels in LABELS[::2] if quick else LABELS:
        at = pairs(labels, False)
        nats = information(*at)
        lines = {
            "best critic": variance(*at),
            "e^MI - 1": float(np.expm1(nats)),
            "clipped at 1": variance(*at, TAU),
        }
        details += [{"line": n, "nats": nats, "variance": v} for n, v in lines.items()]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
