"""Two searches for the least norm over b >= 0."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from nce_bias.optimal.objective import Objective

#: The gap, relative to half the squared norm, at which the first search ends for good.
CLOSED = 1e-8
#: Relative decrease of the squared norm by which the first round of that search ends.
LITTLE = 1e-11
#: A further round must bring the norm down to this share of what it began with.
PROGRESS = 0.7


def least_squares(
    objective: Objective, first: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, int]:
    """Bounded least squares in rounds; returns b and the evaluations used.

    A step that hardly lowers the norm is no sign of a minimum: along a bound the norm may be level
    to its last digits while the gap is open, and which of two such steps comes first is a matter of
    rounding. So rounds go on, each in units of the norm it starts with (the solver's tolerance for
    the gradient has a unit), until the gap is closed, the norm is at most `tolerance`, or a round
    moves nothing.
    """
    b, used, unit, little = first, 0, 1.0, LITTLE
    while True:
        found = _round(objective, b, unit, little, steps - used)
        b, used = found.x, used + int(found.nfev)
        half, slope = objective.half_square(b / b.sum())
        norm, gap = (2 * half) ** 0.5, -float(slope.min())
        if norm <= tolerance or gap <= CLOSED * half or used >= steps:
            return b, used
        if little is None and norm > PROGRESS * unit:
            return b, used
        unit, little = norm, None


def _round(
    objective: Objective, first: np.ndarray, unit: float, little: float | None, steps: int
) -> optimize.OptimizeResult:
    """A last residual sum(b) - 1, which costs nothing, fixes the scale of b."""
    return optimize.least_squares(
        lambda b: np.append(objective.residuals(b) / unit, b.sum() - 1),
        first,
        lambda b: np.vstack([objective.jacobian(b) / unit, np.ones_like(b)]),  # type: ignore[arg-type]
        bounds=(0, np.inf),
        ftol=little,  # type: ignore[arg-type]
        xtol=1e-14,
        gtol=1e-15,
        max_nfev=steps,
    )


def descend(
    objective: Objective, first: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, int]:
    """L-BFGS on log b, which takes no V x V array; returns b and the evaluations used."""

    def value(log_b):
        b = np.exp(log_b - log_b.max())
        b = b / b.sum()
        half, slope = objective.half_square(b)
        return half, b * slope

    options = {"maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 1e-16, "maxcor": 30}
    found = optimize.minimize(value, np.log(first), jac=True, method="L-BFGS-B", options=options)
    return np.exp(found.x - found.x.max()), int(found.nfev)
