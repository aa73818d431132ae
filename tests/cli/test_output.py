"""What the commands write for other programs, and how they end when something goes wrong."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.cli.commands import run

compare_module = sys.modules["nce_bias.cli._compare"]  # the package has the function of this name


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("scores.npy", [[2.0, 1.0, 0.0, -1.0], [0.0, 1.0, 0.5, 0.0]])
    np.save("population.npy", [[0.6, 0.2, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
    np.save("golds.npy", [0, 3])


COMPARE = ("compare", "scores.npy", "population.npy", "--m", "2", "--negatives", "uniform")


def test_the_records_are_those_of_the_table():
    records = json.loads(run(*COMPARE, "--json", "--csv", "out.csv").stdout)
    (row,) = pd.read_csv("out.csv").to_dict("records")
    (record,) = records
    assert record["negatives"] == "uniform" and record["m"] == 2
    assert record["bias_norm"] == pytest.approx(row["bias_norm"], rel=1e-12)
    assert set(row) == set(record)


def test_an_audit_in_records():
    audit = ("audit", "golds.npy", "--scores", "scores.npy", "--m", "2", "--csv", "out.csv")
    found = json.loads(run(*audit, "--preset", "siglip", "--json").stdout)
    (row,) = pd.read_csv("out.csv").to_dict("records")
    assert set(found) == {"how", "rows", "remarks"} and found["remarks"]
    assert found["rows"][0]["convention"] == "siglip"
    assert found["rows"][0]["bias_norm"] == pytest.approx(row["bias_norm"], rel=1e-12)


def test_a_traceback_is_for_who_asks():
    missing = ("compare", "nothing.npy", "population.npy")
    plain, debugged = run(*missing), run("--debug", *missing)
    assert plain.exit_code == debugged.exit_code == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debugged.stderr
    assert debugged.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("error", "said"),
    [(TypeError("of\nsome kind"), "TypeError: of some kind"), (MemoryError(), "fewer inputs")],
)
def test_what_nobody_foresaw_is_a_paragraph(monkeypatch, error, said):
    def failing(*_):
        raise error

    monkeypatch.setattr(compare_module, "exact", failing)
    plain, debugged = run(*COMPARE), run("--debug", *COMPARE)
    assert plain.exit_code == debugged.exit_code == 1
    assert said in plain.stderr and len(plain.stderr.splitlines()) == 2
    assert "Traceback" in debugged.stderr and debugged.stderr.endswith(plain.stderr)


def test_the_shell_completes():
    """What bash is told for ``nce-bias comp<TAB>``, by a program as the shell starts it."""
    code = "from nce_bias.cli import app; app(prog_name='nce-bias')"
    words = {"COMP_WORDS": "nce-bias comp", "COMP_CWORD": "1"}
    told = {"_NCE_BIAS_COMPLETE": "complete_bash", **words}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True)
    assert done.stdout.split() == ["compare"], done.stderr
