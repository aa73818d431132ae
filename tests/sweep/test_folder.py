"""Cells on disk: what is read back, what is never believed, and what a bad folder is answered."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from nce_bias._sweep import made, store
from nce_bias._sweep.identity import Unidentified, digest
from tests.sweep import small

COUNT = 4
PROBLEM = small.PROBLEM


def same(table: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        table.drop(columns="seconds"), other.drop(columns="seconds"), check_exact=True
    )


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Which cells were computed since it was last asked."""
    path = tmp_path / "log"
    monkeypatch.setenv(small.LOG, str(path))

    def computed() -> list[int]:
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted({int(line.split()[0]) for line in lines})

    return computed


def test_a_folder_changes_no_number_and_nothing_is_computed_twice(tmp_path, log):
    folder = tmp_path / "cells"
    plain = small.swept(None, COUNT)
    assert log() == list(range(COUNT))
    first = small.swept(folder, COUNT)
    assert log() == list(range(COUNT))
    again = small.swept(folder, COUNT)
    assert log() == []
    same(first, plain)
    pd.testing.assert_frame_equal(again, first, check_exact=True)  # the seconds, too
    more = small.swept(folder, COUNT + 1)  # a larger sweep computes what is new
    assert log() == [COUNT]
    same(more.iloc[:COUNT].reset_index(drop=True), first)


@pytest.mark.parametrize("harm", ["cut", "altered", "empty", "another's"])
def test_a_damaged_cell_is_set_aside_and_done_again(harm, tmp_path, log):
    folder = tmp_path / "cells"
    first = small.swept(folder, COUNT)
    log()
    victim, other = sorted(folder.glob("*.json"))[:2]
    content = victim.read_bytes()
    place = content.index(b'"loss": ') + len(b'"loss": ')
    harmed = {
        "cut": content[:-20],
        "altered": content[:place] + b"9" + content[place:],
        "empty": b"",
        "another's": other.read_bytes(),
    }[harm]
    victim.write_bytes(harmed)
    with pytest.warns(UserWarning, match="1 cells in .* are damaged"):
        again = small.swept(folder, COUNT)
    assert len(log()) == 1
    same(again, first)
    assert victim.with_name(f"{victim.name}.damaged").read_bytes() == harmed
    assert victim.read_bytes() == content  # the same bytes as before the harm


def test_another_configuration_never_mixes_in(tmp_path):
    """Cells that differ in one thing each, all in one folder: each is computed."""
    sampler, folder = nb.iid(nb.uniform(), 2), tmp_path / "cells"
    nudge = np.array([0, 0, 0, 1e-9])
    moved = nb.Problem(np.asarray(PROBLEM.scores) + nudge, [0.7, 0.0, 0.2, 0.1])
    monte_carlo = {"method": "monte_carlo", "draws": 8}
    calls = [
        (PROBLEM, sampler, nb.infonce, {}),
        (moved, sampler, nb.infonce, {}),
        (PROBLEM, nb.iid(nb.uniform(), 3), nb.infonce, {}),
        (PROBLEM, nb.iid(nb.uniform(), 2, hits="keep"), nb.infonce, {}),
        (PROBLEM, sampler, nb.sampled_softmax, {}),
        (PROBLEM, sampler, nb.infonce, {"key": 0} | monte_carlo),
        (PROBLEM, sampler, nb.infonce, {"key": 1} | monte_carlo),
        (PROBLEM, sampler, nb.infonce, {"key": 0} | monte_carlo | {"draws": 9}),
    ]
    for count, (problem, negatives, loss, options) in enumerate(calls, start=1):
        kept = nb.sweep(problem, negatives, loss, folder=folder, progress=False, **options)
        same(kept, nb.sweep(problem, negatives, loss, progress=False, **options))
        assert len(list(folder.glob("*.json"))) == count


def test_lambdas_of_one_text_are_told_apart(tmp_path):
    def colder(temperature):
        return lambda scores, popularity: scores / temperature

    one, two = (nb.iid(colder(t), 2) for t in (1.0, 2.0))
    assert repr(one) == repr(two)  # by their words alone they would be one cell
    folder = tmp_path / "cells"
    table = nb.sweep(PROBLEM, {"one": one, "two": two}, folder=folder, progress=False)
    assert len(set(table["loss"])) == 2
    assert digest(colder(1.0)) == digest(colder(1.0)) != digest(colder(2.0))
    again = nb.sweep(PROBLEM, {"one": nb.iid(colder(1.0), 2)}, folder=folder, progress=False)
    assert list(again["loss"]) == list(table["loss"][:1])
    assert len(list(folder.glob("*.json"))) == 2


FACTOR = 2.0


def scaled(scores, popularity):
    return FACTOR * scores


def test_what_a_function_reads_is_part_of_it(monkeypatch):
    before = digest(scaled)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert digest(scaled) != before
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert digest(scaled) == before
    assert digest(jnp.zeros(3)) != digest(jnp.zeros(3, jnp.float32))
    assert digest([1, [2]]) != digest([1, 2])
    assert digest(("ab", "c")) != digest(("a", "bc"))


def test_what_cannot_be_identified_is_refused_before_anything_is_computed(tmp_path):
    with open(os.devnull) as held:
        with pytest.raises(Unidentified):
            digest(lambda scores, popularity: scores * held.fileno())
        sampler = nb.iid(lambda scores, popularity: scores * held.fileno(), 2)
        with pytest.raises(ValueError, match=r"samplers: 'mine' holds .*fingerprint"):
            nb.sweep(PROBLEM, {"mine": sampler}, folder=tmp_path / "cells", progress=False)
    assert not list((tmp_path / "cells").glob("*.json"))


def test_cells_of_another_version_are_left_alone(tmp_path, log, monkeypatch):
    folder = tmp_path / "cells"
    first = small.swept(folder, COUNT)
    log()
    theirs = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    older = made.made_by()._replace(version="0.0.1")
    monkeypatch.setattr(made, "made_by", lambda: older)
    with pytest.warns(UserWarning, match="cells of another version"):
        again = small.swept(folder, COUNT)
    assert log() == list(range(COUNT))
    same(again.drop(columns="version"), first.drop(columns="version"))
    left = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    assert theirs.items() < left.items()


def test_a_full_disk_costs_no_row(tmp_path, log, monkeypatch):
    folder = tmp_path / "cells"
    small.swept(folder, 2)
    log()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "replacing", full)
    with pytest.warns(UserWarning, match="(?i)no space left"):
        table = small.swept(folder, COUNT)
    assert list(table["status"]) == ["ok"] * COUNT
    assert len(list(folder.glob("*.json"))) == 2
    monkeypatch.undo()
    same(small.swept(folder, COUNT), table)


def test_a_failed_cell_is_tried_again_and_an_interrupt_keeps_what_is_done(
    tmp_path, log, monkeypatch
):
    folder = tmp_path / "cells"
    monkeypatch.setenv(small.BAD, "fail 1")
    with pytest.warns(UserWarning, match="1 of 4 cells failed"):
        table = small.swept(folder, COUNT)
    assert "RuntimeError" in table["status"][1]
    monkeypatch.setenv(small.BAD, "stop 5")
    log()
    with pytest.warns(UserWarning, match="interrupted after 5 of 7"):
        table = small.swept(folder, 7)
    assert 1 in log()  # it failed before
    assert list(table["status"][5:]) == ["not run: interrupted"] * 2
    monkeypatch.delenv(small.BAD)
    assert list(small.swept(folder, 7)["status"]) == ["ok"] * 7
    assert log() == [5, 6]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"folder: got .*which holds other files \(thesis.tex\)"):
        small.swept(tmp_path, COUNT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="cannot be used"):
        small.swept(tmp_path / "thesis.tex", COUNT)


def test_a_cell_that_kills_its_worker_is_one_failed_row(tmp_path, monkeypatch):
    folder = tmp_path / "cells"
    monkeypatch.setenv(small.BAD, "exit 1")
    with pytest.warns(UserWarning) as said:
        table = small.swept(folder, 3, executor=1)
    words = " ".join(str(warning.message) for warning in said)
    assert "a worker process died, 2 times" in words
    assert "1 of 3 cells failed" in words
    assert list(table["status"] == "ok") == [True, False, True]
    assert "died on it twice" in table["status"][1]
    monkeypatch.delenv(small.BAD)
    same(small.swept(folder, 3), small.swept(None, 3))


def test_files_are_read_by_other_programs(tmp_path):
    folder = tmp_path / "cells"
    table = small.swept(folder, 1)
    (path,) = folder.glob("*.json")
    row = json.loads(path.read_text())["cell"]["row"]
    assert row["loss"] == table["loss"][0]  # to the last bit
