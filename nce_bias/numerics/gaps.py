r"""Wide gaps between log-weights, closed: nothing happens in them, and nodes need not cross them.

A softmax over candidates sees log-weights through their differences, and a difference of 100 is
e^-100 beside 1: below rounding for any number of candidates there may be. So where sorted
log-weights leave a gap wider than `WIDEST`, the labels below it may be raised until it is that
wide; the chances to be picked stay what they are. A mask of -1e9 then costs what one of -100 does.

**The loss** log Z - log w_+ does notice: by the height h_k taken out of gap k, wherever the gold is
below the gap and some negative above. With F_k the chance that no negative is above gap k (the
Laplace functional at infinite exposures of the labels above),

    E[loss] = E[loss, gaps closed] + sum_k h_k 1{gold below k} (1 - F_k),

and for golds that are no part of Z, E[log Z] = E[log Z, closed] - sum_k h_k F_k.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jaxtyping import Float

from nce_bias.numerics.arrays import Array, is_numpy, namespace, top_k

#: A gap of log-weights that no candidate set can tell from a wider one.
WIDEST = 100.0
#: Gaps that are closed, the widest first; between them any number of labels may lie.
MOST = 16


class Closed(NamedTuple):
    """Log-weights with their gaps closed, the largest of a negative being 0.

    `heights` `[K]` is what was taken out of each gap (0 where nothing was), `below` and `above`
    `[K]` the log-weights at its two ends before.
    """

    log_gold: Float[Array, " V"]
    log_negative: Float[Array, " V"]
    heights: Float[Array, " K"]
    below: Float[Array, " K"]
    above: Float[Array, " K"]


def close_gaps(gold: Float[Array, " V"], negatives: Float[Array, " V"]) -> Closed:
    """Scores as log-weights, what lies below wide gaps raised; -inf stays -inf."""
    xp = namespace(gold, negatives)
    given = xp.concatenate([gold, negatives])
    finite = xp.isfinite(given)
    levels = xp.where(finite, given, xp.min(xp.where(finite, given, xp.inf)))
    if not is_numpy(levels):
        levels = jax.lax.stop_gradient(levels)
    order = xp.argsort(levels)
    ascending = levels[order]
    widths = xp.diff(ascending)
    heights, where = top_k(xp.maximum(widths - WIDEST, 0.0), min(MOST, len(widths)))
    narrowed = _put(widths, where, xp.minimum(widths[where], WIDEST))
    from_top = xp.concatenate([xp.cumsum(narrowed[::-1])[::-1], xp.zeros(1, levels.dtype)])
    closed = _put(levels, order, -from_top)
    count = len(gold)
    closed = closed - xp.max(xp.where(finite[count:], closed[count:], -xp.inf))
    if not is_numpy(levels):  # no derivative goes through what was closed, all through the scores
        closed = closed + xp.where(finite, given - jax.lax.stop_gradient(given), 0.0)
    closed = xp.where(finite, closed, given)
    ends = ascending[where], ascending[where + 1]
    return Closed(closed[:count], closed[count:], heights, *ends)


def _put(values: Any, places: Any, entries: Any) -> Any:
    """A copy of `values` with `entries` at `places`."""
    if not is_numpy(values):
        return values.at[places].set(entries)
    copy = values.copy()
    copy[places] = entries
    return copy
