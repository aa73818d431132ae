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
from jaxtyping import Array, Float, Int, PyTree

from nce_bias._checks import refuse
from nce_bias.engine._pull_back import linearize
from nce_bias.retrieval._corpus import Corpus
from nce_bias.retrieval._retriever import Retriever
from nce_bias.retrieval.ranking import LABELS, blocks
from nce_bias.retrieval.tower import Batch


def pull_back(
    model: Retriever,
    corpus: Corpus,
    split: str,
    rows: Int[np.ndarray, " n"],
    cotangents: Any,
) -> PyTree:
    """J^T c of each c `[n, V]`, for n mentions of one world and all its V labels.

    Parameters
    ----------
    model, corpus, split
        Whose scores, of which texts.
    rows : int `[n]`
        Mentions of the split, all of one world; they are one block, so a few dozen at most.
    cotangents : `[C, n, V]`
        Weights of the scores: of eps, times 1/n for a mean over mentions.

    Returns
    -------
    pytree like the model
        Each array with a leading axis C; None for leaves that are not trained.

    Raises
    ------
    ValueError
        If mentions are of several worlds, or the cotangents do not fit.
    """
    spans = np.unique(corpus.candidates[split][rows], axis=0)
    if len(spans) != 1:
        raise refuse(
            "rows",
            f"got mentions of {len(spans)} worlds",
            "mentions of one world",
            "Call it for each world and add the results.",
        )
    first, end = spans[0]
    cotangents = np.asarray(cotangents)
    if cotangents.ndim != 3 or cotangents.shape[1:] != (len(rows), end - first):
        raise refuse(
            "cotangents",
            f"got shape {cotangents.shape}",
            f"[C, n, V] with n = {len(rows)} and V = {end - first}, the labels of the world",
            "Add a leading axis to a single one.",
        )
    total: Any = None
    texts = corpus.mentions[split]
    inputs = texts.batch(rows, int(max(1, texts.lengths[rows].max())))
    for block in blocks(corpus.entities, np.arange(first, end), LABELS):
        # a label that only fills the block has no weight
        weights = np.zeros((*cotangents.shape[:2], LABELS), np.float32)
        weights[..., : len(block.rows)] = cotangents[..., block.rows - first]
        part = _pull(model, inputs, block.texts, weights)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return total


@eqx.filter_jit
def _pull(
    model: Retriever, inputs: Batch, labels: Batch, weights: Float[Array | np.ndarray, "C n B"]
) -> PyTree:
    _, back = linearize(
        lambda model: model.against(model.encode_inputs(inputs), model.encode_labels(labels)), model
    )
    # one after the other: what one product keeps is as large as a block times the texts' tokens
    return jax.lax.map(back, jnp.asarray(weights))
