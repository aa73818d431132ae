"""Finished cells on disk: one small file each, by the digest of what determines its numbers.

A file is JSON: Python writes the shortest decimal that reads back as the same float, so that
numbers are exact and a file can be read by eye and by other programs (but for NaN, which is no part
of JSON proper). It holds nothing that changes from one run to the next, so equal cells have equal
bytes; how long each took is in `seconds.txt`, a line for each computation, written before the file.

    <version>-<source>-<fingerprint>.json    {"sha256": <of what follows>, "cell": {...}}
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nce_bias._checks import refuse
from nce_bias._files import replacing
from nce_bias._sweep import made
from nce_bias._sweep.cells import Row

SECONDS = "seconds.txt"
NAME = re.compile(r"(?P<library>.+-[0-9a-f]{8})-[0-9a-f]{32}\.json(\.damaged)?")
LINE = re.compile(r"([0-9a-f]{32}) (\d\S*)")
#: Seconds after which what a killed process was writing is no other process's work in progress.
STALE = 600.0


class Store:
    """The cells of a folder; it is made if it is not there.

    Raises ValueError for a folder with other files in it, and for one that cannot be used.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.lost: list[OSError] = []  # what could not be written, and why
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
            self._seconds = self._read_seconds()
        except OSError as error:
            raise _unusable(self.folder, error) from error
        self._check(names)
        self._there = set(names)
        self._remove_remains()

    def read(self, fingerprints: Iterable[str]) -> dict[str, Row]:
        """The rows that are there; a damaged one is set aside, with a warning for all of them."""
        rows: dict[str, Row] = {}
        damaged: list[str] = []
        for fingerprint in dict.fromkeys(fingerprints):
            path = self._path(fingerprint)
            if path.name not in self._there:
                continue
            row = _opened(path.read_bytes(), fingerprint)
            if row is None:
                path.replace(path.with_name(f"{path.name}.damaged"))
                damaged.append(path.name)
            else:
                rows[fingerprint] = row | {"seconds": self._seconds.get(fingerprint, math.nan)}
        if damaged:
            warnings.warn(
                f"sweep: {len(damaged)} cells in {self.folder} are damaged (cut or altered), the "
                f"first {damaged[0]}. They are set aside as *.damaged and computed again.",
                stacklevel=4,
            )
        return rows

    def keep(self, fingerprint: str, row: Row) -> None:
        """Write one cell, whole or not at all; where the disk refuses, the sweep goes on."""
        row = dict(row)
        seconds = row.pop("seconds", math.nan)
        try:
            with open(self.folder / SECONDS, "a", encoding="ascii") as file:
                file.write(f"{fingerprint} {seconds!r}\n")
            with replacing(self._path(fingerprint)) as file:
                file.write(_sealed(fingerprint, row))
        except OSError as error:
            self.lost.append(error)

    def _path(self, fingerprint: str) -> Path:
        return self.folder / f"{made.made_by().library}-{fingerprint}.json"

    def _check(self, names: list[str]) -> None:
        """Refuse other files, say a word about cells of another version."""
        known = {name: NAME.fullmatch(name) for name in names if name != SECONDS}
        other = [name for name, match in known.items() if match is None]
        if other:
            shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
            raise refuse(
                "folder",
                f"got {self.folder}, which holds other files ({shown})",
                "a folder of a sweep's own, new or empty at first",
                "Name another, or a new one inside it.",
            )
        ours = made.made_by().library
        libraries = {match["library"] for match in known.values() if match}
        if others := sorted(libraries - {ours}):
            warnings.warn(
                f"sweep: {self.folder} also holds cells of another version of the library ("
                f"{', '.join(others)}; this one is {ours}). They are left alone and not used: what "
                "this version has not computed there is computed. Remove them by how their names "
                "begin.",
                stacklevel=4,
            )

    def _read_seconds(self) -> dict[str, float]:
        path = self.folder / SECONDS
        if not path.exists():
            return {}
        lines = path.read_text("ascii", errors="replace").splitlines()
        return {match[1]: float(match[2]) for match in map(LINE.fullmatch, lines) if match}

    def _remove_remains(self) -> None:
        """What killed processes were writing."""
        for path in self.folder.glob(".partial-*"):
            try:
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink(missing_ok=True)
            except OSError:  # gone: another process put it in place
                continue


def _sealed(fingerprint: str, row: Row) -> bytes:
    body = json.dumps({"fingerprint": fingerprint, "row": row}, default=_number)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "cell": {body}}}\n'.encode()


def _opened(content: bytes, fingerprint: str) -> Row | None:
    """The row; None where one byte is not what was written, or it is another cell's."""
    try:
        cell = json.loads(content)["cell"]
        row = cell["row"]
        whole = cell["fingerprint"] == fingerprint and _sealed(fingerprint, row) == content
    except (ValueError, KeyError, TypeError):
        return None
    return row if whole else None


def _number(value: Any) -> float | int:
    """A NumPy or JAX scalar."""
    return value.item()


def _unusable(folder: Path, error: OSError) -> ValueError:
    return refuse(
        "folder",
        f"{folder} cannot be used ({type(error).__name__}: {error.strerror or error})",
        "a folder that can be made, read and written",
        "Name another.",
    )
