r"""A refined logQ correction against the usual one.

The refinement keeps the gold out of the denominator and weights the loss by 1 - p_g, p_g the gold's
share of a sampled softmax, without a gradient through it; negatives are popular ones that are not
the gold, with w_k = e^{s_k} (1 - q_g) / (m q_k). With W = sum w_k, Z = W + e^{s_g} the gradient is

    (1 - p_g) ( sum_k w_k e_k / W - e_g ),    1 - p_g = W / Z,
    = sum_k w_k e_k / Z - (1 - e^{s_g} / Z) e_g,

which is that of sampled softmax (Bengio & Senecal, 2008) with the gold excluded, term for term. So
its exact bias is that loss's. The usual correction takes log q off both sides.
"""

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, DRAWS = 60, (4, 64)
USUAL = {"keep": "log q off both, hits kept", "mask": "log q off both, hits removed"}
CLAIM = Claim(
    title="The refined logQ has less bias",
    paper="Khrylchenko et al., correcting the logQ correction",
    year=2025,
    said=(
        "The usual logQ correction forgets that the gold is no draw; a refined one has less bias."
    ),
    read="text and public code",
    measured="bias norm of the refined correction divided by that of the usual one; at most 1",
    prediction=(
        "Less for many negatives: the refined bias falls as 1/m, the usual one with hits "
        "removed levels off."
    ),
    lesson=(
        "The refinement is sampled softmax with the gold excluded, and consistent where the "
        "usual practice with hits removed is not. With a handful of negatives it is not the "
        "smaller bias."
    ),
)


def problem() -> nb.Problem:
    """Zipf, half trained."""
    return problems.zipf(LABELS)


def refined(m: int) -> float:
    """Bias norm of sampled softmax, popular negatives, gold excluded."""
    sampler = nb.iid(nb.popularity(), m)
    return float(nb.exact(problem(), sampler, nb.sampled_softmax, split=False).bias_norm)


def usual(m: int, hits: str) -> float:
    """Bias norm with log q off both sides."""
    sampler = nb.iid(nb.popularity(), m, hits=hits)
    return float(nb.exact(problem(), sampler, nb.ranking_nce, split=False).bias_norm)


def weigh(quick: bool = False) -> Evidence:
    """Ratios at few and many draws, and the three curves."""
    readings = [
        Reading(f"{m} draws against {name}", refined(m) / usual(m, hits), "<=", 1.0)
        for hits, name in USUAL.items()
        for m in DRAWS
    ]
    sizes = (1, 16, 256) if quick else tuple(2**k for k in range(10))
    details = [{"line": "refined", "m": m, "bias_norm": refined(m)} for m in sizes]
    details += [
        {"line": name, "m": m, "bias_norm": usual(m, hits)}
        for hits, name in USUAL.items()
        for m in sizes
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh)
