r"""Noise-contrastive estimation: the noise of most signal.

Binary NCE with m draws of q, D = s - log(m q). At the optimum pop a = m q b = h, a = sigma(-D) of a
gold, b = sigma(D) of a draw, h = pop m q / (pop + m q). The curvature in s_y is h_y; golds and
draws are independent and the mean is 0, so the variance of the gradient in s_y is

    c_y = pop a^2 + m q b^2 - (pop a)^2 - m (q b)^2 = h - h^2 (1 + 1/m).

*Noise* in units of the curvature, sum_y c_y / h_y = V - (1 + 1/m) sum_y h_y, is least where the sum
of h_y is most. That is concave in q with derivative pop^2 m / (pop + m q)^2, the same for all y
at q = pop alone. Away from the optimum there is a mean gradient to compare with: signal |E g|^2
over the plain variance, exact.
"""

import numpy as np
from scipy.special import log_softmax

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, STEP = 20, 0.125
DRAWS = (1, 5)
CLAIM = Claim(
    title="Noise like the data: most signal",
    paper="Bamler & Mandt",
    year=2020,
    said=(
        "The signal-to-noise ratio of the gradient of negative sampling is largest where "
        "negatives come from the data's own distribution."
    ),
    read="text",
    measured="power a of the best noise q proportional to pop^a, against 1",
    prediction=(
        "1 at the optimum, with noise in units of the curvature, for every m. Away from it, "
        "with the plain variance, there is no reason for 1."
    ),
    lesson=(
        "The theorem is about the last steps of training. Early on the most signal comes from "
        "noise more peaked than the data."
    ),
)
CONDITIONS = (
    "at the optimum, in units of the curvature, m = {}",
    "half trained, plain variance, m = {}",
)


def proposal(population: np.ndarray, power: float) -> np.ndarray:
    """q proportional to pop^power."""
    q = population**power
    return q / q.sum()


def noise(population: np.ndarray, q: np.ndarray, m: int) -> float:
    """V - (1 + 1/m) sum_y pop m q / (pop + m q), at the optimum."""
    h = population * m * q / (population + m * q)
    return float(len(q) - (1 + 1 / m) * h.sum())


def signal(given: nb.Problem, q: np.ndarray, m: int) -> float:
    """|E g|^2 / variance of binary NCE at the problem's own scores."""
    sampler = nb.iid(nb.from_probabilities(q), m, hits="keep")
    found = nb.exact(given, sampler, nb.binary_nce, split=False)
    return float(np.sum(np.asarray(found.gradient) ** 2) / found.variance)


def problem() -> nb.Problem:
    """Zipf, half trained, with normalised scores as NCE wants them."""
    given = problems.zipf(LABELS)
    return nb.Problem(log_softmax(np.asarray(given.scores)), given.population)


def weigh(quick: bool = False) -> Evidence:
    """The best power by both measures."""
    given = problem()
    population = np.asarray(given.population)
    powers = np.arange(0, 2 + STEP / 2, 4 * STEP if quick else STEP)
    readings, details = [], []
    for m in DRAWS:
        found = [proposal(population, a) for a in powers]
        ratios = {
            CONDITIONS[0].format(m): np.array([1 / noise(population, q, m) for q in found]),
            CONDITIONS[1].format(m): np.array([signal(given, q, m) for q in found]),
        }
        for condition, values in ratios.items():
            best, beyond = float(powers[np.argmax(values)]), condition == CONDITIONS[1].format(m)
            readings.append(Reading(condition, best, "=", 1.0, 1e-12, beyond))
            details += [
                {"line": condition.split(",")[0] + f", m = {m}", "power": a, "ratio": v}
                for a, v in zip(powers, values / values.max(), strict=True)
            ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
