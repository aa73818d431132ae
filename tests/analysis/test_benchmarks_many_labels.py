"""What the benchmarks of many labels measure is what they say. No timing."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from analysis.benchmarks import atoms, devices, equal_error, picture, run

ROOT = pathlib.Path(run.__file__).parents[2]
CELL = atoms.Cell("one", "independent", "model", 300, 2, directly=True)


@pytest.mark.slow
def test_devices_are_timed_against_one():
    """Two of the eight, in a process that has them, so that labels are split there."""
    program = (
        "import json, jax; jax.config.update('jax_enable_x64', True); "
        "from analysis.benchmarks import devices; "
        "print(json.dumps(devices.measured(4096, 2048, (1, 2), 1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices.COUNTED}"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = pd.DataFrame(json.loads(done.stdout))
    assert set(devices.COLUMNS) == set(found.columns)
    assert found["labels"].tolist() == [4096, 4096, 2048, 4096]
    assert (found[["wall", "ratio", "cpu"]].to_numpy() > 0).all()


@pytest.mark.parametrize(
    "cell", [CELL, CELL._replace(golds="all"), CELL._replace(draws="distinct")]
)
def test_what_is_timed_is_on_atoms_and_right(cell):
    problem, sampler = atoms.problem_of(cell.labels, cell.golds), atoms.sampler_of(cell)
    assert problem.labels == cell.labels
    assert np.count_nonzero(problem.population) == (1 if cell.golds == "one" else cell.labels)
    found, truth = (
        nb.exact(problem, sampler, engine=engine, split=False) for engine in ("atoms", "direct")
    )
    assert "atoms" in found.method
    off = np.abs(np.asarray(found.selection) - np.asarray(truth.selection)).max()
    assert off <= float(found.error) + float(truth.error)


def test_the_sets_that_would_be_needed():
    """A standard error that falls like one over the root of the sets, and their time."""
    (found,) = equal_error.run(sizes=(5,), draws=4000, count=1).to_dict("records")
    assert found["of_ten"] / found["standard_error"] == pytest.approx((found["draws"] / 10) ** 0.5)
    at: Any = found["standard_error"] * (found["draws"] / found["needed"]) ** 0.5
    assert at == pytest.approx(found["error"])
    years = found["needed"] / found["draws"] * found["sampled"] / equal_error.YEAR
    assert years == pytest.approx(found["years"])


def test_memory_is_that_of_one_process():
    """Not of the one that started it, which holds more than the array here."""
    held = np.ones(2**27)
    program = "from analysis.benchmarks import memory; print(memory._largest())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert 1e7 < float(done.stdout) < held.nbytes


def test_the_figure_shows_the_committed_results(tmp_path):
    (path,) = picture.draw(run.RESULTS, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert (run.FIGURES / path.name).exists()
    found: Any = run.read(run.RESULTS, "atoms")
    at: Any = found[(found["labels"] == 10**5) & (found["negatives"] == "model")]
    one: Any = at[(at["golds"] == "one") & (at["draws"] == "independent")]
    assert set(one["m"]) == {1, 4, 64, 1024, 65_536}
    assert one["ratio"].between(10, 100).all()  # tens of softmaxes, whatever m is
    assert (one["direct"] / one["softmax"]).max() > 500  # a thousand
