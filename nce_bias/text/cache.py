"""Token states on disk: computed once per encoder and texts, read as memory maps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nce_bias._files import replacing
from nce_bias.text.encoders import Encoder, as_texts
from nce_bias.text.states import TokenStates

FORMAT = 1  # of the sidecar; raise it when the meaning of a file changes
ARRAYS = ("values", "ids", "starts")


def cached(
    encoder: Encoder, texts: Iterable[str], folder: str | os.PathLike[str] | None = None
) -> TokenStates:
    """``encoder.encode(texts)``, kept on disk: the second time it is read, as memory maps.

    What is on disk is known by its content: the file names hold a digest of the encoder's
    fingerprint and of all texts in order, so other weights, settings or texts have other files.
    Arrays are ``.npy`` files (never pickles); a ``.json`` beside them records their sizes.  It is
    written last and each file is put in place whole, so what a killed process leaves is not
    believed.  On reading the sizes are compared with the record, which costs nothing and leaves the
    memory maps unread; a file that is missing or cut means encoding again.

    Parameters
    ----------
    encoder
        Any `Encoder`.
    texts
        Any number of texts; their order counts.
    folder
        Where to keep it.  Default: the user's cache folder, in ``nce-bias``.  Any file there may be
        deleted at any time.

    Returns
    -------
    TokenStates
        Its arrays are read-only memory maps.

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
        for name in ARRAYS:
            if _array(place, key, name).stat().st_size != record["files"][name]["bytes"]:
                return None
        return int(record["vocabulary"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # no record, or not one of ours
        return None


def _write(place: Path, key: str, about: dict[str, Any], states: TokenStates) -> int:
    record_path = place / f"{key}.json"
    record_path.unlink(missing_ok=True)  # a kill between two arrays leaves nothing that is believed
    files = {}
    for name in ARRAYS:
        with replacing(_array(place, key, name)) as file:
            np.save(file, getattr(states, name), allow_pickle=False)
            files[name] = {"bytes": file.tell()}
    record = about | {"vocabulary": states.vocabulary, "files": files}
    with replacing(record_path) as file:
        file.write(json.dumps(record, indent=1).encode())
    return states.vocabulary


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
    import platformdirs

    return Path(platformdirs.user_cache_dir("nce-bias"))
