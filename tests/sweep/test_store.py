"""The files of a folder: rows read back, damage, remains, and who may compute what is in them."""

import os
import pathlib
import pickle
import time

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from nce_bias import _files
from nce_bias._sweep import made, store
from nce_bias._sweep.cells import Cell
from nce_bias.numerics.precision import precision
from tests.sweep import small


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    return tmp_path / "new" / "cells"


def files(folder):
    return sorted(folder.glob("*.json"))


def same(found: pd.DataFrame, expected: pd.DataFrame, *but: str) -> None:
    pd.testing.assert_frame_equal(
        found.drop(columns=list(but)), expected.drop(columns=list(but)), check_exact=True
    )


# --- rows


def test_equal_cells_are_computed_once_and_names_are_not_kept(folder):
    twice = {"a": small.PROBLEM, "b": small.PROBLEM}
    first = nb.sweep(twice, {"q": small.sampler(0)}, folder=folder)
    assert len(files(folder)) == 1 and list(first["problem"]) == ["a", "b"]
    assert len((folder / store.SECONDS).read_text().splitlines()) == 1
    again = nb.sweep(small.PROBLEM, {"r": small.sampler(0)}, folder=folder)
    row = again.iloc[0].to_dict()
    assert row == first.iloc[0].to_dict() | {"problem": "0", "negatives": "r"}


def test_how_a_row_was_made_is_that_of_the_run_that_made_it(folder):
    first = small.swept(folder, 1)
    (path,) = files(folder)
    fingerprint = path.name[-37:-5]
    row = store._opened(path.read_bytes(), fingerprint)
    assert row is not None
    path.write_bytes(store._sealed(fingerprint, row | {"commit": "of another day"}))
    again = small.swept(folder, 1)
    assert list(again["commit"]) == ["of another day"]
    same(again, first, "commit")
    (folder / store.SECONDS).write_text("torn 0.\n")
    assert np.isnan(small.swept(folder, 1)["seconds"]).tolist() == [True]


def test_standard_errors_infinities_and_what_is_no_number(folder):
    # An impossible label that occurs: cross entropy is infinite, and so is the loss.
    problem = nb.Problem([0.0, 1.0, -np.inf], [0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    how = {"method": "monte_carlo", "key": 0, "draws": 8, "progress": False}
    first = nb.sweep(problem, nb.iid(nb.uniform(), 1), folder=folder, **how)
    assert np.isinf(first["cross_entropy"]).all() and "bias_norm_se" in first
    assert first.select_dtypes("number").isna().any(axis=None)
    same(nb.sweep(problem, nb.iid(nb.uniform(), 1), folder=folder, **how), first)


def test_the_other_precision_has_cells_of_its_own(folder):
    first = nb.sweep(small.PROBLEM, small.sampler(0), folder=folder)
    with precision(False):
        single = nb.sweep(small.PROBLEM, small.sampler(0), folder=folder)
    assert len(files(folder)) == 2
    same(nb.sweep(small.PROBLEM, small.sampler(0), folder=folder), first)
    with precision(False):
        same(nb.sweep(small.PROBLEM, small.sampler(0), folder=folder), single)


# --- damage


def test_every_cut_and_every_changed_byte_is_noticed():
    row = {"loss": float("nan"), "error": 1e-300, "status": "ok", "commit": None}
    whole = store._sealed("0" * 32, row)
    assert repr(store._opened(whole, "0" * 32)) == repr(row)
    assert store._opened(whole, "1" * 32) is None  # another cell's, renamed
    for place in range(len(whole)):
        assert store._opened(whole[:place], "0" * 32) is None
        for other in (whole[place] ^ 1, whole[place] ^ 32, 0x20):
            changed = bytes([*whole[:place], other, *whole[place + 1 :]])
            assert changed == whole or store._opened(changed, "0" * 32) is None
    for other in (b"", b"[]", b"1", whole + b" ", whole + whole):
        assert store._opened(other, "0" * 32) is None


def test_remains_of_the_killed_go_and_work_in_progress_stays(folder):
    folder.mkdir(parents=True)
    for name, age in (("old", store.STALE + 9), ("new", 0)):
        path = folder / f".partial-{name}"
        path.touch()
        then = time.time() - age
        os.utime(path, times=(then, then))
    small.swept(folder, 1)
    assert [path.name for path in folder.iterdir() if path.name[0] == "."] == [".partial-new"]


def test_a_disk_that_fills_while_bytes_are_on_their_way(folder, monkeypatch):
    """The second write fails where it is at its worst: nothing half-written is left."""
    calls = iter((False, True, True))

    def fsync(handle):
        if next(calls):
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(_files.os, "fsync", fsync)
    with pytest.warns(UserWarning) as caught:
        small.swept(folder, 3)
    assert [str(one.message) for one in caught] == [
        f"sweep: 2 finished cells could not be written to {folder} (OSError: No space left on "
        "device). The table has them and the cells there are intact; these would be computed "
        "again. Free some space first."
    ]
    assert len(list(folder.iterdir())) == 2  # the cell and the seconds


# --- versions


def test_a_cell_may_be_sent_on(monkeypatch):
    """A scheduler that unpacks it and packs it again, as Dask's, changes nothing."""
    cell = Cell((small.PROBLEM, nb.iid(nb.uniform(), 2), nb.infonce, "exact", {}), True)
    once = pickle.loads(pickle.dumps(cell))
    ours = made.made_by()
    monkeypatch.setattr(made, "made_by", lambda: ours._replace(version="0.2.0"))  # the scheduler
    twice = pickle.loads(pickle.dumps(once))
    monkeypatch.undo()
    here, *sent = (dict(one() | {"seconds": 0.0}) for one in (cell, once, twice))
    assert sent == [here, here] and here["status"] == "ok"


def test_a_worker_of_another_version_is_refused(monkeypatch):
    cell = Cell((small.PROBLEM, nb.iid(nb.uniform(), 2), nb.infonce, "exact", {}), True)
    state = cell.__getstate__()
    sent = Cell.__new__(Cell)
    sent.__setstate__(state)
    assert sent()["status"] == "ok"
    ours = made.made_by()
    monkeypatch.setattr(made, "made_by", lambda: ours._replace(version="0.2.0"))
    assert sent()["status"] == (
        f"failed: executor: its worker has nce-bias 0.2.0 (source {ours.source}) on jax "
        f"{ours.jax}; expected {ours}, which the sweep was called with. Install the same versions "
        "where the workers run."
    )


def test_another_jax_computes_anew(folder, monkeypatch):
    small.swept(folder, 1)
    ours = made.made_by()
    monkeypatch.setattr(made, "made_by", lambda: ours._replace(jax="0.0.1"))
    small.swept(folder, 1)
    assert len(files(folder)) == 2


def test_the_source_is_told_by_names_and_contents(tmp_path):
    found = set()
    for name, text in (("a.py", "x"), ("a.py", "y"), ("b.py", "x"), ("sub/a.py", "x")):
        path = tmp_path / str(len(found)) / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        (path.parent / "table.csv").write_text("data are no source")
        found.add(made.source_of(tmp_path / str(len(found))))
    assert len(found) == 4
    assert made.made_by().source == made.source_of(made.PACKAGE)
