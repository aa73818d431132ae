r"""Proposals that look at the gold: hard negatives as retrieval papers define them.

Each is uniform over the labels that meet its condition, or has a density in the score's distance
from the gold's. The gold itself is never drawn. A gold for which no label meets the condition has
no negatives, and is refused by name if it occurs. A mixture does not help: a share of nothing is no
distribution.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
from jaxtyping import Float

from nce_bias._checks import check_count, refuse
from nce_bias.numerics.arrays import Array, namespace, one_hot


def _others(scores: Float[Array, " V"], gold: Array | int) -> Array:
    return one_hot(gold, scores) == 0


def _uniform_over(scores: Float[Array, " V"], meets: Array) -> Float[Array, " V"]:
    xp = namespace(scores)
    return xp.where(meets, xp.zeros_like(scores), -xp.inf)


class Window(eqx.Module):
    """Wrong labels of some ranks by score, alike."""

    portable: ClassVar[bool] = True

    first: int = eqx.field(static=True)
    last: int = eqx.field(static=True)

    def __call__(self, scores, gold):
        xp, others = namespace(scores), _others(scores, gold)
        order = xp.argsort(xp.where(others, -scores, xp.inf), stable=True)
        rank = xp.argsort(order, stable=True) + 1
        return _uniform_over(scores, others & (rank >= self.first) & (rank <= self.last))

    def __repr__(self) -> str:
        return f"window({self.first}, {self.last})"


class Below(eqx.Module):
    """Wrong labels whose score is below the gold's, by something and by no more than something."""

    portable: ClassVar[bool] = True

    at_least: Float[Array, ""] | float
    at_most: Float[Array, ""] | float
    share: Float[Array, ""] | float
    name: str = eqx.field(static=True)

    def __call__(self, scores, gold):
        top = scores[gold] * self.share - self.at_least
        below = scores <= top if self.at_least > 0 or self.share != 1 else scores < top
        near = scores >= scores[gold] - self.at_most
        return _uniform_over(scores, _others(scores, gold) & below & near)

    def __repr__(self) -> str:
        return self.name


class NearGold(eqx.Module):
    """Wrong labels by how near their score is to the gold's."""

    portable: ClassVar[bool] = True

    a: float
    b: float

    def __call__(self, scores, gold):
        xp = namespace(scores)
        return xp.where(
            _others(scores, gold), -self.a * (scores - scores[gold] - self.b) ** 2, -xp.inf
        )

    def __repr__(self) -> str:
        return f"near_gold({self.a:g}, {self.b:g})"


def window(first: int, last: int) -> Window:
    """Uniform over the wrong labels of ranks first, ..., last by score, 1 being the highest.

    Passages of ranks 10 to 110 rather than the best, which may be unlabelled positives. Ties by
    index. Raises ValueError unless 1 <= first <= last.
    Source: Qu et al. (2021), RocketQA; Xiong et al. (2021), ANCE, for negatives from a top list.

    >>> problem = Problem([2.0, 1.0, 0.0, -1.0], [1.0, 0.0, 0.0, 0.0])
    >>> float(exact(problem, iid(window(2, 2), 1)).selection[2]) > 0
    True
    """
    check_count("first", first)
    if not check_count("last", last) >= first:
        raise refuse(
            "window", f"got ranks {first} to {last}", "1 <= first <= last", "Rank 1 scores highest."
        )
    return Window(int(first), int(last))


def semi_hard(margin: float | None = None) -> Below:
    """Uniform over the wrong labels that score below the gold, but by less than `margin` if given.

    The name is FaceNet's, for distances: farther than the positive, within the margin.
    Source: Schroff et al. (2015), FaceNet, section 3.2.
    """
    if margin is not None and not margin > 0:
        raise refuse("margin", f"got {margin!r}", "a number > 0", "Leave it out for no limit.")
    shown = "" if margin is None else f"{margin:g}"
    return Below(0.0, float("inf") if margin is None else float(margin), 1.0, f"semi_hard({shown})")


def margin(absolute: float = 0.0, *, share: float = 1.0) -> Below:
    """Uniform over the wrong labels that score at most `share` of the gold's, less `absolute`.

    What scores nearer to the gold is taken for a positive that nobody labelled. A share is of
    positive scores (0.95 of a cosine); a negative gold's score times 0.95 would be above it.
    Source: Moreira et al. (2024), NV-Retriever, section 4 ("perc" and "abs"); the same options in
    Sentence Transformers' `mine_hard_negatives`.
    """
    if not (absolute >= 0 and 0 < share <= 1 and (absolute > 0 or share < 1)):
        raise refuse(
            "margin",
            f"got absolute={absolute!r}, share={share!r}",
            "absolute > 0, or a share below 1",
            "For example nb.margin(0.1) or nb.margin(share=0.95).",
        )
    shown = [f"{absolute:g}"] * (absolute > 0) + [f"share={share:g}"] * (share < 1)
    return Below(float(absolute), float("inf"), float(share), f"margin({', '.join(shown)})")


def near_gold(a: float = 1.0, b: float = 0.0) -> NearGold:
    """q(y) proportional to exp(-a (s_y - s_gold - b)^2) over the wrong labels: ambiguous negatives.

    Raises ValueError unless a >= 0.
    Source: Zhou et al. (2022), SimANS, equation 5.
    """
    if not a >= 0:
        raise refuse("a", f"got {a!r}", "a number >= 0", "a = 0 is uniform.")
    return NearGold(float(a), float(b))
