r"""What negatives are drawn from: q(y|x), as unnormalised log-probabilities.

A **proposal** is any callable ``(scores[V], popularity[V]) -> log q[V]`` written in jax.numpy; it
need not be normalised (`log_proposal` does that) and it may return -inf for labels it never draws.
The functions below make the ones the literature uses. Their numbers are traced, so a sweep over
temperatures or shares compiles once.

Examples
--------
>>> import jax.numpy as jnp
>>> hardest_half = lambda scores, popularity: jnp.where(
...     scores >= jnp.median(scores), 0.0, -jnp.inf)
>>> jnp.exp(log_proposal(hardest_half, jnp.array([3., 2., 1., 0.]), jnp.full(4, .25)))
Array([0.5, 0.5, 0. , 0. ], dtype=float64)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import floating, look_like_probabilities, normalised, read, remark
from nce_bias._reads import all_read, bind, reads_gold
from nce_bias.numerics.arrays import Array, each, is_numpy, log_softmax, namespace
from nce_bias.problem import Problem

#: A number, traced or not.
Scalar = float | int | np.number | Float[Array, ""]
Proposal = Callable[..., Float[Array, " V"]]


#: A score so far below the row's largest is a mask: half precision has -1e4 or -65504 for -inf.
MASK = 9e3


class Uniform(eqx.Module):
    """Every label alike."""

    portable: ClassVar[bool] = True  # written for NumPy arrays too
    reads_scores: ClassVar[bool] = False

    def __call__(self, scores, popularity):
        return namespace(scores).zeros_like(scores)

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


#: Name on the command line and in tables -> factory.
PROPOSALS: dict[str, Callable[..., Proposal]] = {
    "uniform": uniform,
    "popularity": popularity,
    "log_uniform": log_uniform,
    "model": model,
    "mixture": mixture,
    "from_probabilities": from_probabilities,
}


def log_proposal(
    proposal: Proposal, scores: Float[Array, " V"], popularity: Float[Array, " V"]
) -> Float[Array, " V"]:
    """Normalise what `proposal` returns: log q `[V]`, summing to 1, no gradient through it.

    Negatives drawn from the model are not differentiated through, as in practice.
    Raises ValueError if the shape is not `[V]`, TypeError if it is not an array of floats.
    """
    name = f"proposal {describe(proposal)}"
    if not is_numpy(scores, popularity):
        log_q = floating(name, proposal(jax.lax.stop_gradient(scores), popularity))
    elif getattr(proposal, "portable", False):
        log_q = proposal(scores, popularity)
    else:
        log_q = _of_a_user(proposal, scores, popularity)
    if log_q.shape != scores.shape:
        raise refuse(
            f"proposal {describe(proposal)}",
            f"returned shape {log_q.shape}",
            f"[V] = {scores.shape}",
            "Return one log-probability per label, for one input at a time.",
        )
    return log_softmax(log_q.astype(scores.dtype))


def _of_a_user(proposal: Proposal, scores: Array, popularity: Array) -> np.ndarray:
    """What a proposal written in jax.numpy returns, unnormalised."""
    log_q = proposal(jnp.asarray(scores), jnp.asarray(popularity))
    return np.asarray(floating(f"proposal {describe(proposal)}", log_q))


def log_proposal_rows(proposal: Proposal, problem: Problem) -> Float[Array, "C V"]:
    """log q(.|x) of every input; of every gold that occurs, where the proposal reads the gold."""
    rows = _rows if is_numpy(problem.scores) else _compiled_rows
    return rows(proposal, problem, *cases_of(proposal, problem))


def cases_of(proposal: Proposal, problem: Problem) -> tuple[Any, Any]:
    """The inputs of the rows above, and their golds; None where the gold does not matter."""
    xp = namespace(problem.scores)
    if not reads_gold(proposal, problem.sides):
        return xp.arange(len(problem.weights)), None
    inputs, golds = np.nonzero(np.asarray(problem.population_rows) > 0)
    return xp.asarray(inputs), xp.asarray(golds)


def golds_of(proposal: Proposal, problem: Problem) -> np.ndarray:
    """Which labels are golds in the cases of `cases_of`, [C, V]."""
    _, golds = cases_of(proposal, problem)
    if golds is None:
        return np.asarray(problem.population_rows) > 0
    return np.arange(problem.labels) == np.asarray(golds)[:, None]


def _rows(proposal: Proposal, problem: Problem, inputs: Any, golds: Any) -> Any:
    scores, seen = problem.score_rows, problem.seen_rows

    def row(case):
        at, gold = case
        given = bind(proposal, jax.tree.map(lambda leaf: leaf[at], seen), gold)
        return log_proposal(given, scores[at], problem.popularity)

    return each(row, (inputs, golds))


_compiled_rows = eqx.filter_jit(_rows)


def check_sides(sampler: Any, problem: Problem) -> None:
    """A word about a side that no proposal reads; a name that is no side is refused."""
    unread = set(problem.sides) - all_read(sampler, problem.sides)
    if unread:
        remark(
            f"sides: no proposal of {sampler!r} reads {', '.join(map(repr, sorted(unread)))}. A "
            "proposal reads a side by a parameter of its name."
        )


def check_proposal(proposal: Proposal, problem: Problem, *, removed: bool) -> None:
    """Refuse a proposal that returns NaN or +inf, or has no mass outside a gold.

    Mass outside a gold matters where the gold's own mass is `removed`: a point mass on a gold that
    occurs then has nothing left to draw.
    """
    if is_traced(problem, proposal):
        return
    if isinstance(proposal, FromRows):
        proposal.check_inputs(problem)
    log_q = np.asarray(log_proposal_rows(proposal, problem))
    inputs, golds = cases_of(proposal, problem)
    name = f"proposal {describe(proposal)}"

    def place(case: int) -> str:
        return f"input {inputs[case]}" + ("" if golds is None else f", gold {golds[case]}")

    if np.isnan(log_q).any():
        raise refuse(
            name,
            "returned NaN or +inf, or -inf everywhere, for "
            + place(int(np.argwhere(np.isnan(log_q))[0][0])),
            "log-probabilities: finite, or -inf for labels never drawn",
            "Guard its logarithms and divisions; nothing was computed."
            if golds is None
            else "Widen its condition, give golds without such labels population 0, or let a "
            "function of your own fall back on another q for them; nothing was computed.",
        )
    support = np.isfinite(log_q)
    if golds is None:
        _remark_on_masked(proposal, problem, support)
    _remark_on_probabilities(proposal, problem)
    occurs = golds_of(proposal, problem)
    stuck = removed & occurs & support & (support.sum(axis=-1, keepdims=True) == 1)
    if stuck.any():
        case, label = (int(i) for i in np.argwhere(stuck)[0])
        raise refuse(
            name,
            f"has no mass outside the gold {label} of input {inputs[case]}",
            "at least one other label with q > 0",
            "Mix in another proposal: nb.mixture(q, nb.uniform(), share=0.9).",
        )


def _remark_on_masked(proposal: Proposal, problem: Problem, support: np.ndarray) -> None:
    """A word about labels that a mask took out of the scores, and that q draws all the same."""
    scores = np.asarray(problem.score_rows)
    top = scores.max(axis=-1, keepdims=True)
    if reads_scores(proposal) or not np.any(scores < top - MASK):
        return
    drawn = (scores < top - MASK) & support & (np.asarray(problem.population_rows) == 0)
    if drawn.any():
        row, label = (int(i) for i in np.argwhere(drawn)[0])
        remark(
            f"proposal {describe(proposal)}: it draws labels that a score of "
            f"{scores[row, label]:g} masks (label {label} of input {row}, {int(drawn.sum())} in "
            "all). Such a draw takes a negative's place and adds nothing; a proposal with q = 0 "
            "there, such as one of the scores, never does."
        )


def _remark_on_probabilities(proposal: Proposal, problem: Problem) -> None:
    """A word about a user's proposal that returns q where log q is meant."""
    if isinstance(proposal, Mixture):
        for part in (proposal.a, proposal.b):
            _remark_on_probabilities(part, problem)
    elif not isinstance(proposal, eqx.Module):
        inputs, golds = cases_of(proposal, problem)
        seen = jax.tree.map(lambda leaf: leaf[int(inputs[0])], problem.seen_rows)
        bound = bind(proposal, seen, None if golds is None else golds[0])
        given = _of_a_user(bound, problem.score_rows[int(inputs[0])], problem.popularity)
        if given.shape == problem.scores.shape[-1:] and look_like_probabilities(given):
            remark(
                f"proposal {describe(proposal)}: it returned probabilities that sum to 1, and is "
                "taken to have returned logarithms. Return jnp.log of them, or "
                "jax.nn.log_softmax in place of jax.nn.softmax."
            )


def check_enough(sampler: str, proposal: Proposal, m: int, problem: Problem) -> None:
    """Refuse q with fewer than m labels to draw besides a gold."""
    if is_traced(problem, proposal):
        return
    support = np.isfinite(log_proposal_rows(proposal, problem))
    left = support.sum(axis=-1, keepdims=True) - support
    short = golds_of(proposal, problem) & (left < m)
    if short.any():
        row, label = (int(i) for i in np.argwhere(short)[0])
        inputs, _ = cases_of(proposal, problem)
        raise refuse(
            "m",
            f"{sampler} asks for {m} distinct labels besides the gold {label} of input "
            f"{inputs[row]}, where only {left[row, label]} have q > 0",
            "m at most the number of labels the proposal can draw",
            "Lower m, or mix in another proposal: nb.mixture(q, nb.uniform(), share=0.99).",
        )


def written_for_numpy(sampler: Any) -> bool:
    """Whether every proposal of a sampler takes NumPy arrays: the built-in ones do."""
    parts = jax.tree.leaves(sampler, is_leaf=callable)
    return all(written_for_numpy_itself(part) for part in parts if callable(part))


def written_for_numpy_itself(proposal: Any) -> bool:
    """As above, of one proposal and the parts of a mixture."""
    if isinstance(proposal, Mixture):
        return all(map(written_for_numpy_itself, (proposal.a, proposal.b)))
    return getattr(proposal, "portable", False)


def reads_scores(proposal: Proposal) -> bool:
    """Whether q depends on the scores; a function of a user's own does unless it says otherwise."""
    return getattr(proposal, "reads_scores", True)


def describe(proposal: Proposal) -> str:
    """A name for tables and messages: the repr of ours, the name of a user's function."""
    if isinstance(proposal, eqx.Module):
        return repr(proposal)
    return getattr(proposal, "__name__", type(proposal).__name__)


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
