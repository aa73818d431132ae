"""TensorFlow: scores out, the bias of its own variables back by a tape."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import nce_bias as nb
from tests.interop import small


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tape_takes_the_bias(dtype):
    net = network(dtype)
    inputs = tf.constant(small.INPUTS, dtype)
    tape: Any = tf.GradientTape()
    with tape:
        scores = net(inputs)
    golds = tf.constant(small.GOLDS)
    problem = nb.Problem.from_golds(scores, golds, small.POPULARITY, small.WEIGHTS)
    rows: Any = problem.weights[:, None] * nb.exact(problem, nb.iid(nb.popularity(), small.M)).bias
    rows = tf.convert_to_tensor(rows, scores.dtype)
    found = tape.gradient(scores, net.trainable_variables, output_gradients=rows)
    for one, other in zip(found, the_long_way(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), **small.tolerance(dtype))


def network(dtype):
    dense = tf.keras.layers.Dense
    net = tf.keras.Sequential(
        [dense(3, "tanh", use_bias=False, dtype=dtype), dense(4, use_bias=False, dtype=dtype)]
    )
    net.build((None, 2))
    net.set_weights([small.W.T, small.U.T])
    return net


def the_long_way():
    net = network("float64")
    sets, chances = small.candidate_sets()
    with tf.GradientTape() as tape:
        scores = net(tf.constant(small.INPUTS))
        candidates = tf.gather(scores, sets, batch_dims=1)
        losses = tf.reduce_logsumexp(candidates, -1) - candidates[..., 0]
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(small.GOLDS, scores)
        difference = tf.reduce_sum(small.WEIGHTS * each) - tf.reduce_sum(chances * losses)
    return tape.gradient(difference, net.trainable_variables)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_types_of_tensors(dtype):
    scores = tf.cast(tf.constant(small.INPUTS @ small.W.T @ small.U.T), dtype)
    for given in (scores, tf.Variable(scores)):
        read = nb.Problem.from_golds(given, tf.constant(small.GOLDS)).scores
        np.testing.assert_array_equal(read, tf.cast(scores, "float64").numpy())
