"""What a sampler is: the law of the negatives of one input, and the recipe that makes it."""

from __future__ import annotations

import functools
import itertools
import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.numerics.arrays import Array, each, namespace
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem

#: Expected copies of every label, golds weighted by a share.
Copies = Callable[[Float[Array, "*N V"]], Float[Array, "*N V"]]
Labels = Int[Array, " m"]
Present = Bool[Array, " m"]
#: See `Law.log_chances`.
Chances = tuple[Float[Array, " V"], Float[Array, " V"], Float[Array, "V V_or_1"]]


class Lot(eqx.Module):
    """One of several laws, by lot: weights that sum to 1, and laws stacked along a leading axis.

    `missing` bounds the chance of the laws that are left out.
    """

    weights: Float[Array, " L"]
    laws: Law
    missing: float = eqx.field(static=True)

    @property
    def first(self) -> Law:
        """The first of the laws."""
        return jax.tree.map(lambda leaf: leaf[0], self.laws)


class Law(eqx.Module):
    """The joint law of the negatives of one input, given each gold."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Elements touched by one call of `log_laplace`; engines size their blocks by it."""

    @property
    def work(self) -> int:
        """Numbers of one node, as NumPy's time goes: `engine._exact.MOST_TERMS` allows for them.

        By default `size`. A law whose compilation takes longer may say less than it computes.
        """
        return self.size

    @property
    def work_of_a_gold(self) -> int:
        """The same for `copies_by_gold`, for each gold; 0 where it costs nothing more."""
        return 0

    def prepared(self) -> Law:
        """The same law with what every node of an integral shares computed once."""
        return self

    @property
    def error(self) -> Float[Array, ""] | float:
        """Bound on the relative error of exp(log_laplace); 0 for a closed form."""
        return 0.0

    @property
    def independent(self) -> bool:
        """Whether the negatives are independent draws with replacement from one q."""
        return False

    @abstractmethod
    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """log F_g(z) for every gold g, at the exposures z `[V]` >= 0."""

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        """log F_g(z), and copies(share)_y = sum_g share_g (-dlog F_g / dz_y) for every y.

        The latter are expected copies of y among the tilted negatives. By reverse mode unless a law
        has them in closed form.
        """
        log_f, pull_back = jax.vjp(self.log_laplace, exposures)
        return log_f, lambda share: -pull_back(share)[0]

    def copies_by_gold(
        self, exposures: Float[Array, "*N V"], golds: Int[Array, " G"]
    ) -> Float[Array, "*N G V"]:
        """-dlog F_g / dz_y for some golds: expected copies of y among the tilted negatives of g."""
        xp, copies = namespace(exposures), self.tilted(exposures)[1]
        labels, ones = xp.arange(exposures.shape[-1]), xp.ones_like(exposures)
        return xp.stack([copies(ones * (labels == gold)) for gold in golds], axis=-2)

    def copies_along(
        self, exposures: Float[Array, " V"], values: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """sum_y values_y (-dlog F_g / dz_y) for every g: their expected sum over tilted negatives.

        By reverse mode twice unless a law has it in closed form: forward mode would need a rule of
        its own for the products (`numerics.polynomials`).
        """
        log_f, pull_back = jax.vjp(self.log_laplace, exposures)
        _, push = jax.vjp(lambda cotangent: pull_back(cotangent)[0], jnp.zeros_like(log_f))
        return -push(values)[0]

    def own_hits(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        """-dlog F_g / dz_g for every g: expected copies of the gold among the tilted negatives.

        *Tilted* means under the law reweighted by exp(-sum_k z(y_k)) / F_g. 0 unless hits are kept.
        """
        return namespace(exposures).zeros_like(exposures)

    def coincidences(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """For every g, the tilted expectation of sum over pairs k != l of 1{y_k = y_l} values^2.

        0 for distinct negatives, the default: it alone separates a second moment from a first.
        """
        return namespace(exposures).zeros_like(exposures)

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable | None:
        """-dlog F_g / dz_y = sum_c r[c, g] u[c, y] for y != g, if it has that form."""
        return None

    def repeated(self) -> tuple[Any, ...]:
        """The independent draws with replacement in a separable law; its other parts are fixed."""
        return ()

    def counts(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """sum_g share_g E[copies of y | g] for every y: those of z = 0, where nothing is tilted."""
        return self.tilted(namespace(share).zeros_like(share))[1](share)

    def log_counts(
        self, like: Float[Array, " V"]
    ) -> tuple[Float[Array, " V"], Float[Array, "V V_or_1"]]:
        """(a, b) with log E[copies of y | g] = a_y + b_gy, one column in b if that is enough.

        `like` is a row of scores, for its length and its kind of array.
        """
        xp = namespace(like)
        counts = each(self.counts, xp.eye(len(like), dtype=like.dtype))
        return xp.zeros_like(like), xp.log(xp.maximum(counts, 0.0))

    def log_chances(self, labels: int, inclusion: bool) -> Chances | None:
        """What corrections take off in place of log(m q), if the law says so.

        `inclusion` says whether the loss asks for expected copies itself (`with_inclusion`).
        (c, a, b): the logarithm of the chance to be among the draws is c_y where y is the gold, and
        a_y + b_gy where it is a negative of g (`log_counts`).
        """
        return None

    def inclusion(self) -> Separable | None:
        """P(y among the negatives | g) = sum_c r[c, g] u[c, y] for y != g, if any."""
        return None

    def included(self, share: Float[Array, " V"]) -> Float[Array, " V"]:
        """sum_{g != y} share_g P(y among the negatives | g) for every y.

        The number of copies for distinct negatives, which do not say otherwise.
        """
        chances = self.inclusion()
        return self.counts(share) if chances is None else chances.average(share)

    def included_for(
        self, golds: Int[Array, " G"], share: Float[Array, " V"]
    ) -> Float[Array, " V"]:
        """`included` where all shares lie on a few golds."""
        return self.included(share)

    @abstractmethod
    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        """One set of negatives for `gold`, and which of its slots are present (not dropped)."""

    def by_lot(self) -> Lot | None:
        """The laws of which this is a mixture, where corrections depend on which it was."""
        return None

    def draw_by_lot(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present, Law]:
        """`draw`, and the law whose corrections the set meets."""
        return *self.draw(key, gold), self

    def log_proposal(self) -> tuple[Float[Array, " V"], Float[Array, " V"]]:
        """log q `[V]` of one draw, and log of the mass left for each gold, for corrections.

        A negative y of gold g is drawn by q_y / rest_g. Raises ValueError where no single q exists.
        """
        raise refuse(
            "loss",
            f"it corrects scores by log q, and {type(self).__name__.removesuffix('Law')} "
            "negatives are not drawn from one q",
            "an uncorrected loss such as nb.infonce here, or one iid sampler",
            "To correct a mixture use nb.iid(nb.mixture(a, b, share), m), which has a q, or "
            "nb.with_inclusion(loss), which corrects by expected numbers of draws.",
        )


class Sampler(eqx.Module):
    """A way to draw m negatives; `a + b` draws both sets."""

    m: eqx.AbstractVar[int | Float[Array, ""]]

    @property
    def costly(self) -> bool:
        """Whether its exact moments take minutes even for a few hundred labels."""
        return False

    @property
    def may_be_empty(self) -> bool:
        """Whether a set may have no negative."""
        return False

    @property
    def portable(self) -> bool:
        """Whether the law is written for NumPy arrays too, with any leading axes of exposures."""
        return False

    @property
    def separable(self) -> bool:
        """Whether the law is (`Law.separable`)."""
        return False

    @property
    def reads_scores(self) -> bool:
        """Whether the law depends on the scores."""
        return True

    @abstractmethod
    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        """The law of the negatives of one input."""

    @abstractmethod
    def check(self, problem: Problem) -> None:
        """Raise ValueError if `problem` cannot be sampled this way."""

    def slots(self, labels: int) -> int:
        """Length of what the law of `labels` labels draws: m unless the number drawn is random."""
        return int(self.m)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """The same sampler with the nodes of an inner rule, if any, set for `problem`."""
        return self

    def __add__(self, other: Sampler) -> Concatenation:
        if not isinstance(other, Sampler):
            return NotImplemented
        parts = (*_parts(self), *_parts(other))
        return Concatenation(m=sum(part.m for part in parts), parts=parts)


def _parts(sampler: Sampler) -> tuple[Sampler, ...]:
    return sampler.parts if isinstance(sampler, Concatenation) else (sampler,)


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
    return xp.sum(xp.moveaxis(first.r, -2, 0) * along, axis=0)


class Concatenation(Sampler):
    """`a + b`: the negatives of both; a label drawn by both parts counts twice."""

    m: int | Float[Array, ""]
    parts: tuple[Sampler, ...]

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> ConcatenationLaw:
        return ConcatenationLaw(tuple(part.law(scores, popularity) for part in self.parts))

    @property
    def may_be_empty(self) -> bool:
        return all(part.may_be_empty for part in self.parts)

    @property
    def portable(self) -> bool:
        """The coincidences between two parts are derivatives by JAX where neither is separable."""
        dense = [part for part in self.parts if not part.separable]
        return all(part.portable for part in self.parts) and len(dense) <= 1

    @property
    def reads_scores(self) -> bool:
        return any(part.reads_scores for part in self.parts)

    def check(self, problem: Problem) -> None:
        for part in self.parts:
            part.check(problem)

    def slots(self, labels: int) -> int:
        return sum(part.slots(labels) for part in self.parts)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        parts = tuple(part.sized(problem, tolerance) for part in self.parts)
        m = namespace(problem.scores).asarray(self.m, problem.scores.dtype)
        return Concatenation(m=m, parts=parts)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))
