r"""The sigmoid loss: how far its direction hangs on the batch.

softplus(-(s_g + b)) + sum_k softplus(s_k + b), the other rows' labels as negatives. Where all s + b
are far below 0, sigma(s_k + b) = e^{b} e^{s_k} and 1 - sigma(s_g + b) = 1 nearly: the gradient is
-pop plus something of the size m e^b, and its direction is the same for every m until m e^b comes
near 1. With b = 0 every negative pushes by its half, and the direction turns with m. InfoNCE
shares one unit of push among all.
"""

import numpy as np

import nce_bias as nb
from analysis import problems
from analysis.claims.trial import Claim, Evidence, Reading, Trial

LABELS, LARGEST = 40, 1023
PAPER = -10.0
BIASES = {"b = -10, as initialised": PAPER, "b = -5": -5.0, "b = 0": 0.0}
CLAIM = Claim(
    title="A sigmoid loss cares less about the batch",
    paper="Zhai et al., SigLIP",
    year=2023,
    said=(
        "The sigmoid loss is less sensitive to the batch size than the softmax loss and works "
        "with small batches."
    ),
    read="formula and public code; the claim as it is usually cited",
    measured=(
        "least cosine between the expected gradient at a smaller batch and that at the largest; "
        "at least InfoNCE's"
    ),
    prediction=(
        "True with the bias at -10, whose negatives hardly push; false with a bias near 0."
    ),
    lesson=(
        "It is the bias that makes it so. With it the first steps are all pull; without it they "
        "are all push, and their direction hangs on the batch."
    ),
)


def gradients(loss: nb.Loss, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Expected gradients with m popular negatives, hits kept."""
    given = problems.zipf(LABELS)
    found = (
        nb.exact(given, nb.iid(nb.popularity(), m, hits="keep"), loss, split=False) for m in sizes
    )
    return [np.asarray(moments.gradient) for moments in found]


def cosines(rows: list[np.ndarray]) -> np.ndarray:
    """Of each row with the last."""
    unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit[-1]


def weigh(quick: bool = False) -> Evidence:
    """Least cosines of each loss, and all of them."""
    sizes = (1, 31, LARGEST) if quick else (1, 3, 7, 15, 31, 63, 127, 255, 511, LARGEST)
    lines = {"InfoNCE": nb.infonce} | {
        name: nb.siglip(temperature=1.0, bias=b) for name, b in BIASES.items()
    }
    found = {name: cosines(gradients(loss, sizes)) for name, loss in lines.items()}
    least = float(found["InfoNCE"].min())
    readings = [
        Reading(name, float(found[name].min()), ">=", least, beyond=b != PAPER)
        for name, b in BIASES.items()
    ]
    details = [
        {"line": name, "batch": m + 1, "cosine": c}
        for name, values in found.items()
        for m, c in zip(sizes, values, strict=True)
    ]
    return Evidence(readings, details)


TRIAL = Trial(CLAIM, weigh, slow=True)
