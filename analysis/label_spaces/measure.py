"""What is measured at a model: bias, variance and cosine of one kind of negatives, and losses."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import nce_bias as nb
from analysis.estimators import (
    named,
    plain_relative,
    relative_in_score_space,
    summed,
    unbiased_norm,
    versus,
)
from analysis.label_spaces.model import LOSSES, SEED, Space
from analysis.next_word import model as words
from analysis.problems import proposal

#: Relative, of the quadrature; the words' scores are float32, which ends there too.
TOLERANCE = 1e-6
WIDEST = 16.0  # see `exact`


def exact(
    scores: Any, population: Any, weights: Any, space: Space, kind: str, loss: str
) -> tuple[nb.Moments, Any]:
    """Moments of one kind of negatives and one loss, and the bias of each input.

    The number of nodes follows the widest input, and each number compiles. So one more input of
    weight 0 is there, wider than any: a gold that scores `WIDEST` less than all other labels.
    """
    gold = jnp.zeros_like(scores[:1]).at[0, 0].set(1)
    weights = jnp.append(jnp.asarray(weights, scores.dtype), 0)
    problem = nb.Problem(
        jnp.concatenate([scores, -WIDEST * gold]),
        jnp.concatenate([jnp.asarray(population, scores.dtype), gold]),
        space.popularity,
        weights,
    )
    sampler = nb.iid(proposal(kind), space.candidates - 1)
    found = nb.exact(
        problem, sampler, LOSSES[loss], tolerance=TOLERANCE, split=False, compiled=True
    )
    if found.status != "ok":
        raise RuntimeError(f"{space.name}, {kind}, {loss}: {found.status}")
    return found, found.bias[:-1]


class Letters:
    """Measures on all held-out contexts, whose pop(y|x) is known: nothing here is estimated."""

    def __init__(self, space: Space) -> None:
        inputs, self.population, self.weights = map(jnp.asarray, space.held_out)
        self.space, self.inputs = space, inputs

    def _scores(self, model: words.Model) -> Any:
        return words.scores(_in_float64(model), self.inputs)

    def gradient(self, model: words.Model) -> Any:
        """The exact gradient."""
        rows = jax.nn.softmax(self._scores(model)) - self.population
        return summed(words.score_fn, _in_float64(model), self.inputs, self.weights[:, None] * rows)

    def gradient_norm(self, gradient: Any) -> dict[str, float]:
        """Of that; both limits are it."""
        return dict.fromkeys(("norm", "low", "high"), float(jnp.linalg.norm(gradient)))

    def bias(self, model: words.Model, kind: str, loss: str, gradient: Any) -> dict[str, float]:
        """One kind of negatives and one loss at one model."""
        scores = self._scores(model)
        found, bias = exact(scores, self.population, self.weights, self.space, kind, loss)
        rows = jax.nn.softmax(scores) - self.population
        size = jnp.sqrt(self.weights @ jnp.sum(rows**2, axis=1))
        mean = summed(words.score_fn, _in_float64(model), self.inputs, self.weights[:, None] * bias)
        norm, exact_norm = jnp.linalg.norm(mean), jnp.linalg.norm(gradient)
        rest = gradient - mean
        values = {
            "relative_score_bias": found.bias_norm / size,
            "relative_score_bias_se": 0,
            **named("bias", dict.fromkeys(("norm", "low", "high"), norm)),
            "relative_norm": norm / exact_norm,
            "relative_norm_se": 0,
            "cosine": rest @ gradient / jnp.linalg.norm(rest) / exact_norm,
            "cosine_se": 0,
            "plain_relative_norm": norm / exact_norm,
            "variance": found.variance,
            "error": found.error,
        }
        return {name: float(value) for name, value in values.items()}

    def losses(self, model: words.Model) -> np.ndarray:
        """Cross entropy over all contexts: one number."""
        each = -jnp.sum(self.population * jax.nn.log_softmax(self._scores(model)), axis=1)
        return np.asarray(self.weights @ each)[None]


def _in_float64(model: words.Model) -> words.Model:
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), arrays), rest)


class Words:
    """Measures on held-out examples: the bias on some, exact gradient and losses on others."""

    def __init__(self, space: Space, examples: int, gradient_examples: int) -> None:
        inputs, targets = space.held_out
        count = examples + gradient_examples
        chosen = np.random.default_rng(SEED).choice(len(targets), count, replace=False)
        self.space, self.examples = space, examples
        self.inputs, self.targets = jnp.asarray(inputs[chosen]), jnp.asarray(targets[chosen])

    def _errors(self, model: words.Model, rows: slice) -> Any:
        """p - pop, the observed word being the whole of its pop(.|x)."""
        golds = jax.nn.one_hot(self.targets[rows], self.space.labels, dtype=jnp.float32)
        return jax.nn.softmax(words.scores(model, self.inputs[rows])) - golds

    def gradient(self, model: words.Model) -> Any:
        """Block means of the exact gradient, over the examples that the bias is not taken on."""
        rest = slice(self.examples, None)
        return np.asarray(words.block_means(model, self.inputs[rest], self._errors(model, rest)))

    def gradient_norm(self, gradient: Any) -> dict[str, float]:
        """Of its expectation, and the limits of that."""
        return unbiased_norm(gradient)

    def bias(self, model: words.Model, kind: str, loss: str, gradient: Any) -> dict[str, float]:
        """One kind of negatives and one loss at one model."""
        few = slice(None, self.examples)
        inputs, golds = self.inputs[few], self.targets[few]
        population = jax.nn.one_hot(golds, self.space.labels, dtype=jnp.float32)
        scores, weights = words.scores(model, inputs), np.full(len(golds), 1 / len(golds))
        found, bias = exact(scores, population, weights, self.space, kind, loss)
        means, own = words.block_means(model, inputs, bias), self._errors(model, few)
        return {
            **relative_in_score_space(bias, own, words.BLOCKS),
            **named("bias", unbiased_norm(means)),
            **versus(means, gradient),
            "plain_relative_norm": plain_relative(means, words.block_means(model, inputs, own)),
            "variance": float(found.variance),
            "error": float(found.error),
        }

    def losses(self, model: words.Model) -> np.ndarray:
        """Cross entropy of each example that the exact gradient is taken on."""
        rest = slice(self.examples, None)
        scores, golds = words.scores(model, self.inputs[rest]), self.targets[rest]
        return -np.asarray(jax.nn.log_softmax(scores))[np.arange(len(golds)), np.asarray(golds)]
