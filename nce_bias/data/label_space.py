"""A label space whose population is known exactly, because it is counted."""

import dataclasses
from collections.abc import Hashable
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from nce_bias.data.card import card, entropy
from nce_bias.problem import Problem


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LabelSpace:
    """Counts n(x, y) of inputs and labels seen together, and the distributions they are.

    With N = Σ n the joint distribution of the data is n(x, y) / N.  It is not an estimate of
    something else: it *is* the population, so that everything computed from it is exact.

    * pop(y|x) = n(x, y) / Σ_y n(x, y), `population`
    * pop(x) = Σ_y n(x, y) / N, `weights`
    * pop(y) = Σ_x n(x, y) / N, `popularity`, which is `weights @ population`

    These are what `nb.Problem` asks for, in float64 and read-only:
    ``nb.Problem(scores, space.population, space.popularity, space.weights)`` with scores `[X, V]`
    (`[1, V]` where there is one input).  A label with popularity 0 is legal; popularity negatives
    never draw it.

    Made by `from_counts`, `from_arrays`, `next_letter` and `sense_frequency`, which check the
    counts; the class itself does not.

    Attributes
    ----------
    names : tuple of str, length V
        How the labels are called; names may repeat.
    inputs : tuple, length X
        What each row is the row of.
    counts : float64 [X, V]
        n(x, y) ≥ 0; every row has a positive sum.
    source, licence : str
        Where the data come from and how they may be used.

    Examples
    --------
    >>> space = nb.data.from_counts([[3, 1], [0, 4]], names=["no", "yes"])
    >>> space.population.tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    >>> space.weights.tolist(), space.popularity.tolist()
    ([0.5, 0.5], [0.375, 0.625])
    >>> scores = [[0.0, 0.0], [0.0, 2.0]]
    >>> nb.Problem(scores, space.population, space.popularity, space.weights).labels
    2
    """

    names: tuple[str, ...]
    inputs: tuple[Hashable, ...]
    counts: Float[np.ndarray, "X V"]
    source: str
    licence: str

    @property
    def labels(self) -> int:
        """V, the number of labels."""
        return len(self.names)

    @cached_property
    def population(self) -> Float[np.ndarray, "X V"]:
        """pop(y|x); rows sum to 1."""
        return _read_only(self.counts / self.counts.sum(axis=1, keepdims=True))

    @cached_property
    def weights(self) -> Float[np.ndarray, "X"]:
        """pop(x); sums to 1."""
        return _read_only(self.counts.sum(axis=1) / self.counts.sum())

    @cached_property
    def popularity(self) -> Float[np.ndarray, "V"]:
        """pop(y); sums to 1."""
        return _read_only(self.counts.sum(axis=0) / self.counts.sum())

    @property
    def entropy(self) -> float:
        """Entropy of `popularity` in nats: the cross entropy of a model that ignores x."""
        return entropy(self.popularity)

    @property
    def conditional_entropy(self) -> float:
        """Σ_x pop(x) H(pop(.|x)) in nats: the least cross entropy a model of y given x can have."""
        return float(self.weights @ entr(self.population).sum(axis=1))

    def problem(self, scores: Any) -> Problem:
        """The problem that scores `[X, V]` pose on this space (`[V]` where there is one input).

        >>> nb.data.from_counts([[3, 1], [0, 4]]).problem([[0.0, 0.0], [0.0, 2.0]]).labels
        2
        """
        return Problem(scores, self.population, self.popularity, self.weights)

    def __repr__(self) -> str:
        """Write the card: labels, inputs, examples, entropies, top-1 share, source, licence."""
        head = [
            ("labels", f"{self.labels}"),
            ("inputs", f"{len(self.inputs)}"),
            ("examples", f"{self.counts.sum():.15g}"),
            ("conditional", f"{self.conditional_entropy:.3f} nats (label given input)"),
        ]
        origin = self.source, self.licence
        return card("LabelSpace", head, self.popularity, self.names, "popularity", origin)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False  # kept, and shared by all who ask for it
    return array
