"""`python -m analysis`: tables and pictures go where they are said to, nothing finished is lost."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import analysis
from analysis import command
from analysis.__main__ import app
from tests.refusals import refused_line

ROOT = pathlib.Path(__file__).resolve().parents[2]

RUN = """
SECONDS = {{"full": 12, "quick": 3}}
def run(out, *, quick=False):
    assert out.is_dir() and not list(out.iterdir())
    (out / "table.csv").write_text("{text}, quick" if quick else "{text}")
    {then}
"""
FIGURE = """
def draw(results, out):
    (out / "{name}.png").write_text("drawn from " + (results / "table.csv").read_text())
    return [out / "{name}.png"]
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    return refused_line(run(*arguments))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of two questions, with a folder that has no figure and one without run.py."""

    def add(name, text="new", then="pass"):
        files = {
            f"analysis/{name}/__init__.py": f'"""What {name} asks.\n\nAnd more."""',
            f"analysis/{name}/run.py": RUN.format(text=text, then=then),
            f"analysis/{name}/figure.py": FIGURE.format(name=name),
        }
        for file, content in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(content)

    add("beta")
    add("alpha")
    (tmp_path / "analysis" / "benchmarks").mkdir()
    (tmp_path / "analysis" / "benchmarks" / "run.py").write_text("raise AssertionError")
    (tmp_path / "analysis" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "HERE", tmp_path / "analysis")
    where = [str(tmp_path / "analysis"), *analysis.__path__]
    monkeypatch.setattr(analysis, "__path__", where)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield add
    for name in [n for n in sys.modules if n.startswith(("analysis.alpha", "analysis.beta"))]:
        del sys.modules[name]
        if name.count(".") == 1:
            delattr(analysis, name.rpartition(".")[2])


def written(folder="."):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix in (".csv", ".png")
    }


def test_what_is_run_goes_to_build_and_the_last_line_says_where(checkout):
    done = run("run")
    assert done.exit_code == 0, done.output
    assert written() == {
        "build/results/alpha/table.csv": "new",
        "build/results/beta/table.csv": "new",
        "build/figures/alpha.png": "drawn from new",
        "build/figures/beta.png": "drawn from new",
    }
    said = re.sub(r"\d+\.\d s", "T s", done.stdout)
    assert said.splitlines() == [
        "alpha, beta: about 24 s in all on two cores",
        "[1/2] alpha: analysis, about 12 s ...",
        "      alpha (analysis): T s -> build/results/alpha: table.csv",
        "      alpha (figure): T s -> build/figures: alpha.png",
        "[2/2] beta: analysis, about 12 s ...",
        "      beta (analysis): T s -> build/results/beta: table.csv",
        "      beta (figure): T s -> build/figures: beta.png",
        "done in T s; the pictures are in build/figures",
    ]


def test_what_is_committed_is_remade_in_place_alone(checkout):
    assert run("run", "--in-place").exit_code == 0
    assert written() == {
        "analysis/alpha/results/table.csv": "new",
        "analysis/beta/results/table.csv": "new",
        "figures/alpha.png": "drawn from new",
        "figures/beta.png": "drawn from new",
    }
    assert refused("run", "--in-place", "--quick") == (
        "nce-bias: --in-place: got --quick or --out with it; what is committed is made in full "
        "and where it lies. Leave them out."
    )


def test_quick_goes_to_a_folder_of_its_own(checkout):
    assert run("run", "beta", "--quick").exit_code == 0
    assert written() == {
        "build/quick/results/beta/table.csv": "new, quick",
        "build/quick/figures/beta.png": "drawn from new, quick",
    }


@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_out_is_a_folder_of_results_and_figures(checkout, quick):
    assert run("run", "alpha", "--out", "there", *quick).exit_code == 0
    assert set(written()) == {"there/results/alpha/table.csv", "there/figures/alpha.png"}


def test_a_second_run_replaces_and_leaves_other_files(checkout):
    folder = pathlib.Path("build/results/alpha")
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("old")
    (folder / "mine.csv").write_text("mine")
    assert run("run", "alpha").exit_code == 0
    assert written(str(folder)) == {"table.csv": "new", "mine.csv": "mine"}


def test_an_unknown_question(checkout):
    assert refused("run", "gamma") == (
        "nce-bias: run: 'gamma' is not known; known are alpha, beta."
    )


def test_a_folder_that_cannot_be_written(checkout, monkeypatch):
    pathlib.Path("file").write_text("")
    assert refused("run", "--out", "file") == (
        "nce-bias: --out: cannot write to the folder file/figures (Not a directory). Name another "
        "one."
    )

    def denied(path, *rest, **more):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(pathlib.Path, "touch", denied)
    assert refused("run", "alpha", "--out", "there") == (
        "nce-bias: --out: cannot write to the folder there/figures (Permission denied). Name "
        "another one."
    )


def test_ctrl_c_keeps_what_is_finished(checkout):
    checkout("beta", then="raise KeyboardInterrupt")
    pathlib.Path("build/results/beta").mkdir(parents=True)
    pathlib.Path("build/results/beta/table.csv").write_text("old")
    done = run("run")
    assert done.exit_code == 130
    assert done.stderr == (
        "\nnce-bias: interrupted during beta (analysis). Finished and kept: alpha (analysis), "
        "alpha (figure). Files of unfinished steps are as they were.\n"
    )
    assert written() == {
        "build/results/alpha/table.csv": "new",
        "build/results/beta/table.csv": "old",
        "build/figures/alpha.png": "drawn from new",
    }
    assert not list(pathlib.Path().rglob(".partial-*"))


def test_ctrl_c_at_the_first_step(checkout):
    checkout("alpha", then="raise KeyboardInterrupt")
    done = run("run")
    assert "interrupted during alpha (analysis). Finished and kept: nothing yet." in done.stderr


def test_a_failing_question_is_not_hidden(checkout):
    checkout("alpha", then="raise ZeroDivisionError('a bug')")
    done = run("run")
    assert isinstance(done.exception, ZeroDivisionError)
    assert written() == {}


@pytest.fixture
def apart(checkout, tmp_path):
    """The same checkout with a command of its own, for processes that know no fixture."""
    for file in ("__init__.py", "__main__.py", "command.py", "template.py"):
        shutil.copy(ROOT / "analysis" / file, tmp_path / "analysis" / file)
    yield [sys.executable, "-m", "analysis", "run", "--jobs", "2"]


def environment():
    """This one, so that processes find the library but not this checkout's questions."""
    own = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | own


def test_two_at_a_time_give_the_same_files(apart):
    done = subprocess.run(apart, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert written() == {
        "build/results/alpha/table.csv": "new",
        "build/results/beta/table.csv": "new",
        "build/figures/alpha.png": "drawn from new",
        "build/figures/beta.png": "drawn from new",
    }
    lines = re.sub(r"\d+\.\d s", "T s", done.stdout).splitlines()
    assert lines[0] == "alpha, beta: about 12 s in all on two cores"
    assert lines[-1] == "done in T s; the pictures are in build/figures"
    first = lines.index("      alpha (analysis): T s -> build/results/alpha: table.csv")
    assert lines[first + 1] == "      alpha (figure): T s -> build/figures: alpha.png"


def test_ctrl_c_ends_all_that_run_and_keeps_what_is_finished(apart, checkout):
    checkout("beta", then="import time; time.sleep(600)")
    # a shell lets what it starts in the background ignore Ctrl-C, and that would be inherited
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(
        apart, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    assert running.stdout is not None
    for line in running.stdout:
        if "alpha (figure)" in line:
            break
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 130
    assert errors.endswith(
        "interrupted during beta. Finished and kept: alpha (analysis), alpha (figure). Files of "
        "unfinished steps are as they were.\n"
    )
    assert set(written()) == {"build/results/alpha/table.csv", "build/figures/alpha.png"}
    assert not list(pathlib.Path().rglob(".partial-*"))


def test_without_times_there_is_no_estimate(checkout):
    pathlib.Path("analysis/beta/run.py").write_text(
        RUN.format(text="new", then="pass").replace("SECONDS", "OTHER")
    )
    done = run("run")
    assert "in all" not in done.stdout
    assert "[2/2] beta: analysis ...\n" in done.stdout


def test_the_questions_are_listed_with_what_they_ask(checkout):
    assert run("list").stdout == "alpha  What alpha asks.\nbeta   What beta asks.\n"


def test_this_checkout_has_its_questions():
    names = command.discover(ROOT / "analysis")
    assert {"limits", "linking", "synthetic"} <= set(names)
    assert "benchmarks" not in names  # it is timed and draws nothing


# --- a new question


def test_a_new_question_runs_at_once(checkout):
    done = run("new", "beta_two")
    assert done.exit_code == 0, done.output
    place = "analysis/beta_two"
    assert done.stdout == (
        f"wrote {place}/__init__.py, {place}/README.md, {place}/run.py, {place}/figure.py\n"
        "see it: python -m analysis run beta_two --quick\n"
        f"then edit {place}/README.md (question, prediction), {place}/run.py, {place}/figure.py\n"
    )
    headings = re.findall("^## (.*)$", pathlib.Path(place, "README.md").read_text(), re.MULTILINE)
    assert headings == ["Question", "Prediction, before it was run", "Answer"]
    done = run("run", "beta_two", "--quick")
    assert done.exit_code == 0, (done.output, done.exception)
    build = pathlib.Path("build/quick")
    assert (build / "figures/beta_two.png").read_bytes().startswith(b"\x89PNG")
    table: Any = pd.read_csv(build / "results/beta_two/bias.csv")
    assert set(table["negatives"]) == {"uniform", "model"} and (table["status"] == "ok").all()
    assert (build / "results/beta_two/meta.json").is_file()
    assert run("list").stdout.splitlines()[-1] == (
        "beta_two  Bias of two kinds of negatives against their number."
    )


@pytest.mark.parametrize("name", ["two words", "1st", "class", "Upper", "../out", ""])
def test_a_name_that_is_none(checkout, name):
    assert refused("new", name) == (
        f"nce-bias: new: got {name!r}; expected a name that Python can import, in small letters, "
        "such as bias_by_temperature."
    )
    assert command.discover(pathlib.Path("analysis")) == ["alpha", "beta"]


def test_a_name_that_is_taken(checkout):
    before = written(), pathlib.Path("analysis/alpha/run.py").read_text()
    folder = pathlib.Path("analysis/alpha").resolve()
    assert refused("new", "alpha") == (
        f"nce-bias: new: {folder} exists already. Take another name, or remove it first."
    )
    assert before == (written(), pathlib.Path("analysis/alpha/run.py").read_text())
