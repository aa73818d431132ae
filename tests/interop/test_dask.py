"""Dask's executor: cells are sent through its scheduler, to workers that may die."""

import pandas as pd
import pytest
from distributed import Client, LocalCluster

import nce_bias as nb
from tests.sweep import small


@pytest.fixture
def executor():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            yield client.get_executor()


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True
    )


def test_a_sweep_on_a_cluster_is_the_sweep_here(executor, tmp_path):
    found = small.swept(tmp_path / "cells", 8, executor=executor)
    assert set(found["status"]) == {"ok"}
    same(found, small.swept(None, 8))
    pd.testing.assert_frame_equal(small.swept(tmp_path / "cells", 8), found, check_exact=True)
    samplers = {"mine": nb.iid(lambda scores, popularity: scores, 2), "top": nb.top(1)}
    with pytest.warns(UserWarning, match="1 of 2 cells failed"):
        lost, kept = nb.sweep(small.PROBLEM, samplers, executor=executor)["status"].tolist()
    assert kept == "ok" and "Define it by name" in lost


def test_a_cell_that_kills_its_workers_is_a_failed_row(monkeypatch, request, tmp_path):
    """Dask may blame others that were with it; these, too, are tried again by the next run."""
    monkeypatch.setenv(small.BAD, "exit 1")
    executor = request.getfixturevalue("executor")  # its workers know what is bad
    with pytest.warns(UserWarning, match="of 4 cells failed"):
        found = small.swept(tmp_path / "cells", 4, executor=executor)
    status = found["status"].tolist()
    lost = [one for one in status if one != "ok"]
    assert status[1] in lost and all(one.startswith("failed: KilledWorker: ") for one in lost)
    assert len(list((tmp_path / "cells").glob("*.json"))) == 4 - len(lost)
    monkeypatch.delenv(small.BAD)
    same(small.swept(tmp_path / "cells", 4), small.swept(None, 4))
