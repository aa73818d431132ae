"""The files of a zero-shot entity-linking set, read line by line and checked.

Format (Logeswaran et al. 2019), one JSON object a line: ``documents/<world>.json`` with
``document_id``, ``title``, ``text``; ``mentions/{train,val,test}.json`` with ``mention_id``,
``context_document_id``, ``label_document_id``, ``start_index``, ``end_index`` (words of the
context, counted from 0, inclusive), ``text``, ``corpus`` (the world), ``category``.
"""

import functools
import io
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from nce_bias._checks import refuse
from nce_bias.data import wordnet
from nce_bias.data.linking import SPLITS, Entity, EntityLinking, Mention

Files = Mapping[str, Callable[[], IO[bytes]]]
ROLE = {"title": str, "text": str}
MENTION = {
    "mention_id": str,
    "context_document_id": str,
    "label_document_id": str,
    "start_index": int,
    "end_index": int,
    "text": str,
    "corpus": str,
}


class _Given(NamedTuple):
    """A mention as its file has it, with where it stands."""

    split: str
    where: str
    fields: dict[str, Any]


def load_zeshel(
    path: str | pathlib.Path,
    *,
    context: int = 32,
    description: int = 64,
    source: str | None = None,
    licence: str = "as the files state",
) -> EntityLinking:
    """Read a data set in ZeShEL's format, such as the download of Logeswaran et al. (2019).

    Files are streamed: of a context, `context` words on each side of a mention are kept, of an
    entity's text its first `description` words.  The worlds are the ``corpus`` fields of the
    mentions; a file of documents that is no mention's world holds contexts alone.

    Parameters
    ----------
    path
        Folder with ``documents/*.json`` and ``mentions/{train,val,test}.json``.
    context, description
        Words kept, 1 or more.
    source, licence
        For the card; the source is the folder's name by default.

    Raises
    ------
    ValueError
        For a folder or file that is missing; a line that is not a JSON object or lacks a field; ids
        that occur twice; a world without documents, or in two splits; a label that is not in its
        mention's world; a context that is in no file; a span that does not hold the mention's
        text; a split without mentions. File and line are named.

    Examples
    --------
    >>> nb.data.load_zeshel("no_such_folder")
    Traceback (most recent call last):
        ...
    ValueError: path: got no_such_folder, which has no folder documents; expected ...
    """
    folder = pathlib.Path(path)
    for name in ("documents", "mentions"):
        if not (folder / name).is_dir():
            raise refuse(
                "path",
                f"got {folder}, which has no folder {name}",
                "a folder with documents/*.json and mentions/{train,val,test}.json",
                "Unpack the data set and name the folder that holds both.",
            )
    files = {
        f"{file.parent.name}/{file.name}": functools.partial(file.open, "rb")
        for name in ("documents", "mentions")
        for file in sorted((folder / name).glob("*.json"))
    }
    return read(files, context, description, source or folder.name, licence)


@functools.cache
def entity_linking() -> EntityLinking:
    """Zero-shot entity linking on WordNet 3.0: 75,919 entities, 22,202 mentions, 20 worlds.

    An entity is a synset (title: its first lemma; text: its definition), a mention that lemma
    within a usage example of the synset, a world a lexicographer file.  Training, validation and
    test share no world.  Examples are short, so contexts are whole.  Read when first asked for,
    then kept.

    Examples
    --------
    >>> data = nb.data.entity_linking()
    >>> mention = data.mentions["test"][0]
    >>> data.entities[mention.label].world == mention.world
    True
    """
    files = {name: functools.partial(io.BytesIO, text) for name, text in wordnet.files().items()}
    return read(files, 1000, 1000, wordnet.SOURCE, wordnet.LICENCE)


def read(files: Files, context: int, description: int, source: str, licence: str) -> EntityLinking:
    """Mentions first, then the documents they need: nothing else of a long text is kept."""
    for name, words in {"context": context, "description": description}.items():
        if words < 1:
            raise refuse(name, f"got {words}", "1 or more words", "Give a positive number.")
    given = [mention for split in SPLITS for mention in _mentions(files, split)]
    _check_unique(given)
    entities, spans, sides = _scan(files, given, context, description)
    ids = {entity.id: label for label, entity in enumerate(entities)}
    mentions = {split: [] for split in SPLITS}
    for index, mention in enumerate(given):
        label = ids.get(mention.fields["label_document_id"])
        _check_label(mention, None if label is None else entities[label])
        if index not in sides:
            raise refuse(
                mention.where,
                f"context {mention.fields['context_document_id']!r} is in no file",
                "a document of documents/*.json",
                "A file of documents is missing or cut short.",
            )
        mentions[mention.split].append(_mention(mention.fields, sides[index], label))
    kept = {split: tuple(some) for split, some in mentions.items()}
    return EntityLinking(tuple(entities), kept, spans, source, licence)


def _scan(
    files: Files, given: list[_Given], context: int, description: int
) -> tuple[list[Entity], dict[str, slice], dict[int, tuple[str, str]]]:
    """Entities of the mentions' worlds, the span of each world, and the words around each mention.

    A mention whose context is in no file has no words around it.
    """
    worlds = _worlds(given, files)
    wanted: dict[str, list[int]] = {}
    for index, mention in enumerate(given):
        wanted.setdefault(mention.fields["context_document_id"], []).append(index)
    entities: list[Entity] = []
    spans: dict[str, slice] = {}
    sides: dict[int, tuple[str, str]] = {}
    seen: dict[str, str] = {}
    for name in sorted(name for name in files if name.startswith("documents/")):
        world = pathlib.PurePath(name).stem
        begin = len(entities)
        for document in _documents(files, name, seen):
            words = document["text"].split()
            for index in wanted.get(document["document_id"], ()):
                sides[index] = _sides(given[index], words, context)
            if world in worlds:
                text, count = " ".join(words[:description]), document.get("sense_count", 0)
                about = document["document_id"], document["title"]
                entities.append(Entity(*about, text, world, count))
        if world in worlds:
            spans[world] = slice(begin, len(entities))
    return entities, spans, sides


def _check_label(mention: _Given, entity: Entity | None) -> None:
    world = mention.fields["corpus"]
    if entity is None or entity.world != world:
        raise refuse(
            mention.where,
            f"label {mention.fields['label_document_id']!r} is "
            + ("in no file" if entity is None else f"in world {entity.world!r}"),
            f"an entity of the mention's world, documents/{world}.json",
            "The files are of different releases, or the line is damaged.",
        )


def _mention(fields: dict[str, Any], sides: tuple[str, str], label: Any) -> Mention:
    left, right = sides
    about = label, fields["corpus"], fields.get("category", "")
    return Mention(fields["mention_id"], left, fields["text"], right, *about)


def _lines(
    files: Files, name: str, fields: Mapping[str, type]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and content, its fields checked."""
    if name not in files:
        raise refuse(
            name, "the file is missing", "one JSON object a line", "Unpack the data set again."
        )
    with files[name]() as file:
        for number, line in enumerate(file, start=1):
            where = f"{name}, line {number}"
            if not line.strip():
                raise refuse(
                    where,
                    "the line is blank",
                    "one JSON object",
                    "Delete blank lines, also the last: they come with copying, the data is whole.",
                )
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise refuse(
                    where,
                    f"got {line[:40]!r}, which is not JSON ({error})",
                    "one JSON object",
                    "The file is damaged: unpack the data set again.",
                ) from error
            for field, kind in fields.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(field), kind):
                    raise refuse(
                        where,
                        f"field {field!r} is "
                        + (repr(entry.get(field)) if isinstance(entry, dict) else "not there"),
                        f"{kind.__name__}, in an object with {', '.join(fields)}",
                        "The file is not in ZeShEL's format.",
                    )
            yield where, entry


def _documents(files: Files, name: str, seen: dict[str, str]) -> Iterator[dict[str, Any]]:
    for where, entry in _lines(files, name, {"document_id": str, **ROLE}):
        first = seen.setdefault(entry["document_id"], where)
        if first != where:
            raise _repeated(where, "document_id", entry["document_id"], first)
        yield entry


def _mentions(files: Files, split: str) -> list[_Given]:
    name = f"mentions/{split}.json"
    found = [_Given(split, where, entry) for where, entry in _lines(files, name, MENTION)]
    if not found:
        raise refuse(name, "no mentions", "one or more", "Unpack the data set again.")
    return found


def _check_unique(given: list[_Given]) -> None:
    seen: dict[str, str] = {}
    for mention in given:
        first = seen.setdefault(mention.fields["mention_id"], mention.where)
        if first != mention.where:
            raise _repeated(mention.where, "mention_id", mention.fields["mention_id"], first)


def _repeated(where: str, field: str, value: str, first: str) -> ValueError:
    return refuse(
        where,
        f"{field} {value!r} stands in {first} too",
        "ids that occur once",
        "Remove one of the two lines, or give it an id of its own.",
    )


def _worlds(given: list[_Given], files: Files) -> dict[str, str]:
    """The split of each world."""
    splits: dict[str, str] = {}
    for mention in given:
        world = mention.fields["corpus"]
        if f"documents/{world}.json" not in files:
            raise refuse(
                mention.where,
                f"world {world!r} has no file documents/{world}.json",
                "one file of documents for each world",
                "Unpack the data set again, or take out the mentions of that world.",
            )
        first = splits.setdefault(world, mention.split)
        if first != mention.split:
            raise refuse(
                mention.where,
                f"world {world!r} has mentions in {first} and in {mention.split}",
                "splits that share no world",
                "Move all mentions of the world to one split: the task is zero-shot.",
            )
    return splits


def _sides(mention: _Given, words: list[str], context: int) -> tuple[str, str]:
    """The words before and after, once the span is seen to hold the mention's text."""
    start, end = mention.fields["start_index"], mention.fields["end_index"]
    held = " ".join(words[start : end + 1]) if 0 <= start <= end else ""
    if held != mention.fields["text"]:
        raise refuse(
            mention.where,
            f"words {start} to {end} of context {mention.fields['context_document_id']!r} are "
            f"{held!r}",
            f"the mention's text, {mention.fields['text']!r}",
            "start_index and end_index count words separated by blanks from 0, both inclusive.",
        )
    return " ".join(words[max(0, start - context) : start]), " ".join(words[end + 1 :][:context])
