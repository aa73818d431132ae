"""Where cells run: here, in an executor of the caller's, or in processes that the sweep owns."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    as_completed,
    wait,
)

from nce_bias._sweep.cells import FAILED, Cell, Done, failed
from nce_bias._sweep.workers import Workers, started

#: What to do about an executor that lost a worker.
AGAIN = (
    "Its finished cells are kept. executor=4, a pool of the sweep's own, tries again what a dead "
    "worker left; with folder=, so does the next run"
)
KILLED = (
    "a worker process died on it twice, once with nothing else to do: out of memory, or code that "
    "ends the process. Compute it alone, with executor=None, to see which"
)
NO_START = (
    "worker processes die before they take a cell. A script that starts processes needs "
    "`if __name__ == '__main__':` around what it does; what they printed says more"
)


def compute(cells: Mapping[int, Cell], executor: Executor | int | None, done: Done) -> int:
    """Tell `done` of every cell; after an exception it was told of every cell that was finished.

    Returns how often a worker of the sweep's own died.
    """
    if isinstance(executor, Executor):
        in_executor(cells, executor, done)
    elif executor is not None:
        return in_processes(dict(cells), executor, done)
    else:
        for place, cell in cells.items():
            done(place, cell())
    return 0


def in_executor(cells: Mapping[int, Cell], executor: Executor, done: Done) -> None:
    """All at once to an executor of the caller's, which stays open."""
    futures: dict[Future, int] = {}
    told: set[int] = set()

    def receive(future: Future) -> None:
        told.add(futures[future])
        _tell(futures[future], future, done)

    try:
        for place, cell in cells.items():
            try:
                futures[executor.submit(cell)] = place
            except BrokenExecutor as error:
                done(place, _broken(error))
            except Exception as error:  # some pack what they are given at once, as Dask does
                done(place, failed(_why_unpackable(cell) or error))
        for future in as_completed(futures):
            receive(future)
    finally:
        for future, place in futures.items():
            if not future.cancel() and future.done() and place not in told:
                if not isinstance(future.exception(), KeyboardInterrupt):
                    receive(future)


def in_processes(left: dict[int, Cell], workers: int, done: Done) -> int:
    """In processes of the sweep's own; `left` is emptied, and deaths are counted.

    A dead worker takes all cells down that are under way in its pool. Each of these is tried again
    with a fresh pool to itself, so that the one it dies of is known; the rest goes on as before.
    """
    deaths = 0
    while left:
        lost = _until_a_death(left, workers, done)
        suspects = {place: left.pop(place) for place in lost}
        deaths += bool(suspects)
        while suspects:
            try:
                killers = _until_a_death(suspects, 1, done, alone=True)
            except BrokenExecutor:  # before it was given a cell
                for place in sorted({*suspects, *left}):
                    done(place, {"status": f"{FAILED}{NO_START}"})
                return deaths + 1
            for place in killers:
                del suspects[place]
                deaths += 1
                done(place, {"status": f"{FAILED}{KILLED}"})
    return deaths


def _until_a_death(
    left: dict[int, Cell], workers: int, done: Done, *, alone: bool = False
) -> list[int]:
    """What was under way when a worker died; empty once all is done.

    What is finished is taken out of `left`. Raises BrokenExecutor where `alone` and no process
    starts.
    """
    with Workers(workers) as pool:
        if alone:
            pool.submit(started).result()
        # Two for each worker, so that none waits; one where it is to be known which it was.
        flight = Flight(left, done, pool, 1 if alone else 2 * workers)
        try:
            while flight.fill():
                flight.land()
            return []
        except BrokenExecutor:
            pass
        finally:  # also after Ctrl-C
            flight.rescue()
    return sorted(flight.flying.values()) or [next(iter(left))]


class Flight:
    """Cells under way in one pool, no more than `most` at a time."""

    def __init__(self, left: dict[int, Cell], done: Done, pool: Executor, most: int) -> None:
        self.flying: dict[Future, int] = {}
        self._left, self._done, self._pool, self._most = left, done, pool, most
        self._waiting = iter(tuple(left))

    def fill(self) -> bool:
        """Send more; whether any is under way."""
        for place in itertools.islice(self._waiting, self._most - len(self.flying)):
            self.flying[self._pool.submit(self._left[place])] = place
        return bool(self.flying)

    def land(self) -> None:
        """Wait for one and receive it; raises BrokenExecutor."""
        for future in wait(self.flying, return_when=FIRST_COMPLETED).done:
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                raise error
            self._receive(future)

    def rescue(self) -> None:
        """Receive what else is finished."""
        for future in [future for future in self.flying if future.done()]:
            if not isinstance(future.exception(), BrokenExecutor):
                self._receive(future)

    def _receive(self, future: Future) -> None:
        place = self.flying[future]
        _tell(place, future, self._done)
        del self.flying[future], self._left[place]


def _tell(place: int, future: Future, done: Done) -> None:
    try:
        row = future.result()
    except BrokenExecutor as error:
        row = _broken(error)
    except (Exception, SystemExit) as error:  # it ended another process, or thread, than this one
        row = failed(error)
    done(place, row)


def _why_unpackable(cell: Cell) -> Exception | None:
    try:
        pickle.dumps(cell)
    except Exception as error:
        return error
    return None


def _broken(error: BrokenExecutor) -> dict[str, str]:
    return {"status": f"{failed(error)['status'].rstrip('. ')}. {AGAIN}"}
