"""Where a loss comes to rest, or an error: a trial never judges by a search that failed."""

import nce_bias as nb
from nce_bias.samplers import Sampler


def at_rest(problem: nb.Problem, sampler: Sampler, loss: nb.Loss) -> nb.FixedPoint:
    """`nb.fixed_point`, which has to have converged.

    Raises RuntimeError where it did not.
    """
    found = nb.fixed_point(problem, sampler, loss)
    if found.status != "ok":
        raise RuntimeError(
            f"fixed point of {loss.name} with {sampler!r}: {found.status}. A claim about an "
            "optimum needs one; take other conditions."
        )
    return found
