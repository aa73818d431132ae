r"""Sums of log-sums: losses made of several Z.

    loss = h(s_g) + sum_i a_i log( w_i+(s_g) + sum_k w_i(s_g, s_{y_k}) )

with any log-weights and any factors: what reweights the negatives by themselves, clips them,
extrapolates in their number. Each log-sum is an integral of the same Laplace functional at other
weights, so expected loss and gradient are exact with every sampler, and so are second moments, from
integrals over a plane (`nce_bias.integrals.log_sums`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from nce_bias._checks import refuse
from nce_bias._reads import required
from nce_bias.integrals import LogSumsMoments, Rule, Term
from nce_bias.losses.additive import check_corrections
from nce_bias.losses.base import Besides, Corrected, check_gold, correct
from nce_bias.losses.functions import Function, with_besides
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.samplers import Law, Sampler


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

    Raises
    ------
    ValueError
        A function that reads what there is not; both `draws` and `leaves_one_out`.

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

    def __init__(
        self,
        factor: float | Callable[..., Any],
        negative: Callable[..., Any],
        gold: Callable[..., Any] | None = None,
        *,
        draws: int | Callable[..., Any] | None = None,
        leaves_one_out: bool = False,
    ) -> None:
        if draws is not None and leaves_one_out:
            raise refuse(
                "draws",
                f"got {draws!r} beside leaves_one_out=True",
                "one of them",
                "All but one draw are draws=lambda m: m - 1, or the mean over which one it is.",
            )
        self.factor, self.draws, self.leaves_one_out = factor, draws, leaves_one_out
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
            found = jnp.mean(jax.nn.logsumexp(rows, axis=1))
        else:
            count = self.count(given["m"], given["labels"])
            logs = logs if count is None else jnp.where(slots < count, logs, -jnp.inf)
            found = jax.nn.logsumexp(jnp.concatenate([own, logs]))
        return amount(self.factor, given["m"], given["labels"]) * found


class LogSums(eqx.Module):
    """h(s_g) plus a sum of log-sums; exact with every sampler.

    Its scale is its own: read its `cosine` beside its norm. `selection` is gradient + pop.

    Parameters
    ----------
    name : str
        What tables call it.
    terms : sequence of LogSum
        The log-sums.
    gold : callable, optional
        h, of the gold's corrected score.
    corrections : pair of {"none", "log_q", "log_mq"}
        What is taken off the gold's and a negative's score first.
    inclusion : bool
        Whether the negatives' is the expected number of copies, as `with_inclusion` has it.

    Raises
    ------
    ValueError
        No terms, a function that reads what there is not, an unknown correction; when used, a
        log-sum that may be empty, one of fewer draws with draws that are not independent.

    Notes
    -----
    Each gold is taken alone, O(V) for each node and gold. The variance of one log-sum costs as much
    again, that of several O(V) for each *pair* of nodes: by default where that is a matter of
    seconds, NaN elsewhere (`method` says so, ``split=True`` takes it). Where log-weights read the
    gold's score, second moments of draws that are neither independent nor fixed take derivatives by
    JAX, and V x V numbers at a node.

    Examples
    --------
    InfoNCE, written out:

    >>> nce = LogSums("nce", [LogSum(1.0, lambda s: s, gold=lambda s: s)], gold=lambda s: -s)
    >>> problem = Problem([1.0, 0.5, -1.0], [0.7, 0.2, 0.1])
    >>> ours, plain = (exact(problem, iid(uniform(), 2), loss) for loss in (nce, infonce))
    >>> bool(abs(ours.loss - plain.loss) < 1e-12)
    True
    """

    normalized = False  # whether v holds the chances of a softmax to pick each candidate
    name: str = eqx.field(static=True)
    terms: tuple[LogSum, ...]
    gold: Function | None
    corrections: tuple[str, str] = eqx.field(static=True)
    inclusion: bool = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        terms: Any,
        gold: Callable[..., Any] | None = None,
        corrections: tuple[str, str] = ("none", "none"),
        inclusion: bool = False,
    ) -> None:
        terms = (terms,) if isinstance(terms, LogSum) else tuple(terms)
        if not terms or not all(isinstance(term, LogSum) for term in terms):
            raise refuse(
                f"loss {name}",
                f"got the terms {terms!r}",
                "one nb.LogSum or several",
                "For example [nb.LogSum(1.0, lambda s: s, gold=lambda s: s)].",
            )
        self.name, self.terms = name, terms
        self.gold = None if gold is None else Function.of(name, gold, "gold")
        self.corrections, self.inclusion = check_corrections(name, corrections), inclusion

    @property
    def corrects(self) -> bool:
        """Whether anything is taken off the negatives' scores."""
        return self.corrections[1] != "none"

    @property
    def _functions(self) -> list[Function]:
        found = [self.gold, *(part for term in self.terms for part in (term.gold, term.negative))]
        return [function for function in found if function is not None]

    def portable(self, sampler: Sampler) -> bool:
        """Whether NumPy has its second moments: not where they take a derivative by JAX."""
        pairwise = any("gold" in term.negative.names for term in self.terms)
        return not pairwise or sampler.separable

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """Corrected scores, and what the functions read besides; each gold is asked alone."""
        if any(term.partial for term in self.terms) and not law.independent:
            raise refuse(
                "loss",
                f"{self.name} has log-sums of fewer draws, and "
                f"{type(law).__name__.removesuffix('Law')} negatives are not independent draws",
                "nb.iid",
                "Draw by nb.iid, or take a loss without `draws` and `leaves_one_out`.",
            )
        found = correct(scores, law, m, *self.corrections, self.inclusion)
        return with_besides(found, law, m, self._functions, alone=True)

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> LogSumsMoments:
        """The integrals of one input and gold."""
        besides = corrected.besides
        assert besides is not None
        zero = namespace(share, corrected.gold).zeros_like(corrected.gold)
        rest = (zero, zero)
        if self.gold is not None:
            rest = self.gold.curve(corrected.gold, besides)[:2]
        drawn = law.counts(share) > 0
        terms = tuple(_term(term, corrected, besides, drawn) for term in self.terms)
        return LogSumsMoments(share=share, law=law, terms=terms, rest=rest, rule=rule)

    def value(
        self,
        gold: Float[Array, ""],
        negatives: Float[Array, " m"],
        present: Bool[Array, " m"],
        **read: Any,
    ) -> Float[Array, ""]:
        """On one candidate set."""
        given = read | {"gold": gold, "negative": negatives}
        total = sum((term.value(given, present) for term in self.terms), jnp.zeros_like(gold))
        return total if self.gold is None else total + self.gold(given)

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Refuse a gold whose own correction is log 0, and a log-sum that may be empty."""
        if self.corrections[0] != "none":
            check_gold(self.name, problem, sampler)
        if sampler.may_be_empty and any(term.gold is None for term in self.terms):
            raise refuse(
                "loss",
                f"{self.name} has a log-sum of the negatives alone, and {sampler!r} may have none",
                "a sampler that always has a negative",
                'Use hits="exclude" or nb.without_replacement.',
            )

    def __repr__(self) -> str:
        return self.name


def _term(term: LogSum, corrected: Corrected, besides: Besides, drawn: Bool[Array, " V"]) -> Term:
    """The log-weights of one log-sum and their derivatives; none for what this gold never has."""
    xp = namespace(corrected.gold, drawn)
    zero = xp.zeros_like(corrected.gold)
    own, by_own = xp.full_like(zero, -xp.inf), zero
    if term.gold is not None:
        own, by_own = term.gold.curve(corrected.gold, besides)[:2]
    log_weights, slope, pair = term.negative.curve(corrected.negatives, besides)
    never = xp.isneginf(log_weights) | ~drawn
    return Term(
        factor=xp.asarray(amount(term.factor, besides.m, besides.labels), zero.dtype),
        log_gold=own,
        log_negative=xp.where(never, -xp.inf, log_weights),
        by_own=xp.where(xp.isneginf(own), 0.0, by_own),
        slope=xp.where(never, 0.0, slope),
        pair=None if pair is None else xp.where(never, 0.0, pair),
        draws=term.count(besides.m, besides.labels),
        leaves=term.leaves_one_out,
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
