r"""In-batch negatives: the golds of the other rows of a batch.

A batch has B rows, each with a gold of its own, and the negatives of a row are the golds of the
B - 1 others. Three things make the law.

**Independent rows.** The others' golds are independent draws from pop(y): F = phi^{B-1} with
phi = sum_y pop(y) e^{-z_y}, which is ``iid(popularity(), B - 1, hits="keep")``.

**An epoch.** Data loaders go through N examples without replacement. With label y c_y times among
them, F_g = [zeta^{B-1}] prod_y (1 + zeta f_y)^{c_y - 1{y = g}} / C(N - 1, B - 1): the row's own
example is gone, so a label that occurs once is never its own negative (`EpochLaw`).

**Views.** In self-supervised batches every image comes as r views, and a row is an image. Labels
are then views: the V labels are V / r images, labels b r to b r + r - 1 the views of image b. An
input is one view, its gold another view of the same image, and each of the B - 1 other images
brings all of its r views: r (B - 1) negatives, in blocks. With f_b = exp(-sum_{y in b} z_y),

    F = (sum_b pop(b) f_b)^{B-1},        pop(b) = sum_{y in b} pop(y),

and likewise in an epoch, with counts of images (`BlocksLaw`). NT-Xent has r = 2, an epoch in which
every image occurs once, and 2 B inputs; the view that is the input itself is no candidate.

**Hard negatives.** In dense retrieval a row brings labels mined for its gold as well, and its own
are candidates for certain: ``hard``, `HardRowsLaw`. A law by gold would not know the others'. Where
one label is mined for each, it may be a side of the problem.

**Hits.** Another row may have the same gold. Most code leaves it: the gold is a candidate twice
("keep"). Code that compares ids drops it ("mask"), with views all of that row's. A row cannot be
redrawn for the sake of one gold, so there is no "exclude"; ``iid(popularity(), B - 1)`` is that.

**Corrections** take off log q with q = pop(y); in an epoch c_y / N, of negatives over the
(N - 1) / N that the row's own example leaves. With views a draw is one of r (B - 1), and q_y =
pop(b) / r where rows are independent and hits kept; else, and with hard negatives, no one q exists
and `with_inclusion` corrects by expected copies.

**Beyond one row.** The moments of `exact` are those of one row. Rows of a batch share their
candidates, so the variance of the batch's mean gradient is not 1 / B of a row's: `batch_variance`.

Source: Hidasi et al. (2016), Henderson et al. (2017) for the rows; Chen et al. (2020) for NT-Xent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nce_bias._checks import NoExactMethod, check_count, is_traced, refuse
from nce_bias.numerics.arrays import Array, namespace
from nce_bias.problem import Problem
from nce_bias.samplers._batch import OtherRows
from nce_bias.samplers._blocks import BlocksLaw
from nce_bias.samplers._epoch import EpochLaw
from nce_bias.samplers._hard_rows import (
    HardRowsLaw,
    check_mined,
    check_mined_by_side,
    mined_by_side,
)
from nce_bias.samplers._iid import Iid, IidLaw
from nce_bias.samplers.base import Batch, Law, Sampler

#: What becomes of a row with the same gold.
ROWS_HITS = ("keep", "mask")


class InBatch(Sampler):
    """See `in_batch`. `m` counts negatives, `views` for each of the other rows."""

    m: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    views: int = eqx.field(static=True)
    hits: str = eqx.field(static=True)
    counts: Array | None = None
    total: int = eqx.field(static=True, default=0)
    repeats: bool = eqx.field(static=True, default=True)
    hard: Array | Callable[..., Any] | None = None

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        hard = self._mined(scores, popularity)
        if hard is not None:
            return HardRowsLaw(self._independent(popularity), hard)
        if self.counts is None:
            rows = self._independent(popularity)
        else:
            occurs = namespace(scores, self.counts).asarray(self.counts, scores.dtype)
            drops = self.hits == "mask" and self.repeats
            rows = EpochLaw(occurs, self.size - 1, self.total, drops)
        return rows if self.views == 1 else BlocksLaw(rows, self.views)

    def _mined(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Any:
        """The labels mined for each label, `[V, h]`."""
        return self.hard(scores, popularity) if callable(self.hard) else self.hard

    def _independent(self, popularity: Float[Array, " V"]) -> IidLaw:
        """The other rows' blocks, from the popularity of their labels."""
        xp = namespace(popularity)
        chances = popularity.reshape(-1, self.views).sum(axis=-1)
        seen = chances > 0
        log_q = xp.where(seen, xp.log(xp.where(seen, chances, 1.0)), -xp.inf)
        return IidLaw(log_q, self.size - 1, self.hits)

    @property
    def rows(self) -> int:
        return self.size

    def batch(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Batch:
        others = None
        if self.counts is None and self.hard is None:
            others = IidLaw(self._independent(popularity).log_q, self.size - 2, "keep")
            others = others if self.views == 1 else BlocksLaw(others, self.views)
        masked = self.hits == "mask"
        hard = self._mined(scores, popularity)
        return OtherRows(others, self.counts, hard, self.views, self.total, masked)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        if self.counts is not None and self.may_be_empty:
            raise NoExactMethod(
                f"{self!r} has no exact moments: examples of an epoch in which labels repeat, and "
                "those of the row's own gold dropped, have no Laplace functional here. Use "
                "nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000), or leave counts "
                "out for independent rows."
            )
        return self

    @property
    def may_be_empty(self) -> bool:
        return self.hits == "mask" and self.repeats

    @property
    def portable(self) -> bool:
        return True

    @property
    def separable(self) -> bool:
        return self.views == 1 and self.counts is None and self.hard is None

    @property
    def reads_scores(self) -> bool:
        return False

    def check(self, problem: Problem) -> None:
        if problem.labels % self.views:
            raise refuse(
                "views",
                f"blocks of {self.views} labels do not divide the {problem.labels} of the problem",
                "labels that are whole blocks, those of a block one after the other",
                "Order the labels by image, each with all its views.",
            )
        if callable(self.hard):
            if not is_traced(problem):
                check_mined_by_side(self.hard, problem)
        elif self.hard is not None and len(self.hard) != problem.labels:
            raise refuse(
                "hard",
                f"got {len(self.hard)} rows for {problem.labels} labels",
                "the labels mined for each label as a gold, [V, h]",
                "Give -1 where there are fewer than h.",
            )
        if self.counts is None or is_traced(problem, self):
            return
        blocks = problem.labels // self.views
        if len(self.counts) != blocks:
            raise refuse(
                "counts",
                f"got {len(self.counts)} of them for {blocks} blocks of {self.views} labels",
                "how often each block occurs in an epoch",
                "Give 0 for one that does not occur.",
            )
        occurs = np.repeat(np.asarray(self.counts) > 0, self.views)
        lost = np.argwhere((np.asarray(problem.population_rows) > 0) & ~occurs)
        if lost.size:
            row, label = (int(i) for i in lost[0])
            raise refuse(
                "counts",
                f"0 for the gold {label} of input {row}, which therefore is no row of any batch",
                "at least 1 for every label with pop(y|x) > 0",
                "Count the golds of the same examples that the population is of.",
            )

    def __repr__(self) -> str:
        views = "" if self.views == 1 else f", views={self.views}"
        counts = "" if self.counts is None else f", counts=[{len(self.counts)}]"
        hits = "" if self.hits == "keep" else f", hits={self.hits!r}"
        shape = getattr(self.hard, "shape", None)
        table = repr(repr(self.hard)) if shape is None else f"[{', '.join(map(str, shape))}]"
        hard = "" if self.hard is None else f", hard={table}"
        return f"in_batch({self.size}{views}{counts}{hits}{hard})"


def are_independent(pool: Sampler) -> bool:
    """Whether the negatives of a sampler are independent draws from one q."""
    return pool.separable if isinstance(pool, InBatch) else isinstance(pool, Iid)


def in_batch(
    size: int, views: int = 1, counts: Any = None, hits: str = "keep", hard: Any = None
) -> InBatch:
    """The negatives of a row are the golds of the other size - 1 rows of its batch.

    Parameters
    ----------
    size : int
        Rows of a batch, B >= 2.
    views : int
        Labels that a row brings. 1: its gold. r > 1: every r labels, one after the other, are the
        views of one image, and a row brings all views of its image (NT-Xent: 2).
    counts : whole numbers [V / views], optional
        How often each label (each image, with views) occurs in an epoch that batches are drawn from
        without replacement. Default: independent rows, from the problem's popularity.
    hits : {"keep", "mask"}
        What becomes of another row with the same gold (of the same image): it stays a candidate, or
        it is dropped.
    hard : integers [V, h] or str, optional
        Labels mined for each label as a gold, which every row brings besides; -1 for none. Or the
        name of a side that numbers one for each. For independent rows of one view, hits kept.

    Returns
    -------
    Sampler
        Of views (size - 1) negatives, (1 + h) (size - 1) + h with hard ones. Exact but for an epoch
        with repeated labels and hits dropped.

    Raises
    ------
    ValueError
        Numbers that are no counts, an epoch with fewer examples than a batch, an unknown policy;
        when used, blocks that do not divide the labels, golds that do not occur in the epoch.

    Examples
    --------
    >>> problem = Problem([1.0, 0.0, -1.0], [0.5, 0.3, 0.2])
    >>> round(float(exact(problem, in_batch(5)).loss), 6)
    1.820811
    >>> round(float(exact(problem, iid(popularity(), 4, hits="keep")).loss), 6)
    1.820811

    Five examples of the first label, three of the second, two of the third, shuffled and cut:

    >>> round(float(exact(problem, in_batch(5, counts=[5, 3, 2])).loss), 6)
    1.839152
    """
    size, views = check_count("size", size, least=2), check_count("views", views)
    if hits not in ROWS_HITS:
        raise refuse(
            "hits",
            f"got {hits!r}",
            " or ".join(map(repr, ROWS_HITS)),
            "Rows are not redrawn for one gold: without the gold is "
            "nb.iid(nb.popularity(), size - 1).",
        )
    given: dict[str, Any] = {}
    if counts is not None:
        counts = _whole(counts)
        total = int(counts.sum())
        if total < size:
            raise refuse(
                "counts",
                f"an epoch of {total} examples",
                f"at least the size of a batch, {size}",
                "Lower size, or leave counts out for independent rows.",
            )
        given = {"counts": jnp.asarray(counts), "total": total, "repeats": bool(counts.max() > 1)}
    m = views * (size - 1)
    if hard is not None:
        if views > 1 or counts is not None or hits != "keep":
            raise refuse(
                "hard",
                "given beside views, counts or hits='mask'",
                "independent rows of one view, hits kept",
                "Leave the others out, or draw them by a loop of your own.",
            )
        if isinstance(hard, str):
            mined, each = mined_by_side(hard), 1
        else:
            mined = jnp.asarray(check_mined(hard))
            each = mined.shape[1]
        m, given = (1 + each) * m + each, {"hard": mined}
    return InBatch(m=m, size=size, views=views, hits=hits, **given)


def _whole(counts: Any) -> np.ndarray:
    """Counts, checked to be whole numbers."""
    found = np.asarray(counts)
    numbers = found.ndim == 1 and found.dtype.kind in "iuf" and len(found) > 0
    if not numbers or not np.all(np.isfinite(found) & (found == np.rint(found)) & (found >= 0)):
        raise refuse(
            "counts",
            f"got {counts!r}",
            "whole numbers >= 0, one for each block of labels",
            "For example np.bincount(golds, minlength=V).",
        )
    return found.astype(float)
