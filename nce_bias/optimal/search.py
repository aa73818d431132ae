"""Two searches for the least norm over b >= 0."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from nce_bias.optimal.objective import Objective


def least_squares(objective: Objective, first: np.ndarray, steps: int) -> tuple[np.ndarray, int]:
    """Bounded least squares; a last residual sum(b) - 1, which costs nothing, fixes the scale.

    Returns b and the evaluations used.
    """
    found = optimize.least_squares(
        lambda b: np.append(objective.residuals(b), b.sum() - 1),
        first,
        lambda b: np.vstack([objective.jacobian(b), np.ones_like(b)]),  # type: ignore[arg-type]
        bounds=(0, np.inf),
        ftol=1e-11,
        xtol=1e-14,
        gtol=1e-15,
        max_nfev=steps,
    )
    return found.x, int(found.nfev)


def descend(objective: Objective, first: np.ndarray, steps: int) -> tuple[np.ndarray, int]:
    """L-BFGS on log b, which takes no V x V array."""

    def value(log_b):
        b = np.exp(log_b - log_b.max())
        b = b / b.sum()
        half, slope = objective.half_square(b)
        return half, b * slope

    options = {"maxfun": steps, "maxiter": steps, "ftol": 0.0, "gtol": 1e-16, "maxcor": 30}
    found = optimize.minimize(value, np.log(first), jac=True, method="L-BFGS-B", options=options)
    return np.exp(found.x - found.x.max()), int(found.nfev)
