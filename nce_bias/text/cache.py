"""States kept on disk, so that a text is encoded once.

A folder for each pair of encoder and texts, named by a hash of both: arrays in NumPy's own format
(never unpickled), and ``states.json``, written last, with their sizes and checksums. What does not
agree with it, a cut or altered file or one of other weights, is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nce_bias.text.states import TokenStates

ARRAYS = ("values", "ids", "starts")


def cached(
    encoder: Any, texts: Sequence[str], folder: str | os.PathLike[str] | None = None
) -> TokenStates:
    """States of texts, from the disk if they are there, otherwise encoded and put there.

    Parameters
    ----------
    encoder
        With `encode` and `fingerprint`, as those of this package.
    texts
        The texts.
    folder
        Where caches are; default: the user's cache folder, and ``NCE_BIAS_CACHE`` before it.

    Returns
    -------
    TokenStates
        Its values are a read-only memory map.

    Raises
    ------
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> letters = nb.text.from_function(
    ...     lambda texts: [np.eye(26)[[ord(c) - 97 for c in text]] for text in texts], "letters")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(nb.text.cached(letters, ["ab", "c"], folder))
    TokenStates(2 texts, 3 tokens, H = 26, float64)
    """
    key = _key(encoder.fingerprint, texts)
    place = pathlib.Path(folder) / key if folder is not None else default_folder() / key
    try:
        return _read(place, key)
    except FileNotFoundError:
        pass
    except ValueError as error:
        warnings.warn(f"{place}: {error}; it is made again", RuntimeWarning, stacklevel=2)
    states = encoder.encode(texts)
    _write(place, key, states)
    return _read(place, key)


def default_folder() -> pathlib.Path:
    """``NCE_BIAS_CACHE`` if that is set, otherwise the cache folder of the system."""
    chosen = os.environ.get("NCE_BIAS_CACHE")
    if chosen:
        return pathlib.Path(chosen)
    import platformdirs

    return pathlib.Path(platformdirs.user_cache_dir("nce-bias"))


def _key(fingerprint: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps([fingerprint, list(texts)]).encode())
    return digest.hexdigest()[:32]


def _write(place: pathlib.Path, key: str, states: TokenStates) -> None:
    """All files under a name of their own, then one rename: what is killed leaves no cache."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
    try:
        for name in ARRAYS:
            np.save(partial / f"{name}.npy", getattr(states, name), allow_pickle=False)
        about = {
            "key": key,
            "vocabulary": states.vocabulary,
            "files": {name: _checksum(partial / f"{name}.npy") for name in ARRAYS},
        }
        (partial / "states.json").write_text(json.dumps(about, indent=2), "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        os.replace(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(place: pathlib.Path, key: str) -> TokenStates:
    about = json.loads((place / "states.json").read_text("utf-8"))
    if about["key"] != key:
        raise ValueError("the cache is of other texts or weights")
    for name in ARRAYS:
        path = place / f"{name}.npy"
        if not path.exists() or _checksum(path) != about["files"][name]:
            raise ValueError(f"the cache is damaged: {path.name} is not the file that was written")
    values, ids, starts = (
        np.load(place / f"{name}.npy", mmap_mode="r" if name == "values" else None)
        for name in ARRAYS
    )
    return TokenStates(values, ids, starts, about["vocabulary"])


def _checksum(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
