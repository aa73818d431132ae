"""The proposals that the literature uses, and the functions that make them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import floating, normalised, read
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.proposals.base import Proposal, describe, log_proposal, reads_scores

#: A number, traced or not.
Scalar = float | int | np.number | Float[Array, ""]


class Uniform(eqx.Module):
    """Every label alike."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    def __call__(self, scores, popularity):
        zeros = namespace(scores).zeros_like(scores)
        # XLA computes what follows from a constant while it compiles: seconds for many labels
        return jax.lax.optimization_barrier(zeros) if isinstance(zeros, jax.Array) else zeros

    def __repr__(self) -> str:
        return "uniform"


class Popularity(eqx.Module):
    """q proportional to pop(y)^power."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    power: Float[Array, ""]

    def __call__(self, scores, popularity):
        xp, seen = namespace(popularity, self.power), popularity > 0
        log_popularity = xp.log(xp.where(seen, popularity, 1.0))
        power = self.power.astype(scores.dtype)
        unseen = xp.where(power == 0, 0.0, -xp.inf)
        return xp.where(seen, power * log_popularity, unseen)

    def __repr__(self) -> str:
        return _named("popularity", power=(self.power, 1.0))


class LogUniform(eqx.Module):
    """Zipfian by rank of popularity, or by index."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    by: str = eqx.field(static=True, default="popularity")

    def __call__(self, scores, popularity):
        xp = namespace(popularity)
        if self.by == "index":
            return xp.log(xp.log1p(1 / (xp.arange(len(scores), dtype=scores.dtype) + 1)))
        rank = xp.argsort(xp.argsort(-popularity, stable=True), stable=True)
        rank = rank.astype(scores.dtype)
        return xp.log(xp.log1p(1 / (rank + 1)))

    def __repr__(self) -> str:
        return "log_uniform" + (" by index" if self.by == "index" else "")


class Model(eqx.Module):
    """The model's own distribution, tempered."""

    portable: ClassVar[bool] = True

    temperature: Float[Array, ""]

    def __call__(self, scores, popularity):
        return scores / self.temperature.astype(scores.dtype)

    def __repr__(self) -> str:
        return _named("model", temperature=(self.temperature, 1.0))


class Mixture(eqx.Module):
    """share * a + (1 - share) * b, both normalised first."""

    portable: ClassVar[bool] = True

    a: Proposal
    b: Proposal
    share: Float[Array, ""]

    @property
    def parts(self) -> tuple[Proposal, Proposal]:
        """What it mixes."""
        return self.a, self.b

    @property
    def reads_scores(self) -> bool:
        """Whether one of them does."""
        return reads_scores(self.a) or reads_scores(self.b)

    def __call__(self, scores, popularity):
        xp, share = namespace(scores, popularity, self.share), self.share.astype(scores.dtype)
        return xp.logaddexp(
            xp.log(share) + log_proposal(self.a, scores, popularity),
            xp.log1p(-share) + log_proposal(self.b, scores, popularity),
        )

    def __repr__(self) -> str:
        return f"mixture({describe(self.a)}, {describe(self.b)}, share={_number(self.share)})"


class FromProbabilities(eqx.Module):
    """A fixed q, the same for every input."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    log_q: Float[Array, " V"]

    def __call__(self, scores, popularity):
        return self.log_q.astype(scores.dtype)

    def __repr__(self) -> str:
        return f"from_probabilities([{self.log_q.shape[-1]}])"


def uniform() -> Uniform:
    """q(y) = 1/V."""
    return Uniform()


def popularity(power: Scalar = 1.0) -> Popularity:
    """Draw by q(y) proportional to pop(y)^power (unigram negatives; 0.75 in word2vec).

    Labels of popularity 0 are never drawn, unless power is 0 (uniform).
    Source: Mikolov et al. (2013), section 2.2, for the power.
    """
    return Popularity(_finite("power", power))


def log_uniform(by: str = "popularity") -> LogUniform:
    """q(rank k) = log((k + 2)/(k + 1)) / log(V + 1), rank 0 the most popular label, ties by index.

    Candidate samplers take the label's index as its rank, ``by="index"``; the two are one where the
    vocabulary is sorted by frequency. Raises ValueError for another `by`.
    Source: TensorFlow's log-uniform candidate sampler.
    """
    if by not in ("popularity", "index"):
        raise refuse("by", f"got {by!r}", "'popularity' or 'index'", "Leave it out for popularity.")
    return LogUniform(by)


def model(temperature: Scalar = 1.0) -> Model:
    """Hard negatives: q(y|x) proportional to exp(s(x, y) / temperature).

    Temperature 1 is the model distribution of Zhang & Stratos (2021), section 3; 0+ tends to the
    highest-scoring labels (`nb.top`), infinity to uniform. Raises ValueError if not positive.
    """
    value = _finite("temperature", temperature)
    if not is_traced(value) and not value > 0:
        raise refuse(
            "temperature",
            f"got {temperature!r}",
            "a number > 0",
            "For the highest-scoring labels themselves use nb.top(m).",
        )
    return Model(value)


def mixture(a: Proposal, b: Proposal, share: Scalar = 0.5) -> Mixture:
    """Draw by q = share * a + (1 - share) * b: each draw is from `a` with probability `share`.

    This mixes *distributions*; `sampler + sampler` mixes *sets* of fixed sizes.
    Source: mixed negative sampling, Yang et al. (2020). Raises ValueError for a share outside
    [0, 1].
    """
    value = _finite("share", share)
    if not is_traced(value) and not 0 <= value <= 1:
        raise refuse("share", f"got {share!r}", "a number in [0, 1]", "It is the share of a.")
    return Mixture(a, b, value)


class FromRows(eqx.Module):
    """A fixed q for each input."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    log_q: Float[Array, "X V"]

    def __call__(self, input):
        return self.log_q[input]

    def check_inputs(self, problem: Problem) -> None:
        """Refuse another number of inputs than the problem has."""
        shape = len(problem.weights), problem.labels
        if self.log_q.shape != shape:
            raise refuse(
                "q", f"got shape {self.log_q.shape}", f"[X, V] = {shape}", "Give a row an input."
            )

    def __repr__(self) -> str:
        return "from_probabilities([{}, {}])".format(*self.log_q.shape)


def from_probabilities(q: Any) -> FromProbabilities | FromRows:
    """Draw by a fixed q: `[V]` for every input, or `[X, V]`, a row for each.

    It is renormalised where it misses 1 by no more than the precision of its source allows, as a
    population is. Raises ValueError if q is no distribution.
    """
    q = read("q", q)
    if q.ndim not in (1, 2):
        raise refuse("q", f"got shape {q.shape}", "[V] or [X, V]", "Give one row for each input.")
    q, _ = normalised("q", q, "Give a label that may be drawn a probability above 0.")
    kind = FromProbabilities if q.ndim == 1 else FromRows
    if is_traced(q):
        return kind(jnp.log(q))
    with np.errstate(divide="ignore"):  # a label that is never drawn
        return kind(jnp.asarray(np.log(q)))


def _finite(argument: str, value: Any) -> jax.Array:
    array = floating(argument, value)
    if array.shape != () or (not is_traced(array) and not math.isfinite(float(array))):
        raise refuse(argument, f"got {value!r}", "one finite number", "Pass a scalar.")
    return array


def _number(value: Array) -> str:
    return "traced" if is_traced(value) else f"{float(value):g}"


def _named(name: str, **fields: tuple[Array, float]) -> str:
    shown = [
        f"{key}={_number(value)}"
        for key, (value, default) in fields.items()
        if is_traced(value) or float(value) != default
    ]
    return f"{name}({', '.join(shown)})" if shown else name
