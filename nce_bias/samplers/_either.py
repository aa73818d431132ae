r"""One of several ways to draw, by lot: a coin, a cluster, a hash table, an epoch's schedule.

A lot c is drawn with chance pi_c for each example, whatever its gold, and then the whole set comes
from law c. Given the gold,

    F(z) = sum_c pi_c F_c(z),

so a label's copies and coincidences among the tilted negatives are means over the lots, with the
weights pi_c F_c / F that the tilting leaves them. Nothing factorises: draws of one set depend on
each other through the lot, which is what tells ``either([(a, 0.5), (b, 0.5)])`` from m draws of
``nb.mixture(a, b)``, where every draw has a lot of its own.

**Corrections.** No one q exists. `with_inclusion(loss)` takes off expected copies over all lots.

**Cost.** That of all laws together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.numerics.arrays import Array, is_numpy, logsumexp, namespace
from nce_bias.problem import Problem
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler, Several, check_of_today

#: What shares may miss 1 by.
SLACK = 1e-9


class EitherLaw(Law):
    """The law of a set that comes from one of several laws."""

    parts: tuple[Law, ...]
    shares: tuple[float, ...] = eqx.field(static=True)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def work(self) -> int:
        return sum(part.work for part in self.parts)

    @property
    def work_of_a_gold(self) -> int:
        """`copies_by_gold` asks for one gold after the other."""
        return self.work

    @property
    def error(self) -> Float[Array, ""] | float:
        """The largest: F is a mean."""
        errors = [part.error for part in self.parts]
        return functools.reduce(namespace(*errors).maximum, errors)

    def prepared(self) -> EitherLaw:
        return EitherLaw(tuple(part.prepared() for part in self.parts), self.shares)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._mean([part.log_laplace(exposures) for part in self.parts])[0]

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        parts = [part.tilted(exposures) for part in self.parts]
        log_f, chances = self._mean([log_f for log_f, _ in parts])

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            given = (of(share * chance) for (_, of), chance in zip(parts, chances, strict=True))
            return sum(given, namespace(exposures).zeros_like(exposures))

        return log_f, copies

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        if not is_numpy(exposures, values):
            return super().copies_along(exposures, values)
        golds: Any = np.arange(exposures.shape[-1])
        copies = self.copies_by_gold(exposures, golds)
        return np.sum(copies * values[..., None, :], axis=-1)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return self._tilted_mean(exposures, [part.own_hits(exposures) for part in self.parts])

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        given = [part.coincidences(exposures, values) for part in self.parts]
        return self._tilted_mean(exposures, given)

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        given = zip(self.parts, self.shares, strict=True)
        zero = namespace(share).zeros_like(share)
        return sum((chance * part.included(share) for part, chance in given), zero)

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        of_lot, of_set = jax.random.split(key)
        lot = jax.random.choice(of_lot, len(self.parts), p=jnp.asarray(self.shares))
        sizes = [jax.eval_shape(part.draw, of_set, gold)[0].shape[0] for part in self.parts]

        def of(part: Law):
            def drawn(key):
                labels, present = part.draw(key, gold)
                missing = (0, max(sizes) - labels.shape[0])
                return jnp.pad(labels, missing), jnp.pad(present, missing)

            return drawn

        return jax.lax.switch(lot, [of(part) for part in self.parts], of_set)

    def _mean(self, logs: list) -> tuple:
        """log F, and the chances of the lots once they are tilted."""
        xp = namespace(*logs)
        weighted = xp.stack(
            [math.log(chance) + log_f for log_f, chance in zip(logs, self.shares, strict=True)]
        )
        total = logsumexp(xp.moveaxis(weighted, 0, -1))
        none = xp.isneginf(total)  # no lot leaves anything: weights of no consequence, not NaN
        return total, xp.exp(xp.where(none, -xp.inf, weighted - xp.where(none, 0.0, total)))

    def _tilted_mean(self, exposures: Array, given: list[Any]) -> Any:
        _, chances = self._mean([part.log_laplace(exposures) for part in self.parts])
        zero = namespace(exposures).zeros_like(exposures)
        return sum((c * one for c, one in zip(chances, given, strict=True)), zero)


class Either(Several):
    """See `either`."""

    m: int | Float[Array, ""]
    parts: tuple[Sampler, ...]
    shares: tuple[float, ...] = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> EitherLaw:
        laws = tuple(part.law(scores, popularity) for part in self.parts)
        return EitherLaw(laws, self.shares)

    @property
    def may_be_empty(self) -> bool:
        return any(part.may_be_empty for part in self.parts)

    @property
    def portable(self) -> bool:
        return all(part.portable for part in self.parts)

    def slots(self, labels: int) -> int:
        return max(part.slots(labels) for part in self.parts)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        parts = tuple(part.sized(problem, tolerance) for part in self.parts)
        return Either(m=self.m, parts=parts, shares=self.shares)

    def __repr__(self) -> str:
        lots = ", ".join(
            f"({part!r}, {chance:.4g})"
            for part, chance in zip(self.parts, self.shares, strict=True)
        )
        return f"either([{lots}])"


def either(lots: Iterable[Any]) -> Either:
    """Negatives from one of several samplers, drawn by lot for each example.

    Parameters
    ----------
    lots : sequence of (sampler, share)
        Shares above 0 that sum to 1. The samplers may have different m; `m` is the largest.

    Returns
    -------
    Sampler
        Exact for every loss that corrects nothing, or by expected copies (`with_inclusion`).

    Raises
    ------
    ValueError
        No lots, something that is no sampler, shares that do not sum to 1.

    Examples
    --------
    Half of the steps with hard negatives, half with random ones:

    >>> problem = Problem([1.0, 0.5, -1.0], [0.6, 0.3, 0.1])
    >>> sampler = either([(iid(model(), 2), 0.5), (iid(uniform(), 2), 0.5)])
    >>> exact(problem, sampler).status
    'ok'
    """
    pairs = list(lots)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], Sampler):
            raise refuse(
                "lots",
                f"got {pair!r}",
                "pairs of a sampler and its share",
                "either([(nb.iid(nb.model(), 8), 0.5), (nb.iid(nb.uniform(), 8), 0.5)])",
            )
    shares = [float(share) for _, share in pairs]
    if not pairs or min(shares) <= 0 or not abs(sum(shares) - 1) <= SLACK:
        raise refuse(
            "lots",
            f"got shares {shares}",
            "shares above 0 that sum to 1",
            "Divide them by their sum, and leave out what is never drawn.",
        )
    parts = tuple(sampler for sampler, _ in pairs)
    check_of_today("lots", *parts)
    total = sum(shares)
    return Either(
        m=max(part.m for part in parts), parts=parts, shares=tuple(s / total for s in shares)
    )
