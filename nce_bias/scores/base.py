"""What a score is: one bilinear form between attended tokens of a pair of texts."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nce_bias._checks import refuse
from nce_bias._gate import floating

States = Float[Array, "T H"]
Mask = Bool[Array, " T"]
LabelStates = Float[Array, "L H_label"]
LabelMask = Bool[Array, " L"]


class Form(NamedTuple):
    """What `general` takes, for one pair of texts; L is the number of label tokens T'.

    Attributes
    ----------
    E, F : `[T, H]`, `[L, H]`
        States of the input's and the label's tokens, 0 where padded.
    C, D : `[T, n]`, `[L, k]`
        Attentions, one in each column.
    A : `[n, k]`
        Weights of the pairs of an attended input vector and an attended label vector.
    """

    E: Float[Array, "T H"]
    F: Float[Array, "L H"]
    C: Float[Array, "T n"]
    D: Float[Array, "L k"]
    A: Float[Array, "n k"]


class Pooled(NamedTuple):
    """How many vectors a score takes of the input and of the label; 0: one for each token."""

    inputs: int
    labels: int


def general(
    E: Float[Array, "T H"],
    F: Float[Array, "L H"],
    C: Float[Array, "T n"],
    D: Float[Array, "L k"],
    A: Float[Array, "n k"],
) -> Float[Array, ""]:
    """s = sum_ij A_ij (E C)_i . (F D)_j, with tokens as rows of E and F: (E C)_i is C[:, i] @ E.

    Source: Zhang & Stratos (2021), section 4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> E, F = jnp.eye(2), jnp.array([[3., 5.]])
    >>> both, one = jnp.eye(2), jnp.ones((1, 1))
    >>> print(general(E, F, both, one, jnp.array([[1.], [10.]])))  # 1 * 3 + 10 * 5
    53.0
    """
    return jnp.sum(A * ((C.T @ E) @ (D.T @ F).T))


def real(states: Float[Array, "T H"], mask: Bool[Array, " T"]) -> Float[Array, "T H"]:
    """States with 0 where padded: whatever stood there, NaN included, has no value or gradient."""
    return jnp.where(mask[:, None], states, 0.0)


def read_first(states: Float[Array, "T H"], mask: Bool[Array, " T"]) -> Float[Array, " H"]:
    """The state of the first real token, of which there is one; read and not summed."""
    return states[jnp.argmax(mask)]


def _or_zeros(
    states: Float[Array, "T H"], mask: Bool[Array, " T"]
) -> tuple[Float[Array, "T H"], Bool[Array, " T"]]:
    """A text as it is, or tokens of state 0 in place of one that has none.

    What is computed of them is dropped, but it must be finite: 0 times NaN is no gradient.
    """
    some = jnp.any(mask)
    return jnp.where(some, states, 0.0), mask | ~some


class Score(eqx.Module):
    """A function of a pair of texts: `score(E, e_mask, F, f_mask)` is a scalar.

    To add one, subclass and write `form`; `value` if it is cheaper than the general form.

    **Padding.** A text is its tokens whose mask is True, in their order, wherever the padding
    stands. What padded states hold, NaN included, changes no value, and their gradient is 0.

    **Empty texts.** A label without a token scores -inf, so that it wins no maximum and has
    probability 0 (the filling of ragged lists of candidates). An input without a token scores 0
    with every other label: there is nothing to attend to. Either gradient is 0.
    """

    #: What it takes of each side; None for one that reads pairs, which cannot retrieve.
    columns: ClassVar[Pooled | None] = None

    @abstractmethod
    def form(self, E: States, e_mask: Mask, F: LabelStates, f_mask: LabelMask) -> Form:
        """States, attentions and weights whose `general` form is the score of two texts of tokens.

        Each mask has a True. Padded states may hold anything: take `real(E, e_mask)`.
        """

    def value(self, E: States, e_mask: Mask, F: LabelStates, f_mask: LabelMask) -> Float[Array, ""]:
        """The score of two texts that each have a token."""
        return general(*self.form(E, e_mask, F, f_mask))

    def table(
        self,
        E: Float[Array, "B T H"],
        e_mask: Bool[Array, "B T"],
        F: Float[Array, "V L H_label"],
        f_mask: Bool[Array, "V L"],
    ) -> Float[Array, "B V"]:
        """The scores of B inputs with V labels: for a score that knows a faster way than pairs."""
        # Labels innermost: a product of matrices comes out as [B, V], with nothing to transpose.
        row = jax.vmap(self, in_axes=(None, None, 0, 0))
        return jax.vmap(row, in_axes=(0, 0, None, None))(E, e_mask, F, f_mask)

    def size(self, tokens: int, label_tokens: int, width: int) -> int:
        """Numbers held at once for one pair of texts; `against` sizes its blocks by it."""
        return tokens * label_tokens

    def check(self, E: Array, F: Array) -> None:
        """Raise ValueError if the last two axes of `E` and `F` cannot be scored."""
        if E.shape[-1] != F.shape[-1]:
            raise refuse(
                "F",
                f"got states of width {F.shape[-1]} where E has {E.shape[-1]}",
                "the same width H for inputs and labels",
                "Project one of them, or score by nb.scores.Joint.",
            )

    def __call__(self, E: Any, e_mask: Any, F: Any, f_mask: Any) -> Float[Array, ""]:
        """The score of input states `E` `[T, H]` and label states `F` `[T', H]`.

        `e_mask` `[T]` and `f_mask` `[T']` are True for real tokens.
        Raises ValueError for other shapes and for masks that are not boolean.
        """
        E, e_mask = check_text("E", "e_mask", E, e_mask, "T, H")
        F, f_mask = check_text("F", "f_mask", F, f_mask, "T', H")
        self.check(E, F)
        value = self.value(*_or_zeros(E, e_mask), *_or_zeros(F, f_mask))
        return jnp.where(jnp.any(f_mask), jnp.where(jnp.any(e_mask), value, 0.0), -jnp.inf)


def check_text(name: str, mask_name: str, states: Any, mask: Any, axes: str) -> tuple[Array, Array]:
    """`states` as a floating array with the `axes` named, and its boolean mask."""
    states = floating(name, states)
    if states.ndim != len(axes.split(",")):
        raise refuse(
            name,
            f"got shape {states.shape}",
            f"[{axes}], tokens before width",
            "For batches of texts use nb.scores.pairs or nb.scores.against.",
        )
    if 0 in states.shape[-2:]:
        raise refuse(
            name,
            f"got shape {states.shape}",
            f"[{axes}] with at least one token and a width of at least 1",
            "An empty text is padding alone: one token whose mask is False.",
        )
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise refuse(
            mask_name,
            f"got dtype {mask.dtype}",
            "booleans, True for a real token",
            f"Of a 0/1 attention mask pass {mask_name} != 0.",
        )
    if mask.shape != states.shape[:-1]:
        raise refuse(
            mask_name,
            f"got shape {mask.shape}",
            f"{states.shape[:-1]}, one entry for each token of {name}",
            f"If nothing is padded pass jnp.ones({name}.shape[:-1], bool).",
        )
    return states, mask
