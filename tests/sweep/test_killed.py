"""Killed at any moment and started again: nothing twice, the same bytes, the same table."""

import collections
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.sweep import small

ROOT = pathlib.Path(__file__).resolve().parents[2]


def cells_in(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def started(folder: pathlib.Path, *arguments: str) -> subprocess.Popen:
    program = [sys.executable, "-m", "tests.sweep.small", str(folder), *arguments]
    return subprocess.Popen(program, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


def killed_amid(folder: pathlib.Path, more: int, delay: float, *arguments: str) -> None:
    """Start it, and kill it some time after it has written `more` cells than there were."""
    there, process = len(cells_in(folder)), started(folder, *arguments)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < there + more and process.poll() is None:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def computed(log: pathlib.Path) -> dict[int, set[int]]:
    """Which processes computed each cell."""
    found: dict[int, set[int]] = collections.defaultdict(set)
    for line in log.read_text().splitlines():
        label, process = line.split()
        found[int(label)].add(int(process))
    return found


def gone(process: int) -> bool:
    """Whether it ended; one that nobody waited for is a zombie, where there is a /proc to tell."""
    try:
        os.kill(process, 0)
        stat = pathlib.Path(f"/proc/{process}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_started_again(kills, tmp_path, monkeypatch):
    folder, whole, log = tmp_path / "killed", tmp_path / "whole", tmp_path / "log"
    monkeypatch.setenv(small.LOG, str(log))
    rng = random.Random(kills)
    for _ in range(kills):
        kept = cells_in(folder)
        killed_amid(folder, rng.randint(1, 60 // kills - 1), rng.uniform(0, 0.03))
        found = cells_in(folder)
        assert kept.items() <= found.items()
    assert kills <= len(found) < 60
    # To the end in a process that lives; here shapes are checked, which takes longer than cells do.
    assert started(folder).wait() == 0
    times = [len(processes) - 1 for processes in computed(log).values()]
    assert len(times) == 60
    assert sum(times) <= kills  # the one under way, each time
    # A cell whose time was noted and that was not yet written is noted again.
    assert 60 <= len((folder / "seconds.txt").read_text().splitlines()) <= 60 + kills

    monkeypatch.delenv(small.LOG)
    assert started(whole).wait() == 0
    assert cells_in(folder) == cells_in(whole)
    monkeypatch.setenv(small.BAD, "exit")  # whatever is computed from here on ends everything
    table, undisturbed, again = (small.swept(place) for place in (folder, whole, folder))
    assert list(table["status"]) == ["ok"] * 60
    pd.testing.assert_frame_equal(
        table.drop(columns="seconds"), undisturbed.drop(columns="seconds"), check_exact=True
    )
    pd.testing.assert_frame_equal(again, table, check_exact=True)  # the seconds, too


@pytest.mark.slow
def test_killed_workers_go_with_it(tmp_path, monkeypatch):
    folder, log = tmp_path / "killed", tmp_path / "log"
    monkeypatch.setenv(small.LOG, str(log))
    for _ in range(3):
        killed_amid(folder, 3, 0.01, "2")
    workers = {process for processes in computed(log).values() for process in processes}
    deadline = time.monotonic() + 10
    while not all(map(gone, workers)):
        assert time.monotonic() < deadline, "workers outlive the sweep"
        time.sleep(0.05)
    assert started(folder, "2").wait() == 0
    assert started(tmp_path / "whole").wait() == 0
    assert cells_in(folder) == cells_in(tmp_path / "whole")
