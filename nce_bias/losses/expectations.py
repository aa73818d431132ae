"""A loss, the law of the negatives and scores together: what an exact engine asks of one input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Int

from nce_bias.integrals import Expectation, Rule
from nce_bias.integrals.lottery import Lottery
from nce_bias.losses.base import ExactLoss
from nce_bias.numerics.arrays import Array
from nce_bias.samplers import Law


class Expectations(NamedTuple):
    """`at(gold, share)` for golds that share the scores of their negatives.

    `coupled`: the corrected scores of negatives depend on the gold, so that each is asked alone.
    `gold_scores`: the gold's corrected scores.
    """

    at: Callable[[int | Int[Array, ""], Float[Array, " V"]], Expectation]
    coupled: bool
    gold_scores: Float[Array, " V"]


def expectations(loss: ExactLoss, scores: Float[Array, " V"], law: Law, rule: Rule) -> Expectations:
    """By lot where the law is one of several and the loss takes something off the scores."""
    corrected = loss.corrected(scores, law, rule.m)
    lot = None if corrected.negatives is scores else law.by_lot()
    if lot is None:

        def alone(gold, share):
            return loss.expectation(law, corrected.of(gold), share, rule)

        return Expectations(alone, corrected.by_gold is not None, corrected.gold)

    def by_lot(gold, share):
        def given(law):
            own = loss.corrected(scores, law, rule.m)
            return loss.expectation(law.prepared(), own.of(gold), share, rule)

        return Lottery(share, lot, given)

    first = loss.corrected(scores, lot.first, rule.m)
    return Expectations(by_lot, first.by_gold is not None, first.gold)
