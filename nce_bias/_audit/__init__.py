"""`audit`: which of the conventions of published code is least biased on one's own scores."""

from __future__ import annotations

import warnings
from typing import Any

from nce_bias._audit.engine import Sampling, run
from nce_bias._audit.result import Audit
from nce_bias._audit.rows import asked
from nce_bias._checks import check_count, check_kind, refuse
from nce_bias._gate import random_key
from nce_bias._split_input import check_whole
from nce_bias.problem import Problem

__all__ = ["Audit", "audit"]

METHODS = ("auto", "exact", "monte_carlo")


def audit(  # noqa: PLR0913 (keyword-only)
    problem: Problem,
    m: Any = (16, 64, 256),
    presets: Any = None,
    inputs: int = 256,
    *,
    method: str = "auto",
    draws: int = 64,
    key: Any = 0,
    progress: bool = True,
) -> Audit:
    """Compare the named conventions on a problem: bias, noise and what they mean, with errors.

    Parameters
    ----------
    problem : Problem
        Your scores or embeddings with their golds: `Problem.from_golds`, `Problem.from_embeddings`.
        Give the labels' popularity if the inputs are few: it is what in-batch negatives follow.
    m : int or sequence of ints
        Numbers of negatives.
    presets : optional
        Names of `nb.presets.PRESETS`, presets (which have an m of their own), or a mapping of names
        to these, to (sampler, loss), or to a function of m that returns it: your own set-up.
        Default: those of `nb.presets.COMMON`.
    inputs : int
        How many inputs are looked at, drawn evenly by `key` if there are more.
    method : {"auto", "exact", "monte_carlo"}
        "auto": exact where the integrals are quick enough, sampled elsewhere; each row says which.
    draws : int
        Candidate sets for each input where a row is sampled.
    key : PRNG key or int
        The same key gives the same audit.
    progress : bool
        Show a progress bar after two seconds, if standard error is a terminal.

    Returns
    -------
    Audit
        With `to_frame`, `remarks`, `plot`, `report` and a readable repr. After Ctrl-C it has what
        was computed until then, and says so.

    Raises
    ------
    ValueError
        Something that is no problem, convention, number of negatives or method. A convention that
        one m does not fit (more distinct negatives than wrong labels) is a row with that status.

    Notes
    -----
    A standard error is that over inputs, as if they were drawn from many more: with one input there
    is none. Rows that are sampled hold the noise of their draws in it.

    Examples
    --------
    >>> problem = Problem.from_golds([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]], [0, 2])
    >>> found = audit(problem, m=2, presets=["in_batch_infonce", "blanc_rendle"])
    >>> [row.name for row in found.rows]
    ['blanc_rendle', 'in_batch_infonce']
    >>> print(found.remarks[0])
    Least biased here: blanc_rendle (m = 2), with no bias.
    """
    check_kind("problem", problem, Problem, "nb.audit(nb.Problem.from_golds(scores, golds))")
    check_whole(problem, "nb.audit")
    if method not in METHODS:
        raise refuse("method", f"got {method!r}", " or ".join(map(repr, METHODS)), "Pick one.")
    sizes = [check_count("m", one) for one in (m if hasattr(m, "__iter__") else [m])]
    sampling = Sampling(
        check_count("inputs", inputs), check_count("draws", draws, least=4), random_key(key), method
    )
    rows = asked(presets, list(dict.fromkeys(sizes)))
    if not rows:
        raise refuse(
            "m, presets", "there is nothing to compute", "at least one of each", "Pass m=16."
        )
    finished = run(problem, rows, sampling, progress=progress)
    found = Audit.of(problem, rows, sampling, finished)
    if not finished:
        warnings.warn(f"audit: interrupted; {found.how}", stacklevel=2)
    return found
