r"""Proposals of scores, popularity and the gold that one convention has and no other use here.

**Best of a pool.** M labels are drawn uniformly, with repetitions, from the n wrong labels; the one
with the largest key is the negative. In the order of the key, the j-th label is it if no better one
is in the pool and it is: its chance is

    (1 - (j - 1) / n)^M - (1 - j / n)^M,

so that m pools are m independent draws from one proposal, which reads the gold. Ties go to the
lower index. M = 1 is uniform, M to infinity the best label itself.

>>> problem = Problem([1.0, 0.5, 0.0], [1.0, 0.0, 0.0])
>>> one, many = (exact(problem, iid(best_of_pool(pool), 1)).selection for pool in (1, 8))
>>> bool(one[2] > many[2])
True
"""

from __future__ import annotations

import math

import equinox as eqx
from jaxtyping import Float

from nce_bias._checks import check_count
from nce_bias.numerics.arrays import Array, namespace, one_hot
from nce_bias.presets._ranks import Named, rank_of, uniform_over


class Kernel(Named):
    """In proportion to alpha s^power + 1."""

    alpha: float = eqx.field(static=True, default=1.0)
    power: int = eqx.field(static=True, default=2)

    def __call__(self, scores, popularity):
        return namespace(scores).log(self.alpha * scores**self.power + 1)


class ByRank(Named):
    """In proportion to exp(-rank / scale), by score or by popularity."""

    scale: float = eqx.field(static=True, default=1.0)
    by_score: bool = eqx.field(static=True, default=True)

    def __call__(self, scores, popularity):
        rank = rank_of(scores if self.by_score else popularity)
        return -rank.astype(scores.dtype) / self.scale


class LessLogPopularity(Named):
    """A key: the score with log pop(y) taken off; of a label never drawn, the score."""

    def __call__(self, scores, popularity):
        xp = namespace(scores, popularity)
        return scores - xp.log(xp.where(popularity > 0, popularity, 1.0))


class RankShares(Named):
    """Uniform over the wrong labels whose rank by score lies between two shares of them."""

    least: float = eqx.field(static=True, default=0.0)
    most: float = eqx.field(static=True, default=1.0)

    def __call__(self, scores, gold):
        xp, others = namespace(scores), one_hot(gold, scores) == 0
        rank, count = rank_of(xp.where(others, scores, -xp.inf)), len(scores) - 1
        first, end = math.floor(self.least * count), math.ceil(self.most * count)
        return uniform_over(others & (rank >= first) & (rank < end), scores)


class BeyondBest(Named):
    """Uniform over the wrong labels that are not among the best `head` of them."""

    head: int = eqx.field(static=True, default=0)

    def __call__(self, scores, gold):
        xp, others = namespace(scores), one_hot(gold, scores) == 0
        rank = rank_of(xp.where(others, scores, -xp.inf))
        return uniform_over(others & (rank >= self.head), scores)


class AmbiguousBest(Named):
    """In proportion to exp(-a (s_y - s_gold - b)^2) over the best wrong labels."""

    a: float = eqx.field(static=True, default=1.0)
    b: float = eqx.field(static=True, default=0.0)
    depth: int = eqx.field(static=True, default=1)

    def __call__(self, scores, gold):
        xp, others = namespace(scores), one_hot(gold, scores) == 0
        near = rank_of(xp.where(others, scores, -xp.inf)) < self.depth
        distance = xp.where(near & others, scores - scores[gold] - self.b, xp.inf)
        return -self.a * distance**2


class BestOfPool(Named):
    """The best by score of `pool` wrong labels drawn uniformly with repetitions."""

    pool: int = eqx.field(static=True, default=1)

    def __call__(self, scores, gold):
        return _best_of_pool(scores, scores, gold, self.pool)


class NearestOfPool(Named):
    """The nearest to beta (s_gold + alpha)^(power + 1) of `pool` uniform wrong labels."""

    pool: int = eqx.field(static=True, default=1)
    alpha: float = eqx.field(static=True, default=1.0)
    beta: float = eqx.field(static=True, default=0.1)
    power: float = eqx.field(static=True, default=-2.0)

    def __call__(self, scores, gold):
        aim = self.beta * (scores[gold] + self.alpha) ** (self.power + 1)
        return _best_of_pool(-abs(scores - aim), scores, gold, self.pool)


class MaskedAbove(Named):
    """Scores of candidates: -inf, no weight, where more than a margin above the gold's."""

    margin: float = eqx.field(static=True, default=0.0)

    def __call__(self, scores, gold):
        xp = namespace(scores)
        return xp.where(scores > scores[gold] + self.margin, -xp.inf, scores)


def _best_of_pool(key: Array, scores: Float[Array, " V"], gold, pool: int) -> Array:
    xp, others = namespace(key, scores), one_hot(gold, scores) == 0
    rank = rank_of(xp.where(others, key, -xp.inf)).astype(scores.dtype)
    count = len(scores) - 1
    from_here, beyond = 1 - rank / count, xp.maximum(1 - (rank + 1) / count, 0.0)
    chance = xp.where(others, xp.where(others, from_here, 0.0) ** pool - beyond**pool, 0.0)
    return xp.where(chance > 0, xp.log(xp.where(chance > 0, chance, 1.0)), -xp.inf)


def kernel(alpha: float, power: int) -> Kernel:
    """A polynomial kernel of the scores."""
    return Kernel(f"kernel({alpha:g} s^{power} + 1)", float(alpha), int(power))


def by_rank(scale: float, *, by_score: bool) -> ByRank:
    """Geometric in the rank."""
    what = "score" if by_score else "popularity"
    return ByRank(f"geometric in rank by {what}, scale {scale:g}", float(scale), by_score)


def less_log_popularity() -> LessLogPopularity:
    """Scores corrected for popularity."""
    return LessLogPopularity("scores - log popularity")


def rank_shares(least: float, most: float) -> RankShares:
    """Between two shares of the wrong labels by score."""
    return RankShares(f"ranks from {least:.0%} to {most:.0%}", float(least), float(most))


def beyond_best(head: int) -> BeyondBest:
    """All wrong labels but the best."""
    return BeyondBest(f"beyond the best {head}", int(head))


def ambiguous_best(a: float, b: float, depth: int) -> AmbiguousBest:
    """Near the gold's score among the best."""
    words = f"near_gold({a:g}, {b:g}) among the best {check_count('depth', depth)}"
    return AmbiguousBest(words, float(a), float(b), int(depth))


def best_of_pool(pool: int) -> BestOfPool:
    """The best of a uniform pool."""
    return BestOfPool(f"best of {check_count('pool', pool)} uniform", int(pool))


def masked_above(margin: float) -> MaskedAbove:
    """Candidates far above the gold have no weight."""
    return MaskedAbove(f"masked above the gold + {margin:g}", float(margin))


def nearest_of_pool(pool: int, alpha: float, beta: float, power: float) -> NearestOfPool:
    """The nearest to a number that the gold's score sets, of a uniform pool."""
    words = (
        f"nearest to {beta:g} (s_gold + {alpha:g})^{power + 1:g} of "
        f"{check_count('pool', pool)} uniform"
    )
    return NearestOfPool(words, int(pool), float(alpha), float(beta), float(power))
