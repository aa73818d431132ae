"""What a sampler is: the law of the negatives of one input, and the recipe that makes it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias.numerics.arrays import Array, each, namespace
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem

Golds = Int[Array, " B"]
#: Negatives of every row of a batch, and which of them are there.
RowsDrawn = tuple[Int[Array, "B m"], Bool[Array, "B m"]]
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
        """Numbers of one node, as NumPy's time goes: `engine.plan.MOST_TERMS` allows for them.

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

    @property
    def takes_atoms(self) -> bool:
        """Whether labels enter through sums of smooth functions of their weights and chances."""
        return self.independent

    @property
    def selects(self) -> bool:
        """Whether a set is chosen among draws from q, so that no slot of it is a draw from q."""
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

    @property
    def scaled(self) -> bool:
        """Whether negatives of one label differ in weight: a loss sees weights alone then."""
        return False

    @property
    def lowest(self) -> Float[Array, ""] | float:
        """The logarithm of the least that exposures are multiplied by, where `scaled`."""
        return 0.0

    def scores_of(self, scores: Float[Array, " V"]) -> Float[Array, " V"]:
        """The scores that labels have as negatives: those of the input, or of older keys."""
        return scores

    def shifts(self, labels: Labels) -> Array | float:
        """What each slot of a drawn set has more than `scores_of` its label; not above 0."""
        return 0.0

    def excess(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        """What `coincidences` has besides coincidences, for copies that are not of weight 1."""
        return namespace(exposures).zeros_like(exposures)

    def unweighted(self) -> Law:
        """The law of the labels alone, every copy of weight 1."""
        return self

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

    @property
    def levels(self) -> int | None:
        """How many uniform numbers place one set of negatives, where these are so drawn."""
        return None

    def placed(
        self, levels: Any, gold: Int[Array, ""], order: Int[Array, " V"] | None = None
    ) -> tuple[Labels, Present]:
        """What `draw` gives, from its uniform numbers; `order` lays out the labels (`_line`)."""
        raise NotImplementedError(f"{type(self).__name__} is not drawn from uniform numbers")

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


class Batch(eqx.Module):
    """The negatives of all rows of a batch (`nce_bias.samplers._batch`)."""

    @property
    @abstractmethod
    def crossed(self) -> bool:
        """Whether the gold of each row is a negative of every other."""

    @property
    @abstractmethod
    def drops_hits(self) -> bool:
        """Whether each row drops what equals its own gold."""

    @property
    @abstractmethod
    def common(self) -> Law | None:
        """The law of the draws that two rows share besides, all hits kept; independent of golds."""

    def draw_golds(self, key: PRNGKeyArray, size: int, popularity: Float[Array, " V"]) -> Golds:
        """The golds of all rows: independent, unless a batch says otherwise."""
        cumulative = jnp.cumsum(jnp.asarray(popularity))
        level = jax.random.uniform(key, (size,), cumulative.dtype) * cumulative[-1]
        return jnp.searchsorted(cumulative, level, side="right")

    @abstractmethod
    def draw(self, key: PRNGKeyArray, golds: Golds) -> RowsDrawn:
        """The negatives of every row, whose golds are given."""


class Sampler(eqx.Module):
    """A way to draw m negatives; `a + b` draws both sets."""

    m: eqx.AbstractVar[int | Float[Array, ""]]

    @property
    def costly(self) -> bool:
        """Whether its exact moments take minutes even for a few hundred labels."""
        return False

    @property
    def takes_atoms(self) -> bool:
        """Whether its law may be: then `measured` comes first, `check_affordable` if it is not."""
        return False

    def measured(self, problem: Problem, tolerance: float) -> Sampler:
        """`sized`, but nothing is refused yet for what the direct rule would cost."""
        return self.sized(problem, tolerance)

    def check_affordable(self, problem: Problem) -> None:
        """Raise NoExactMethod where the direct rule would take hours."""

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

    @property
    def aged(self) -> bool:
        """Whether there are old copies among the negatives, with scores of their own."""
        return False

    @abstractmethod
    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        """The law of the negatives of one input."""

    @abstractmethod
    def check(self, problem: Problem) -> None:
        """Raise ValueError if `problem` cannot be sampled this way."""

    @property
    def rows(self) -> int | None:
        """Rows of a batch, where the negatives are made of them; None where any number will do."""
        return None

    def batch(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Batch | None:
        """The negatives of all rows of a batch that shares them; None where rows cannot."""
        return None

    def slots(self, labels: int) -> int:
        """Length of what the law of `labels` labels draws: m unless the number drawn is random."""
        return int(self.m)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """The same sampler with the nodes of an inner rule, if any, set for `problem`."""
        return self

    def __add__(self, other: Sampler) -> Sampler:
        from nce_bias.samplers._concatenation import concatenate

        return concatenate(self, other) if isinstance(other, Sampler) else NotImplemented


class Several(Sampler):
    """What a sampler made of others answers for all of them."""

    parts: eqx.AbstractVar[tuple[Sampler, ...]]

    @property
    def costly(self) -> bool:
        return any(part.costly for part in self.parts)

    @property
    def reads_scores(self) -> bool:
        return any(part.reads_scores for part in self.parts)

    @property
    def aged(self) -> bool:
        return any(part.aged for part in self.parts)

    def check(self, problem: Problem) -> None:
        for part in self.parts:
            part.check(problem)


def check_of_today(argument: str, *samplers: Sampler) -> None:
    """Refuse old copies where labels are chosen among, which have no ages."""
    for sampler in samplers:
        if sampler.aged:
            raise refuse(
                argument,
                f"{sampler!r} draws old copies, with scores of their own",
                "a sampler of labels",
                "Choose first: nb.queue(nb.best_of(pool, m), scores), of a sampler made of labels.",
            )
