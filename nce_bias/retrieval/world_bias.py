r"""From the scores of a whole world to a retriever's parameters: J^T c, block by block.

The bias of a retriever's gradient is the pull-back of the score-space bias eps (Theorem 3.1 of
Zhang & Stratos 2021). `nb.gradient_bias` takes it through one function of all labels; a world has
too many texts for that, so here labels come 1,024 at a time:

    J^T c = sum over blocks of d/dtheta  sum_{x, y in block} c_xy s_theta(x, y)

which holds for any c, since the sum is linear in s. Nothing of the size of mentions x labels x
tokens outlives its block.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from nce_bias._checks import refuse
from nce_bias.engine._pull_back import linearize
from nce_bias.retrieval._corpus import Mentions, check_mentions
from nce_bias.retrieval._retriever import Retrieves
from nce_bias.retrieval.ranking import LABELS, blocks


def pull_back(model: Retrieves, mentions: Mentions | Any, cotangents: Any) -> PyTree:
    """J^T c of each c `[n, V]`, for n mentions of one world and all its V labels.

    Parameters
    ----------
    model : Retriever or EncoderRetriever
        What scores.
    mentions : Mentions
        n mentions of one world; they are one block, so a few dozen at most.
    cotangents : `[C, n, V]`
        Weights of the scores: eps, times 1/n for a mean over mentions.

    Returns
    -------
    pytree like the model
        Each array with a leading axis C; None for leaves that are not trained.

    Raises
    ------
    ValueError
        If mentions are of several worlds, or the cotangents do not fit.
    """
    spans = np.unique(check_mentions(mentions).spans, axis=0)
    if len(spans) != 1:
        raise refuse(
            "mentions",
            f"got those of {len(spans)} worlds",
            "mentions of one world",
            "Call it for each world and add the results.",
        )
    first, end = spans[0]
    cotangents = np.asarray(cotangents)
    if cotangents.ndim != 3 or cotangents.shape[1:] != (len(mentions), end - first):
        raise refuse(
            "cotangents",
            f"got shape {cotangents.shape}",
            f"[C, n, V] with n = {len(mentions)} and V = {end - first}, the labels of the world",
            "Add a leading axis to a single one.",
        )
    total: Any = None
    inputs = mentions.texts.batch(mentions.rows, int(max(1, mentions.lengths.max())))
    for block in blocks(mentions.entities, np.arange(first, end), LABELS):
        # a label that only fills the block has no weight
        weights = np.zeros((*cotangents.shape[:2], LABELS), np.float32)
        weights[..., : len(block.rows)] = cotangents[..., block.rows]
        part = _pull(model, inputs, block.texts, weights)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return total


@eqx.filter_jit
def _pull(
    model: Retrieves, inputs: Any, labels: Any, weights: Float[Array | np.ndarray, "C n B"]
) -> PyTree:
    _, back = linearize(
        lambda model: model.against(model.encode_inputs(inputs), model.encode_labels(labels)), model
    )
    # one after the other: what one product keeps is as large as a block times the texts' tokens
    return jax.lax.map(back, jnp.asarray(weights))
