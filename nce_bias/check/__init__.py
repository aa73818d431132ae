r"""Does a sampler draw what it says? Its q, its support, its frequencies, its hits.

Everything computed exactly rests on what a sampler *says* (its q, its Laplace functional), training
on what it *draws*. A data pipeline that draws something else has another bias than the one computed
for it, and a correction by a q that is not drawn from is itself a bias.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from nce_bias._checks import check_count, check_kind, refuse
from nce_bias._gate import random_key
from nce_bias._split_input import check_whole
from nce_bias.check.report import SamplerCheck
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

__all__ = ["SamplerCheck", "check_sampler"]


F = TypeVar("F", bound=Callable[..., Any])


def _old_order_for_one_release(function: F) -> F:
    """Take ``(sampler, problem, key, draws)`` too, and say so."""
    names = ("sampler", "problem", "key", "draws")

    @functools.wraps(function)
    def either(*arguments: Any, **options: Any) -> Any:
        if not (arguments and isinstance(arguments[0], Sampler) and len(arguments) <= len(names)):
            return function(*arguments, **options)
        warnings.warn(
            "nb.check_sampler(sampler, problem, key, draws) is "
            "nb.check_sampler(problem, sampler, key=key, draws=draws) now; the next release takes "
            "the old order no more",
            DeprecationWarning,
            stacklevel=2,
        )
        return function(**dict(zip(names, arguments, strict=False)), **options)

    return either  # type: ignore[return-value]


@_old_order_for_one_release
def check_sampler(  # noqa: PLR0913
    problem: Problem,
    sampler: Sampler,
    *,
    key: PRNGKeyArray | int,
    draws: int = 20_000,
    level: float = 1e-6,
    draw: Any = None,
    inclusion: bool | None = None,
    inputs: int = 4,
    golds: int = 2,
) -> SamplerCheck:
    r"""Compare what a sampler says with what it, or a function of your own, draws.

    =============  =================================================================================
    check          what is compared, for each gold
    =============  =================================================================================
    q              q of one draw is finite and sums to 1, q_y / left_g over all but the gold, to
                   sqrt(eps)
    support        labels that compete with the gold (model or population mass > 0) have q > 0; the
                   verdict ``hole`` names those that have not
    frequencies    draws against q, by chi-square, cells that expect fewer than 25 pooled: all draws
                   of `nb.iid`, else the first of each set; of your own function iid alone
    copies         copies of each label against those expected, -dlog F_g / dz_y at z = 0, by the
                   binomial law, with Bonferroni over labels
    coincidences   pairs of equal labels in a set against their expectation, none where distinct
                   labels are claimed; tells iid from distinct where all frequencies agree
    gold           the gold is not drawn, unless hits are kept
    =============  =================================================================================

    Parameters
    ----------
    problem, sampler
        As for `exact`.
    key : PRNG key or int
    draws : int
        Sets of negatives for each gold, at least 100.
    level : float
        The chance that a right sampler fails, all comparisons of the report together (Bonferroni).
    draw : callable, optional
        Your own ``draw(key, scores[V], popularity[V], gold)``, tested against the law of `sampler`
        in place of its draws: labels ``[m]``, or ``(labels[m], present[m])`` with present = False
        where a hit was dropped. Under `jax.jit` it is mapped over keys at once; otherwise it is
        called once for each set with NumPy arrays, the key too (the words of a key of JAX, and a
        seed for `numpy.random.default_rng`), so a data loader will do.
    inclusion : bool, optional
        Whether to compare copies and coincidences, which need the Laplace functional. Default:
        where there is one; True raises where there is none.
    inputs, golds : int
        How many are looked at: the inputs of largest pop(x), the most frequent golds of each.

    Returns
    -------
    SamplerCheck
        With `ok`, `status`, a readable repr and `to_frame()`.

    Raises
    ------
    ValueError
        As for `exact`; a draw that returns no labels of this problem.
    NoExactMethod
        With inclusion=True, for a sampler without a Laplace functional.

    Notes
    -----
    **Power.** One comparison has the level alpha = `level` / comparisons / V. A relative error
    delta in a label with E expected copies in all is found with a chance of 90 % if delta >
    (z + 1.28) / sqrt(E), P(|N(0, 1)| > z) = alpha: at the defaults z is about 6, so 20,000 sets of
    8 find 6 % in a label of q = 0.1, and 18 % in one of q = 0.01. Four times the draws halve it.
    `detectable` is this number for the label drawn most.

    **Limits.** Inputs and golds that are not looked at, and dependence between the draws of a set
    beyond equal labels, are not tested. Binomial p-values assume that copies of a label are no more
    clumped than by independent draws, as in all samplers here.

    Examples
    --------
    A pipeline that draws by popularity^0.75 where the popularity itself is claimed:

    >>> import jax, numpy as np
    >>> problem = Problem([1.0, 0.0, -1.0, 0.0], [0.4, 0.3, 0.2, 0.1])
    >>> check_sampler(problem, iid(popularity(), 2, hits="keep"), key=jax.random.key(0)).ok
    True
    >>> def word2vec(key, scores, popularity, gold):
    ...     q = popularity**0.75
    ...     return np.random.default_rng(key).choice(4, size=2, p=q / q.sum())
    >>> claimed = iid(popularity(), 2, hits="keep")
    >>> found = check_sampler(problem, claimed, key=jax.random.key(0), draws=5000, draw=word2vec)
    >>> sorted(set(found.to_frame().query("verdict == 'failed'")["name"]))
    ['copies', 'frequencies']

    Source: Hoeffding (1956) for the binomial bound.
    """
    from nce_bias.check.checks import CHECKS, detectable
    from nce_bias.check.claims import claims
    from nce_bias.check.drawing import drawn

    call = "nb.check_sampler(problem, nb.iid(nb.uniform(), m=16), key=jax.random.key(0))"
    check_kind("problem", problem, Problem, call)
    check_whole(problem, "nb.check_sampler")
    check_kind("sampler", sampler, Sampler, call)
    _check_options(draws, level, draw, inputs, golds)
    sampler.check(problem)
    masses = np.asarray(problem.weights), np.asarray(problem.population_rows)
    places = [
        (row, gold) for row in _most(masses[0], inputs) for gold in _most(masses[1][row], golds)
    ]
    checks = []
    for number, (row, gold) in enumerate(places):
        said = claims(sampler, problem, row, gold, inclusion)
        own_key = jax.random.fold_in(random_key(key), number)
        seen = drawn(sampler, problem, (row, gold), own_key, draws, draw)
        checks += [check(said, seen) for check in CHECKS]
    share = level / max(sum(not math.isnan(check.p_value) for check in checks), 1)
    return SamplerCheck(
        sampler=repr(sampler),
        rows=tuple(check.row(share) for check in checks),
        sets=draws,
        slots=sampler.slots(problem.labels),
        level=level,
        detectable=detectable(checks, share / problem.labels),
    )


def _check_options(draws: Any, level: Any, draw: Any, inputs: Any, golds: Any) -> None:
    check_count("draws", draws, least=100)
    check_count("inputs", inputs)
    check_count("golds", golds)
    if not 0 < level < 0.5:
        raise refuse("level", f"got {level!r}", "a number in (0, 0.5)", "Leave it out for 1e-06.")
    if draw is not None and not callable(draw):
        raise refuse(
            "draw",
            f"got {type(draw).__name__}",
            "a function of key, scores, popularity and gold",
            "Return labels [m], or (labels [m], present [m]).",
        )


def _most(mass: np.ndarray, count: int) -> list[int]:
    """The places of the largest masses > 0, the largest first, ties by place."""
    order = np.argsort(-mass, kind="stable")[:count]
    return [int(place) for place in order if mass[place] > 0]
