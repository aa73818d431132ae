"""`load_zeshel` and `entity_linking`: what they read, and every way in which files can be wrong."""

import functools
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nce_bias as nb

ARCHIVE = Path(nb.__file__).parent / "data" / "wordnet_zeshel.tar.xz"


@functools.cache
def raw() -> dict[str, list[dict[str, Any]]]:
    """Every line of the archive, by file."""
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        return {
            name.removeprefix("wordnet_zeshel/"): [
                json.loads(line)
                for line in io.TextIOWrapper(archive.extractfile(name), "utf-8")  # pyright: ignore
            ]
            for name in archive.getnames()
            if "/documents/" in name or "/mentions/" in name
        }


def test_every_mention_is_that_of_its_file() -> None:
    data = nb.data.entity_linking()
    documents = {d["document_id"]: d for lines in raw().values() for d in lines if "title" in d}
    for split, mentions in data.mentions.items():
        lines = raw()[f"mentions/{split}.json"]
        assert len(mentions) == len(lines)
        for mention, line in zip(mentions, lines, strict=True):
            entity, document = data.entities[mention.label], documents[line["label_document_id"]]
            assert entity.id == line["label_document_id"] == document["document_id"]
            assert (entity.title, entity.text) == (document["title"], document["text"])
            assert entity.count == document["sense_count"]
            assert mention.context == documents[line["context_document_id"]]["text"]
            assert mention.context.split()[line["start_index"]] == mention.text.split()[0]
            assert len(mention.left.split()) == line["start_index"]
            assert mention.world == entity.world == line["corpus"]


def test_a_mention_is_linked_within_its_world_and_no_world_is_in_two_splits() -> None:
    data = nb.data.entity_linking()
    found = [set(data.worlds(split)) for split in data.mentions]
    assert sum(map(len, found)) == len(set.union(*found)) == len(data.spans) == 20
    for split in data.mentions:
        first, end = data.candidates(split).T
        labels = data.labels(split)
        assert np.all((first <= labels) & (labels < end))
        for mention, begin, stop in zip(data.mentions[split], first, end, strict=True):
            assert {e.world for e in data.entities[begin:stop:97]} == {mention.world}


def test_popularity_is_the_sense_counts_and_one_more() -> None:
    data = nb.data.entity_linking()
    counts = [d["sense_count"] for d in raw()["documents/noun.event.json"]]
    expected = [(c + 1) / (sum(counts) + len(counts)) for c in counts]
    np.testing.assert_allclose(data.popularity("noun.event"), expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"^world is 'moon', expected one of adj\.all, adj\.pert"):
        data.popularity("moon")
    with pytest.raises(ValueError, match=r"^split is 'dev', expected one of train, val, test$"):
        data.labels("dev")


def test_the_card_counts_what_is_there() -> None:
    card = repr(nb.data.entity_linking())
    for part in ("75919 entities in 20 worlds", "1926 mentions, 26022 entities (adj.all, noun.art"):
        assert part in card
    assert "licence" in card and "source" in card


# --- a set small enough to break by hand

Lines = dict[str, list[Any]]


def small() -> Lines:
    """Three worlds, one mention each; contexts of six words."""
    files: Lines = {}
    for split, world in zip(("train", "val", "test"), ("sea", "sky", "sun"), strict=True):
        files[f"documents/{world}.json"] = [
            {"document_id": f"{world}-{n}", "title": f"{world} {n}", "text": "one two three"}
            for n in range(2)
        ]
        files[f"mentions/{split}.json"] = [
            {
                "mention_id": f"m-{world}",
                "context_document_id": f"c-{world}",
                "label_document_id": f"{world}-1",
                "start_index": 2,
                "end_index": 3,
                "text": "big dog",
                "corpus": world,
                "category": "LOW_OVERLAP",
            }
        ]
    files["documents/contexts.json"] = [
        {"document_id": f"c-{world}", "title": "", "text": "a very big dog barked loudly"}
        for world in ("sea", "sky", "sun")
    ]
    return files


def write(folder: Path, files: Lines) -> Path:
    for name, lines in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return folder


def test_words_around_a_mention_and_of_a_text_are_cut(tmp_path: Path) -> None:
    data = nb.data.load_zeshel(write(tmp_path, small()), context=1, description=2)
    (mention,) = data.mentions["val"]
    assert (mention.left, mention.text, mention.right) == ("very", "big dog", "barked")
    assert mention.context == "very big dog barked"
    assert data.entities[mention.label].description == "sky 1 : one two"
    assert data.source == tmp_path.name
    assert data.popularity("sky").tolist() == [0.5, 0.5]  # files without counts


def change(name: str, **fields: Any) -> Callable[[Lines], None]:
    def apply(files: Lines) -> None:
        files[name][-1].update(fields)

    return apply


def repeat(name: str) -> Callable[[Lines], None]:
    return lambda files: files[name].append(files[name][0])


def both_splits(files: Lines) -> None:
    files["mentions/test.json"].append(files["mentions/val.json"][0] | {"mention_id": "new"})


WRONG: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "a missing world": (
        lambda files: files.pop("documents/sky.json"),
        "mentions/val.json, line 1: world 'sky' has no file documents/sky.json; expected one file "
        "of documents for each world. Unpack the data set again, or take out the mentions of that "
        "world.",
    ),
    "a missing split": (
        lambda files: files.pop("mentions/val.json"),
        "mentions/val.json: the file is missing; expected one JSON object a line. Unpack the data "
        "set again.",
    ),
    "an empty split": (
        lambda files: files["mentions/test.json"].clear(),
        "mentions/test.json: no mentions; expected one or more. Unpack the data set again.",
    ),
    "a broken line": (
        lambda files: files["documents/sun.json"].append('{"document_id": "s'),
        'documents/sun.json, line 3: got b\'{"document_id": "s\\n\', which is not JSON (Invalid '
        "control character at: line 1 column 19 (char 18)); expected one JSON object. The file is "
        "damaged: unpack the data set again.",
    ),
    "a line that is a list": (
        lambda files: files["documents/sun.json"].append([1]),
        "documents/sun.json, line 3: field 'document_id' is not there; expected str, in an object "
        "with document_id, title, text. The file is not in ZeShEL's format.",
    ),
    "a field of another type": (
        change("mentions/val.json", end_index="3"),
        "mentions/val.json, line 1: field 'end_index' is '3'; expected int, in an object with "
        "mention_id, context_document_id, label_document_id, start_index, end_index, text, corpus. "
        "The file is not in ZeShEL's format.",
    ),
    "another span": (
        change("mentions/val.json", start_index=1),
        "mentions/val.json, line 1: words 1 to 3 of context 'c-sky' are 'very big dog'; expected "
        "the mention's text, 'big dog'. start_index and end_index count words separated by blanks "
        "from 0, both inclusive.",
    ),
    "a span from the end": (
        change("mentions/val.json", start_index=-4, end_index=-3),
        "mentions/val.json, line 1: words -4 to -3 of context 'c-sky' are ''; expected the "
        "mention's text, 'big dog'. start_index and end_index count words separated by blanks from "
        "0, both inclusive.",
    ),
    "a label of another world": (
        change("mentions/val.json", label_document_id="sun-0"),
        "mentions/val.json, line 1: label 'sun-0' is in world 'sun'; expected an entity of the "
        "mention's world, documents/sky.json. The files are of different releases, or the line is "
        "damaged.",
    ),
    "a label of no world": (
        change("mentions/val.json", label_document_id="c-sky"),
        "mentions/val.json, line 1: label 'c-sky' is in no file; expected an entity of the "
        "mention's world, documents/sky.json. The files are of different releases, or the line is "
        "damaged.",
    ),
    "no context": (
        change("mentions/val.json", context_document_id="c-moon"),
        "mentions/val.json, line 1: context 'c-moon' is in no file; expected a document of "
        "documents/*.json. A file of documents is missing or cut short.",
    ),
    "a document twice": (
        repeat("documents/sea.json"),
        "documents/sea.json, line 3: document_id 'sea-0' stands in documents/sea.json, line 1 too; "
        "expected ids that occur once. Remove one of the two lines, or give it an id of its own.",
    ),
    "a mention twice": (
        repeat("mentions/val.json"),
        "mentions/val.json, line 2: mention_id 'm-sky' stands in mentions/val.json, line 1 too; "
        "expected ids that occur once. Remove one of the two lines, or give it an id of its own.",
    ),
    "a world of two splits": (
        both_splits,
        "mentions/test.json, line 2: world 'sky' has mentions in val and in test; expected splits "
        "that share no world. Move all mentions of the world to one split: the task is zero-shot.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused(name: str, tmp_path: Path) -> None:
    breaks, message = WRONG[name]
    files = small()
    breaks(files)
    with pytest.raises(ValueError) as caught:
        nb.data.load_zeshel(write(tmp_path, files))
    assert str(caught.value) == message


def test_a_folder_without_documents_and_a_context_of_no_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"which has no folder documents; expected a folder with"):
        nb.data.load_zeshel(tmp_path)
    with pytest.raises(ValueError, match=r"^context: got 0; expected 1 or more words\. Give a pos"):
        nb.data.load_zeshel(write(tmp_path, small()), context=0)
