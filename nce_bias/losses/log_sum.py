"""One log-sum of a loss: which weights are in it, of which draws, to which power."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import check_count, refuse
from nce_bias._reads import required
from nce_bias.integrals import Term
from nce_bias.integrals.log_sums import part_of
from nce_bias.losses.base import Besides, Corrected
from nce_bias.losses.functions import Function
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.samplers import Law

#: The rule in log t gets finer with the size of a power: steps of 0.15 here, 0.28 for a logarithm.
LEAST_POWER = -8


class LogSum(eqx.Module):
    """One log-sum of a `LogSums`: factor times log of the gold's weight and the negatives'.

    Parameters
    ----------
    factor : number, or a function of m and labels
        a.
    negative : callable
        log w. Its parameters say what it reads (`nce_bias.losses.functions`).
    gold : callable, optional
        log w_+; without it the gold is no part of the sum.
    draws : number, or a function of m, optional
        How many of the first draws are in it; default all. Independent draws alone.
    leaves_one_out : bool
        Whether it is the mean of the log-sums of all draws but one, over which one it is.
    part : int, optional
        The part of a sum of samplers whose negatives alone are in it, 0 the first; default all.
    power : float
        p, from -8 to less than 1: (Z^p - 1) / p takes the place of log Z, which is its limit at 0.

    Raises
    ------
    ValueError
        A function that reads what there is not; two of `draws`, `leaves_one_out` and `part`; a
        power out of range.

    Notes
    -----
    A constant c in Z is a part of the gold's weight, ``gold=lambda s: jnp.logaddexp(s, log_c)``.

    Examples
    --------
    >>> LogSum(-1.0, lambda s: s).leaves_one_out
    False
    """

    factor: Any
    negative: Function
    gold: Function | None
    draws: Any
    leaves_one_out: bool = eqx.field(static=True)
    part: int | None = eqx.field(static=True)
    power: float = eqx.field(static=True)

    def __init__(  # noqa: PLR0913 (keyword-only)
        self,
        factor: float | Callable[..., Any],
        negative: Callable[..., Any],
        gold: Callable[..., Any] | None = None,
        *,
        draws: int | Callable[..., Any] | None = None,
        leaves_one_out: bool = False,
        part: int | None = None,
        power: int | float = 0.0,
    ) -> None:
        if draws is not None and leaves_one_out:
            raise refuse(
                "draws",
                f"got {draws!r} beside leaves_one_out=True",
                "one of them",
                "All but one draw are draws=lambda m: m - 1, or the mean over which one it is.",
            )
        if part is not None and (draws is not None or leaves_one_out):
            raise refuse(
                "part",
                f"got {part!r} beside fewer draws than all",
                "all draws of one part, or fewer of all",
                "Draw fewer in that part.",
            )
        self.factor, self.draws, self.leaves_one_out = factor, draws, leaves_one_out
        self.part = None if part is None else check_count("part", part, least=0)
        number = float(power) if isinstance(power, int | float) else math.nan
        if not LEAST_POWER <= number < 1:
            raise refuse(
                "power",
                f"got {power!r}",
                f"a number from {LEAST_POWER} to less than 1",
                "Z itself is a sum over candidates: nb.Additive.",
            )
        self.power = number
        self.negative = Function.of("log-sum", negative, "negative")
        self.gold = None if gold is None else Function.of("log-sum", gold, "gold")

    @property
    def partial(self) -> bool:
        """Whether there are draws that are not in it."""
        return self.draws is not None or self.leaves_one_out

    def count(self, m: Any, labels: int) -> Any:
        """How many draws are in it, None for all."""
        if self.leaves_one_out:
            return m - 1
        return None if self.draws is None else amount(self.draws, m, labels)

    def value(self, given: dict[str, Any], present: Bool[Array, " m"]) -> Float[Array, ""]:
        """On one candidate set."""
        logs = jnp.where(present, self.negative(given), -jnp.inf)
        own = -jnp.inf if self.gold is None else self.gold(given)
        own = jnp.broadcast_to(jnp.asarray(own, logs.dtype), (1,))
        slots = jnp.arange(len(logs))
        if self.leaves_one_out:
            rows = jnp.where(slots == slots[:, None], -jnp.inf, logs)
            rows = jnp.concatenate([jnp.broadcast_to(own, (len(logs), 1)), rows], axis=1)
            found = jnp.mean(self._of_z(jax.nn.logsumexp(rows, axis=1)))
        else:
            first, last = 0, self.count(given["m"], given["labels"])
            if self.part is not None:
                ends = list(itertools.accumulate(given["slots"], initial=0))
                first, last = ends[self.part : self.part + 2]
            if last is not None:
                logs = jnp.where((slots >= first) & (slots < last), logs, -jnp.inf)
            found = self._of_z(jax.nn.logsumexp(jnp.concatenate([own, logs])))
        return amount(self.factor, given["m"], given["labels"]) * found

    def _of_z(self, log_z: Float[Array, "*_"]) -> Float[Array, "*_"]:
        return jnp.expm1(self.power * log_z) / self.power if self.power else log_z

    def of(
        self, corrected: Corrected, besides: Besides, law: Law, share: Float[Array, " V"]
    ) -> Term:
        """Its log-weights and their derivatives for one gold; none of what that gold never has."""
        xp = namespace(corrected.gold, share)
        zero = xp.zeros_like(corrected.gold)
        own, by_own = xp.full_like(zero, -xp.inf), zero
        if self.gold is not None:
            own, by_own = self.gold.curve(corrected.gold, besides)[:2]
        log_weights, slope, pair = self.negative.curve(corrected.negatives, besides)
        drawn = part_of(law, self.part).counts(share) > 0
        never = xp.isneginf(log_weights) | ~drawn
        return Term(
            factor=xp.asarray(amount(self.factor, besides.m, besides.labels), zero.dtype),
            log_gold=own,
            log_negative=xp.where(never, -xp.inf, log_weights),
            by_own=xp.where(xp.isneginf(own), 0.0, by_own),
            slope=xp.where(never, 0.0, slope),
            pair=None if pair is None else xp.where(never, 0.0, pair),
            draws=self.count(besides.m, besides.labels),
            leaves=self.leaves_one_out,
            part=self.part,
            power=self.power,
        )


def amount(value: Any, m: Any, labels: int) -> Any:
    """A number, or what a function makes of m and labels, by their names."""
    if not callable(value):
        return value
    names = required(value)
    given = {"m": m, "labels": labels}
    if names is None or not set(names) <= set(given):
        raise refuse(
            "log-sum",
            f"a number of it reads {names}",
            "a function of m and labels",
            "For example lambda m: m + 1.",
        )
    return value(*(given[name] for name in names))
