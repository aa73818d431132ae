r"""Labels on a list made beforehand: mined hard negatives, other positives; a fixed set.

With L(x) the labels on the list of the input x (L(x, g), if the list is made for the gold),

    F_g(z) = exp(-sum_{y in L, y != g} z_y):

a point mass. The gold is never its own negative, and a label that is listed twice counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from nce_bias._checks import check_count, is_traced, refuse
from nce_bias._gate import read_integers
from nce_bias._reads import bind, proposal
from nce_bias.numerics.arrays import Array, each, is_numpy, namespace, to_jax
from nce_bias.numerics.leave_one_out import sum_without_each
from nce_bias.numerics.separable import Separable
from nce_bias.problem import Problem
from nce_bias.proposals.base import cases_of, describe, reads_scores
from nce_bias.samplers.base import Copies, Labels, Law, Present, Sampler


class ListedLaw(Law):
    """The labels that are marked, but the gold; at most m of them."""

    marked: Bool[Array, " V"]
    m: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.marked.shape[-1]

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        return -sum_without_each(namespace(exposures).where(self.marked, exposures, 0.0))

    def tilted(self, exposures: Float[Array, "*N V"]) -> tuple[Float[Array, "*N V"], Copies]:
        return self.log_laplace(exposures), self.separable(exposures).average_positive

    def copies_along(
        self, exposures: Float[Array, "*N V"], values: Float[Array, "*N V"]
    ) -> Float[Array, "*N V"]:
        return -self.log_laplace(values)  # linear: nothing of a fixed set depends on exposures

    def separable(self, exposures: Float[Array, "*N V"]) -> Separable:
        xp = namespace(exposures, self.marked)
        listed = xp.broadcast_to(self.marked.astype(exposures.dtype), exposures.shape)
        return Separable(xp.ones_like(listed)[..., None, :], listed[..., None, :])

    def inclusion(self) -> Separable:
        return self.separable(namespace(self.marked).zeros(self.size))

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        labels = jnp.argsort(~self.marked, stable=True)[: self.m]
        return labels, self.marked[labels] & (labels != gold)


class Ids(eqx.Module):
    """Marks the labels whose numbers are listed; -1 is none."""

    portable: ClassVar[bool] = True
    ids: Int[Array, "*X m"]

    def __call__(self, popularity, *inputs):
        """Marks `[V]`: `popularity` is read for how many labels there are."""
        labels = namespace(popularity).arange(popularity.shape[-1])
        ids = self.ids if is_numpy(popularity) else to_jax(self.ids)
        return (ids[inputs][..., None] == labels).any(axis=-2)

    def __repr__(self) -> str:
        return f"ids of shape {self.ids.shape}"


class Marked(eqx.Module):
    """The labels that a side marks."""

    portable: ClassVar[bool] = True
    side: str = eqx.field(static=True)

    def __call__(self, side):
        return side != 0

    def __repr__(self) -> str:
        return self.side


class Listed(Sampler):
    """See `listed`."""

    by: Callable[..., Any]
    m: int = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> ListedLaw:
        if is_numpy(scores, popularity) and not getattr(self.by, "portable", False):
            marked = np.asarray(self.by(jnp.asarray(scores), jnp.asarray(popularity)))
        else:
            marked: Any = self.by(scores, popularity)
        if marked.shape != scores.shape or marked.dtype != bool:
            raise refuse(
                f"list {describe(self.by)}",
                f"returned {marked.dtype} of shape {marked.shape}",
                f"booleans [V] = {scores.shape}",
                "Return for each label whether it is on the list, for one input at a time.",
            )
        return ListedLaw(marked, self.m)

    @property
    def may_be_empty(self) -> bool:
        return True

    @property
    def portable(self) -> bool:
        return True

    @property
    def separable(self) -> bool:
        return True

    @property
    def reads_scores(self) -> bool:
        return reads_scores(self.by)

    def check(self, problem: Problem) -> None:
        if is_traced(problem, self):
            return
        self._check_ids(problem)
        inputs, golds = cases_of(self.by, problem)

        def length(case):
            at, gold = case
            seen = jax.tree.map(lambda leaf: leaf[at], problem.seen_rows)
            law = bind(self, seen, gold).law(problem.score_rows[at], problem.popularity)
            return law.marked.sum()

        lengths = np.asarray(each(length, (inputs, golds)))
        if lengths.max() > self.m:
            worst = int(np.argmax(lengths))
            raise refuse(
                repr(self),
                f"input {int(inputs[worst])} has {int(lengths[worst])} labels on its list",
                f"at most m = {self.m}",
                f"Pass m={int(lengths.max())}, the length of the longest list.",
            )

    def _check_ids(self, problem: Problem) -> None:
        by = getattr(self.by, "function", self.by)
        if not isinstance(by, Ids):
            return
        ids = np.asarray(by.ids)
        if ids.min() < -1 or ids.max() >= problem.labels:
            raise refuse(
                repr(self),
                f"ids from {ids.min()} to {ids.max()}",
                f"numbers of labels from 0 to {problem.labels - 1}, or -1 for none",
                "Number the labels as the columns of the scores are.",
            )
        last = int(np.max(np.asarray(problem.input_numbers)))
        if ids.ndim == 2 and last >= len(ids):
            raise refuse(
                repr(self),
                f"{len(ids)} lists, and an input of number {last}",
                "one list for each input, or one for all, [m]",
                "Give ids [X, m]; -1 fills a row that has fewer.",
            )

    def __repr__(self) -> str:
        return f"listed({describe(self.by)}, m={self.m})"


def listed(labels: Any, m: int | None = None) -> Sampler:
    """The labels on a list as negatives, the same at every draw; never the gold.

    Negatives mined beforehand (BM25's, an older checkpoint's, a re-ranker's), or, as a part of a
    sum, the other positives of an input, which stand in the denominator with its negatives.

    Parameters
    ----------
    labels : integers [X, k] or [k], str, or callable
        Numbers of labels for each input, or of one list for all, -1 where a row has fewer; the name
        of a side, which marks labels by what is not 0; or a function of what its parameters' names
        say (`scores`, `popularity`, `gold`, `input`, sides) that returns a boolean for each label.
    m : int, optional
        The length of the longest list. Needed for sides and functions; k by default.

    Returns
    -------
    Sampler
        A point mass; losses that correct by log q have none here, `nb.with_inclusion` has.

    Raises
    ------
    ValueError
        Numbers that are no integers; when used, numbers out of range, lists longer than m, not one
        for each input.

    Examples
    --------
    Two captions of one image are both in the denominator, with a target of a half each:

    >>> problem = Problem(
    ...     [0.5, 0.1, 0.0, -0.3], [0.5, 0.5, 0.0, 0.0], sides={"captions": [1, 1, 0, 0]}
    ... )
    >>> others = lambda popularity, captions: jax.numpy.where(captions > 0, -jax.numpy.inf, 0.0)
    >>> round(float(exact(problem, listed("captions", 2) + iid(others, 1)).loss), 6)
    0.987022

    Mined negatives:

    >>> mined = Problem([[1.0, 0.0, 0.5, 0.2], [0.0, 2.0, 1.0, 0.1]], np.eye(2, 4))
    >>> round(float(exact(mined, listed([[2, 3], [2, -1]])).loss), 6)
    0.516978
    """
    if isinstance(labels, str):
        by = proposal(Marked(labels), (labels,))
    elif callable(labels):
        by = labels
    else:
        ids: Any = np.asarray(read_integers("labels", labels))
        if ids.ndim not in (1, 2) or ids.size == 0:
            raise refuse(
                "labels",
                f"got shape {ids.shape}",
                "numbers of labels [X, k], or [k] for all inputs",
                "For example nb.listed(mined) with a row of labels for each input.",
            )
        m = ids.shape[-1] if m is None else m
        by = proposal(Ids(ids), ("popularity", "input")[: ids.ndim])
    if m is None:
        raise refuse(
            "m",
            "got none",
            "the length of the longest list",
            "For example nb.listed('positives', m=5).",
        )
    return Listed(by=by, m=check_count("m", m))
