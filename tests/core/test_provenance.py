"""Provenance says what made a result, the same way each time, and is never the reason to fail."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nce_bias import provenance as _provenance
from nce_bias.provenance import provenance, write_meta

ROOT = pathlib.Path(__file__).resolve().parents[2]


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=t"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder `repository/package` with one committed file, as a package in its checkout."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set when a git hook runs this
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("one\n")
    git(tmp_path / "repository", "init", "--quiet")
    git(tmp_path / "repository", "add", ".")
    git(tmp_path / "repository", "commit", "--quiet", "-m", "one")
    return folder


def test_fields():
    said = provenance(seed=42)
    assert set(said) == {
        "version",
        "commit",
        "python",
        "jax",
        "backend",
        "dtype",
        "configuration",
    }
    assert said["jax"] == jax.__version__
    assert said["python"] == "{}.{}.{}".format(*sys.version_info)
    assert said["backend"] == "cpu" or said["backend"] in {"gpu", "tpu"}
    assert said["configuration"] == {"seed": 42}
    assert said["version"] is not None


def test_dtype_is_what_jax_computes_in():
    assert provenance()["dtype"] == "float64"
    jax.config.update("jax_enable_x64", False)
    try:
        assert provenance()["dtype"] == "float32"
    finally:
        jax.config.update("jax_enable_x64", True)


def test_two_runs_describe_themselves_alike():
    assert provenance(seed=1) == provenance(seed=1)
    assert provenance(seed=1) != provenance(seed=2)


def test_commit_of_a_checkout(package):
    assert _provenance._commit(package) == git(package, "rev-parse", "HEAD")


def test_commit_says_when_the_package_differs_from_it(package):
    head = git(package, "rev-parse", "HEAD")
    (package.parent / "result.csv").write_text("untracked and outside the package\n")
    assert _provenance._commit(package) == head
    (package / "__init__.py").write_text("two\n")
    assert _provenance._commit(package) == f"{head}+changes"


def test_no_commit_outside_a_checkout(tmp_path):
    assert _provenance._commit(tmp_path) is None


def test_no_commit_before_the_first(package):
    shutil.rmtree(package.parent / ".git")
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    assert _provenance._commit(package) is None


def test_no_commit_of_a_repository_that_merely_contains_the_package(package):
    # As site-packages of an environment inside the checkout of some other project.
    installed = package.parent / ".venv" / "nce_bias"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("installed\n")
    assert _provenance._commit(installed) is None


def test_no_commit_without_git(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert _provenance._commit(package) is None


def test_a_hook_of_another_repository_does_not_lend_its_commit(package, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "commit", "--quiet", "--allow-empty", "-m", "other")
    head = git(package, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert _provenance._commit(package) == head


def test_no_version_when_not_installed(monkeypatch):
    monkeypatch.setattr(_provenance, "_DISTRIBUTION", "a-distribution-nobody-installs")
    assert provenance()["version"] is None


def test_meta_file_is_what_provenance_says(tmp_path):
    written = write_meta(tmp_path / "results" / "meta.json", seed=42, ms=[1, 4])
    assert written == tmp_path / "results" / "meta.json"
    assert json.loads(written.read_text()) == provenance(seed=42, ms=[1, 4])
    assert written.read_text().endswith("}\n")


def test_meta_of_a_folder(tmp_path):
    assert write_meta(tmp_path) == tmp_path / "meta.json"


def test_meta_takes_arrays_and_paths(tmp_path):
    written = write_meta(
        tmp_path,
        share=np.float32(0.5),
        seeds=jnp.arange(3),
        corpus=pathlib.PurePosixPath("a/b"),
    )
    configuration = json.loads(written.read_text())["configuration"]
    assert configuration == {"share": 0.5, "seeds": [0, 1, 2], "corpus": "a/b"}


def test_meta_refuses_what_has_no_json_form_and_writes_nothing(tmp_path):
    with pytest.raises(TypeError) as refused:
        write_meta(tmp_path, sampler={1})
    assert str(refused.value) == (
        "cannot write {1} of type set into meta.json: expected numbers, strings, lists, dicts, "
        "arrays or paths; convert it first, for instance with str()."
    )
    assert list(tmp_path.iterdir()) == []


def test_imports_neither_pandas_nor_matplotlib():
    program = (
        "import sys, nce_bias.provenance; "
        "print([m for m in ('pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
