"""Files that are written whole or not at all: what a killed process leaves is never believed."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file, open to write and read, that takes the place of `path` when the block ends.

    Its folder is made. If the block raises, `path` stays as it was and nothing else is left.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".partial-{path.name}-")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, _MODE)  # mkstemp's own would keep others from reading it
        os.replace(partial, path)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def filling(folder: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """An empty folder whose files go over to `folder`, one rename each, when the block ends.

    Files of `folder` with other names stay. If the block raises, `folder` stays as it was.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        staged = pathlib.Path(partial)
        yield staged
        for file in sorted(path for path in staged.rglob("*") if path.is_file()):
            target = folder / file.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def _permissions() -> int:
    """What a file made by `open` may be: read and written, less the process's mask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _permissions()
