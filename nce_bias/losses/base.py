"""What a loss is: corrected scores, and a value on one gold and its negatives."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from nce_bias._checks import is_traced, refuse
from nce_bias._reads import bind, reads_gold
from nce_bias.integrals import Expectation, Rule
from nce_bias.numerics.arrays import Array, each, is_numpy, namespace
from nce_bias.problem import Problem
from nce_bias.samplers import ConcatenationLaw, Law, Sampler
from nce_bias.samplers.base import Chances

#: What is taken off a score: nothing, log q, or log(m q).
CORRECTIONS = ("none", "log_q", "log_mq")


class Besides(eqx.Module):
    """What a loss reads besides scores, of one input.

    `log_counts` and `by_gold`: log E[copies of y | g] = log_counts_y + by_gold_g(y), None where no
    one reads it. `pairwise`: what a negative adds depends on the gold's score. `gold`: that score,
    once it is known whose gold it is.
    """

    m: int | Float[Array, ""]
    labels: int = eqx.field(static=True)
    pairwise: bool = eqx.field(static=True, default=False)
    log_counts: Float[Array, " V"] | None = None
    by_gold: Float[Array, "V V_or_1"] | None = None
    gold: Float[Array, ""] | None = None
    law: ConcatenationLaw | None = None

    @property
    def coupled(self) -> bool:
        """Whether any of it depends on the gold."""
        return self.pairwise or self.by_gold is not None

    def of(self, gold: int | Int[Array, ""], scores: Float[Array, " V"]) -> Besides:
        """That of one gold."""
        counts = self.log_counts
        if counts is not None and self.by_gold is not None:
            counts = counts + self.by_gold[gold]
        if counts is not None:  # of a label that is never drawn no one asks
            xp = namespace(counts)
            counts = xp.where(xp.isneginf(counts), 0.0, counts)
        return Besides(self.m, self.labels, self.pairwise, counts, None, scores[gold])

    def at(self, gold: Int[Array, ""], labels: Int[Array, " m"]) -> dict[str, Any]:
        """By name, for one set of negatives of one gold."""
        found: dict[str, Any] = {"m": self.m, "labels": self.labels}
        if self.log_counts is not None:
            counts = self.of(gold, self.log_counts).log_counts
            assert counts is not None
            found["log_count"] = counts[labels]
        if self.law is not None:
            found["slots"] = self.law.slots(gold)
        return found


class Corrected(eqx.Module):
    """The scores of one input after corrections.

    A negative y of gold g has the score negatives_y + by_gold_g(y); `by_gold` has one column where
    the second part is the same for all labels, and a column for each label where it is not.
    `besides` is what a loss reads that is no score (`nce_bias.losses.functions`).
    """

    gold: Float[Array, " V"]
    negatives: Float[Array, " V"]
    by_gold: Float[Array, "V V_or_1"] | None = None
    besides: Besides | None = None

    @property
    def coupled(self) -> bool:
        """Whether what a negative adds depends on the gold, so that each gold is asked alone."""
        return self.by_gold is not None or (self.besides is not None and self.besides.coupled)

    @property
    def by_law(self) -> bool:
        """Whether anything but scores comes from the law of the negatives: corrections, counts."""
        counts = self.besides is not None and self.besides.log_counts is not None
        return self.by_gold is not None or counts

    def read(self, gold: Int[Array, ""], labels: Int[Array, " m"]) -> dict[str, Any]:
        """What `Loss.value` is given by name besides scores; nothing unless the loss reads it."""
        return {} if self.besides is None else self.besides.at(gold, labels)

    def negatives_of(self, gold: int | Int[Array, ""]) -> Float[Array, " V"]:
        """The scores of all labels as negatives of one gold."""
        return self.negatives if self.by_gold is None else self.negatives + self.by_gold[gold]

    def of(self, gold: int | Int[Array, ""]) -> Corrected:
        """With the scores of negatives that one gold has."""
        besides = None if self.besides is None else self.besides.of(gold, self.gold)
        return Corrected(self.gold, self.negatives_of(gold), None, besides)


@runtime_checkable
class Loss(Protocol):
    """What an engine needs of a loss; a loss of your own has these four members.

    `monte_carlo` differentiates `value` and asks nothing else. `exact` needs a fifth member,
    ``expectation(law, corrected, share, rule)`` (`nce_bias.integrals`), and raises NoExactMethod
    without it. No registration, no subclassing:

    >>> import jax, jax.numpy as jnp
    >>> class Hinge:
    ...     name = "hinge"
    ...     def corrected(self, scores, law, m):
    ...         return Corrected(gold=scores, negatives=scores)
    ...     def value(self, gold, negatives, present):
    ...         return jnp.sum(jnp.where(present, jax.nn.relu(1 + negatives - gold), 0.0))
    ...     def check(self, problem, sampler):
    ...         pass
    >>> problem = Problem([1.0, 0.5, -1.0], [0.7, 0.2, 0.1])
    >>> found = monte_carlo(problem, iid(uniform(), 2), Hinge(), key=jax.random.key(0), draws=64)
    >>> found.gradient.shape
    (3,)
    """

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        ...

    def corrected(
        self, scores: Float[Array, " V"], law: Law, m: int | Float[Array, ""]
    ) -> Corrected:
        """The corrected scores of one input, `law` being that of its negatives."""
        ...

    def value(
        self, gold: Float[Array, ""], negatives: Float[Array, " m"], present: Bool[Array, " m"]
    ) -> Float[Array, ""]:
        """The loss on one candidate set, from corrected scores; differentiable in both.

        With `Corrected.besides` it is given more, by name.
        """
        ...

    def check(self, problem: Problem, sampler: Sampler) -> None:
        """Raise ValueError for a problem or sampler on which the loss does not exist."""
        ...


@runtime_checkable
class ExactLoss(Loss, Protocol):
    """A loss that `exact` takes: it says what its gradient is on average.

    `normalized`: the derivatives by the candidates' scores are the chances of a softmax to pick
    each, so that rows of `selection` sum to 1.
    """

    @property
    def normalized(self) -> bool:
        """Whether v holds chances that sum to 1."""
        ...

    def expectation(
        self, law: Law, corrected: Corrected, share: Float[Array, " V"], rule: Rule
    ) -> Expectation:
        """What has to be known of one input, for golds that share the scores of their negatives."""
        ...


def check_loss(loss: object) -> None:
    """Refuse what is no loss."""
    if not isinstance(loss, Loss):
        raise refuse(
            "loss",
            f"got {loss!r}",
            "a loss such as nb.infonce, or an object with name, corrected, value and check",
            "nb.LOSSES['infonce'] is one by its name.",
        )


def correct(
    scores: Float[Array, " V"],
    law: Law,
    m: int | Float[Array, ""],
    gold: str,
    negatives: str,
    inclusion: bool = False,
) -> Corrected:
    """Scores with the corrections named by `gold` and `negatives` taken off.

    Where the law has `log_chances`, they take the place of log(m q), for the gold too.
    A label that is never drawn gets the score -inf as a negative, which is never used.
    """
    others = law.scores_of(scores)
    if gold == negatives == "none":
        return Corrected(scores, others)
    chances = law.log_chances(len(scores), inclusion)
    if negatives == "none":
        return Corrected(scores - _own(law, gold, m, chances), others)
    if chances is not None or inclusion:
        log_counts, by_gold = law.log_counts(scores) if chances is None else chances[1:]
        taken, by_gold = log_counts - (_log(m, scores) if negatives == "log_q" else 0.0), -by_gold
    else:
        log_q, log_rest = law.log_proposal()
        taken, by_gold = _of(negatives, log_q, m), log_rest[:, None]
    xp = namespace(scores, taken)
    off = xp.isneginf(taken)
    corrected = xp.where(off, -xp.inf, others - xp.where(off, 0.0, taken))
    own = scores if gold == "none" else scores - _own(law, gold, m, chances)
    never = xp.isposinf(by_gold)  # log 0 taken off: a label that this gold never has
    return Corrected(own, corrected, xp.where(never, -xp.inf, by_gold))


def check_one_weight(name: str, law: Law) -> None:
    """Refuse negatives of one label that differ in weight, for a loss that sees scores."""
    if law.scaled:
        raise refuse(
            "loss",
            f"{name} has a function of each score to take, and negatives of one label have "
            "scores of several ages",
            "a softmax over the candidates, as nb.infonce, or negatives of one age alone",
            "Use nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000).",
        )


def _own(
    law: Law, correction: str, m: int | Float[Array, ""], chances: Chances | None
) -> Float[Array, " V"]:
    """What is taken off the gold's score."""
    if chances is None:
        return _of(correction, law.log_proposal()[0], m)
    return chances[0] - (_log(m, chances[0]) if correction == "log_q" else 0.0)


def _of(
    correction: str, log_q: Float[Array, " V"], m: int | Float[Array, ""]
) -> Float[Array, " V"]:
    return log_q + (_log(m, log_q) if correction == "log_mq" else 0.0)


def _log(m: int | Float[Array, ""], like: Float[Array, " V"]) -> Float[Array, ""]:
    xp = namespace(m, like)
    return xp.log(xp.asarray(m, like.dtype))


def check_gold(name: str, problem: Problem, sampler: Sampler) -> None:
    """Refuse a gold whose own correction is log 0."""
    if is_traced(problem, sampler):
        return
    rows = _log_q_rows if is_numpy(problem.scores) else eqx.filter_jit(_log_q_rows)
    unseen = np.isneginf(np.asarray(rows(problem, sampler)))
    lost = np.argwhere(unseen & (np.asarray(problem.population_rows) > 0))
    if lost.size:
        row, label = (int(i) for i in lost[0])
        raise refuse(
            "loss",
            f"{name} takes log q off the gold, and {sampler!r} has q = 0 at the gold "
            f"{label} of input {row}",
            "q > 0 at every label with pop(y|x) > 0",
            "Mix in another proposal, nb.mixture(q, nb.uniform(), share=0.99), or use "
            "nb.sampled_softmax, which corrects the negatives alone.",
        )


def _log_q_rows(problem: Problem, sampler: Sampler) -> Float[Array, "X V"]:
    by_gold = reads_gold(sampler, problem.sides)

    def row(inputs):
        scores, seen = inputs

        def log_q(gold):
            return bind(sampler, seen, gold).law(scores, problem.popularity).log_proposal()[0]

        if not by_gold:
            return log_q(None)
        return each(lambda gold: log_q(gold)[gold], namespace(scores).arange(len(scores)))

    return each(row, (problem.score_rows, problem.seen_rows))
