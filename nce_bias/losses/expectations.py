"""A loss, the law of the negatives and scores together: what an exact engine asks of one input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float, Int

from nce_bias.integrals import Expectation, Rule
from nce_bias.integrals.atoms import most_frequent
from nce_bias.integrals.inclusion import included_by_many
from nce_bias.integrals.lottery import Lottery
from nce_bias.losses.base import ExactLoss
from nce_bias.numerics.arrays import Array, each, namespace, one_hot, top_k
from nce_bias.samplers import Law


class Expectations(NamedTuple):
    """`at(gold, share)` for golds that share the scores and the law of their negatives.

    `coupled`: scores or law depend on the gold, so that each is asked alone. `included(share,
    golds)`: sum_g share_g P(y among the negatives | g), of the most frequent golds where they are
    asked alone. `gold_scores`: the gold's corrected scores.
    """

    at: Callable[[int | Int[Array, ""], Float[Array, " V"]], Expectation]
    coupled: bool
    included: Callable[[Float[Array, " V"], int], Float[Array, " V"]]
    gold_scores: Float[Array, " V"]


def expectations(loss: ExactLoss, scores: Float[Array, " V"], law: Law, rule: Rule) -> Expectations:
    """By lot where the law is one of several and the loss takes something off the scores."""
    corrected = loss.corrected(scores, law, rule.m)
    plain = corrected.negatives is scores and not corrected.by_law
    lot = None if plain else law.by_lot()

    def included(share, golds):
        if rule.crowd is not None:
            if law.independent:
                return included_by_many(law, share, rule)
            at: Any = loss.expectation(law, corrected.of(0), share, rule)
            return at.included()
        if rule.atoms:
            return law.included_for(most_frequent(share, rule.golds), share)
        return law.included(share)

    if lot is None:

        def alone(gold, share):
            return loss.expectation(law, corrected.of(gold), share, rule)

        return Expectations(alone, corrected.coupled, included, corrected.gold)

    def by_lot(gold, share):
        def given(law):
            own = loss.corrected(scores, law, rule.m)
            return loss.expectation(law.prepared(), own.of(gold), share, rule)

        return Lottery(share, lot, given)

    first = loss.corrected(scores, lot.first, rule.m)
    return Expectations(by_lot, first.coupled, included, first.gold)


def expectations_by_gold(
    loss: ExactLoss,
    scores: Float[Array, " V"],
    law: Callable[[Any], Law],
    rule: Rule,
    *,
    prepared: bool,
) -> Expectations:
    """Where proposals read the gold: `law(gold)` is that of its negatives."""

    def at(gold, share):
        own = law(gold)
        return expectations(loss, scores, own.prepared() if prepared else own, rule).at(gold, share)

    def included(share, golds):
        shares, which = top_k(share, golds)
        alone = each(lambda gold: law(gold).prepared().included(one_hot(gold, share)), which)
        return shares @ alone

    labels = namespace(scores).arange(len(scores))
    gold_scores = each(lambda gold: loss.corrected(scores, law(gold), rule.m).gold[gold], labels)
    return Expectations(at, True, included, gold_scores)
