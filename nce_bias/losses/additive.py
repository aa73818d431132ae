r"""Losses that add up over candidates.

    loss = h_+(s_g) + sum_k h(s_g, s_{y_k}),

for any functions h_+ and h. Only the first two moments of the copies of each label occur, and every
sampler has both (`nce_bias.integrals.closed_form`): exact with all of them, without an integral.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import refuse
from nce_bias.integrals import ClosedForm, Rule
from nce_bias.losses.base import (
    CORRECTIONS,
    Corrected,
    check_gold,
    check_one_weight,
    correct,
)
from nce_bias.losses.functions import Function, with_besides
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler


class Additive(eqx.Module):
    """h_+ of the gold plus h of every negative; exact with every sampler.

    Its scale is its own, not cross entropy's: read its `cosine` beside its norm. `selection` is
    gradient + pop and sums to anything.

    Parameters
    ----------
    name : str
        What tables call it.
    gold : callable, or None for nothing
        h_+, elementwise in the gold's corrected score.
    negative : callable
        h. Its parameters say by their names what it reads: `negative`, `gold` (corrected scores),
        `log_count` (of the expected copies of a label, so that e^-log_count weights by
        importance), `m`, `labels`; one parameter of another name is the negative's score
        (`nce_bias.losses.functions`).
    corrections : pair of {"none", "log_q", "log_mq"}
        What is taken off the gold's and a negative's score first.
    inclusion : bool
        Whether the negatives' is the expected number of copies, as `with_inclusion` has it.

    Raises
    ------
    ValueError
        A function that reads what there is not, an unknown correction.

    Notes
    -----
    Where h reads the gold's score, or anything is corrected, each gold is taken alone: O(V) for
    each, so O(V^2) for a full population and O(V) for one observed gold. Second moments need
    E[(sum_y N_y dh_y/ds_g)^2] then, from the covariance of the copies: for draws that are neither
    independent nor fixed, a derivative by JAX, compiled.

    Examples
    --------
    >>> import jax
    >>> squared = Additive("squared", lambda s: -s, lambda gold, negative: (negative - gold) ** 2)
    >>> problem = Problem([1.0, 0.5, -1.0], [0.7, 0.2, 0.1])
    >>> exact(problem, iid(uniform(), 2), squared).method
    'exact, closed form, float64'
    """

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    gold: Function | None
    negative: Function
    corrections: tuple[str, str] = eqx.field(static=True)
    inclusion: bool = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        gold: Callable[..., Any] | None,
        negative: Callable[..., Any],
        corrections: tuple[str, str] = ("none", "none"),
        inclusion: bool = False,
    ) -> None:
        self.name = name
        self.gold = None if gold is None else Function.of(name, gold, "gold")
        self.negative = Function.of(name, negative, "negative")
        self.corrections, self.inclusion = check_corrections(name, corrections), inclusion

    @property
    def corrects(self) -> bool:
        """Whether anything is taken off the negatives' scores."""
        return self.corrections[1] != "none"

    def portable(self, sampler: Sampler) -> bool:
        """Whether NumPy has its second moments: not where they take a derivative by JAX."""
        return "gold" not in self.negative.names or sampler.separable

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """Corrected scores, and what the functions read besides."""
        found = correct(scores, law, m, *self.corrections, self.inclusion)
        functions = [self.negative] if self.gold is None else [self.gold, self.negative]
        return with_besides(found, law, m, functions)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> ClosedForm:
        """The closed form of one input, for golds that share what their negatives add."""
        check_one_weight(self.name, law)
        nothing = namespace(share, corrected.gold).zeros_like(corrected.gold)
        gold = (nothing, nothing)
        if self.gold is not None:
            gold = self.gold.curve(corrected.gold, corrected.besides)[:2]
        negative = self.negative.curve(corrected.negatives, corrected.besides)
        return ClosedForm(share=share, law=law, gold=gold, negative=negative[:2], pair=negative[2])

    def value(
        self,
        gold: Float[Array, ""],
        negatives: Float[Array, " m"],
        present: Bool[Array, " m"],
        **read: Any,
    ) -> Float[Array, ""]:
        """The sum on one candidate set."""
        given = read | {"gold": gold, "negative": negatives}
        added = jnp.sum(jnp.where(present, self.negative(given), 0.0))
        return added if self.gold is None else self.gold(given) + added

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0."""
        if self.corrections[0] != "none":
            check_gold(self.name, problem, sampler)

    def __repr__(self) -> str:
        return self.name


def check_corrections(name: str, corrections: Any) -> tuple[str, str]:
    """A pair of known corrections."""
    pair = tuple(corrections)
    if len(pair) != 2 or not set(pair) <= set(CORRECTIONS):
        raise refuse(
            f"loss {name}",
            f"got corrections={corrections!r}",
            f"a pair, for gold and negatives, of {', '.join(map(repr, CORRECTIONS))}",
            'Pass corrections=("none", "log_mq") for a logQ correction of the negatives.',
        )
    return pair
