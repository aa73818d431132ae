"""The synthetic experiment of Zhang & Stratos (2021, §5.1): population, model and training run.

One input, V = 1000 labels, population softmax(U / 0.001) for U uniform on [0, 1)^1000.  The model
turns one learned 300-vector into 1000 scores, 391,600 parameters in all, and is trained by Adam on
the cross entropy of 128 labels a step.  The parameters after each of 30 steps are kept: these are
the places at which the bias of contrastive gradients is then measured.

The population is the published one, number by number.  Initial weights and training labels follow
the published distributions but have their own random stream, so runs with different seeds show how
much of a published curve is the seed.
"""

import functools
import itertools
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from nce_bias import train

LABELS = 1000
WIDTH = 300
TEMPERATURE = 0.001
POPULATION_SEED = 42
STEPS = 30
BATCH = 128
LEARNING_RATE = 1e-3
# One object, so that every seed shares one compilation.  Optax's defaults (0.9, 0.999, 1e-8 added
# outside the root) are torch's.
OPTIMIZER = optax.adam(LEARNING_RATE)


@functools.cache
def log_population() -> np.ndarray:
    """Logarithm of pop(y), float64 [1000], the published population.

    The uniform numbers are float32 ones from the low 24 bits of MT19937 words (seeded 42 by the
    legacy routine), hence multiples of 2⁻²⁴; the softmax is taken in float64.  Probabilities
    reach e^−1000, so the logarithm is what is kept.  Entropy: 0.8020 nats.
    """
    words = np.random.RandomState(POPULATION_SEED).randint(0, 2**32, size=LABELS, dtype=np.uint32)
    logits = (words & 0xFFFFFF) * 2.0**-24 / TEMPERATURE
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    log_p.flags.writeable = False
    return log_p


def population() -> np.ndarray:
    """pop(y), float64 [1000], sums to 1; the smallest entries underflow to 0."""
    return np.exp(log_population())


def entropy() -> float:
    """Entropy of the population in nats, the least cross entropy a model can reach."""
    return float(-np.sum(population() * log_population()))


class Model(eqx.Module):
    """embedding [300] → Linear(300, 300) → ReLU → Linear(300, 1000): 391,600 parameters.

    Initialised as torch does by default: embedding N(0, 1), weights and biases of the linear
    layers uniform on ±1/√300.  Always float32 here, so that a run is the same whether or not
    float64 is switched on.
    """

    embedding: Float[Array, "width"]
    hidden: eqx.nn.Linear
    output: eqx.nn.Linear

    def __init__(self, key: Array) -> None:
        of_embedding, of_hidden, of_output = jax.random.split(key, 3)
        self.embedding = jax.random.normal(of_embedding, (WIDTH,), jnp.float32)
        self.hidden = eqx.nn.Linear(WIDTH, WIDTH, dtype=jnp.float32, key=of_hidden)
        self.output = eqx.nn.Linear(WIDTH, LABELS, dtype=jnp.float32, key=of_output)

    def __call__(self) -> Float[Array, "labels"]:
        """Scores s(y) of all labels."""
        return self.output(jax.nn.relu(self.hidden(self.embedding)))


def score_fn(params: Model, x: object = None) -> Float[Array, "labels"]:
    """Scores [1000]; the experiment has one input, so `x` is not looked at."""
    del x
    return params()


def batch_loss(params: Model, labels: Array) -> Float[Array, ""]:
    """Mean cross entropy of a batch of labels; all of them share the one row of scores."""
    scores = score_fn(params)
    return train.cross_entropy(jnp.broadcast_to(scores, (labels.shape[0], LABELS)), labels)


class Trajectory(eqx.Module):
    """One training run, read after every step; row k − 1 belongs to step k, k = 1..30.

    Attributes
    ----------
    params : Model
        Stacked: every array leaf has the leading axis [steps].  Cast to the default float.
    scores : float array [steps, 1000]
        Of exactly these parameters.
    cross_entropy : float array [steps]
        Σ_y pop(y) (−log p(y)) under the full population, in nats.
    seed : int
    """

    params: Model
    scores: Float[Array, "steps labels"]
    cross_entropy: Float[Array, "steps"]
    seed: int = eqx.field(static=True)

    def at(self, step: int) -> Model:
        """Give the model after `step` updates, 1 ≤ step ≤ the number of steps."""
        steps = self.scores.shape[0]
        if not 1 <= step <= steps:
            raise ValueError(f"step is {step}, expected 1 to {steps}")
        arrays, rest = eqx.partition(self.params, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda leaf: leaf[step - 1], arrays), rest)


def label_batches(key: Array) -> Iterator[Array]:
    """Endless batches of 128 labels drawn from the population."""
    log_p = jnp.asarray(log_population(), jnp.float32)
    for step in itertools.count():
        yield _draw(key, step, log_p)


@jax.jit
def _draw(key: Array, step: Array | int, log_p: Array) -> Array:
    return jax.random.categorical(jax.random.fold_in(key, step), log_p, shape=(BATCH,))


@eqx.filter_jit
def _read(params: Model) -> tuple[Array, Array]:
    scores = eqx.filter_vmap(score_fn)(params)
    losses = -(jax.nn.log_softmax(scores) @ jnp.asarray(population(), scores.dtype))
    return scores, losses


def trajectory(seed: int, steps: int = STEPS) -> Trajectory:
    """Train one model and keep it after each step.

    Parameters
    ----------
    seed
        Of initial weights and training labels.
    steps
        Number of updates; the paper has 30.

    Raises
    ------
    KeyboardInterrupt
        If training was interrupted: a shorter trajectory is of no use to the figure.
    RuntimeError
        If a loss was not finite; the message is the status of the run.
    """
    of_model, of_labels = jax.random.split(jax.random.key(seed))
    run = train.fit(
        batch_loss,
        Model(of_model),
        label_batches(of_labels),
        OPTIMIZER,
        steps=steps,
        checkpoints=range(1, steps + 1),
    )
    if run.losses.size < steps:  # batches are endless, so only Ctrl-C ends training early
        raise KeyboardInterrupt(run.status)
    if run.status != "ok":
        raise RuntimeError(f"synthetic run with seed {seed}: {run.status}")
    params = _to_default_float(run.checkpoints)
    scores, losses = _read(params)
    return Trajectory(params, scores, losses, seed)


def _to_default_float(params: PyTree) -> PyTree:
    default = jnp.result_type(float)
    return jax.tree.map(
        lambda leaf: leaf.astype(default) if eqx.is_inexact_array(leaf) else leaf, params
    )
