"""Which library computes here: its version and its source, and JAX's version."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import NamedTuple

import jax

PACKAGE = Path(__file__).resolve().parents[1]


class MadeBy(NamedTuple):
    """What numbers are made by, besides the cell itself.

    `source` is a digest of all modules of the package: it tells two states of a checkout apart that
    are of one version and one commit, and does not change with a commit that changes no module.
    """

    version: str
    source: str
    jax: str

    @property
    def library(self) -> str:
        """Version and source in one word, for names of files."""
        return f"{self.version}-{self.source}"

    def __str__(self) -> str:
        return f"nce-bias {self.version} (source {self.source}) on jax {self.jax}"


@functools.cache
def made_by() -> MadeBy:
    """That of this process."""
    try:
        version = importlib.metadata.version("nce-bias")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return MadeBy(version, source_of(PACKAGE), jax.__version__)


def source_of(package: Path) -> str:
    """Eight digits of a digest of every module below a folder, by name and content."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name, content = str(path.relative_to(package)).encode(), path.read_bytes()
        for part in (name, content):
            found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:8]
