"""Many problems, samplers, losses and m at once: one table, one row per cell.

The cells are the product problems x samplers x m x losses, in that order whatever order they finish
in. A cell that cannot be computed becomes a row that says why; an interrupt keeps what is done, and
a folder keeps it beyond the end of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from jaxtyping import PRNGKeyArray

from nce_bias._gate import random_key
from nce_bias._progress import Bar
from nce_bias._sweep.collected import Collected
from nce_bias._sweep.grid import (
    Negatives,
    check_executor,
    check_method,
    listed_losses,
    named_negatives,
    named_problems,
)
from nce_bias._sweep.plan import How, planned
from nce_bias._sweep.store import Store
from nce_bias._sweep.table import (
    NOT_RUN,
    made_here,
    table_of,
    warn_of_deaths,
    warn_of_interrupt,
    warn_of_loss,
)
from nce_bias.losses import infonce
from nce_bias.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sweep"]


def sweep(  # noqa: PLR0913
    problems: Problem | Mapping[str, Problem] | Iterable[Problem],
    samplers: Negatives | Mapping[str, Negatives] | Iterable[Negatives],
    losses: Any = (infonce,),
    ms: int | Iterable[int] | None = None,
    *,
    method: str = "exact",
    key: PRNGKeyArray | int | None = None,
    draws: int | None = None,
    executor: Executor | int | None = None,
    folder: str | os.PathLike[str] | None = None,
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
    executor : int or concurrent.futures.Executor, optional
        Where cells are computed; default here, one after another, which is the quickest for small
        cells: they need no processes, and share what is compiled. For long sweeps a number,
        ``executor=4``: that many fresh processes, which end with the sweep, however it ends. What
        was under way when one of them died is tried again, each cell with a process to itself; one
        that kills this too is a failed row. Any other executor (threads, Dask's
        ``client.get_executor()``, mpi4py's) is used as it is and stays open.

        Threads share what is compiled and take any sampler. Processes each compile for themselves,
        need problems, samplers and losses that pickle (a proposal that is a lambda does not), and
        compute in the caller's precision. A script that starts processes needs
        ``if __name__ == "__main__":``; a pool of one's own needs
        ``multiprocessing.get_context("spawn")``, since JAX does not survive a fork.
    folder : path, optional
        Where finished cells are kept, each in a small file written whole or not at all. The same
        call with the same folder goes on where the last was killed or interrupted, computes no cell
        twice and gives the same table; failed cells are tried again. See the notes.
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
        `ms` without functions; Monte Carlo without key and draws; with `folder`, one that holds
        other files, or a proposal or loss that cannot be told from others. Nothing is computed
        then.

    Notes
    -----
    Small problems compile nothing. Others compile once for each shape, not for each cell: m,
    temperatures and shares of `nb.iid` and of sums with it are traced, and quadratures are rounded
    to few sizes. Without replacement and `nb.top` compile for each m. A function that writes
    ``lambda`` *inside* makes a new proposal each time, which compiles each time: define the
    proposal outside.

    A cell is kept in `folder` under a fingerprint: a digest of the problem's arrays, the sampler
    and the loss with all they hold, method, key, draws, precision, and of what computes (version
    and source of this library, version of JAX, backend). Any number of sweeps may share a folder,
    at once too; each reads the cells it asks for, under whatever names. A function of a user's own
    goes by its bytecode, constants, defaults, closed-over values and the globals it reads, and
    theirs in turn: two lambdas of one text that hold different numbers are two proposals. Functions
    of installed packages go by name and version. What a function reads of files, and attributes set
    on a module while the program runs, is not seen. Objects that hold what can be neither read nor
    pickled (locks, open files) are refused, unless they have an attribute ``fingerprint``, a
    string. Number of cores, XLA's flags and NumPy's version, which may move last digits, are no
    part.

    Columns that say how a row was made (``seconds``, ``commit``, ...) are those of the run that
    computed it. A cell that is damaged on disk is set aside with a warning and computed again;
    cells of another version of the library are never used, and a warning names them. Where the
    disk is full the table still comes back, and what was written stays.

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
    check_executor(executor)
    seed = None if key is None else random_key(key)
    cells = planned(named, negatives, wanted, How(method, seed, draws))
    store, made = None if folder is None else Store(folder), made_here()
    found = Collected(cells, store, made)
    deaths = 0
    try:
        with Bar(len(cells), "sweep", enabled=progress) as bar:
            deaths = found.compute(executor, bar)
    except KeyboardInterrupt:
        warn_of_interrupt(len(found.rows), len(cells))
    warn_of_deaths(deaths)
    warn_of_loss(store)
    left = {"status": NOT_RUN}
    return table_of([made | one.head | found.rows.get(i, left) for i, one in enumerate(cells)])
