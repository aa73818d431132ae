"""Which cells a dead worker costs: by pools that die when they are told to, in this process."""

import concurrent.futures
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

import pytest

import nce_bias as nb
from nce_bias._sweep import running, workers
from nce_bias._sweep.cells import FAILED, Cell
from tests.sweep import small

FINISHED = {"status": "ok"}


def cells(count: int) -> dict[int, Cell]:
    """Each with its place for arguments: nobody calls it."""
    return {place: Cell(place, True) for place in range(count)}


class Mortal(Executor):
    """Computes in order, and dies of a cell whose turn it is to: with all that is under way."""

    def __init__(self, world: "World", count: int) -> None:
        self.world, self.count, self.dead = world, count, False
        self.queued: list[tuple[Future, Any]] = []

    def submit(self, fn, /, *args, **kwargs):
        if self.dead:
            raise BrokenExecutor
        if fn is workers.started:
            if self.world.unable:
                raise BrokenExecutor
            future = Future()
            future.set_result(None)
            return future
        self.queued.append((Future(), fn))
        self.world.most = max(self.world.most, len(self.queued))
        return self.queued[-1][0]

    def step(self) -> None:
        """What happens while the caller waits: one cell is finished, or kills."""
        future, sent = self.queued.pop(0)
        cell = sent.arguments
        if self.world.kills(cell, alone=self.count == 1):
            self.dead = True
            for lost, _ in [(future, sent), *self.queued]:
                lost.set_exception(BrokenExecutor())
            self.queued = []
        else:
            self.world.computed.append(cell)
            future.set_result(FINISHED)


class World:
    """All pools of a test, of which one is open at a time."""

    def __init__(self, kills: Callable[..., bool], unable: bool = False) -> None:
        self.kills, self.unable, self.most = kills, unable, 0
        self.computed: list[Any] = []
        self.opened: list[Mortal] = []

    def pool(self, count: int) -> Any:
        self.opened.append(Mortal(self, count))
        pool = self.opened[-1]

        class Context:
            def __enter__(self):
                return pool

            def __exit__(self, *_):
                pool.dead = True

        return Context()

    def wait(self, futures, **options):
        self.opened[-1].step()
        return concurrent.futures.wait(futures, timeout=5, **options)


def run(count: int, at_once: int, world: World, monkeypatch) -> tuple[dict[int, Any], int]:
    monkeypatch.setattr(running, "Workers", world.pool)
    monkeypatch.setattr(running, "wait", world.wait)
    rows: dict[int, Any] = {}

    def done(place, row):
        assert place not in rows
        rows[place] = row

    deaths = running.in_processes(cells(count), at_once, done)
    return rows, deaths


def lost(rows: dict[int, Any]) -> list[int]:
    return sorted(place for place, row in rows.items() if row != FINISHED)


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("killers", [(), (0,), (9,), (3, 4), (0, 5, 9), tuple(range(10))])
def test_those_that_kill_are_lost_and_no_other(at_once, killers, monkeypatch):
    world = World(lambda cell, alone: cell in killers)
    rows, deaths = run(10, at_once, world, monkeypatch)
    assert list(sorted(rows)) == list(range(10))
    assert lost(rows) == list(killers)
    assert sorted(world.computed) == [cell for cell in range(10) if cell not in killers]
    assert all(rows[place]["status"] == f"{FAILED}{running.KILLED}" for place in killers)
    assert world.most <= 2 * at_once
    assert deaths >= len(killers) + bool(killers)


def test_one_that_kills_among_others_alone_is_computed(monkeypatch):
    """Out of memory, for two together."""
    world = World(lambda cell, alone: cell == 3 and not alone)
    rows, deaths = run(10, 2, world, monkeypatch)
    assert (lost(rows), deaths) == ([], 1)
    assert len(world.opened) == 3  # the first, one for what was under way, one for the rest


def test_where_no_process_starts_the_rest_is_lost_at_once(monkeypatch):
    world = World(lambda cell, alone: cell == 3, unable=True)
    rows, deaths = run(1000, 2, world, monkeypatch)
    assert deaths == 2 and len(world.opened) == 2
    assert lost(rows) == list(range(3, 1000))
    assert {row["status"] for row in rows.values()} == {"ok", f"{FAILED}{running.NO_START}"}


def test_an_interrupt_keeps_what_is_finished(monkeypatch):
    world = World(lambda cell, alone: False)

    def wait(futures, **options):
        world.opened[-1].step()
        if len(world.computed) == 3:
            raise KeyboardInterrupt
        return concurrent.futures.wait(futures, **options)

    world.wait = wait
    rows: dict[int, Any] = {}
    monkeypatch.setattr(running, "Workers", world.pool)
    monkeypatch.setattr(running, "wait", world.wait)
    with pytest.raises(KeyboardInterrupt):
        running.in_processes(cells(9), 2, rows.__setitem__)
    assert rows == dict.fromkeys(range(3), FINISHED)
    assert world.opened[-1].dead


def test_a_pool_of_the_callers_says_what_to_do(monkeypatch):
    """It is not ours to open another."""

    class Dying(Executor):
        def __init__(self) -> None:
            self.given = 0

        def submit(self, fn, /, *args, **kwargs):
            self.given += 1
            if self.given > 2:
                raise BrokenExecutor("no more")
            future: Future = Future()
            if self.given == 1:
                future.set_result(FINISHED)
            else:
                future.set_exception(BrokenExecutor("a worker died"))
            return future

    rows: dict[int, Any] = {}
    running.compute(cells(3), Dying(), rows.__setitem__)
    assert rows[0] == FINISHED
    assert [rows[place]["status"] for place in (1, 2)] == [
        f"failed: BrokenExecutor: {what}. {running.AGAIN}" for what in ("a worker died", "no more")
    ]


def test_an_executor_that_packs_at_once_loses_what_does_not_pack_alone():
    class Packing(concurrent.futures.ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            try:
                packed = pickle.dumps(fn)
            except Exception as error:
                raise TypeError("Could not serialize object of type LLGExpr") from error
            return super().submit(pickle.loads(packed))

    samplers = {"mine": nb.iid(lambda s, p: s, 2), "uniform": nb.iid(nb.uniform(), 2)}
    with Packing(1) as packing, pytest.warns(UserWarning, match="1 of 2 cells failed"):
        found = nb.sweep(small.PROBLEM, samplers, executor=packing)
    lost, kept = found["status"].tolist()
    assert kept == "ok"
    assert "<lambda>" in lost and lost.endswith(
        ". Define it by name at the top of a module, or use a ThreadPoolExecutor"
    )


def test_a_thread_that_exits_is_a_failed_row():
    class Leaving(Cell):
        def __call__(self):
            raise SystemExit(3)

    class Staying(Cell):
        def __call__(self):
            return FINISHED

    given = {0: Leaving(None, True), 1: Staying(None, True)}
    rows: dict[int, Any] = {}
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        running.compute(given, threads, rows.__setitem__)
    assert rows == {0: rows[0], 1: FINISHED}
    assert rows[0]["status"] == "failed: SystemExit: 3"
