"""Sets drawn side by side: `a + b`."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias.numerics.arrays import Array, each, namespace
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.samplers._batch import SideBySide
from nce_bias.samplers._queue_law import to_one_reference
from nce_bias.samplers.base import Batch, Copies, Labels, Law, Present, Sampler, Several


class ConcatenationLaw(Law):
    """Independent parts: the functionals multiply, the draws are joined."""

    parts: tuple[Law, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def work(self) -> int:
        """Of the parts, and of the coincidences between each two of them."""
        pairs = itertools.combinations(self.parts, 2)
        between = sum(a.work * b.work // min(a.size, b.size) for a, b in pairs)
        return sum(part.work for part in self.parts) + between

    @property
    def work_of_a_gold(self) -> int:
        return sum(part.work_of_a_gold for part in self.parts)

    def prepared(self) -> ConcatenationLaw:
        return ConcatenationLaw(tuple(part.prepared() for part in self.parts))

    @property
    def error(self) -> Float[Array, ""] | float:
        return sum(part.error for part in self.parts)

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return sum((p.log_laplace(exposures) for p in self.parts), 0 * exposures)

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        parts = [part.tilted(exposures) for part in self.parts]
        zero = namespace(exposures).zeros_like(exposures)

        def copies(share: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
            return sum((of_part(share) for _, of_part in parts), zero)

        return sum((log_f for log_f, _ in parts), zero), copies

    @property
    def scaled(self) -> bool:
        return any(part.scaled for part in self.parts)

    @property
    def lowest(self) -> Float[Array, ""] | float:
        lows = [part.lowest for part in self.parts]
        return functools.reduce(namespace(*lows).minimum, lows)

    def scores_of(self, scores: Float[Array, " V"]) -> Float[Array, " V"]:
        """Those of any part: where they differ, parts are relative to one reference."""
        return self.parts[0].scores_of(scores)

    def shifts(self, labels: Labels) -> Array | float:
        if not self.scaled:
            return 0.0
        ends = itertools.accumulate(self.slots(jnp.zeros((), int)), initial=0)
        of_parts = [labels[start:end] for start, end in itertools.pairwise(ends)]
        shifts = [p.shifts(own) + 0.0 * own for p, own in zip(self.parts, of_parts, strict=True)]
        return jnp.concatenate(shifts)

    def excess(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        return sum((part.excess(exposures, values) for part in self.parts), 0 * exposures)

    def unweighted(self) -> Law:
        return ConcatenationLaw(tuple(part.unweighted() for part in self.parts))

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        return sum((part.counts(share) for part in self.parts), 0 * share)

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return sum((p.own_hits(exposures) for p in self.parts), 0 * exposures)

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """Within the parts, and twice between each two of them."""
        within = (part.coincidences(exposures, values) for part in self.parts)
        total = sum(within, 0 * exposures)
        for a, b in itertools.combinations(self.parts, 2):
            total = total + 2 * _coincidences_between(a, b, exposures, values)
        return total

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable | None:
        parts = [part.separable(exposures) for part in self.parts]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        xp = namespace(exposures)
        rows = xp.concatenate([part.r for part in known], axis=-2)
        return Separable(rows, xp.concatenate([part.u for part in known], axis=-2))

    def repeated(self) -> tuple[Any, ...]:
        return tuple(itertools.chain.from_iterable(part.repeated() for part in self.parts))

    def inclusion(self) -> Separable | None:
        parts = [part.inclusion() for part in self.parts]
        missed = [1 - part for part in parts if part is not None]
        return 1 - functools.reduce(operator.mul, missed) if len(missed) == len(parts) else None

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """1 - P(no part has y): separable parts together, and at most one that is not.

        Two parts that are not separable take one gold after the other.
        """
        chances = self.inclusion()
        if chances is not None:
            return chances.average(share)
        dense = [part for part in self.parts if part.inclusion() is None]
        known = [1 - s for part in self.parts if (s := part.inclusion()) is not None]
        xp = namespace(share)
        ones = xp.ones_like(share)[None]
        missed = functools.reduce(operator.mul, known, Separable(ones, ones))
        if len(dense) == 1:
            by_dense = each(dense[0].included, missed.r * share)
            return (1 - missed).average(share) + xp.sum(missed.u * by_dense, axis=0)

        def alone(gold):
            by_part = (1 - part.included(gold) for part in dense)
            by_none = functools.reduce(operator.mul, by_part)
            return (1 - gold) * (1 - (missed.u.T @ (missed.r @ gold)) * by_none)

        return share @ jax.lax.map(alone, jnp.eye(len(share)))

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        keys = jax.random.split(key, len(self.parts))
        draws = [part.draw(k, gold) for part, k in zip(self.parts, keys, strict=True)]
        return jnp.concatenate([d[0] for d in draws]), jnp.concatenate([d[1] for d in draws])

    @property
    def levels(self) -> int | None:
        counts = [part.levels for part in self.parts]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def placed(
        self, levels: Any, gold: Int[Array, ""], order: Int[Array, " V"] | None = None
    ) -> tuple[Labels, Present]:
        ends = itertools.accumulate((part.levels or 0 for part in self.parts), initial=0)
        parts = [
            part.placed(jax.tree.map(lambda leaf: leaf[start:end], levels), gold, order)  # noqa: B023
            for part, (start, end) in zip(self.parts, itertools.pairwise(ends), strict=True)
        ]
        return jnp.concatenate([p[0] for p in parts]), jnp.concatenate([p[1] for p in parts])

    def slots(self, gold: Int[Array, ""]) -> tuple[int, ...]:
        """How many slots of a draw each part has."""
        key = jax.random.key(0)
        drawn = (jax.eval_shape(part.draw, key, gold)[0] for part in self.parts)
        return tuple(labels.shape[0] for labels in drawn)

    def without(self, part: int) -> ConcatenationLaw:
        """Of the other parts."""
        return ConcatenationLaw((*self.parts[:part], *self.parts[part + 1 :]))


def _coincidences_between(
    a: Law, b: Law, z: Float[Array, "*N V"], values: Float[Array, "*N V"]
) -> Float[Array, "*N V"]:
    """sum_y values_y^2 (-dlog F^a_g/dz_y) (-dlog F^b_g/dz_y) for every g.

    If one part is separable, the other is differentiated along the few directions it gives; only
    two parts that are not (two draws without replacement) take a V x V Jacobian.
    """
    first, second, squares = a.separable(z), b.separable(z), values**2
    if first is None and second is None:
        slopes = [jax.jacrev(law.log_laplace)(z) for law in (a, b)]
        return jnp.sum(squares * slopes[0] * slopes[1], axis=-1)
    if first is not None and second is not None:
        r, u, s, v = first.r, first.u, second.r, second.u
        terms = squares[..., None, None, :] * u[..., :, None, :] * v[..., None, :, :]
        pairs, xp = sum_without_each(terms), namespace(terms)
        off_gold = xp.einsum("...cg,...dg,...cdg->...g", r, s, pairs)
        return off_gold + squares * a.own_hits(z) * b.own_hits(z)
    if first is None:
        return _coincidences_between(b, a, z, values)
    xp = namespace(z, squares)
    directions = xp.moveaxis(first.u * squares[..., None, :], -2, 0)
    along = each(lambda values: b.copies_along(z, values), directions)
    hits = b.own_hits(z)  # the separable form is of labels that are not the gold
    off_gold = xp.sum(xp.moveaxis(first.r, -2, 0) * (along - directions * hits), axis=0)
    return off_gold + squares * a.own_hits(z) * hits


class Concatenation(Several):
    """`a + b`: the negatives of both; a label drawn by both parts counts twice."""

    m: int | Float[Array, ""]
    parts: tuple[Sampler, ...]

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> ConcatenationLaw:
        laws = tuple(part.law(scores, popularity) for part in self.parts)
        return ConcatenationLaw(to_one_reference(laws, scores))

    @property
    def may_be_empty(self) -> bool:
        return all(part.may_be_empty for part in self.parts)

    @property
    def portable(self) -> bool:
        """The coincidences between two parts are derivatives by JAX where neither is separable."""
        dense = [part for part in self.parts if not part.separable]
        return all(part.portable for part in self.parts) and len(dense) <= 1

    @property
    def rows(self) -> int | None:
        sizes = {part.rows for part in self.parts} - {None}
        return sizes.pop() if len(sizes) == 1 else None

    def batch(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Batch | None:
        parts = [part.batch(scores, popularity) for part in self.parts]
        known = tuple(part for part in parts if part is not None)
        crossed = sum(part.crossed for part in known)
        return SideBySide(known) if len(known) == len(parts) and crossed <= 1 else None

    def slots(self, labels: int) -> int:
        return sum(part.slots(labels) for part in self.parts)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        parts = tuple(part.sized(problem, tolerance) for part in self.parts)
        m = namespace(problem.scores).asarray(self.m, problem.scores.dtype)
        return Concatenation(m=m, parts=parts)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def concatenate(a: Sampler, b: Sampler) -> Concatenation:
    """`a + b`, with the parts of a sum taken apart."""
    parts = (*_parts(a), *_parts(b))
    return Concatenation(m=sum(part.m for part in parts), parts=parts)


def _parts(sampler: Sampler) -> tuple[Sampler, ...]:
    return sampler.parts if isinstance(sampler, Concatenation) else (sampler,)
