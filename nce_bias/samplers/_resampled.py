r"""A pool that another sampler draws, and m draws by weight from it: resampling.

Proposals from which one can draw are far from the model; weights r = e^s / q over a pool of M draws
from q bring what is drawn from the pool near to it. Self-adversarial negatives, KBGAN's generator
over twenty corruptions, in-batch items resampled against their popularity (BIR, XIR), a user's
pool kept for an epoch (AdaSIR) are such. ``resampled(pool, weight, m)`` draws the pool, then m of
it with replacement, with chances proportional to r within it. The weights are constants to the
gradient, the negatives' scores are not.

**Exact**, for m = 1, where the pool is: `ResampledOnceLaw`, a draw from a proposal that is known by
one integral. For m > 1 where the pool is independent draws, `iid` with any policy for hits or the
independent rows of `in_batch`: `ResampledLaw`. By `monte_carlo` with every pool.

**Hits.** Those of the pool. A gold that the pool drops is not drawn from it; where it had nothing
else there is no negative.

**Corrections** take off log gamma, the law of each of the m draws, which no one who trains knows;
they are here to compare with. `with_inclusion` takes off expected copies, m gamma. The pool's own q
is not what a negative is drawn from any more.

**Weights in place of draws.** Where a loss is a mean over negatives, drawing by weight and taking
all of the pool by weight agree in the mean: sum_k (r_k / R) h(s_k) is what the mean of m draws
tends to as m grows. That has less variance, and is a loss, `nce_bias.WeightedMean`.

**Limits.** M = 1 is the pool, for m = 1. Weights that are all alike and m = 1: one draw of the pool
at random.

Source: Rubin (1987), sampling/importance resampling; Cai & Wang (2018), KBGAN; Chen et al. (2022),
AdaSIR and BIR.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from nce_bias._checks import NoExactMethod, check_count, check_kind, is_traced
from nce_bias.numerics.arrays import Array
from nce_bias.numerics.gamma_rule import gamma_nodes
from nce_bias.numerics.quadrature import TOLERANCE, TRACED_NODES
from nce_bias.problem import Problem
from nce_bias.proposals import describe
from nce_bias.samplers._from_pool import FromPool, Message
from nce_bias.samplers._iid import IidLaw
from nce_bias.samplers._in_batch import are_independent
from nce_bias.samplers._per_label import GoldItself, all_numbers, function_of
from nce_bias.samplers._resampled_draws import ResampledLaw, draw_by_weight
from nce_bias.samplers._resampled_once import ResampledOnceLaw, Rule
from nce_bias.samplers.base import Labels, Law, Present, Sampler, check_of_today

#: Numbers that the law of several draws holds for one input, a gigabyte of them.
MOST_HELD = 2**27


class Resampled(FromPool):
    """See `resampled`. `marks` is there where the pool depends on the gold."""

    message: ClassVar[Message] = Message(
        "weight",
        "returned {value} for the label {label} of input {input}",
        "the logarithm of a weight for each label, a finite number",
        "A label that is never drawn has no chance in the pool: give its proposal -inf.",
    )

    pool: Sampler
    by: Callable[..., Any]
    m: int = eqx.field(static=True)
    of: int = eqx.field(static=True)
    marks: Callable[..., Any] | None
    nodes: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def law(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Law:
        log_r = self.numbers(scores, popularity)
        pool = self.pool.law(scores, popularity)
        gold = None if self.marks is None else self.marks(scores, popularity)
        if self.m > 1 and isinstance(pool, IidLaw):
            return ResampledLaw(pool, log_r, gold, self.m, self.of, self.nodes, self.tolerance)
        if self.m == 1:
            rule = Rule(self.of, self.nodes, self.tolerance)
            return ResampledOnceLaw(pool, log_r, gold, rule)
        return DrawnByWeightLaw(pool, log_r, self.m)

    def sized(self, problem: Problem, tolerance: float) -> Sampler:
        """With the pool's inner rule, and the nodes in s that the weights need."""
        if self.m > 1 and not are_independent(self.pool):
            raise NoExactMethod(
                f"{self!r} has no exact moments: several draws from one pool have them where it is "
                "independent draws (nb.iid, nb.in_batch of independent rows). Take m = 1, or "
                "nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000)."
            )
        pool, nodes = self.pool, TRACED_NODES
        most = max(self.of, pool.slots(problem.labels))
        if self.m == 1:
            pool = pool.sized(problem, tolerance)
        if not is_traced(problem, self):
            rows = all_numbers(self.message.argument, self.by, problem)[0]
            spread = float(np.max(np.ptp(rows, axis=-1)))
            nodes = gamma_nodes(spread + math.log(most), self.m, tolerance)
        if self.m > 1 and 2 * nodes * problem.labels * (self.m + 1) > MOST_HELD:
            raise NoExactMethod(
                f"{self!r} would hold {2 * nodes} numbers for each of {problem.labels} labels and "
                f"{self.m + 1} coefficients. Take m = 1, which holds none, or "
                "nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000)."
            )
        return dataclasses.replace(self, pool=pool, of=most, nodes=nodes, tolerance=tolerance)

    @property
    def rows(self) -> int | None:
        return self.pool.rows

    @property
    def costly(self) -> bool:
        """An integral for each gold, where the pool depends on it."""
        return self.pool.costly or self.marks is not None

    @property
    def separable(self) -> bool:
        return self.m == 1

    def slots(self, labels: int) -> int:
        return self.m

    def wrong(self, rows: np.ndarray) -> np.ndarray:
        return ~np.isfinite(rows)

    def __repr__(self) -> str:
        m = "" if self.m == 1 else f", m={self.m}"
        return f"resampled({self.pool!r}, {describe(self.by)}{m})"


class DrawnByWeightLaw(Law):
    """m draws by weight from a pool, known by drawing."""

    pool: Law
    log_r: Float[Array, " V"]
    m: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.pool.size

    def log_laplace(self, exposures: Float[Array, "*N V"]) -> Float[Array, "*N V"]:
        raise NoExactMethod(f"{self.m} draws by weight from this pool have no exact law here")

    def draw(self, key: PRNGKeyArray, gold: Int[Array, ""]) -> tuple[Labels, Present]:
        return draw_by_weight((self.pool, self.log_r), self.m, key, gold)


def resampled(pool: Any, weight: Any = None, m: int = 1) -> Sampler:
    """m draws with replacement, by weight, from what `pool` draws.

    Parameters
    ----------
    pool : Sampler
        Draws M labels.
    weight : callable or str, optional
        log r: a function of what its parameters' names say (`scores`, `popularity`, `gold`,
        `input`, sides), one number for each label, up to a constant; or the name of a side, as a
        second model's scores. Default: the scores.
    m : int
        How many are drawn from the pool.

    Returns
    -------
    Sampler
        Exact for m = 1, for every pool that is; for m > 1, for independent draws.

    Raises
    ------
    ValueError
        m < 1; when used, a weight that is not finite or of another shape.
    NoExactMethod
        By `exact`, for m > 1 from a pool that is not independent draws.

    Examples
    --------
    The loss of eight popular items, and of eight of a pool of 64, nearer to eight of the model:

    >>> problem = Problem([1.0, 0.5, 0.0, -1.0], [0.1, 0.2, 0.3, 0.4])
    >>> corrected = lambda scores, popularity: scores - np.log(popularity)
    >>> pool, few = (iid(popularity(), m, hits="keep") for m in (64, 8))
    >>> best = iid(model(), 8, hits="keep")
    >>> samplers = few, resampled(pool, corrected, 8), best
    >>> [round(float(exact(problem, sampler).loss), 3) for sampler in samplers]
    [2.417, 2.993, 3.007]
    >>> resampled(pool, "generator")
    resampled(iid(popularity, m=64, hits='keep'), generator)
    """
    check_kind("pool", pool, Sampler, "nb.resampled(nb.iid(nb.uniform(), m=32))")
    check_of_today("pool", pool)
    m = check_count("m", m)
    function = function_of(
        "weight", weight, "weight='generator', or weight=lambda scores, popularity: scores"
    )
    blind = are_independent(pool) and getattr(pool, "hits", "") == "keep"
    return Resampled(
        pool=pool,
        by=function,
        m=m,
        of=math.ceil(pool.m),
        marks=None if blind else GoldItself(),
        nodes=TRACED_NODES,
        tolerance=TOLERANCE,
    )
