"""`nce-bias audit`: the table is `nb.audit`'s, from files."""

import pathlib
import shlex

import numpy as np
import pandas as pd
import pytest

import nce_bias as nb
from tests.cli.commands import run

QUERIES = np.random.default_rng(0).normal(size=(6, 3))
LABELS = np.random.default_rng(1).normal(size=(5, 3))
GOLDS = [0, 1, 2, 3, 4, 0]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("queries.npy", QUERIES.astype(np.float32))
    np.save("labels.npy", LABELS.astype(np.float32))
    np.save("golds.npy", GOLDS)
    np.save("scores.npy", QUERIES @ LABELS.T)
    np.save("counts.npy", [5, 1, 2, 1, 1])
    return tmp_path


def test_the_table_is_what_the_library_says(files):
    done = run(
        *("audit", "golds.npy", "--scores", "scores.npy", "--counts", "counts.npy", "--m", "1,4"),
        *("--preset", "in_batch_infonce", "--negatives", "hard", "--loss", "sampled_softmax"),
        *("--csv", "out.csv", "--report", "out.html"),
    )
    assert done.exit_code == 0, done.output
    problem = nb.Problem.from_golds(QUERIES @ LABELS.T, GOLDS, np.array([5, 1, 2, 1, 1]) / 10)
    asked = {
        "in_batch_infonce": "in_batch_infonce",
        "hard, sampled_softmax": lambda m: (nb.iid(nb.model(), m), nb.sampled_softmax),
    }
    truth = nb.audit(problem, (1, 4), asked)
    assert done.stdout == f"{truth!r}\n"
    written = pd.read_csv("out.csv")
    expected = truth.to_frame()
    assert written["convention"].tolist() == expected["convention"].tolist()
    assert np.allclose(written["bias_norm"], expected["bias_norm"], rtol=1e-12)
    assert pathlib.Path("out.html").read_text().startswith("<!DOCTYPE html>")
    assert done.stderr == "wrote out.csv\nwrote out.html\n"


def test_embeddings_and_golds_as_text(files):
    pathlib.Path("golds.csv").write_text("gold\n" + "".join(f"{gold}\n" for gold in GOLDS))
    call = ("--m", "2", "--preset", "in_batch_infonce")
    sides = ("--queries", "queries.npy", "--labels", "labels.npy", "--temperature", "0.5")
    done = run("audit", "golds.csv", *sides, *call)
    assert done.exit_code == 0, done.output
    queries, labels = QUERIES.astype(np.float32), LABELS.astype(np.float32)
    problem = nb.Problem.from_embeddings(queries, labels, GOLDS, temperature=0.5)
    assert done.stdout == f"{nb.audit(problem, 2, ['in_batch_infonce'])!r}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "scores: give --scores FILE, or both --queries FILE and --labels FILE, and not all"),
        (("--queries", "queries.npy"), "scores: give --scores FILE, or both --queries FILE"),
        (("--scores", "scores.npy", "--preset", "in"), "--preset: 'in' is not known; known are"),
        (("--scores", "scores.npy", "--m", "x"), "--m: got 'x'; expected whole numbers"),
        (("--scores", "scores.npy", "--loss", "x"), "--loss: 'x' is not known"),
        (("--scores", "scores.npy", "--counts", "golds.npy"), "popularity: got shape (6,)"),
        (("--scores", "scores.npy", "--report", "no/a.html"), "--report: no/a.html lies in a"),
        (("--scores", "scores.npy", "--negatives", "x"), "--negatives x: 'x' is not known"),
    ],
)
def test_refused(arguments, message, files):
    done = run("audit", "golds.npy", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"nce-bias: {message}")


def test_golds_that_are_no_whole_numbers_are_refused(files):
    pathlib.Path("golds.csv").write_text("0\n1.5\n2\n3\n4\n0\n")
    done = run("audit", "golds.csv", "--scores", "scores.npy")
    assert done.exit_code == 2
    assert "nce-bias: golds: " in done.stderr


def test_the_example_of_the_help_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = run("audit", "--help").stdout
    example = text[text.index("$ printf") :].split("\n\n")[0].replace("\\\n", " ")
    first, second, command = (line.strip().removeprefix("$ ") for line in example.splitlines())
    for line in (first, second):
        _, content, _, path = shlex.split(line)
        pathlib.Path(path).write_text(content.replace("\\n", "\n"))
    done = run(*shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert "Least biased here: hard, sampled_softmax (m = " in done.stdout
