"""The label space and the population against which a contrastive gradient is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import is_traced, refuse
from nce_bias._problem_input import (
    check_values,
    read_popularity,
    read_population,
    read_scores,
    read_shaped,
    read_sides,
    read_weights,
)
from nce_bias._reads import Seen
from nce_bias._split_input import check_whole, read_split
from nce_bias.golds import Golds, Population, read_golds
from nce_bias.inner_products import inner_products
from nce_bias.numerics.arrays import (
    Array,
    log_softmax,
    logsumexp,
    namespace,
    to_jax,
    to_numpy,
)
from nce_bias.numerics.devices import mesh_of, settled
from nce_bias.streamed import Streamed, on_demand

#: Scores of one block of inputs.
BLOCK = 2**22


class Problem(eqx.Module):
    r"""Scores, population and popularity: everything an exact answer depends on.

    The cross entropy is J = sum_x pop(x) sum_y pop(y|x) (-log p(y|x)) with the model
    p(.|x) = softmax s(x, .), and its gradient with respect to the scores of x is p(.|x) - pop(.|x).

    Parameters
    ----------
    scores : array-like [V] or [X, V]
        s(x, y) in nats. -inf is legal: such a label has p = 0 and a proposal built on the scores
        never draws it. NaN and +inf are refused.
    population : array, same shape as `scores`
        pop(y|x); each row sums to 1. A one-hot row is one observed gold. One row for all, `[V]`, is
        taken for scores `[1, V]`.
    popularity : array [V], optional
        pop(y), what popularity negatives are drawn from. Default: `weights @ population`.
    weights : array [X], optional
        pop(x). Default: uniform.
    sides : mapping of names to arrays [V] or [X, V], optional
        What proposals read by name besides (`nb.proposal`): BM25 or a teacher's scores, masks,
        candidate pools, other positives.

    Raises
    ------
    ValueError
        Shapes that do not match, fewer than two labels, NaN or +inf scores, a row without a finite
        score, rows that are no distributions. The message names the argument, what was given and
        what to do.

    Notes
    -----
    Any array-like that holds numbers will do: NumPy of every byte order and type, JAX, PyTorch,
    pandas, masked arrays with nothing masked; a SciPy matrix as population. Rows of scores that
    are probabilities get a word (`nb.UnusualInput`). All is computed in
    JAX's default float (float64 where x64 is on, whatever the precision of the input), and the
    `error` of each result says what that costs.

    Probabilities that miss 1 by no more than the precision of their source allows (a softmax taken
    in float32, six printed decimals) are renormalised; `renormalised` holds the largest miss, and
    the `method` of every result says so. Values are not checked inside a user's own `jax.jit`.

    Scores that are a JAX array split over devices by labels stay there, for observed golds
    (`from_golds`); so does a popularity. `exact` computes where they are, everything else says that
    it needs them in one place.

    Examples
    --------
    >>> problem = Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
    >>> problem
    Problem(3 labels, 1 input, entropy 0.802 nats, cross entropy 0.808 nats, float64)

    Source: Zhang & Stratos (2021), section 2.
    """

    kept: Float[Array, "*X V"] | Streamed
    targets: Population
    popularity: Float[Array, " V"]
    weights: Float[Array, " X_or_1"]
    renormalised: Float[Array, ""]
    sides: dict[str, Array]
    numbers: Int[Array, " X"] | None  # of inputs that were taken, where they came from

    def __init__(
        self,
        scores: Any,
        population: Any,
        popularity: Any = None,
        weights: Any = None,
        *,
        sides: Mapping[str, Any] | None = None,
    ) -> None:
        mesh = mesh_of(scores)
        if mesh is not None:
            split = read_split(scores, mesh, population, (popularity, weights, sides))
            self.kept, self.targets, self.popularity, self.weights, self.renormalised = split
            self.sides, self.numbers = {}, None
            return
        scores = scores if isinstance(scores, Streamed) else read_scores(scores)
        population, missed = read_population(population, scores)
        weights, missed_weights = read_weights(weights, scores)
        popularity, missed_popularity = read_popularity(
            popularity, weights, population, scores.shape[-1]
        )
        dtype = jnp.result_type(float)
        self.kept = scores if isinstance(scores, Streamed) else _cast(scores, dtype)
        self.targets = jax.tree.map(lambda leaf: _cast(leaf, dtype), population)
        self.popularity = _cast(popularity, dtype)
        self.weights = _cast(weights, dtype)
        self.sides = read_sides(sides, scores)
        self.numbers = None
        self.renormalised = _cast(np.max([missed, missed_weights, missed_popularity]), dtype)

    @classmethod
    def from_golds(
        cls,
        scores: Any,
        golds: Any,
        popularity: Any = None,
        weights: Any = None,
        *,
        shares: Any = None,
        sides: Mapping[str, Any] | None = None,
    ) -> Problem:
        """A problem whose population is one observed gold an input, given as an integer.

        No row of V probabilities is made for it: beside the scores, memory is O(X + V).

        Parameters
        ----------
        scores : array-like [V] or [X, V], or a function
            As for `Problem`. A function ``rows(inputs)`` gives the scores `[N, V]` of inputs by
            their numbers `[N]`; it is called for those that are looked at, and `exact` goes through
            them block by block. So are the scores of a large memory map read
            (`np.load(path, mmap_mode="r")`).
        golds : integers [X]
            The number of the observed label of each input, from 0 to V - 1; one integer for scores
            `[V]`. Several observed golds an input: `[X, G]`.
        popularity, weights, sides
            As for `Problem`; by default pop(y) is how often each label is a gold.
        shares : array-like [X, G], optional
            pop(y|x) of each of several golds; 0 where a row has fewer. Default: equal shares.

        Raises
        ------
        ValueError
            Golds that are floats, out of range, or not one for each row; what `Problem` refuses.

        Examples
        --------
        >>> problem = Problem.from_golds([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]], [0, 2])
        >>> problem.population.tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        """
        scores = on_demand(scores, golds) or read_shaped(scores)
        inputs = None if scores.ndim == 1 else scores.shape[0]
        population = read_golds(golds, shares, inputs, scores.shape[-1])
        return cls(scores, population, popularity, weights, sides=sides)

    @classmethod
    def from_embeddings(  # noqa: PLR0913
        cls,
        queries: Any,
        labels: Any,
        golds: Any,
        popularity: Any = None,
        temperature: float = 1.0,
        *,
        weights: Any = None,
        sides: Mapping[str, Any] | None = None,
    ) -> Problem:
        """A problem of two towers: scores are inner products over a temperature.

        They are made for the inputs that are looked at (`take`, `nb.audit`, blocks of `exact`) and
        not held; `scores` makes all of them.

        Parameters
        ----------
        queries : array-like [X, d] or [d]
            One row for each input.
        labels : array-like [V, d]
            One row for each label.
        golds, popularity, weights, sides
            As for `from_golds`.
        temperature : float
            What inner products are divided by, above 0. For cosines normalise both sides first.

        Raises
        ------
        ValueError
            Sides of different width, a temperature that is not positive, what `from_golds` refuses.

        Examples
        --------
        >>> problem = Problem.from_embeddings([[1.0, 0.0]], [[1.0, 0.0], [0.6, 0.8]], [0])
        >>> problem.scores.tolist()
        [[1.0, 0.6]]
        """
        scores = inner_products(queries, labels, temperature)
        inputs = None if scores.ndim == 1 else scores.shape[0]
        population = read_golds(golds, None, inputs, scores.shape[-1])
        return cls(scores, population, popularity, weights, sides=sides)

    @property
    def scores(self) -> Float[Array, "*X V"]:
        """s(x, y) in nats; made anew at each call where they are not held."""
        if isinstance(self.kept, Streamed):
            return _cast(check_values(self.kept.rows(slice(None))), self.kept.dtype)
        return self.kept

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, V), or (V,) for one input without an axis of its own."""
        return self.kept.shape

    def take(self, inputs: Any) -> Problem:
        """The problem of some inputs, by their numbers: weights anew, popularity as it is.

        A proposal that reads `input` still reads the number that an input has here.

        >>> problem = Problem([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], np.full((3, 2), 0.5))
        >>> problem.take([1, 2]).weights.tolist()
        [0.5, 0.5]
        """
        which = np.asarray(inputs)
        kept = self.kept
        streamed = isinstance(kept, Streamed)
        scores = check_values(kept.rows(which)) if streamed else self.score_rows[which]
        weights = self.weights[which]
        taken = (
            _cast(scores, scores.dtype),
            jax.tree.map(lambda leaf: leaf[which], self.target_rows),
            weights / weights.sum(),
            {n: side if side.ndim == 1 else side[which] for n, side in self.sides.items()},
            jnp.asarray(self.input_numbers[which]),
        )
        return eqx.tree_at(
            lambda p: (p.kept, p.targets, p.weights, p.sides, p.numbers),
            self,
            taken,
            is_leaf=lambda leaf: leaf is None,
        )

    def transposed(self) -> Problem:
        """Labels as inputs and inputs as labels: s(x, y) with pop(x|y) and weights pop(y).

        What the columns of a batch's scores are asked (`both_directions`). Popularity is pop(x);
        sides stay behind.

        >>> problem = Problem([[1.0, 0.0], [0.5, 2.0]], [[0.8, 0.2], [0.3, 0.7]])
        >>> problem.transposed().population.round(3).tolist()
        [[0.727, 0.273], [0.222, 0.778]]

        Raises ValueError where a label is never a gold: nothing is known of its inputs.
        """
        check_whole(self, "transposed()")
        joint = np.asarray(self.weights)[:, None] * np.asarray(self.population_rows)
        golds = joint.sum(axis=0)
        never = np.flatnonzero(golds == 0)
        if never.size:
            raise refuse(
                "population",
                f"label {int(never[0])} is never a gold",
                "labels that all are, to be inputs",
                "Leave it out of scores and population.",
            )
        return Problem(np.asarray(self.score_rows).T, (joint / golds).T, weights=golds)

    @property
    def population(self) -> Float[Array, "*X V"]:
        """pop(y|x), in full also where golds were given."""
        if isinstance(self.targets, Golds):
            return self.targets.rows(self.labels).reshape(self.shape)
        return self.targets

    @property
    def labels(self) -> int:
        """V, the number of labels."""
        return self.kept.shape[-1]

    @property
    def score_rows(self) -> Float[Array, "X V"]:
        """The scores with an axis of inputs, whether or not one was given."""
        return namespace(self.scores).atleast_2d(self.scores)

    @property
    def population_rows(self) -> Float[Array, "X V"]:
        """The population with an axis of inputs, whether or not one was given, in full."""
        if isinstance(self.targets, Golds):
            return self.targets.rows(self.labels)
        return namespace(self.targets).atleast_2d(self.targets)

    @property
    def target_rows(self) -> Population:
        """The population with an axis of inputs as it is kept; `share_of` makes a row of one."""
        return self.targets if isinstance(self.targets, Golds) else self.population_rows

    @property
    def seen_rows(self) -> Seen:
        """What proposals read of each input besides scores and popularity."""
        xp, inputs = namespace(self.weights), len(self.weights)
        shape = (inputs, self.labels)
        sides = {name: xp.broadcast_to(side, shape) for name, side in self.sides.items()}
        return Seen(xp.asarray(self.input_numbers), sides)

    @property
    def input_numbers(self) -> Int[Array, " X"]:
        """The number of each input, in the problem it was taken from."""
        numbers: Any = np.arange(len(self.weights)) if self.numbers is None else self.numbers
        return numbers

    def blocks(self, scores: int | None = None) -> list[np.ndarray]:
        """The numbers of all inputs, in blocks of at most so many scores, and of some 2^22."""
        inputs = len(self.weights)
        each = max(1, min(BLOCK, scores or BLOCK) // self.labels)
        return np.split(np.arange(inputs), range(each, inputs, each))

    def dense(self) -> Problem:
        """The same with its scores in memory."""
        if not isinstance(self.kept, Streamed):
            return self
        return eqx.tree_at(lambda p: p.kept, self, self.scores)

    @property
    def log_model(self) -> Float[Array, "*X V"]:
        """log p(y|x), the log-softmax of the scores."""
        return self._at_once(lambda problem: log_softmax(problem.scores))

    @property
    def entropy(self) -> Float[Array, ""]:
        """Mean conditional entropy of the population in nats: the least cross entropy there is."""
        return self._at_once(_entropy)

    @property
    def cross_entropy(self) -> Float[Array, ""]:
        """E[-log p(y|x)] in nats; +inf where the population has a label with p = 0."""
        return self._at_once(lambda problem: problem.weights @ problem.cross_entropies)

    @property
    def cross_entropies(self) -> Float[Array, " X"]:
        """E[-log p(y|x)] of each input, in nats."""
        if not isinstance(self.kept, Streamed):
            return self._at_once(_cross_entropies)
        rows = [np.asarray(self.take(block).cross_entropies) for block in self.blocks()]
        return _like(self.popularity, np.concatenate(rows))  # type: ignore[arg-type]

    def _at_once(self, function: Callable[[Problem], Array]) -> Array:
        """By NumPy, which compiles nothing, where the values are concrete and in one place."""
        if is_traced(self):
            return function(self)
        if mesh_of(self.kept) is not None:
            return settled(eqx.filter_jit(function)(self))
        with np.errstate(all="ignore"):  # infinities, and what they make, are meant
            return _like(self.popularity, function(to_numpy(self)))

    def __repr__(self) -> str:
        rows, labels = len(self.weights), self.labels
        inputs = "1 input" if rows == 1 else f"{rows} inputs"
        if isinstance(self.kept, Streamed):  # whose cross entropy may take a while
            return (
                f"Problem({labels} labels, {inputs}, {self.kept.words}, "
                f"{self.kept.dtype}{self.note})"
            )
        if is_traced(self):
            return f"Problem({labels} labels, {inputs}, traced, {self.kept.dtype})"
        return (
            f"Problem({labels} labels, {inputs}, entropy {float(self.entropy):.3f} nats, "
            f"cross entropy {float(self.cross_entropy):.3f} nats, {self.kept.dtype}{self.note})"
        )

    @property
    def note(self) -> str:
        """By how much probabilities were renormalised, in words; empty where they were not."""
        missed = 0.0 if is_traced(self.renormalised) else np.max(np.asarray(self.renormalised))
        return f", probabilities renormalised by {missed:.1g}" if missed else ""


def _cast(array: Any, dtype: Any) -> jax.Array:
    """As a JAX array of that type, without compiling where the values are concrete.

    Integers stay what they are.
    """
    if is_traced(array):
        return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array
    array = np.asarray(array)
    return jnp.asarray(array.astype(dtype, copy=False) if array.dtype.kind == "f" else array)


def _like(array: Array, value: Array) -> Array:
    return to_jax(value) if isinstance(array, jax.Array) else value


def _entropy(problem: Problem) -> Float[Array, ""]:
    if isinstance(problem.targets, Golds):
        return problem.weights @ problem.targets.entropies
    rows, xp = problem.population_rows, namespace(problem.targets)
    terms = xp.where(rows > 0, -rows * xp.log(xp.where(rows > 0, rows, 1.0)), 0.0)
    return problem.weights @ xp.sum(terms, axis=-1)


def _cross_entropies(problem: Problem) -> Float[Array, " X"]:
    scores, xp = problem.score_rows, namespace(problem.scores)
    if isinstance(problem.targets, Golds):
        rows = problem.targets.shares
        log_model = xp.take_along_axis(scores, problem.targets.labels, axis=-1)
        log_model = log_model - logsumexp(scores)[:, None]
    else:
        rows, log_model = problem.population_rows, log_softmax(scores)
    terms = xp.where(rows > 0, -rows * xp.where(rows > 0, log_model, 0.0), 0.0)
    return xp.sum(terms, axis=-1)
