"""`nce_bias.data`, against a slow reading of the same archive that shares no code with it."""

import dataclasses
import functools
import hashlib
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nce_bias
from nce_bias.data import NextWord, minibatches, next_word, wordnet

FOLDER = Path(nce_bias.__file__).parent / "data"


# --- the oracle: one position at a time, one word at a time


@functools.cache
def texts() -> dict[str, str]:
    found = {}
    with tarfile.open(FOLDER / "wordnet_zeshel.tar.xz", "r:xz") as archive:
        for name in archive.getnames():
            if name.startswith("wordnet_zeshel/documents/") and "contexts" not in name:
                content = io.TextIOWrapper(archive.extractfile(name), "utf-8")  # pyright: ignore
                found |= {d["document_id"]: d["text"] for d in map(json.loads, content)}
    return found


def is_held_out(identifier: str, share: float) -> bool:
    number = int(hashlib.blake2b(identifier.encode("utf-8"), digest_size=8).hexdigest(), 16)
    return number < share * 2**64  # 64 bits here, 53 in the library: no definition is that close


def examples(identifiers: list[str], ids: dict[str, int], context: int) -> list[tuple[int, ...]]:
    rows = []
    for identifier in identifiers:
        history = [len(ids) + 1] * context
        for word in texts()[identifier].split(" "):
            label = ids.get(word, len(ids))
            if label < len(ids):
                rows.append((*history, label))
            history = [*history[1:], label]
    return rows


@pytest.mark.parametrize(
    ("vocabulary", "context", "share"),
    [(1000, 2, 0.1), (10_000, 2, 0.1), (7, 1, 0.5), (30, 4, 0.97)],
)
def test_every_example_is_what_a_slow_reading_finds(
    vocabulary: int, context: int, share: float
) -> None:
    held = {identifier: is_held_out(identifier, share) for identifier in sorted(texts())}
    parts = [[i for i, out in held.items() if out is wanted] for wanted in (False, True)]
    counts = Counter(word for i in parts[0] for word in texts()[i].split(" "))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:vocabulary]
    ids = {word: index for index, word in enumerate(ranked)}

    data = next_word(vocabulary, context, share)
    assert data.words == tuple(ranked)
    for identifiers, inputs, targets in (
        (parts[0], data.inputs, data.targets),
        (parts[1], data.held_out_inputs, data.held_out_targets),
    ):
        expected = np.array(examples(identifiers, ids, context))
        assert np.array_equal(np.column_stack([inputs, targets]), expected)
    kept = sum(counts[word] for word in ranked)
    assert data.dropped == pytest.approx(1 - kept / counts.total(), rel=1e-12)
    assert data.popularity == pytest.approx(
        np.array([counts[word] for word in ranked]) / kept, rel=1e-12
    )


# --- what the numbers are: the same on every machine


def test_the_default_label_space() -> None:
    data = next_word()
    assert (len(data.targets), len(data.held_out_targets)) == (475_079, 52_189)
    assert data.words[:5] == ("a", "of", "the", "or", "to")
    assert (data.labels, data.unknown, data.start, data.input_ids) == (1000, 1000, 1001, 1002)
    assert data.text(data.inputs[1]) == "<s> take" and data.words[data.targets[1]] == "a"
    assert data.text(data.inputs[2]) == "<unk> <unk>"
    assert data.text([]) == ""


def test_ten_thousand_labels() -> None:
    """The numbers of the docstring; no array grows with N times V."""
    data = next_word(10_000)
    assert (len(data.targets), len(data.held_out_targets)) == (635_601, 69_254)
    assert data.words[:1000] == next_word().words
    assert (data.labels, data.input_ids, len(set(data.words))) == (10_000, 10_002, 10_000)
    assert data.dropped == pytest.approx(0.063, abs=5e-4)
    assert data.entropy == pytest.approx(6.556, abs=5e-4)
    assert data.population(data.targets[:3]).shape == (3, 10_000)
    for size, large in ((8.5e6, data), (6.3e6, next_word())):
        values = (getattr(large, field.name) for field in dataclasses.fields(large))
        taken = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        assert taken == pytest.approx(size, abs=5e4)


@pytest.mark.parametrize("vocabulary", [1000, 10_000])
def test_labels_are_numbered_by_popularity(vocabulary: int) -> None:
    """The order log-uniform negatives suppose; equal counts in code-point order."""
    data = next_word(vocabulary)
    counts = np.bincount(data.targets, minlength=data.labels)
    assert (np.diff(counts) <= 0).all()
    tied = np.flatnonzero(np.diff(counts) == 0)
    assert tied.size > 100  # the rule is used
    assert all(data.words[k] < data.words[k + 1] for k in tied)
    assert data.popularity.sum() == pytest.approx(1, abs=1e-14)
    assert data.popularity.min() > 0
    # Zipf: the popularity is far from flat, whose entropy is log V = 6.9 and 9.2
    assert data.entropy == pytest.approx(-(data.popularity @ np.log(data.popularity)), rel=1e-12)
    assert np.log(vocabulary) - 3 < data.entropy < np.log(vocabulary) - 1.5


def test_no_definition_moves_between_the_parts_when_the_vocabulary_changes() -> None:
    """First words of definitions that are labels in both: same words, same order, same part."""
    small, large = next_word(200), next_word(1000)
    for inputs, targets, more_inputs, more_targets in (
        (small.inputs, small.targets, large.inputs, large.targets),
        (small.held_out_inputs, small.held_out_targets, large.held_out_inputs,
         large.held_out_targets),
    ):  # fmt: skip
        first = targets[inputs[:, -1] == small.start]
        more_first = more_targets[more_inputs[:, -1] == large.start]
        assert first.tolist() == more_first[more_first < 200].tolist()


# --- the object


def test_the_card() -> None:
    assert (
        repr(next_word())
        == """NextWord
  labels       1000 words
  input        the 2 words before, 1002 ids
  examples     475079 training, 52189 held out
  dropped      30.0% of positions: next word outside the vocabulary
  entropy      5.030 nats (popularity)
  top-1 share  8.38% ('a')
  source       definitions of WordNet 3.0, Princeton University
  licence      WordNet 3.0 license (permissive; nce_bias/data/WORDNET_LICENSE)"""
    )


def test_asking_again_gives_the_same_object_which_nobody_can_change() -> None:
    data = next_word()
    assert next_word(context=2, vocabulary=1000) is data
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.dropped = 0.0  # pyright: ignore[reportAttributeAccessIssue]


def test_population_is_the_data_distribution() -> None:
    data = next_word()
    targets = data.held_out_targets[:500]
    rows = data.population(targets)
    assert rows.shape == (500, 1000) and (rows.sum(axis=1) == 1).all()
    assert (rows.argmax(axis=1) == targets).all()
    assert rows.mean(axis=0) == pytest.approx(np.bincount(targets, minlength=1000) / 500)
    assert data.population(np.array([], int)).shape == (0, 1000)


@pytest.mark.parametrize("wrong", [[1000, 3], [3, 1001]])
def test_population_of_something_that_is_not_a_label(wrong: list[int]) -> None:
    with pytest.raises(ValueError) as caught:
        next_word().population(np.array(wrong))
    assert str(caught.value) == (
        f"targets run from 3 to {max(wrong)}, expected labels from 0 to 999; "
        "<unk> and <s> are inputs only"
    )


# --- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 1}, "vocabulary is 1, expected 2 or more labels"),
        ({"vocabulary": -3}, "vocabulary is -3, expected 2 or more labels"),
        ({"context": 0}, "context is 0, expected 1 or more words before the target"),
        (
            {"held_out": 0.0},
            "held_out is 0.0, expected a share of definitions strictly between 0 and 1",
        ),
        (
            {"held_out": 1.0},
            "held_out is 1.0, expected a share of definitions strictly between 0 and 1",
        ),
        (
            {"held_out": float("nan")},
            "held_out is nan, expected a share of definitions strictly between 0 and 1",
        ),
        (
            {"held_out": 1e-9},
            "held_out is 1e-09, which leaves 75919 definitions for training and 0 held out; "
            "choose a share further from 0 and 1",
        ),
        (
            {"held_out": 1 - 1e-9},
            "held_out is 0.999999999, which leaves 0 definitions for training and 75919 held out; "
            "choose a share further from 0 and 1",
        ),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        next_word(**options)
    assert str(caught.value) == message


def test_the_largest_vocabulary_and_one_more() -> None:
    with pytest.raises(ValueError) as caught:
        next_word(100_000, held_out=0.9)
    available = int(str(caught.value).split("has ")[1].split(" ")[0])
    assert str(caught.value) == (
        f"vocabulary is 100000, but the training part has {available} different words; "
        "ask for at most that many"
    )
    whole = next_word(available, held_out=0.9)
    assert whole.labels == available and whole.dropped == 0
    assert not (whole.inputs == whole.unknown).any()
    with pytest.raises(ValueError, match=f"vocabulary is {available + 1}, but"):
        next_word(available + 1, held_out=0.9)


# --- the archive


def test_all_definitions_are_there_with_their_titles() -> None:
    found = wordnet.definitions()
    assert {d.document_id: " ".join(d.words) for d in found} == texts()
    assert len(found) == 75_919
    assert "kindness" in {d.title for d in found}


def test_the_licence_is_the_one_inside_the_archive() -> None:
    with tarfile.open(FOLDER / "wordnet_zeshel.tar.xz", "r:xz") as archive:
        inside = archive.extractfile("wordnet_zeshel/LICENSE")
        assert inside is not None
        assert (FOLDER / "WORDNET_LICENSE").read_bytes() == inside.read()
    assert "WORDNET_LICENSE" in next_word().licence


def test_a_damaged_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "SHA256", "0" * 64)
    wordnet.definitions.cache_clear()
    with pytest.raises(ValueError) as caught:
        wordnet.definitions()
    digest = hashlib.sha256((FOLDER / "wordnet_zeshel.tar.xz").read_bytes()).hexdigest()
    assert str(caught.value) == (
        f"{FOLDER / 'wordnet_zeshel.tar.xz'} has SHA-256 {digest}, expected {'0' * 64}: the file "
        "is damaged or was replaced; install the package again"
    )


def test_reading_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the working directory, nor among temporary files, nor in the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()}
    wordnet.definitions.cache_clear()
    assert isinstance(next_word(3, 1, 0.25), NextWord)
    assert list(tmp_path.iterdir()) == []
    assert {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir()} == before


# --- batches


def test_minibatches_cover_each_epoch_once_in_a_new_order() -> None:
    x = np.arange(12)
    batches = minibatches([x, x**2], 4, seed=0)
    epochs = [np.concatenate([next(batches)[0] for _ in range(3)]) for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == x.tolist()
    assert epochs[0].tolist() != epochs[1].tolist() != x.tolist()
    inputs, squares = next(batches)
    assert (squares == inputs**2).all()


def test_minibatches_leave_out_the_remainder() -> None:
    batches = minibatches([np.arange(5)], 2, seed=3)
    assert {next(batches)[0].shape for _ in range(6)} == {(2,)}
    epoch = np.concatenate([next(batches)[0] for _ in range(2)])
    assert len(set(epoch.tolist())) == 4


def test_minibatches_depend_on_the_seed_alone() -> None:
    first, again, other = (
        next(minibatches([np.arange(100)], 50, seed=seed))[0].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("lengths", "size", "message"),
    [
        ([3], 4, "size is 4, expected 1 to 3, the number of examples"),
        ([3], 0, "size is 0, expected 1 to 3, the number of examples"),
        ([0], 1, "size is 1, expected 1 to 0, the number of examples"),
        (
            [3, 4],
            1,
            "arrays have lengths [3, 4], expected one or more arrays of one common length; "
            "give each example one row in every array",
        ),
        (
            [],
            1,
            "arrays have lengths [], expected one or more arrays of one common length; "
            "give each example one row in every array",
        ),
    ],
)
def test_bad_batches(lengths: list[int], size: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        minibatches([np.zeros(n) for n in lengths], size, seed=0)
    assert str(caught.value) == message
