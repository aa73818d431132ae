"""Proposals that read a side of the problem: known positives, stale scores, a teacher's.

A side is an array with a number for each label, or for each input and label, read by its name
(`SIDES` says which conventions have), so that one class serves them all:

>>> among("shortlist")
among shortlist
>>> problem = Problem([1.0, 0.5, 0.0], [1.0, 0.0, 0.0], sides={"shortlist": [0, 1, 0]})
>>> found = exact(problem, iid(among("shortlist"), 2))
>>> float(found.selection[2])
0.0
"""

from __future__ import annotations

import equinox as eqx

from nce_bias._checks import check_count
from nce_bias._reads import Declared, proposal
from nce_bias.numerics.arrays import namespace, one_hot
from nce_bias.presets._ranks import Named, rank_of, uniform_over

#: What the sides that conventions read mean.
SIDES = {
    "positives": "1 for every label known to be right for the input, 0 for the others",
    "stale": "scores of an earlier state of the model",
    "queued": "scores of the labels' older keys in a queue, with the queries of today",
    "teacher": "scores of a second, frozen model",
    "generator": "scores of a model that is trained to make hard negatives",
    "kernel": "what the random features say exp(score) is, up to a factor; 0 where it is negative",
    "quantised": "scores between the codewords of input and label, without the residual",
    "tree": "log q(y|x) of a learned decision tree over the labels",
    "pagerank": "how near the label is to the input by personalised PageRank",
    "shortlist": "1 for every label of the input's shortlist, 0 for the others",
    "seen_in_slot": "1 for every entity seen in this slot of the relation, 0 for the others",
    "mined": "the number of the label mined for each label as a gold, -1 for none",
    "hardness": "what an adversary has learned to add to the label's score as a negative",
    "neighbours": "1 for every entity within k steps of the input's entity, 0 for the others",
}


def sides(*names: str) -> dict[str, str]:
    """The sides of those names, with their meanings."""
    return {name: SIDES[name] for name in names}


class Among(Named):
    """Uniform where the side is above 0, or where it is not."""

    inside: bool = eqx.field(static=True, default=True)

    def __call__(self, side):
        return uniform_over((side > 0) == self.inside, side)


class PopularOutside(Named):
    """In proportion to pop(y) where the side is not above 0."""

    def __call__(self, popularity, side):
        xp = namespace(popularity, side)
        allowed = (popularity > 0) & (side <= 0)
        return xp.where(allowed, xp.log(xp.where(allowed, popularity, 1.0)), -xp.inf)


class SoftmaxOf(Named):
    """In proportion to exp(side / temperature)."""

    temperature: float = eqx.field(static=True, default=1.0)

    def __call__(self, side):
        return side / self.temperature


class PopularSoftmaxOf(Named):
    """In proportion to pop(y) exp(side)."""

    def __call__(self, popularity, side):
        xp = namespace(popularity, side)
        seen = popularity > 0
        return side + xp.where(seen, xp.log(xp.where(seen, popularity, 1.0)), -xp.inf)


class ProportionalTo(Named):
    """In proportion to the side, where it is above 0."""

    def __call__(self, side):
        xp = namespace(side)
        return xp.where(side > 0, xp.log(xp.where(side > 0, side, 1.0)), -xp.inf)


class BestBy(Named):
    """Uniform over the labels of ranks first, ..., last by the side; all there are if fewer."""

    first: int = eqx.field(static=True, default=1)
    last: int = eqx.field(static=True, default=1)

    def __call__(self, side):
        rank = rank_of(side) + 1
        return uniform_over((rank >= self.first) & (rank <= self.last), side)


class BelowGoldBy(Named):
    """Uniform over the best labels by the side, of those below a share of the gold's."""

    share: float = eqx.field(static=True, default=1.0)
    depth: int = eqx.field(static=True, default=1)

    def __call__(self, gold, side):
        xp = namespace(side)
        allowed = (one_hot(gold, side) == 0) & (side <= self.share * side[gold])
        rank = rank_of(xp.where(allowed, side, -xp.inf))
        return uniform_over(allowed & (rank < self.depth), side)


class Denoised(Named):
    """Uniform over the best labels by one side, of those that another scores below a number."""

    depth: int = eqx.field(static=True, default=1)
    below: float = eqx.field(static=True, default=0.0)

    def __call__(self, side, judge):
        return uniform_over((rank_of(side) < self.depth) & (judge < self.below), side)


class SoftmaxOfBest(Named):
    """In proportion to exp(side) over the best labels by it."""

    depth: int = eqx.field(static=True, default=1)

    def __call__(self, side):
        xp = namespace(side)
        return xp.where(rank_of(side) < self.depth, side, -xp.inf)


class MaskedAboveBy(Named):
    """Scores of candidates: -inf, no weight, where a side is above the gold's less a margin."""

    margin: float = eqx.field(static=True, default=0.0)

    def __call__(self, scores, gold, side):
        xp = namespace(scores, side)
        return xp.where(side > side[gold] - self.margin, -xp.inf, scores)


class MovedBy(Named):
    """Scores of candidates: the side on top."""

    def __call__(self, scores, side):
        return scores + side


def among(side: str) -> Declared:
    """Uniform over the labels that a side marks."""
    return proposal(Among(f"among {side}"), (side,))


def outside(side: str) -> Declared:
    """Uniform over the labels that a side does not mark."""
    return proposal(Among(f"outside {side}", inside=False), (side,))


def popular_outside(side: str) -> Declared:
    """By popularity over the labels that a side does not mark."""
    return proposal(PopularOutside(f"popularity outside {side}"), ("popularity", side))


def softmax_of(side: str, temperature: float = 1.0) -> Declared:
    """A softmax of a side."""
    tempered = "" if temperature == 1 else f" / {temperature:g}"
    return proposal(SoftmaxOf(f"softmax of {side}{tempered}", float(temperature)), (side,))


def popular_softmax_of(side: str) -> Declared:
    """A softmax of a side, times popularity."""
    return proposal(PopularSoftmaxOf(f"popularity times softmax of {side}"), ("popularity", side))


def proportional_to(side: str) -> Declared:
    """In proportion to a side."""
    return proposal(ProportionalTo(f"proportional to {side}"), (side,))


def best_by(side: str, last: int, first: int = 1) -> Declared:
    """Uniform over ranks by a side."""
    check_count("first", first)
    ranks = f"{first} to {check_count('last', last)}"
    return proposal(BestBy(f"ranks {ranks} by {side}", int(first), int(last)), (side,))


def below_gold_by(side: str, share: float, depth: int) -> Declared:
    """Uniform over the `depth` best labels by a side, of those below a share of the gold's."""
    words = f"best {check_count('depth', depth)} by {side} below {share:g} of the gold's"
    return proposal(BelowGoldBy(words, float(share), int(depth)), ("gold", side))


def denoised(side: str, judge: str, depth: int, below: float) -> Declared:
    """Uniform over the `depth` best labels by a side, of those that another scores below."""
    words = f"best {check_count('depth', depth)} by {side} with {judge} below {below:g}"
    return proposal(Denoised(words, int(depth), float(below)), (side, judge))


def softmax_of_best(side: str, depth: int) -> Declared:
    """A softmax of a side over the best labels by it."""
    words = f"softmax of the best {check_count('depth', depth)} by {side}"
    return proposal(SoftmaxOfBest(words, int(depth)), (side,))


def masked_above_by(side: str, margin: float) -> Declared:
    """Candidates that a side puts above the gold, less a margin, have no weight."""
    less = f" - {margin:g}" if margin else ""
    words = f"masked where {side} is above the gold's{less}"
    return proposal(MaskedAboveBy(words, float(margin)), ("scores", "gold", side))


def moved_by(side: str) -> Declared:
    """Candidates' scores with a side on top."""
    return proposal(MovedBy(f"scores + {side}"), ("scores", side))
