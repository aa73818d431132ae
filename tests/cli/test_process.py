"""The program: its examples run, it starts without what it may not need, keeps what is compiled."""

import pathlib
import re
import shlex
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

import nce_bias as nb
from nce_bias.cli import arrays, process
from tests.cli.commands import BASE, rows, run

ROOT = pathlib.Path(__file__).resolve().parents[2]

# --- help, version, start


def example(*command):
    """The commands shown by ``--help``, one string each."""
    text = run(*command, "--help").stdout.replace("\\\n", " ")
    return re.findall(r"^ *\$ (.*)$", text, flags=re.MULTILINE)


def test_the_example_of_compare_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *before, shown = example("compare")
    assert len(before) == 2
    for line in before:
        subprocess.run(line, shell=True, check=True)
    program, *arguments = shlex.split(shown)
    assert program == "nce-bias"
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert [row[0] for row in rows(done.stdout)] == ["uniform"] * 3 + ["model:T=2"] * 3


def test_the_example_of_the_whole_runs():
    (shown,) = example()
    assert run(*shlex.split(shown)[1:]).exit_code == 0


def test_version():
    assert run("--version").stdout == f"nce-bias {nb.__version__}\n"


def test_the_command_line_starts_without_what_it_may_not_need():
    program = (
        "import sys, nce_bias.cli; "
        "print(*(n for n in ('pandas', 'matplotlib', 'optax') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_zip_errors_are_among_the_unreadable():
    assert zipfile.BadZipFile in arrays.UNREADABLE


# --- what is compiled is kept


def _jax(folder, told):
    """What `process` asks of JAX, in a process that was told of `folder`."""
    config = SimpleNamespace(jax_compilation_cache_dir=folder, update=told.__setitem__)
    return SimpleNamespace(config=config)


def test_compilations_are_kept_where_they_can_be(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(process, "jax", _jax(None, told))
    monkeypatch.setattr(process.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    assert process.keep_compilations() == tmp_path / "nce-bias" / "jax"
    assert told["jax_compilation_cache_dir"] == str(tmp_path / "nce-bias" / "jax")
    assert list((tmp_path / "nce-bias" / "jax").iterdir()) == []
    told.clear()
    (tmp_path / "file").touch()
    assert process.keep_compilations(tmp_path / "file") is None
    assert told == {}


def test_the_users_own_cache_is_left_alone(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(process, "jax", _jax("/mine", told))
    assert process.keep_compilations(tmp_path) == pathlib.Path("/mine")
    assert told == {}


@pytest.mark.slow
def test_a_second_process_compiles_nothing(files, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(files / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    # everything is worth keeping: otherwise what compiles in about `WORTH_KEEPING` is kept by
    # one process and not by another
    program = "from nce_bias.cli import app, process; process.WORTH_KEEPING = 0.0; app()"
    call = [sys.executable, "-c", program, *BASE, "--m", "2"]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [*call, "--negatives", "uniform", "--monte-carlo", "--draws", "64"],
            capture_output=True,
            text=True,
            check=True,
        )
        kept = sorted(p.name for p in (files / "cache").rglob("*-cache"))
        outputs.append((done.stdout, kept))
    assert outputs[0] == outputs[1]
    assert outputs[0][1]
