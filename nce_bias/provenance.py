"""Where a result came from: what has to be known to make it again, written beside it."""

import json
import os
import pathlib
import platform
import subprocess
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["provenance", "write_meta"]

_DISTRIBUTION = "nce-bias"
_PACKAGE = pathlib.Path(__file__).resolve().parent
_GIT_SECONDS = 10.0  # git answers in milliseconds; a hung file system must not hang an analysis


def provenance(**configuration: Any) -> dict[str, Any]:
    """Describe the program, the machine's numerics and the configuration behind a result.

    There is no date and no path in it: two runs of the same commit with the same configuration
    on the same backend describe themselves identically, so a result file that did not change
    does not look changed.

    Parameters
    ----------
    **configuration
        Whatever distinguishes this run: seed, sizes, step counts. Anything `json` can write,
        NumPy and JAX scalars and arrays, and paths.

    Returns
    -------
    dict
        ``version`` of this package (None if it is not installed); ``commit`` of the checkout it
        runs from, with ``+changes`` behind it when tracked files of the package differ from
        that commit, and None outside a checkout; ``python``, ``jax``, ``backend``; ``dtype``, the
        floating-point type JAX computes in by default; ``configuration``.

    Examples
    --------
    >>> from nce_bias.provenance import provenance
    >>> provenance(seed=42)["configuration"]
    {'seed': 42}
    """
    return {
        "version": _version(),
        "commit": _commit(_PACKAGE),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "dtype": str(jnp.zeros(()).dtype),
        "configuration": configuration,
    }


def write_meta(path: str | os.PathLike[str], **configuration: Any) -> pathlib.Path:
    """Write `provenance` as JSON.

    Parameters
    ----------
    path
        A file to write, or a folder, in which ``meta.json`` is written. Missing folders are made.
    **configuration
        As for `provenance`.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    TypeError
        A configuration value is of a type that has no obvious JSON form. Nothing is written.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from nce_bias.provenance import write_meta
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_meta(folder, seed=42)
    ...     print(written.name, json.loads(written.read_text())["configuration"])
    meta.json {'seed': 42}
    """
    path = pathlib.Path(path)
    if path.suffix != ".json":
        path = path / "meta.json"
    text = json.dumps(provenance(**configuration), indent=2, default=_plain) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _version() -> str | None:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _commit(package: pathlib.Path) -> str | None:
    """Commit of the checkout that tracks `package`; None where there is none to speak of.

    A copy installed into an environment that happens to lie inside some other repository is not
    that repository's: git has to track the package's own files.
    """
    if not _git(package, "ls-files", "--", "__init__.py"):
        return None
    commit = _git(package, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+changes" if changed else commit


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """What git prints for `arguments` in `folder`; None if git is absent, refuses or hangs."""
    # A git hook sets these, and they would point git at another repository.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
    }
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """The JSON form of what `json` does not know itself."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy and JAX scalars and arrays
        return value.tolist()
    raise TypeError(
        f"cannot write {value!r} of type {type(value).__name__} into meta.json: "
        "expected numbers, strings, lists, dicts, arrays or paths; convert it first, "
        "for instance with str()."
    )
