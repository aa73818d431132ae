r"""Whether a proposal is one of least bias: scale-free numbers, and what is said of them.

With r the residuals (their norm is the bias) and J = dr/db at q, moving towards the point mass on a
label y changes them by J_y, the column of y (J b = 0, so nothing is to be taken off):

    gap      max_y -<r, J_y>              half the squared norm exceeds its minimum by no more
                                          where the problem is convex (Frank & Wolfe, 1956)
    cosine   max_y -<r, J_y> / (||r|| ||J_y||)
                                          no such move lowers the norm by more than a relative
                                          cosine^2 / 2, to second order (MINPACK's test)

The gap says more, but rounding in r opens it by eps ||J_y|| ||r||: where the least norm is 1e-9
against biases of order 1 it never looks closed, or does by accident. The cosine of a minimum is
eps / ||r|| then, far below eps^(1/4) as long as the norm is above the tolerance for zero; that of a
search on its way is above 1e-2.

Neither knows the least bias that is a limit no q attains (`nce_bias.optimal`): there r has no limit
as labels leave, since it depends on the ratios of what is left of them. Its derivative by log q_y,
b_y ||J_y||, vanishes with b_y at a minimum and does not there.

So what is said hangs on neither machine nor order of summation, and no measured number is in it:
those are fields of the result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nce_bias.optimal.objective import Objective

#: `gap` at a minimum, relative to half the squared norm; and in rounding errors, for float32.
GAP, ROUNDINGS = 1e-6, 256
#: A label that has left; share of the largest derivative by log q that it may keep.
GONE, KEPT = 1e-8, 1e-4


class Certificate(NamedTuple):
    """How good a proposal is."""

    norm: float
    gap: float
    cosine: float  # NaN where no Jacobian is formed
    attained: bool  # False for a limit; taken for granted where no Jacobian is formed
    gradient_norm: float  # of half the squared norm with respect to log q
    eps: float  # of the dtype

    @property
    def is_minimum(self) -> bool:
        """Whether the norm cannot be told from a local minimum."""
        closed = self.gap <= max(GAP, ROUNDINGS * self.eps) * 0.5 * self.norm**2
        return self.attained and (closed or self.cosine <= self.eps**0.25)

    def status(self, zero: float, exhausted: bool) -> str:
        """In words; `zero` is the norm that counts as none, `exhausted` says no step was left."""
        if self.norm <= zero:
            return "ok: zero reached"
        if self.is_minimum:
            return "ok: minimum"
        more = exhausted and self.attained
        remedy = "raise steps" if more else "try another start or a floor > 0"
        return f"did not converge: best returned; {remedy}"


def certify(objective: Objective, b: np.ndarray, *, dense: bool) -> Certificate:
    """The certificate of b, sum 1; `dense` where the Jacobian may be formed."""
    half, slope = objective.half_square(b)
    norm, cosine, attained = (2 * half) ** 0.5, np.nan, True
    if dense and norm > 0:
        columns = np.linalg.norm(objective.jacobian(b), axis=0)
        moves = columns > 0
        cosine = float(np.max(-slope[moves] / (norm * columns[moves]), initial=0.0))
        by_log = b * columns
        attained = not np.any((b < GONE) & (by_log > KEPT * by_log.max()))
    return Certificate(
        norm=norm,
        gap=max(0.0, -float(slope.min())),
        cosine=cosine,
        attained=attained,
        gradient_norm=float(np.linalg.norm(b * slope)),
        eps=float(np.finfo(objective.problem.scores.dtype).eps),
    )
