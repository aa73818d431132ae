"""How well mentions are linked: recall and reciprocal rank, over mentions or over worlds.

The *rank* of a mention is the place of its entity among those of its world, 1 the best.  Results
are fractions, not percent.  The **micro** average is the mean over mentions; the **macro** average
is the mean over worlds of each world's mean, so that a world with many mentions counts no more
than one with few.

Sources: Logeswaran et al. (2019), *Zero-Shot Entity Linking by Reading Entity Descriptions*; Zhang
& Stratos (2021), *Understanding Hard Negatives in Noise Contrastive Estimation*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from nce_bias._checks import check_count, refuse
from nce_bias.retrieval._corpus import Mentions
from nce_bias.retrieval.bootstrap import crossed

AVERAGES = ("micro", "macro")


def recall(ranks: Any, k: int, worlds: Any = None) -> float | Float[np.ndarray, " seeds"]:
    """Share of mentions whose entity is among the k best: recall@k (k = 1: accuracy).

        recall@k = mean of [rank ≤ k]

    Parameters
    ----------
    ranks : whole numbers `[n]` or `[seeds, n]`
        1 is best.
    k : int
        1 or more.
    worlds : Mentions or `[n]`, optional
        The mentions that were ranked, or the world of each; with them the macro average, without
        them the micro average.

    Returns
    -------
    float, or float `[seeds]`

    Raises
    ------
    ValueError
        For ranks that are not whole numbers of 1 or more, k < 1, worlds of another length.

    Examples
    --------
    >>> ranks = [1, 3, 1, 9]
    >>> recall(ranks, 1), recall(ranks, 8)
    (0.5, 0.75)
    >>> round(recall(ranks, 1, ["Lego", "Lego", "Lego", "Muppets"]), 4)   # (2/3 + 0/1) / 2
    0.3333
    """
    return _mean(_checked(ranks) <= check_count("k", k), worlds)


def reciprocal_rank(ranks: Any, worlds: Any = None) -> float | Float[np.ndarray, " seeds"]:
    """Mean reciprocal rank (MRR): the mean of 1/rank; arguments, result and errors as `recall`.

    Examples
    --------
    >>> reciprocal_rank([1, 2, 4, 4])   # (1 + 1/2 + 1/4 + 1/4) / 4, not 1 / mean rank
    0.5
    """
    return _mean(1 / _checked(ranks), worlds)


def evaluate(
    ranks: Any,
    worlds: Any,
    *,
    at: Iterable[int] = (1, 8, 64),
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Recall and MRR of a run, with how much mentions and seeds leave open.

    Mentions are drawn anew *within* their worlds: the worlds are fixed, and the intervals say
    nothing about a world that is not in the data.  Seeds are drawn anew with them (`crossed` in
    `nce_bias.retrieval.bootstrap`, after Owen's pigeonhole bootstrap).  An interval from few seeds
    is wide for a reason: three seeds know little about their own spread, and a bootstrap over them
    alone would have (3 − 1)/3 of their variance.  With one seed the interval is about that one
    trained model.

    Parameters
    ----------
    ranks : whole numbers `[n]` or `[seeds, n]`
        As `rank` gives them; seeds are models trained with different seeds, all on these mentions.
    worlds : Mentions or `[n]`
        The mentions that were ranked, ``corpus["test"]``, or the world of each.
    at : k of each recall@k
    draws, seed : int
        How often the bootstrap draws, and from which seed.
    level : float
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        A row for each metric ("recall@k" in the order of `at`, "mrr") and average ("micro",
        "macro"), with columns

        metric, average
            What is reported.
        value
            Mean over seeds.
        low, high
            The interval, cut at 0 and 1.  At a value of exactly 0 or 1 no draw differs and the
            interval has no width.
        standard_error
            The value's, over mentions and seeds.
        seeds_error
            Standard error over seeds alone, s/√seeds; NaN for one seed.
        seeds, mentions
            How many.

    Raises
    ------
    ValueError
        For ranks that are not whole numbers of 1 or more, worlds of another length, k < 1, fewer
        than 2 draws, a level outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> ranks = np.array([[1, 1, 1, 3], [1, 1, 2, 3]])   # two seeds, four mentions
    >>> table = evaluate(ranks, ["Lego", "Lego", "Lego", "Muppets"], at=[1])
    >>> table[["metric", "average", "value", "seeds_error"]].round(3)
         metric average  value  seeds_error
    0  recall@1   micro  0.625        0.125
    1  recall@1   macro  0.417        0.083
    2       mrr   micro  0.771        0.062
    3       mrr   macro  0.625        0.042
    """
    found = np.atleast_2d(_checked(ranks))
    names, values = _metrics(found, at)
    drawing = {"draws": draws, "seed": seed, "level": level}
    table = _table([values], worlds, names, (0.0, 1.0), **drawing)
    return table.assign(seeds=str(len(found)), mentions=found.shape[1])


def compare(  # noqa: PLR0913
    ranks_a: Any,
    ranks_b: Any,
    worlds: Any,
    *,
    at: Iterable[int] = (1, 8, 64),
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    paired_seeds: bool = False,
) -> pd.DataFrame:
    """Differences of two runs on the same mentions, a − b, with how much is left open.

    Mentions are paired: each draw takes the same ones for both runs, and what makes a mention hard
    for both cancels.  Seeds are drawn independently for a and b by default: that seed 3 of one
    method and seed 3 of another share their batches does not make one's luck the other's, and if
    it did, the interval would only be too wide.  `paired_seeds=True` draws them together, for runs
    that continue one another's models (seed s of a and b begun from the same trained model).

    Parameters
    ----------
    ranks_a, ranks_b : whole numbers `[n]` or `[seeds, n]`
        Numbers of seeds may differ unless `paired_seeds`.
    worlds, at, draws, seed, level
        As in `evaluate`.
    paired_seeds : bool
        Whether row s of both belongs together.

    Returns
    -------
    pandas.DataFrame
        As `evaluate` gives; value, low, high are differences within [−1, 1].  seeds_error is the
        root of the sum of both squared (paired: that of the differences), NaN if either has one
        seed.  seeds is "3" or "3, 5".

    Raises
    ------
    ValueError
        As `evaluate`; and for runs on different numbers of mentions, or paired seeds of different
        numbers.

    Examples
    --------
    >>> worlds = ["Lego", "Lego", "Lego", "Muppets"]
    >>> table = compare([1, 1, 1, 3], [1, 1, 2, 3], worlds, at=[1])
    >>> table[["metric", "average", "value"]].round(3)
         metric average  value
    0  recall@1   micro  0.250
    1  recall@1   macro  0.167
    2       mrr   micro  0.125
    3       mrr   macro  0.083
    """
    a = np.atleast_2d(_checked(ranks_a, "ranks_a"))
    b = np.atleast_2d(_checked(ranks_b, "ranks_b"))
    if a.shape[1] != b.shape[1]:
        raise refuse(
            "ranks_b",
            f"got {b.shape[1]} mentions, ranks_a has {a.shape[1]}",
            "ranks of the same mentions in the same order",
            "Rank both runs on the same split and rows.",
        )
    if paired_seeds and len(a) != len(b):
        raise refuse(
            "ranks_b",
            f"got {len(b)} seeds, ranks_a has {len(a)}",
            "as many seeds for paired_seeds=True",
            "Pass paired_seeds=False.",
        )
    at = list(at)
    names, values_a = _metrics(a, at)
    _, values_b = _metrics(b, at)
    parts = [values_a - values_b] if paired_seeds else [values_a, -values_b]
    seeds = str(len(a)) if len(a) == len(b) else f"{len(a)}, {len(b)}"
    table = _table(parts, worlds, names, (-1.0, 1.0), draws=draws, seed=seed, level=level)
    return table.assign(seeds=seeds, mentions=a.shape[1])


def _checked(ranks: Any, argument: str = "ranks") -> Int[np.ndarray, "*seeds n"]:
    """Ranks as an integer array of one or two axes."""
    array = np.asarray(ranks)
    if array.ndim not in (1, 2) or array.size == 0:
        raise refuse(
            argument,
            f"got shape {array.shape}",
            "[n] or [seeds, n], neither of them 0",
            "Stack the ranks of several seeds by np.stack.",
        )
    if not np.issubdtype(array.dtype, np.number):
        given, remedy = f"got dtype {array.dtype}", "Pass what nb.retrieval.rank gives."
        raise refuse(argument, given, "whole numbers", remedy)
    bad = np.flatnonzero(~((array >= 1) & (array < np.inf) & (array == np.floor(array))))
    if bad.size:
        place = tuple(int(axis) for axis in np.unravel_index(bad[0], array.shape))
        where = place[0] if len(place) == 1 else place
        raise refuse(
            argument,
            f"got {array[place]:g} at {where}",
            "whole numbers >= 1, where 1 is best",
            "Add 1 to places counted from 0; a rank of 0 is also what was never ranked.",
        )
    return array.astype(np.int64)


def _strata(worlds: Any, mentions: int) -> Sequence[Int[np.ndarray, " _"]]:
    """The mentions of each world, worlds sorted."""
    array = np.asarray(worlds.worlds if isinstance(worlds, Mentions) else worlds)
    if array.shape != (mentions,):
        raise refuse(
            "worlds",
            f"got shape {array.shape} for {mentions} mentions",
            f"one world for each mention, shape ({mentions},)",
            "Pass the mentions that were ranked, such as corpus['test'].",
        )
    _, inverse = np.unique(array, return_inverse=True)
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])


def _mean(values: np.ndarray, worlds: Any) -> Any:
    """Mean over mentions, or over worlds of their means; a Python float for one seed."""
    every = np.arange(values.shape[-1])
    strata = [every] if worlds is None else _strata(worlds, len(every))
    found = np.mean([values[..., rows].mean(axis=-1) for rows in strata], axis=0)
    return found if found.ndim else found.item()


def _metrics(
    ranks: Int[np.ndarray, "s n"], at: Iterable[int]
) -> tuple[list[str], Float[np.ndarray, "s k n"]]:
    """What each mention adds to each metric, and the metrics' names."""
    counts = [check_count("k", k) for k in at]
    rows = [(ranks <= k).astype(float) for k in counts] + [1 / ranks]
    return [*(f"recall@{k}" for k in counts), "mrr"], np.stack(rows, axis=1)


def _table(
    parts: Sequence[Float[np.ndarray, "_ k n"]],
    worlds: Any,
    names: Sequence[str],
    bounds: tuple[float, float],
    **drawing: Any,
) -> pd.DataFrame:
    strata = _strata(worlds, parts[0].shape[-1])
    check_count("draws", drawing["draws"], least=2)
    if not 0 < drawing["level"] < 1:
        given = f"got {drawing['level']!r}"
        raise refuse("level", given, "a number inside (0, 1)", "Pass level=0.95.")
    sizes = np.array([len(rows) for rows in strata])
    averages = np.stack([sizes / sizes.sum(), np.full(len(sizes), 1 / len(sizes))])
    interval = crossed(parts, strata, averages, **drawing)
    table = pd.DataFrame(itertools.product(names, AVERAGES), columns=["metric", "average"])
    columns = interval._replace(low=interval.low.clip(*bounds), high=interval.high.clip(*bounds))
    for name, column in columns._asdict().items():
        table[name] = column.ravel()
    return table
