"""Scores of one pair of texts, straight from their definitions; padding is removed beforehand.

``E`` ``[tokens, H]`` and ``F`` ``[label tokens, H]`` hold real tokens alone. Loops, no masks.
"""

import numpy as np


def softmax(logits):
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


def dual(E, F):
    return E[0] @ F[0]


def multi(E, F, m):
    return max(E[0] @ f for f in F[:m])


def som(E, F):
    return sum(max(e @ f for f in F) for e in E)


def poly(E, F, codes, sharpness=1.0):
    """F_1 . P softmax(P^T F_1) with column k of P = E softmax(E^T O_k)."""
    read = [softmax(sharpness * np.array([e @ code for e in E])) @ E for code in codes]
    attention = softmax(sharpness * np.array([p @ F[0] for p in read]))
    return F[0] @ sum(a * p for a, p in zip(attention, read, strict=True))


def joint(E, F, weight, encode):
    return encode(E, F)[0] @ weight
