"""The PyTorch loop that a step is timed against trains the same model: its loss and gradient."""

import equinox as eqx
import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import pool
from tests.interop import encoder_step, torch_encoder

SMALL = {
    "vocab_size": 90,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize("step", [0, 1])
def test_it_is_the_same_step(step: int) -> None:
    """Loss and gradient over words, positions and each layer; unmasked repeats are another loss."""
    weights = encoder_step.weights_of(SMALL)
    mentions, texts, present = encoder_step.batches(SMALL, 2)[step]
    every = present.copy()
    present[::2, 70], present[0, 5] = False, False  # as where two mentions are of one entity
    batch = mentions, texts, present
    model = encoder_step.model_of(weights, SMALL, 0.0)
    value = eqx.filter_value_and_grad(pool.PoolLoss(nb.infonce).__call__)
    ours, gradient = value(model, encoder_step.pool_of(batch, 0))
    found = gradient.encoder.weights

    theirs = torch_encoder.parameters(weights)
    given = {"heads": SMALL["num_attention_heads"], "scale": encoder_step.SCALE}
    loss = torch_encoder.loss_of(theirs, *batch, **given)
    loss.backward()
    assert float(ours) == pytest.approx(loss.item(), rel=1e-5)
    other = torch_encoder.loss_of(theirs, mentions, texts, every, **given)
    assert abs(other.item() - loss.item()) > 1e-4

    pairs = [(theirs[name].grad.numpy(), found[name]) for name in ("words", "positions")]
    pairs += [
        (part.grad.numpy(), array)
        for part, array in zip(theirs["norm"], found["norm"], strict=True)
    ]
    for number, layer in enumerate(theirs["layers"]):
        for name, parts in layer.items():
            stacks = found["layers"][name]
            pairs += [
                (part.grad.numpy().T, all_[number])
                for part, all_ in zip(parts, stacks, strict=True)
            ]
    assert len(pairs) == 2 + 2 + 12 * SMALL["num_hidden_layers"]
    largest = max(float(np.abs(np.asarray(array)).max()) for _, array in pairs)
    for theirs_, array in pairs:
        # float32, sums over some thousand tokens
        assert np.abs(theirs_ - np.asarray(array)).max() < 1e-4 * largest
    assert largest > 1e-3


def test_texts_are_as_long_as_words_say() -> None:
    ids = encoder_step.texts_like([0, 3, 900], 50, seed=0)
    assert [len(text) for text in ids] == [2, 6, encoder_step.LONGEST]
    assert jax.tree.reduce(max, [int(text.max()) for text in ids]) < 50
