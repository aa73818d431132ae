"""Functions that a loss is made of: what they read, said by names, and their derivatives.

A function of an additive loss or of a log-sum is elementwise: it takes arrays and gives an array,
with what `jax.numpy` has. Its parameters without defaults may be any of

- `gold`, `negative`: the corrected scores of the gold and of a negative;
- `log_count`: log E[copies of this negative's label | gold], which is log(m q) for independent
  draws (by q_y / (1 - q_g) where the gold is excluded);
- `m`, `labels`: the number of negatives asked for, and V;

in any order. One parameter of another name is the function's own score: the gold's or a negative's.

Derivatives by both scores are taken by JAX. At a kink, as of `jax.nn.relu`, they are what JAX takes
for them; that is exact wherever no score lies on the kink itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from nce_bias._checks import refuse
from nce_bias._reads import name_of, required
from nce_bias.losses.base import Besides, Corrected
from nce_bias.numerics.arrays import Array, is_numpy, to_numpy
from nce_bias.samplers import ConcatenationLaw, Law

#: What there is to read.
KNOWN = ("gold", "negative", "log_count", "m", "labels")
SCORES = ("gold", "negative")


class Written(eqx.Module):
    """A function of one score with its derivative written out, for arrays of NumPy too."""

    function: Callable[[Any], Any] = eqx.field(static=True)
    slope: Callable[[Any], Any] = eqx.field(static=True)

    def __call__(self, score: Float[Array, "*_"]) -> Float[Array, "*_"]:
        """Its value."""
        return self.function(score)


class Curve(NamedTuple):
    """A function at all labels, and its derivatives by their own scores and by the gold's."""

    value: Float[Array, " V"]
    slope: Float[Array, " V"]
    by_gold: Float[Array, " V"] | None


class Function(eqx.Module):
    """A function with the names of what it reads; `own` is the score it is a function of."""

    function: Callable[..., Any]
    own: str = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, loss: str, function: Callable[..., Any], own: str) -> Function:
        """What a user gave; ValueError for what is no function, or reads what there is not."""
        if isinstance(function, Function):
            return function
        if not callable(function):
            raise refuse(
                f"loss {loss}",
                f"got {function!r} as the function of the {own}",
                "a function such as jax.nn.softplus",
                "For example lambda gold, negative: jax.nn.softplus(negative - gold).",
            )
        names = required(function)
        known = [name for name in names or () if name in KNOWN]
        if names is None or (not known and len(names) == 1):
            return cls(function, own, (own,))
        allowed = [name for name in KNOWN if own == "negative" or name in ("gold", "m", "labels")]
        if not names or not set(names) <= set(allowed):
            raise refuse(
                f"loss {loss}",
                f"its function of the {own} reads {', '.join(map(repr, names)) or 'nothing'}",
                f"one parameter, or parameters among {', '.join(allowed)}",
                "Rename them, or give parameters of its own a default.",
            )
        return cls(function, own, names)

    def __call__(self, given: dict[str, Any]) -> Any:
        """Its value."""
        return self.function(*(given[name] for name in self.names))

    def curve(self, scores: Float[Array, " V"], besides: Besides | None) -> Curve:
        """At the scores of all labels; `besides` is that of one gold."""
        slope = getattr(self.function, "slope", None)
        if slope is not None:
            return Curve(self.function(scores), slope(scores), None)
        if is_numpy(*jax.tree.leaves((scores, besides))):
            return to_numpy(_compiled_curve(self, scores, besides))
        return _curve(self, scores, besides)

    def __repr__(self) -> str:
        return name_of(self.function)


def _curve(function: Function, scores: Float[Array, " V"], besides: Besides | None) -> Curve:
    given: dict[str, Any] = {}
    if besides is not None:
        given = {"log_count": besides.log_counts, "m": besides.m, "labels": besides.labels}
        if besides.gold is not None:
            given["gold"] = jnp.broadcast_to(besides.gold, scores.shape)
    given[function.own] = jnp.asarray(scores)

    def at(name):
        def value(score):
            found = jnp.asarray(function(given | {name: score}), scores.dtype)
            return jnp.broadcast_to(found, scores.shape)

        return jax.jvp(value, (given[name],), (jnp.ones_like(given[name]),))

    value, slope = at(function.own)
    pairwise = function.own != "gold" and "gold" in function.names
    return Curve(value, slope, at("gold")[1] if pairwise else None)


_compiled_curve = eqx.filter_jit(_curve)


def with_besides(
    corrected: Corrected,
    law: Law,
    m: int | Float[Array, ""],
    functions: list[Function],
    *,
    alone: bool = False,
    by_part: bool = False,
) -> Corrected:
    """Corrected scores with what the functions read besides; as they are where that is nothing.

    `alone` says that each gold is to be asked alone whatever they read, `by_part` that parts of a
    sum of samplers are told apart.
    """
    names = {name for function in functions for name in function.names if name != function.own}
    if not names and not alone:
        return corrected
    scores, counts, by_gold = corrected.gold, None, None
    if "log_count" in names:
        chances = law.log_chances(len(scores), True)
        counts, by_gold = law.log_counts(scores) if chances is None else chances[1:]
    parts = law if by_part and isinstance(law, ConcatenationLaw) else None
    besides = Besides(m, len(scores), alone or "gold" in names, counts, by_gold, law=parts)
    return Corrected(corrected.gold, corrected.negatives, corrected.by_gold, besides)
