r"""A loss in both directions: queries against documents and documents against queries.

A batch of pairs (x, y) ~ pop(x) pop(y|x) has a matrix of scores, and the loss is the mean of a
softmax over each row and one over each column. A column is a row of the transposed problem: inputs
are labels and labels inputs, with pop(x|y) = pop(x) pop(y|x) / pop(y) and weights pop(y)
(`Problem.transposed`). Both read one table of scores s(x, y), whose gradient is

    G_xy = share pop(x) g_x(y) + (1 - share) pop(y) h_y(x),

g and h being the expected gradients of one row and of one column, and likewise the exact one, that
of the two cross entropies. In-batch negatives of a row are the columns of the other pairs, those of
a column their rows: one sampler serves both.

The mean is exact, since it is a sum. The variance of one pair is not the sum of two, nor is that of
a batch: a row and a column of one batch share pairs.

Source: Radford et al. (2021), figure 3, for images and texts.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nce_bias._checks import refuse
from nce_bias.engine._exact import exact
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, infonce
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler


@dataclasses.dataclass(frozen=True)
class BothDirections:
    """Moments of a loss in both directions, by the table of scores.

    Attributes
    ----------
    rows, columns : Moments
        Of one input against all labels, and of one label against all inputs.
    loss : float
        Expected loss of one pair.
    gradient, exact_gradient : [X, V]
        Expected contrastive gradient by the scores of the table, and that of the cross entropies.
    bias : [X, V]
        Exact minus contrastive.
    error : float
        Bound on the absolute error of an entry of `gradient`.
    """

    rows: Moments
    columns: Moments
    loss: float
    gradient: np.ndarray
    exact_gradient: np.ndarray
    error: float

    @property
    def bias(self) -> np.ndarray:
        """Exact minus contrastive gradient, `[X, V]`."""
        return self.exact_gradient - self.gradient

    @property
    def relative_bias(self) -> float:
        """The norm of the bias over that of the exact gradient."""
        return float(np.linalg.norm(self.bias) / np.linalg.norm(self.exact_gradient))

    @property
    def cosine(self) -> float:
        """Between the contrastive and the exact gradient."""
        norms = np.linalg.norm(self.gradient) * np.linalg.norm(self.exact_gradient)
        return float(np.sum(self.gradient * self.exact_gradient) / norms)


def both_directions(
    problem: Problem,
    sampler: Sampler,
    loss: Loss = infonce,
    *,
    back: Sampler | None = None,
    share: float = 0.5,
) -> BothDirections:
    """Exact moments of a loss over rows and columns, as CLIP's.

    Parameters
    ----------
    problem : Problem
        At least two inputs, and labels that all occur as golds; popularity as it is by default.
    sampler : Sampler
        Of the negatives of a row.
    loss : Loss
        Of both directions.
    back : Sampler, optional
        Of the negatives of a column, which are inputs. Default: `sampler`.
    share : float
        What rows count for, in (0, 1).

    Returns
    -------
    BothDirections

    Raises
    ------
    ValueError
        A share out of range; labels that are never a gold; what `exact` refuses.

    Examples
    --------
    >>> problem = Problem([[1.0, 0.0], [0.5, 2.0]], [[0.8, 0.2], [0.3, 0.7]])
    >>> found = both_directions(problem, in_batch(16))
    >>> round(found.loss, 4), round(found.cosine, 4)
    (2.6689, 0.9752)

    Notes
    -----
    See `nce_bias.engine._both_directions`.
    """
    if not 0 < share < 1:
        raise refuse("share", f"got {share!r}", "a number in (0, 1)", "Leave it out for a half.")
    turned = problem.transposed()
    rows, columns = exact(problem, sampler, loss), exact(turned, back or sampler, loss)
    weights = (share * _column(problem.weights), (1 - share) * _column(turned.weights))

    def table(of_rows: Any, of_columns: Any) -> np.ndarray:
        return weights[0] * np.asarray(of_rows) + (weights[1] * np.asarray(of_columns)).T

    gradient = table(rows.gradient, columns.gradient)
    return BothDirections(
        rows=rows,
        columns=columns,
        loss=share * float(rows.loss) + (1 - share) * float(columns.loss),
        gradient=gradient,
        exact_gradient=gradient + table(rows.bias, columns.bias),
        error=max(float(rows.error), float(columns.error)),
    )


def _column(weights: Any) -> np.ndarray:
    return np.asarray(weights)[:, None]
