r"""Sampled softmax: the rate at which its bias falls.

loss = log(e^{s_g} + mean_k e^{s_k} / q_k) - s_g. The mean is unbiased for the sum of e^s over what
can be drawn, with a variance of the order 1/m; log and its derivative are smooth, so a second-order
expansion leaves a bias of the order 1/m if that sum and e^{s_g} make the model's denominator: with
the gold excluded. With hits kept the gold is counted twice, and a constant remains.
"""

import nce_bias as nb
from analysis import problems
from analysis.claims.rates import slope
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS = 60
NEGATIVES = {"uniform": nb.uniform(), "popularity": nb.popularity(), "square root": nb.model(2.0)}
CLAIM = Claim(
    title="Bias of sampled softmax is O(1/m)",
    paper="Rawat et al., random Fourier softmax",
    year=2019,
    said=(
        "The bias of the sampled softmax gradient is of the order one over the number of negatives."
    ),
    read="abstract; the bound as it is usually cited",
    measured="slope of log bias norm against log m over the last doubling, at most -0.95",
    prediction="-1 for all negatives with the gold excluded; 0 with hits kept.",
    lesson=(
        "The rate is the same for all negatives; what they change is the constant. Exclude the "
        "gold, or there is no rate at all."
    ),
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def weigh(quick: bool = False) -> Evidence:
    """Slopes over the last doubling of m."""
    sizes = (1, 64, 512, 1024) if quick else tuple(2**k for k in range(11))
    given, readings, details = problem(), [], []
    for hits in ("exclude", "keep"):
        for kind, q in NEGATIVES.items():
            if hits == "keep" and kind != "uniform":
                continue
            found = [
                nb.exact(given, nb.iid(q, m, hits=hits), nb.sampled_softmax, split=False)
                for m in sizes
            ]
            values = [float(x.bias_norm) for x in found]
            name = f"{kind}, gold excluded" if hits == "exclude" else f"{kind}, hits kept"
            readings.append(Reading(name, slope(sizes, values), "<=", -0.95, beyond=hits == "keep"))
            details += [
                {"line": name, "m": m, "bias_norm": v} for m, v in zip(sizes, values, strict=True)
            ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
