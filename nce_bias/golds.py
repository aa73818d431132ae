"""A population that is a few observed labels of each input, without a row as long as the labels."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nce_bias._checks import is_traced, refuse
from nce_bias._gate import normalised, read, read_integers
from nce_bias.numerics.arrays import Array, is_numpy, namespace


class Golds(eqx.Module):
    """pop(y|x) = sum_j shares[x, j] 1{y = labels[x, j]}: G observed golds of each input.

    What `Problem.from_golds` keeps in place of rows of V probabilities, of which all but G are 0. A
    label stands once in a row, but with share 0.
    """

    labels: Int[Array, "*X G"]
    shares: Float[Array, "*X G"]

    def normalised(self) -> tuple[Golds, float]:
        """With shares that sum to 1, and by how much they missed."""
        shares, missed = normalised("shares", self.shares, "Leave that input out: it has no gold.")
        return Golds(self.labels, shares), missed

    def row(self, like: Float[Array, " V"]) -> Float[Array, " V"]:
        """pop(.|x) of one input, for one input's golds."""
        if is_numpy(self.labels, self.shares, like):
            row: Any = np.zeros_like(like)
            np.add.at(row, self.labels, self.shares.astype(like.dtype))
            return row
        return jnp.zeros_like(like).at[self.labels].add(self.shares.astype(like.dtype))

    def rows(self, labels: int) -> Float[Array, "X V"]:
        """pop(y|x) in full, for V labels."""
        inputs = np.arange(self.labels.shape[0])[:, None]
        if is_numpy(self.labels, self.shares):
            rows: Any = np.zeros((len(inputs), labels), self.shares.dtype)
            np.add.at(rows, (inputs, self.labels), self.shares)
            return rows
        rows = jnp.zeros((len(inputs), labels), self.shares.dtype)
        return rows.at[inputs, self.labels].add(self.shares)

    def popularity(self, weights: Float[Array, " X"], labels: int) -> Float[Array, " V"]:
        """sum_x weights(x) pop(y|x) for V labels."""
        mass = weights[:, None] * self.shares
        if is_numpy(mass, self.labels):
            total: Any = np.bincount(self.labels.ravel(), mass.ravel(), labels)
            return total.astype(mass.dtype)
        return jnp.zeros(labels, mass.dtype).at[self.labels.ravel()].add(mass.ravel())

    @property
    def entropies(self) -> Float[Array, " X"]:
        """The entropy of each row in nats."""
        xp = namespace(self.shares)
        seen = self.shares > 0
        terms = -self.shares * xp.log(xp.where(seen, self.shares, 1.0))
        return xp.sum(xp.where(seen, terms, 0.0), axis=-1)


#: What a problem keeps of pop(y|x): its rows, or the golds that were observed.
Population = Array | Golds


def share_of(population: Population, like: Float[Array, " V"]) -> Float[Array, " V"]:
    """pop(.|x) of one input as a row, however it is kept."""
    return population.row(like) if isinstance(population, Golds) else population


def read_golds(golds: Any, shares: Any, inputs: int | None, labels: int) -> Golds:
    """Golds `[X]` or `[X, G]` (one number or `[G]` where there is one input), checked.

    Raises ValueError for golds that are no integers, out of range, or not one for each input.
    """
    if is_traced(golds):
        chosen: Any = jnp.asarray(golds)
        _check_traced(chosen)
    else:
        chosen = read_integers("golds", golds)
    if inputs is None:
        chosen = chosen[None]
    shape = "one integer" if inputs is None else f"[X] = ({inputs},)"
    if chosen.ndim not in (1, 2) or chosen.shape[0] != (inputs or 1) or chosen.size == 0:
        raise refuse(
            "golds",
            f"got shape {chosen.shape if inputs else chosen.shape[1:]}",
            f"{shape}, or a row of golds for each input",
            "Give the number of one observed label for each row of scores.",
        )
    chosen = chosen.reshape(len(chosen), -1)
    _check_range(chosen, labels)
    if shares is None:
        _check_not_one_hot(chosen, labels)
        shares = np.full(chosen.shape, 1 / chosen.shape[1])
    else:
        shares = read("shares", shares)
        shares = shares.reshape(chosen.shape) if shares.size == chosen.size else shares
        if shares.shape != chosen.shape:
            raise refuse(
                "shares",
                f"got shape {shares.shape}",
                f"the shape of golds, {chosen.shape}",
                "Give each gold its share of the input; 0 where a row has fewer golds.",
            )
    return Golds(*_once(chosen, shares))


def _check_traced(golds: Any) -> None:
    if not jnp.issubdtype(golds.dtype, jnp.integer):
        raise refuse(
            "golds", f"got dtype {golds.dtype}", "integers", "Give numbers of labels, from 0."
        )


def _check_range(golds: Any, labels: int) -> None:
    if is_traced(golds):
        return
    wrong = np.argwhere((golds < 0) | (golds >= labels))
    if len(wrong):
        row, place = (int(i) for i in wrong[0])
        raise refuse(
            "golds",
            f"input {row} has {int(golds[row, place])}",
            f"labels from 0 to {labels - 1}",
            "Number the labels from 0 in the order of the scores; leave out inputs whose label "
            "has none, or is marked by a number such as -100.",
        )


def _check_not_one_hot(golds: Any, labels: int) -> None:
    """Refuse rows of 0s and one 1: read as numbers they would say V - 1 times label 0.

    Two labels are left alone, where (0, 1) may be both of them.
    """
    if is_traced(golds) or golds.shape[1] != labels or labels <= 2:
        return
    if ((golds == 0) | (golds == 1)).all() and (golds.sum(axis=1) == 1).all():
        raise refuse(
            "golds",
            f"got shape {golds.shape} of 0 and 1, one 1 in each row, which is one-hot",
            "integers that number labels from 0",
            "Give golds.argmax(-1).",
        )


def _once(labels: Any, shares: Any) -> tuple[Any, Any]:
    """A label that stands in a row twice keeps its whole share at the first place."""
    if is_traced(labels, shares):
        return labels, shares
    labels, shares = np.asarray(labels), np.array(shares)
    for later in range(1, labels.shape[1]):
        for earlier in range(later):
            same = labels[:, later] == labels[:, earlier]
            shares[:, earlier] += np.where(same, shares[:, later], 0.0)
            shares[same, later] = 0.0
    return labels, shares
