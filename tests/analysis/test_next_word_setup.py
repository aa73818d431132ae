"""The next-word model: does it learn, and is its held-out loss the mean over all examples?"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from analysis.next_word import model as words
from nce_bias.data import next_word
from nce_bias.train import Fit


@functools.cache
def fitted() -> Fit:
    return words.train(0, next_word(50), steps=300, checkpoints=(0, 300))


def test_training_passes_the_stages_of_learning() -> None:
    """Untrained, then popularity, then context: held-out loss falls below the unigram one."""
    data, fit = next_word(50), fitted()
    assert fit.status == "ok"
    untrained, trained = (words.held_out_loss(fit.at(step), data) for step in (0, 300))
    unigram = -np.log(data.popularity[data.held_out_targets]).mean()
    assert abs(untrained - np.log(50)) < 0.3
    # what context is worth to such a model; below 1 nat, or the target would be among the inputs
    assert unigram - 1.0 < trained < unigram - 0.3
    assert fit.at(300).output.weight.dtype == jnp.float32


def test_held_out_loss_is_the_mean_over_examples_whatever_the_block() -> None:
    whole, m = next_word(50), fitted().at(300)
    data = dataclasses.replace(
        whole,
        held_out_inputs=whole.held_out_inputs[:2500],
        held_out_targets=whole.held_out_targets[:2500],
    )
    e, w1, b1, w2, b2 = (
        np.asarray(leaf, np.float64)
        for leaf in (m.embedding, m.hidden.weight, m.hidden.bias, m.output.weight, m.output.bias)
    )
    joined = e[data.held_out_inputs].reshape(len(data.held_out_inputs), -1)
    scores = np.tanh(joined @ w1.T + b1) @ w2.T + b2
    rows = np.arange(len(scores)), data.held_out_targets
    expected = np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[rows])
    for block in (1000, 2400):  # the last block is smaller than the others
        # float32 scores: errors of about 1e-6, averaged
        assert words.held_out_loss(m, data, block) == pytest.approx(expected, abs=1e-5)
    assert np.asarray(words.score_fn(m, jnp.asarray(data.held_out_inputs[0]))) == pytest.approx(
        scores[0], abs=1e-5
    )


def test_checkpoints_are_spaced_in_the_logarithm() -> None:
    assert words.log_steps(1000, 5) == (0, 1, 10, 100, 1000)
    assert words.log_steps(2) == (0, 1, 2)
    assert words.log_steps(0) == (0,)
    assert len(words.log_steps(2000)) == 12
