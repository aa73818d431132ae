"""Many problems, samplers, losses and m at once: one table, one row per cell.

The cells are the product problems x samplers x m x losses, in that order whatever order they finish
in. A cell that cannot be computed becomes a row that says why; an interrupt keeps what is done.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from nce_bias._checks import refuse
from nce_bias._gate import random_key
from nce_bias._progress import Bar
from nce_bias._sweep.cells import FAILED, Cell, compute
from nce_bias._sweep.grid import (
    Negatives,
    check_method,
    listed_losses,
    named_negatives,
    named_problems,
)
from nce_bias.engine.moments import SCALARS
from nce_bias.losses import infonce
from nce_bias.presets import Preset
from nce_bias.problem import Problem
from nce_bias.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sweep"]

#: The status of cells that an interrupt left out.
NOT_RUN = "not run: interrupted"


def sweep(  # noqa: PLR0913
    problems: Problem | Mapping[str, Problem] | Iterable[Problem],
    samplers: Negatives | Mapping[str, Negatives] | Iterable[Negatives],
    losses: Any = (infonce,),
    ms: int | Iterable[int] | None = None,
    *,
    method: str = "exact",
    key: PRNGKeyArray | int | None = None,
    draws: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The moments of every problem with every sampler, m and loss, as a tidy table.

    Parameters
    ----------
    problems : Problem, mapping of names to Problems, or sequence of Problems
        Without names they are called "0", "1", ...
    samplers : mapping of names to samplers, sequence of them, or one
        Samplers and presets (`nb.preset`), which appear once, with the m they have; or functions of
        m, such as ``lambda m: nb.iid(nb.model(), m)`` and those in `nb.presets.PRESETS`, which
        appear for each of `ms`. A ``lambda`` needs a name; samplers without one are called by their
        words, presets by their name.
    losses : loss, name in `nb.LOSSES`, or sequence of them
        One row for each. A preset has a loss of its own, and one row.
    ms : int or sequence of ints, optional
        Numbers of negatives, for the functions.
    method : {"exact", "monte_carlo"}
    key, draws : PRNG key or seed, int
        For Monte Carlo alone. Cell i uses ``jax.random.fold_in(key, i)``: cells are independent,
        and the same whichever of them runs first or where.
    executor : concurrent.futures.Executor, optional
        Where cells are computed; default here, one after another. Threads share what is compiled
        and take any sampler. Processes each compile for themselves and need problems, samplers and
        losses that pickle (a proposal that is a lambda does not); start them by
        ``multiprocessing.get_context("spawn")``, since JAX does not survive a fork. They compute in
        the caller's precision.
    progress : bool
        Show a progress bar after two seconds, if standard error is a terminal.

    Returns
    -------
    pandas.DataFrame
        ``problem``, ``negatives`` (the name given), ``m``, the columns of `Moments.to_frame`
        (``sampler`` in words, ``loss_name``, scalars, standard errors, ``method``,
        ``status``), ``seconds`` (compilation included), ``dtype``, and what made it: ``version``,
        ``commit``, ``jax``, ``backend``. `nb.plot.compare` draws the rows of one problem.

        A cell that fails has NaN scalars and the status ``failed: <reason>``; a warning says how
        many did, and ``attrs["failed"]`` lists (row, reason). After Ctrl-C the table comes back
        with the status ``not run: interrupted`` on what was left, and a warning.

    Raises
    ------
    ValueError
        Something that is no problem, sampler, preset, loss or method; functions without `ms` or
        `ms` without functions; Monte Carlo without key and draws. Nothing is computed then.

    Notes
    -----
    Small problems compile nothing. Others compile once for each shape, not for each cell: m,
    temperatures and shares of `nb.iid` and of sums with it are traced, and quadratures are rounded
    to few sizes. Without replacement and `nb.top` compile for each m. A function that writes
    ``lambda`` *inside* makes a new proposal each time, which compiles each time: define the
    proposal outside.

    Examples
    --------
    >>> problem = Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])
    >>> table = sweep({"small": problem}, {"uniform": lambda m: iid(uniform(), m)}, ms=[1, 4])
    >>> table[["problem", "negatives", "m", "sampler", "loss_name", "status"]]
      problem negatives  m            sampler loss_name status
    0   small   uniform  1  iid(uniform, m=1)       infonce     ok
    1   small   uniform  4  iid(uniform, m=4)       infonce     ok
    """
    named, negatives = named_problems(problems), named_negatives(samplers, ms)
    wanted = listed_losses(losses)
    check_method(method, key, draws)
    x64 = jnp.result_type(float) == jnp.float64
    seed = None if key is None else random_key(key)
    cells: list[Cell] = []
    heads: list[dict[str, Any]] = []
    for (problem_name, problem), (name, m, drawn) in itertools.product(named.items(), negatives):
        for loss in [drawn.loss] if isinstance(drawn, Preset) else wanted:
            options = {} if seed is None else {"key": jax.random.fold_in(seed, len(cells))}
            options |= {} if draws is None else {"draws": draws}
            cells.append(Cell((problem, drawn, loss, method, options), x64))
            sampler = drawn.sampler if isinstance(drawn, Preset) else drawn
            head = {"problem": problem_name, "negatives": name, "m": m}
            head["sampler"] = name if isinstance(drawn, Exception) else repr(sampler)
            head |= {"loss_name": loss.name} | dict.fromkeys(SCALARS, math.nan)
            heads.append(head | {"method": method, "dtype": str(problem.scores.dtype)})
    if not cells:
        raise refuse(
            "problems, samplers, losses",
            f"got {len(named)}, {len(negatives)} and {len(wanted)} of them",
            "at least one of each",
            "nb.sweep(problem, nb.iid(nb.model(), m=16)) is the shortest sweep.",
        )
    rows: dict[int, dict[str, Any]] = {}
    try:
        with Bar(len(cells), "sweep", enabled=progress) as bar:
            compute(cells, executor, rows, bar)
    except KeyboardInterrupt:
        warnings.warn(
            f"sweep: interrupted after {len(rows)} of {len(cells)} cells, which are kept; the "
            f"others have the status {NOT_RUN!r}.",
            stacklevel=2,
        )
    left = {"status": NOT_RUN, "seconds": math.nan}
    return _table([head | rows.get(place, left) for place, head in enumerate(heads)])


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Scalars first, then how they were made; failed cells in `attrs`, and warned of."""
    import pandas as pd

    made = provenance()
    last = ["method", "status", "seconds", "dtype", "version", "commit", "jax", "backend"]
    rows = [{name: made[name] for name in last if name in made} | row for row in rows]
    columns = dict.fromkeys(name for row in rows for name in row if name not in last)
    frame = pd.DataFrame(rows, columns=[*columns, *last])
    failed = [
        (row, status.removeprefix(FAILED))
        for row, status in enumerate(frame["status"])
        if status.startswith(FAILED)
    ]
    frame.attrs["failed"] = failed
    if failed:
        row, reason = failed[0]
        warnings.warn(
            f"sweep: {len(failed)} of {len(frame)} cells failed; the others are complete. See the "
            f"column status. The first, in row {row}: {reason}",
            stacklevel=3,
        )
    return frame
