"""The WordNet 3.0 definitions, read in memory from the archive beside this file."""

import functools
import hashlib
import importlib.resources
import io
import json
import lzma
import tarfile
from typing import NamedTuple

ARCHIVE = "wordnet_zeshel.tar.xz"
SHA256 = "5c53be7c09c6e05f6cb0270e52719cb56033151548b82dcd1df5e0936d9a3c13"
LICENCE = "WordNet 3.0 license (permissive; nce_bias/data/WORDNET_LICENSE)"
SOURCE = "definitions of WordNet 3.0, Princeton University"

_HERE = "nce_bias.data"


class Definition(NamedTuple):
    """One synset: an identifier, its first lemma, and its definition split by blanks."""

    document_id: str
    title: str
    words: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def definitions() -> tuple[Definition, ...]:
    """All 75,919 definitions, sorted by identifier.

    Usage examples (``contexts.json`` in the archive) are not definitions and are left out.  The
    text is taken as it is: blanks separate words, punctuation marks are words, case is kept.

    Raises
    ------
    ValueError
        If the archive is not the one this version was released with.
    """
    found = []
    for name, content in files().items():
        if not name.startswith("documents/") or name == "documents/contexts.json":
            continue
        for line in content.splitlines():
            entry = json.loads(line)
            words = tuple(entry["text"].split())
            found.append(Definition(entry["document_id"], entry["title"], words))
    return tuple(sorted(found))


def files() -> dict[str, bytes]:
    """The JSON files of the archive: name within it, such as ``mentions/val.json``, to content."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(_checked_bytes()))) as archive:
        for member in archive:
            file = archive.extractfile(member)  # None for folders
            if file is not None and member.name.endswith(".json"):
                found[member.name.split("/", 1)[1]] = file.read()
    return found


def _checked_bytes() -> bytes:
    path = importlib.resources.files(_HERE) / ARCHIVE
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{path} has SHA-256 {digest}, expected {SHA256}: the file is damaged or was replaced; "
            "install the package again"
        )
    return content
