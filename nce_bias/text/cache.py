"""Token states on disk: computed once per encoder and texts, read as memory maps."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nce_bias.text.encoders import Encoder, as_texts
from nce_bias.text.extra import needed
from nce_bias.text.states import TokenStates

FORMAT = 1  # of the sidecar; raise it when the meaning of a file changes
ARRAYS = ("values", "ids", "starts")


def cached(
    encoder: Encoder, texts: Iterable[str], folder: str | os.PathLike[str] | None = None
) -> TokenStates:
    """``encoder.encode(texts)``, kept on disk: the second time it is read, as memory maps.

    What is on disk is known by its content: the file names hold a digest of the encoder's
    fingerprint and of all texts in order, so other weights, settings or texts have other files.
    Arrays are ``.npy`` files (never pickles); a ``.json`` beside them records their sizes and
    SHA-256 digests.  It is written last and each file is put in place whole (`os.replace`), so what
    a killed process leaves is not believed.  On reading everything is compared with the record; a
    file that is missing, cut or altered means encoding again.

    Parameters
    ----------
    encoder
        Any `Encoder`.
    texts
        Any number of texts; their order counts.
    folder
        Where to keep it.  Default: the user's cache folder, in ``nce-bias`` (needs platformdirs).
        Any file there may be deleted at any time.

    Returns
    -------
    TokenStates
        Its arrays are read-only memory maps.

    Raises
    ------
    MissingExtra
        (an ImportError) If `folder` is not given and platformdirs is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from nce_bias.text import from_function
    >>> def function(texts):
    ...     print("encoding", len(texts))
    ...     return [np.ones((len(text), 2)) for text in texts]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         states = cached(from_function(function, "ones"), ["ab", "c"], folder)
    encoding 2
    >>> states.lengths.tolist()
    [2, 1]
    """
    given = as_texts(texts)
    place = Path(folder) if folder is not None else _user_folder()
    about = {"format": FORMAT, "encoder": encoder.fingerprint, "texts": _digest_of(given)}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    vocabulary = _believed(place, key, about)
    if vocabulary is None:
        vocabulary = _write(place, key, about, encoder.encode(given))
    arrays = [np.load(_array(place, key, name), mmap_mode="r") for name in ARRAYS]
    return TokenStates(*arrays, vocabulary=vocabulary)


def _believed(place: Path, key: str, about: dict[str, Any]) -> int | None:
    """The vocabulary recorded, if every file is what the record says; else None."""
    try:
        record = json.loads((place / f"{key}.json").read_text("utf-8"))
        if {name: record[name] for name in about} != about:
            return None
        for name in ARRAYS:  # the sizes first: they cost nothing
            if _array(place, key, name).stat().st_size != record["files"][name]["bytes"]:
                return None
        for name in ARRAYS:
            with _array(place, key, name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != record["files"][name]["sha256"]:
                return None
        return int(record["vocabulary"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # no record, or not one of ours
        return None


def _write(place: Path, key: str, about: dict[str, Any], states: TokenStates) -> int:
    place.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in ARRAYS:
        with _replacing(_array(place, key, name)) as file:
            np.save(file, getattr(states, name), allow_pickle=False)
            file.flush()
            size = file.tell()
            file.seek(0)
            files[name] = {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    record = about | {"vocabulary": states.vocabulary, "files": files}
    with _replacing(place / f"{key}.json") as file:
        file.write(json.dumps(record, indent=1).encode())
    return states.vocabulary


@contextmanager
def _replacing(path: Path) -> Iterator[io.BufferedRandom]:
    """A file to write that takes the place of `path` when it is whole, and else disappears."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _array(place: Path, key: str, name: str) -> Path:
    return place / f"{key}.{name}.npy"


def _digest_of(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little"))  # ["ab"] is not ["a", "b"]
        digest.update(content)
    return digest.hexdigest()


def _user_folder() -> Path:
    directories = needed("platformdirs", "nb.text.cached() without a folder")
    return Path(directories.user_cache_dir("nce-bias"))
