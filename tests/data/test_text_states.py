"""States of tokens: how they are stored, made by any function, and kept on disk."""

import dataclasses
import json
import os

import numpy as np
import pytest

import nce_bias as nb
from tests.refusals import refusal

# --- storage


def made(lengths, size=2):
    total = sum(lengths)
    values = np.arange(1, 1 + total * size, dtype="f4").reshape(total, size)
    ids = np.arange(1, 1 + total, dtype="i4")
    return nb.text.TokenStates(values, ids, np.cumsum([0, *lengths], dtype="i8"), total + 1)


def test_padded():
    states = made([2, 0, 3])
    values, ids, mask = states.padded([2, 0, 1, -1])
    assert values.dtype == np.float32 and ids.dtype == np.int32 and mask.dtype == bool
    assert ids.tolist() == [[3, 4, 5], [1, 2, 0], [0, 0, 0], [3, 4, 5]]
    assert (mask == (ids > 0)).all()
    assert values[..., 0].tolist() == [[5, 7, 9], [1, 3, 0], [0, 0, 0], [5, 7, 9]]
    assert values[..., 1].tolist() == [[6, 8, 10], [2, 4, 0], [0, 0, 0], [6, 8, 10]]
    assert states.padded([2, 0], 1)[1].tolist() == [[3], [1]]
    assert states.padded([0], 4)[2].tolist() == [[True, True, False, False]]
    assert states.padded([1])[0].shape == (1, 0, 2)
    assert states.padded([])[0].shape == (0, 0, 2)
    assert (len(states), states.size, states[-1].tolist()) == (3, 2, [[5, 6], [7, 8], [9, 10]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        states.vocabulary = 1  # pyright: ignore


def test_errors_of_states():
    states = made([2, 1])
    assert refusal(lambda: states.padded([0, 2])) == (
        "rows: got 2 of 2 texts; expected numbers from -2 to 1. "
        "Count texts from 0, in the order they were encoded in."
    )
    assert refusal(lambda: states.padded(np.array([True, False]))) == (
        "rows: got bool of shape (2,); expected a list of text numbers. "
        "For one text pass [i]; for a mask pass numpy.flatnonzero(mask)."
    )
    for name, wrong, message in (
        ("values", states.values.astype("f8"), "values: got float64 of shape (3, 2); expected "),
        ("ids", states.ids[1:], "ids: got int32 of shape (2,) for 3 tokens; expected int32 of "),
        ("vocabulary", 3, "ids: got ids from 1 to 3 for a vocabulary of 3; expected ids from 0 to"),
        ("starts", np.array([0, 2]), "starts: got int64 of shape (2,); expected int64 of shape"),
        ("starts", np.array([0, 3, 2, 3]), "starts: got int64 of shape (4,); expected int64 of"),
    ):
        found = refusal(lambda n=name, x=wrong: dataclasses.replace(states, **{n: x}))
        assert found.startswith(message)


# --- any function


def letters(texts):
    return [np.array([[ord(c), 1] for c in text], float).reshape(-1, 2) for text in texts]


def test_from_function():
    states = nb.text.from_function(letters, "letters").encode(["ab", "", "c"])
    assert states.values.tolist() == [[97, 1], [98, 1], [99, 1]]
    assert states.starts.tolist() == [0, 2, 2, 3]
    assert states.values.dtype == np.float32 and states.vocabulary == 1
    half = nb.text.from_function(lambda t: [np.ones((1, 3), "f2") for _ in t], "half")
    assert half.encode(["a", "b"]).values.dtype == np.float16
    for one in (half, nb.text.hashed(2, 4)):
        assert isinstance(one, nb.text.Encoder)
    assert not isinstance(letters, nb.text.Encoder)


def test_errors_of_from_function():
    few = nb.text.from_function(lambda texts: letters(texts)[1:], "few")
    assert refusal(lambda: few.encode(["a", "b"])) == (
        "function: few gave 1 arrays for 2 texts; expected one array [T, H] for each text. "
        "Return a list with one entry per text, in order; an empty text may have T = 0."
    )
    uneven = nb.text.from_function(lambda _: [np.ones((1, 2)), np.ones((1, 3))], "uneven")
    assert refusal(lambda: uneven.encode(["a", "b"])) == (
        "function: uneven gave float64 of shape (1, 3) for text 1; expected real numbers of shape "
        "[T, 2]. Return one row per token, of the same size for all texts."
    )
    assert refusal(lambda: nb.text.from_function(letters, "")) == (
        "name: got ''; expected a text that is not empty. Name model and version."
    )


# --- the cache


class Counting:
    """An encoder that counts how often it is asked."""

    def __init__(self, fingerprint="one", factor=1.0):
        self.fingerprint, self.factor, self.calls = fingerprint, factor, 0

    def encode(self, texts, progress=True):
        self.calls += 1
        arrays = [self.factor * array for array in letters(texts)]
        return nb.text.from_function(lambda _: arrays, "x").encode(texts)


WORDS = ["ab", "", "cde"]


def test_the_second_time_is_read(tmp_path):
    one = Counting()
    first, second = (nb.text.cached(one, WORDS, tmp_path / "new" / "folder") for _ in range(2))
    assert one.calls == 1
    for states in (first, second):
        assert isinstance(states.values, np.memmap) and not states.values.flags.writeable
        assert (states.values == np.concatenate(letters(WORDS))).all()
        assert states.starts.tolist() == [0, 2, 2, 5] and states.vocabulary == 1
    assert nb.text.cached(one, [], tmp_path).values.shape[0] == 0


def test_other_weights_or_texts_are_encoded(tmp_path):
    one, two = Counting(), Counting("two", factor=2.0)
    kept = nb.text.cached(one, WORDS, tmp_path)
    assert nb.text.cached(two, WORDS, tmp_path).values.tolist() == (2 * kept.values).tolist()
    assert (one.calls, two.calls) == (1, 1)
    for texts in (["abcde"], ["ab", "cde", ""], ["ab", "", "cd", "e"]):
        assert nb.text.cached(one, texts, tmp_path).lengths.tolist() == [len(t) for t in texts]
    assert one.calls == 4
    # another encoder's files under this one's names
    records = {json.loads(f.read_text())["encoder"]: f for f in tmp_path.glob("*.json")}
    one = Counting()
    nb.text.cached(one, WORDS, tmp_path / "apart")
    (record,) = (tmp_path / "apart").glob("*.json")
    for name in ("json", "values.npy", "ids.npy", "starts.npy"):
        taken = records["two"].with_suffix(f".{name}").read_bytes()
        record.with_suffix(f".{name}").write_bytes(taken)
    again = nb.text.cached(one, WORDS, tmp_path / "apart")
    assert one.calls == 2 and again.values[0, 0] == ord("a")


def cut(file):
    os.truncate(file, file.stat().st_size - 1)


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, os.remove])
@pytest.mark.parametrize("name", ["values.npy", "ids.npy", "starts.npy", "json"])
def test_damage_is_found_and_repaired(name, damage, tmp_path):
    one = Counting()
    nb.text.cached(one, WORDS, tmp_path)
    (file,) = tmp_path.glob(f"*.{name}")
    damage(file)
    for _ in range(2):
        assert nb.text.cached(one, WORDS, tmp_path).values[:, 0].tolist() == [*b"abcde"]
    assert one.calls == 2


@pytest.mark.parametrize("before", [False, True], ids=["empty folder", "damaged cache"])
@pytest.mark.parametrize("done", range(4))
def test_a_kill_leaves_nothing_that_is_believed(done, before, tmp_path, monkeypatch):
    one = Counting()
    if before:
        nb.text.cached(one, WORDS, tmp_path)
        cut(next(tmp_path.glob("*.values.npy")))
    replace, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) > done:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            nb.text.cached(Counting(factor=3.0), WORDS, tmp_path)
    assert not list(tmp_path.glob(".partial-*"))
    for _ in range(2):
        assert nb.text.cached(one, WORDS, tmp_path).values[:, 0].tolist() == [*b"abcde"]
    assert one.calls == 1 + before


def test_the_default_folder_is_the_users(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    nb.text.cached(Counting(), WORDS)
    assert len(list((tmp_path / "nce-bias").iterdir())) == 4
