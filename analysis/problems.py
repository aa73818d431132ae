"""What several questions share: half-trained problems, and the four kinds of negatives."""

from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

import nce_bias as nb
from nce_bias.proposals import Proposal

#: Kind of negatives -> shares of (popularity against uniform) and of (model against those): one
#: proposal with two numbers that may be traced, so that all kinds share their compilation.
KINDS = {"uniform": (0.0, 0.0), "popularity": (1.0, 0.0), "mixed": (0.0, 0.5), "model": (0.0, 1.0)}


def proposal(kind: str) -> Proposal:
    """One of `KINDS`."""
    return blend(*KINDS[kind])


def blend(popular: Any, hard: Any) -> Proposal:
    """hard * model + (1 - hard) * (popular * popularity + (1 - popular) * uniform)."""
    return nb.mixture(nb.model(), nb.mixture(nb.popularity(), nb.uniform(), popular), hard)


def half_trained(
    logits: np.ndarray,
    rng: np.random.Generator,
    *,
    learnt: float = 0.5,
    noise: float = 0.5,
    popularity: np.ndarray | None = None,
) -> nb.Problem:
    """The population softmax(logits), and a model that has learnt a part of it.

    Parameters
    ----------
    logits : array [V] or [X, V]
        Log pop(y|x), up to a constant of each input.
    rng
        Draws the model's noise, N(0, noise^2) a score.
    learnt
        What scores have of the logits.
    popularity : array [V], optional
        pop(y), if not that of the inputs given.
    """
    scores = learnt * logits + noise * rng.normal(size=logits.shape)
    return nb.Problem(scores, softmax(logits, axis=-1), popularity)


def zipf(labels: int = 1000, seed: int = 0) -> nb.Problem:
    """One input of Zipf popularity, seen through e^N(0, 1), and a model half way to it.

    Scores are half of log pop(y|x) and N(0, 1/4) on top, a range of about 8 nats.
    """
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, labels + 1)
    popularity /= popularity.sum()
    logits = log_softmax(np.log(popularity) + rng.normal(size=labels))
    return half_trained(logits, rng, popularity=popularity)
