"""A small next-word model, trained by cross entropy: two embedded words → tanh layer → 1000 scores.

The model of Bengio et al. (2003) in its smallest form.  It is not meant to be good, but to
pass through the stages of training: near-uniform, popularity learned, context learned.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from analysis import estimators
from nce_bias import train as training
from nce_bias.data import NextWord, minibatches, next_word

EMBEDDING = 64
HIDDEN = 128
BATCH = 256
STEPS = 2000
BLOCKS = 24  # of examples, for the standard errors of means
LEARNING_RATE = 2e-3
OPTIMIZER = optax.adam(LEARNING_RATE)  # one object: all seeds share one compilation


class Model(eqx.Module):
    """Embeddings [V + 2, 64] of the words before, joined → tanh(Linear) [128] → Linear [V].

    Always float32, so that a run is the same whether or not float64 is switched on.
    """

    embedding: Float[Array, "ids width"]
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear

    def __init__(self, input_ids: int, labels: int, context: int, key: Array) -> None:
        of_embedding, of_hidden, of_output = jax.random.split(key, 3)
        self.embedding = jax.random.normal(of_embedding, (input_ids, EMBEDDING), jnp.float32)
        joined = context * EMBEDDING
        self.hidden = eqx.nn.Linear(joined, HIDDEN, dtype=jnp.float32, key=of_hidden)
        self.output = eqx.nn.Linear(HIDDEN, labels, dtype=jnp.float32, key=of_output)

    def __call__(self, x: Int[Array, "context"]) -> Float[Array, "labels"]:
        """Scores s(x, y) of all labels."""
        return self.output(jnp.tanh(self.hidden(self.embedding[x].ravel())))


def score_fn(params: Model, x: Int[Array, "context"]) -> Float[Array, "labels"]:
    """Scores [V] of one input, the ids of the words before."""
    return params(x)


@eqx.filter_jit
def scores(params: Model, inputs: Int[Array, "n context"]) -> Float[Array, "n labels"]:
    """Scores [n, V] of several inputs."""
    return jax.vmap(params)(inputs)


def block_means(
    params: Model, inputs: Int[Array, "n context"], rows: Float[Array, "n labels"]
) -> Float[Array, "blocks parameters"]:
    """Gradients over the parameters from rows of score space, means over `BLOCKS` blocks."""
    return estimators.block_means(score_fn, params, inputs, rows, BLOCKS)


def batch_loss(params: Model, batch: tuple[Array, Array]) -> Float[Array, ""]:
    """Mean cross entropy of a batch (inputs, targets)."""
    inputs, targets = batch
    return training.cross_entropy(jax.vmap(params)(inputs), targets)


_compiled_loss = eqx.filter_jit(batch_loss)


def train(
    seed: int,
    data: NextWord | None = None,
    *,
    steps: int = STEPS,
    checkpoints: tuple[int, ...] | None = None,
) -> training.Fit:
    """Train one model and keep it at some steps.

    Parameters
    ----------
    seed
        Of initial weights and of the order of the batches.
    data
        Default: ``next_word()``, 1000 labels, two words before.
    steps, checkpoints
        Updates, and the steps kept; by default `log_steps` of `steps`.

    Returns
    -------
    nce_bias.train.Fit
        ``fit.at(step)`` is the model after that many updates.
    """
    data = next_word() if data is None else data
    context = data.inputs.shape[1]
    return training.fit(
        batch_loss,
        Model(data.input_ids, data.labels, context, jax.random.key(seed)),
        minibatches([data.inputs, data.targets], BATCH, seed=seed),
        OPTIMIZER,
        steps=steps,
        checkpoints=log_steps(steps) if checkpoints is None else checkpoints,
    )


def log_steps(steps: int, count: int = 12) -> tuple[int, ...]:
    """About `count` steps, from 0 (untrained) and 1 to `steps`, evenly spaced in the logarithm."""
    spaced = np.geomspace(1, max(steps, 1), count - 1).round().astype(int)
    return (0, *(int(step) for step in np.unique(spaced) if step <= steps))


def held_out_loss(params: PyTree, data: NextWord, block: int = 4096) -> float:
    """Mean cross entropy over all held-out examples, in nats; its exponential is the perplexity."""
    total, examples = 0.0, len(data.held_out_targets)
    for start in range(0, examples, block):
        rows = slice(start, start + block)
        inputs = jnp.asarray(data.held_out_inputs[rows])
        targets = jnp.asarray(data.held_out_targets[rows])
        total += float(_compiled_loss(params, (inputs, targets))) * len(targets)
    return total / examples
