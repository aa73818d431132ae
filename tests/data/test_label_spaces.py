"""`LabelSpace` and what makes one, against slow readings that share no code with them."""

import copy
import dataclasses
import functools
import hashlib
import io
import json
import math
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import nce_bias as nb

ARCHIVE = Path(nb.__file__).parent / "data" / "wordnet_zeshel.tar.xz"


# --- the oracle: one line, one character, one count at a time


@functools.cache
def documents() -> dict[str, list[dict[str, Any]]]:
    """Synsets of each world, in the order of the files."""
    found = {}
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        for name in archive.getnames():
            if "/documents/" in name and "contexts" not in name:
                content = io.TextIOWrapper(archive.extractfile(name), "utf-8")  # pyright: ignore
                found[Path(name).stem] = [json.loads(line) for line in content]
    return found


def only_letters(text: str) -> str:
    """Small letters, one blank for whatever is between, none at either end."""
    kept = ""
    for character in text:
        small = character.lower()
        if "a" <= small <= "z":
            kept += small
        elif kept and kept[-1] != " ":
            kept += " "
    return kept.removesuffix(" ")


@functools.cache
def texts(share: float, held_out: bool) -> list[str]:
    def chosen(identifier: str) -> bool:
        digest = hashlib.blake2b(identifier.encode("utf-8"), digest_size=8).hexdigest()
        return (int(digest, 16) < share * 2**64) is held_out

    found = (d for world in documents().values() for d in world if chosen(d["document_id"]))
    return [only_letters(d["text"]) for d in found]


def pairs(share: float, held_out: bool, context: int) -> Counter[tuple[str, str]]:
    """How often each letter comes after each context."""
    counts: Counter[tuple[str, str]] = Counter()
    for text in texts(share, held_out):
        history = " " * context
        for letter in f"{text} ":
            counts[history, letter] += 1
            history = history[1:] + letter
    return counts


def nats(probabilities: list[float]) -> float:
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)


# --- next_letter


@pytest.mark.parametrize(
    ("context", "share", "held_out"), [(1, 0.96, False), (3, 0.1, True), (6, 0.02, True)]
)
def test_the_counts_of_letters_are_what_a_slow_reading_finds(
    context: int, share: float, held_out: bool
) -> None:
    part = "held_out" if held_out else "training"
    space = nb.data.next_letter(context, part, held_out=share)
    expected = pairs(share, held_out, context)
    assert set(space.inputs) == {x for x, _ in expected} and len(set(space.inputs)) == len(
        space.inputs
    )
    found = {
        (x, space.names[y]): int(n)
        for x, row in zip(space.inputs, space.counts, strict=True)
        for y, n in enumerate(row)
        if n
    }
    assert found == expected


def test_the_exact_conditional_of_letters() -> None:
    """Division by the row's own sum, not by the column's or the whole: entry by entry."""
    space = nb.data.next_letter(held_out=0.96)
    counts: Counter[Any] = pairs(0.96, False, 1)
    total = counts.total()
    for row, x in enumerate(space.inputs):
        seen = sum(n for (before, _), n in counts.items() if before == x)
        assert space.weights[row] == pytest.approx(seen / total, rel=1e-12)
        for label, y in enumerate(space.names):
            assert space.population[row, label] == pytest.approx(counts[x, y] / seen, rel=1e-12)
    for label, y in enumerate(space.names):
        seen = sum(n for (_, letter), n in counts.items() if letter == y)
        assert space.popularity[label] == pytest.approx(seen / total, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("( law ) The dog's 2 ears ;", "law the dog s ears "),
        ("A.D. 1900--x", "a d x "),
        ("KELVIN \u212a\u00c9t\u00e9", "kelvin k t "),  # K, the sign; É and é are no letters here
        ("`` 12 ''", ""),
    ],
)
def test_what_is_a_letter(given: str, expected: str) -> None:
    from nce_bias.data.next_letter import _letters

    assert _letters(tuple(given.split())) == expected


def test_letters_are_numbered_by_frequency_and_contexts_sorted_by_them() -> None:
    space = nb.data.next_letter()
    assert "".join(space.names) == " eaotinrslhcdfumgpybwvkxqjz"
    assert (np.diff(space.popularity) <= 0).all()
    assert space.inputs == space.names
    held_out = nb.data.next_letter(part="held_out")
    assert held_out.names == space.names
    assert not (np.diff(held_out.popularity) <= 0).all()  # the numbers are those of the other part
    two = nb.data.next_letter(2)
    assert two.inputs[:3] == ("  ", " e", " a") and "th" in two.inputs
    numbers = [[two.names.index(letter) for letter in str(x)] for x in two.inputs]
    assert numbers == sorted(numbers)


def test_the_parts_of_the_letters_make_the_whole() -> None:
    """Whatever the share, the two parts have together the same counts."""

    def both(share: float) -> Counter[tuple[object, str]]:
        counts: Counter[tuple[object, str]] = Counter()
        for part in ("training", "held_out"):
            space = nb.data.next_letter(1, part, held_out=share)
            for (x, y), n in np.ndenumerate(space.counts):
                counts[space.inputs[x], space.names[y]] += int(n)
        return counts

    assert both(0.1) == both(0.96)
    assert both(0.1).total() == 3_734_289 + 410_865


def test_letters_depend_on_the_letters_before() -> None:
    """Every letter more leaves less to say; the numbers are those of the docstring."""
    first, second, third = (nb.data.next_letter(n) for n in (1, 2, 3))
    assert [len(s.inputs) for s in (first, second, third)] == [27, 607, 6767]
    found = [first.entropy, *(s.conditional_entropy for s in (first, second, third))]
    assert found == pytest.approx([2.856, 2.341, 1.906, 1.487], abs=5e-4)
    held_out = nb.data.next_letter(3, "held_out")
    assert held_out.conditional_entropy == pytest.approx(1.458, abs=5e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"context": 0},
            "context: got 0; expected a whole number >= 1. Pass context=1.",
        ),
        (
            {"context": 9},
            "context: got 9; expected 1 to 8 letters. The counts are a dense table of all contexts "
            "that occur: take a shorter context.",
        ),
        (
            {"part": "test"},
            "part: got 'test'; expected 'training' or 'held_out'. Ask for one of the two.",
        ),
        (
            {"held_out": 1.0},
            "held_out is 1.0, expected a share of definitions strictly between 0 and 1",
        ),
        (
            {"held_out": 1e-9},
            "held_out is 1e-09, which leaves 75919 definitions for training and 0 held out; "
            "choose a share further from 0 and 1",
        ),
    ],
)
def test_bad_letters(options: dict[str, Any], message: str) -> None:
    from nce_bias.data import next_letter

    unchecked = getattr(next_letter, "__wrapped__", next_letter)  # as it is outside the tests
    with pytest.raises(ValueError) as caught:
        unchecked(**options)
    assert str(caught.value) == message


# --- sense_frequency


@pytest.mark.parametrize("world", ["noun.event", "verb.stative", None])
def test_sense_frequency_is_the_sense_counts_and_one_more(world: str | None) -> None:
    wanted = [world] if world else sorted(documents())
    entries = [entry for name in wanted for entry in documents()[name]]
    space = nb.data.sense_frequency(world)
    total = sum(entry["sense_count"] for entry in entries) + len(entries)
    shares = [(entry["sense_count"] + 1) / total for entry in entries]
    assert space.names == tuple(entry["title"] for entry in entries)
    np.testing.assert_allclose(space.popularity, shares, rtol=1e-12)
    np.testing.assert_array_equal(space.population, space.popularity[None])
    assert space.weights.tolist() == [1.0] and space.inputs == ((),)
    assert space.entropy == pytest.approx(nats(shares), rel=1e-12)
    assert nb.data.sense_frequency(world) is space


def test_sense_frequency_is_the_popularity_of_entity_linking() -> None:
    linking = nb.data.entity_linking()
    popularity = nb.data.sense_frequency("verb.motion").popularity
    np.testing.assert_array_equal(popularity, linking.popularity("verb.motion"))
    everywhere = nb.data.sense_frequency()
    assert everywhere.names == tuple(entity.title for entity in linking.entities)


def test_what_the_one_added_does() -> None:
    """The numbers of the docstring, from the counts without it."""
    raw = [entry["sense_count"] for world in sorted(documents()) for entry in documents()[world]]
    space = nb.data.sense_frequency()
    never = np.array(raw) == 0
    assert never.sum() == 58_188 and never.mean() == pytest.approx(3 / 4, abs=0.02)
    assert space.popularity[never].sum() == pytest.approx(0.230, abs=5e-4)
    assert max(raw) / sum(raw) == pytest.approx(0.0607, abs=5e-5)
    assert space.popularity.max() == pytest.approx(0.0425, abs=5e-5)
    assert space.names[int(space.popularity.argmax())] == "be"
    total = sum(raw)
    assert nats([n / total for n in raw]) == pytest.approx(8.05, abs=5e-3)
    assert space.entropy == pytest.approx(9.45, abs=6e-3)


def test_a_world_that_is_not_there() -> None:
    with pytest.raises(ValueError) as caught:
        nb.data.sense_frequency("moon")
    assert str(caught.value) == f"world is 'moon', expected one of {', '.join(sorted(documents()))}"


# --- the object


def test_the_distributions_by_hand() -> None:
    """Rows of different sums: a mean over rows that forgets pop(x) is 0.45 where 0.3 is right."""
    space = nb.data.from_counts([[1, 3, 4], [2, 0, 0]], "abc", ["x", "z"])
    assert space.counts.tolist() == [[1, 3, 4], [2, 0, 0]]
    assert space.population.tolist() == [[1 / 8, 3 / 8, 4 / 8], [1, 0, 0]]
    assert space.weights.tolist() == [0.8, 0.2]
    assert space.popularity.tolist() == [0.3, 0.3, 0.4]
    assert (space.names, space.inputs, space.labels) == (("a", "b", "c"), ("x", "z"), 3)
    assert space.entropy == pytest.approx(nats([0.3, 0.3, 0.4]), rel=1e-14)
    assert space.conditional_entropy == pytest.approx(0.8 * nats([1 / 8, 3 / 8, 1 / 2]), rel=1e-14)


def test_a_label_space_is_what_a_problem_asks_for() -> None:
    space = nb.data.next_letter()
    scores = np.log(space.popularity) * np.ones((len(space.inputs), 1))
    problem = nb.Problem(scores, space.population, space.popularity, space.weights)
    assert problem.population.dtype == np.float64
    np.testing.assert_allclose(problem.weights @ problem.population, space.popularity, atol=1e-15)
    # a model that ignores x has the entropy of the labels for its cross entropy, none has less
    # than that given x
    assert float(problem.cross_entropy) == pytest.approx(space.entropy, rel=1e-12)
    assert float(problem.entropy) == pytest.approx(space.conditional_entropy, rel=1e-12)
    moments = nb.exact(problem, nb.iid(nb.popularity(), 4))
    assert moments.status == "ok" and moments.bias.shape == (27, 27)


def test_the_card_of_a_label_space() -> None:
    space = nb.data.from_counts(
        [[1, 3, 4], [2, 0, 0.5]], ["a", "b", "c"], source="a tally", licence="CC0"
    )
    assert (
        repr(space)
        == """LabelSpace
  labels       3
  inputs       2
  examples     10.5
  conditional  0.861 nats (label given input)
  entropy      1.079 nats (popularity)
  top-1 share  42.86% ('c')
  source       a tally
  licence      CC0"""
    )


def test_the_card_of_entity_linking() -> None:
    """Of entities that are linked equally often, the first mentioned is named."""
    assert (
        repr(nb.data.entity_linking())
        == """EntityLinking
  labels       75919 entities in 20 worlds
  train        18525 mentions, 32160 entities (16 worlds)
  val          1751 mentions, 17737 entities (noun.act, noun.person)
  test         1926 mentions, 26022 entities (adj.all, noun.artifact)
  entropy      9.714 nats (linked entities)
  top-1 share  0.01% ('late')
  source       definitions of WordNet 3.0, Princeton University
  licence      WordNet 3.0 license (permissive; nce_bias/data/WORDNET_LICENSE)"""
    )


def test_nobody_can_change_a_label_space() -> None:
    given = np.array([[1.0, 2.0]])
    space = nb.data.from_counts(given)
    given[0, 0] = 7.0  # the user's array stays the user's
    assert space.counts.tolist() == [[1, 2]]
    for name in ("counts", "population", "weights", "popularity"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(space, name)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        space.source = ""  # pyright: ignore[reportAttributeAccessIssue]
    assert space.population is space.population  # computed once
    assert copy.copy(space).counts is space.counts


# --- from_counts


def test_what_may_be_counts() -> None:
    expected = nb.data.from_counts([3, 0, 1])
    assert expected.counts.tolist() == [[3, 0, 1]] and expected.names == ("0", "1", "2")
    assert expected.inputs == (0,) and expected.popularity[1] == 0
    for given in (
        (3, 0, 1),
        np.array([3, 0, 1], np.uint8),
        np.array([3, 0, 1], np.float32),
        jnp.array([3, 0, 1]),
        pd.Series([3, 0, 1]),
        pd.DataFrame([[3, 0, 1]]),
    ):
        space = nb.data.from_counts(given)
        assert space.counts.dtype == np.float64
        assert space.counts.tolist() == [[3, 0, 1]]
    assert nb.data.from_counts([True, False]).counts.tolist() == [[1, 0]]
    assert nb.data.from_counts([1, 2], [True, None]).names == ("True", "None")


def test_small_counts_are_not_rounded_to_bytes() -> None:
    """200 + 100 is 300, not the 44 of an 8-bit sum."""
    space = nb.data.from_counts(np.array([200, 100], np.uint8))
    assert space.popularity.tolist() == [200 / 300, 100 / 300]


SHAPE = (
    "expected [V] or [X, V] with at least one input and two labels. Give one row for each input "
    "and one column for each label."
)
AN_ARRAY = (
    "expected an array of numbers (NumPy, JAX, PyTorch, pandas, nested lists of equal lengths)."
)
NUMBERS = f"{AN_ARRAY} Convert it to a rectangular array of floats first."
RECTANGULAR = (
    f"{AN_ARRAY} Make it rectangular: pad rows of scores with -inf, rows of probabilities with 0."
)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        (
            [[1, 2], [3, -4]],
            {},
            "counts: row 1 has -4 at label 1; expected counts >= 0. Pass counts, not logarithms or "
            "scores.",
        ),
        (
            [[1, 2], [np.nan, 3]],
            {},
            "counts: row 1 has nan at label 0; expected finite counts. Remove or repair that "
            "entry.",
        ),
        (
            [2, np.inf],
            {},
            "counts: row 0 has inf at label 1; expected finite counts. Remove or repair that "
            "entry.",
        ),
        (
            [[1, 2], [0, 0], [1, 1]],
            {},
            "counts: row 1 has no count above 0; expected at least one in each row. Leave that "
            "input out, in `inputs` too: pop(y|x) does not exist for it.",
        ),
        (
            [1e308, 1e308],
            {},
            "counts: they sum to inf; expected a sum that float64 can hold. Divide all counts by "
            "the largest.",
        ),
        ([], {}, f"counts: got shape (0,); {SHAPE}"),
        ([3], {}, f"counts: got shape (1,); {SHAPE}"),
        (5, {}, f"counts: got shape (); {SHAPE}"),
        (np.ones((2, 1)), {}, f"counts: got shape (2, 1); {SHAPE}"),
        (np.ones((0, 3)), {}, f"counts: got shape (0, 3); {SHAPE}"),
        (np.ones((2, 2, 2)), {}, f"counts: got shape (2, 2, 2); {SHAPE}"),
        ([[1, 2], [3]], {}, f"counts: got list whose rows have different lengths; {RECTANGULAR}"),
        (["a", "b"], {}, f"counts: got list of type <U1, which are not numbers; {NUMBERS}"),
        ([1j, 2], {}, "counts: got dtype complex128; expected real numbers. Take the real part."),
        ({"a": 1}, {}, f"counts: got dict, which is not an array of numbers; {NUMBERS}"),
        (
            [1, 2],
            {"names": ["a"]},
            "names: got 1; expected 2, one for each label. Give 2, or leave names out for numbers "
            "from 0.",
        ),
        (
            [[1, 2, 3], [1, 1, 1]],
            {"inputs": "xyz"},
            "inputs: got 3; expected 2, one for each row of counts. Give 2, or leave inputs out "
            "for numbers from 0.",
        ),
    ],
)
def test_bad_counts(counts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        nb.data.from_counts(counts, **options)
    assert str(caught.value) == message


# --- from_arrays


def test_examples_are_counted() -> None:
    """Against one dictionary entry for each pair, on rows that repeat in no order."""
    generator = np.random.default_rng(3)
    inputs, targets = generator.integers(0, 3, (400, 2)), generator.integers(0, 5, 400) % 4
    inputs[:, 1] *= targets > 1  # the label depends on the input
    space = nb.data.from_arrays(inputs, targets, labels=6)
    expected: Counter[Any] = Counter(
        zip(map(tuple, inputs.tolist()), targets.tolist(), strict=True)
    )
    assert space.counts.shape == (len(space.inputs), 6) and space.counts.sum() == 400
    for (row, label), count in np.ndenumerate(space.counts):
        assert count == expected[space.inputs[row], label]
    assert space.inputs == tuple(dict.fromkeys(map(tuple, inputs.tolist())))


@pytest.mark.parametrize(
    ("inputs", "distinct"),
    [
        (["u", "v", "u"], ("u", "v")),
        ("uvu", ("u", "v")),
        ([(1, "a"), (0, "a"), (1, "a")], ((1, "a"), (0, "a"))),
        (np.array([7, -2, 7]), (7, -2)),
        (jnp.array([7, -2, 7]), (7, -2)),
        (np.array([[7], [-2], [7]]), ((7,), (-2,))),
        (np.array(["u", "v", "u"]), ("u", "v")),
        (np.array([True, False, True]), (True, False)),
        (pd.Series(["u", "v", "u"]), ("u", "v")),
        (pd.DataFrame({"a": [1, 0, 1], "b": ["x", "x", "x"]}), ((1, "x"), (0, "x"))),
        ((n % 2 for n in range(3)), (0, 1)),
    ],
)
def test_what_may_be_inputs(inputs: Any, distinct: tuple[Any, ...]) -> None:
    space = nb.data.from_arrays(inputs, np.array([2, 0, 1], np.uint8))
    assert space.inputs == distinct
    assert space.counts.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_the_number_of_labels() -> None:
    assert nb.data.from_arrays([0, 0], [0, 1]).labels == 2
    assert nb.data.from_arrays([0, 0], [0, 1], "abc").names == ("a", "b", "c")
    assert nb.data.from_arrays([0, 0], [0, 1], labels=4).names == ("0", "1", "2", "3")
    assert nb.data.from_arrays([0, 0], [0, 1], (str(n) for n in range(5)), 5).labels == 5


TARGETS = (
    "expected integers [N] with N >= 1. Give the number of each example's label, counted from 0."
)
INPUTS = (
    "expected N hashable values, or an integer array [N] or [N, c]. Make a tuple of each row; "
    "round or bin real numbers, whose equality means little."
)
RANGE = "Number the labels from 0, give a name for each, or leave out examples without one."


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (
            [0, 1, 2],
            [0, 1],
            {},
            "targets: got 2 for 3 inputs; expected one target for each input. Give both the same "
            "length N.",
        ),
        ([], [], {}, f"targets: got shape (0,); {TARGETS}"),
        ([0], [[0]], {}, f"targets: got shape (1, 1); {TARGETS}"),
        ([0, 1], [0.0, 1.0], {}, f"targets: got dtype float64; {TARGETS}"),
        ([0, 1], [0, float("nan")], {}, f"targets: got dtype float64; {TARGETS}"),
        ([0, 1], [True, False], {}, f"targets: got dtype bool; {TARGETS}"),
        ([0, 1], ["a", "b"], {}, f"targets: got dtype <U1; {TARGETS}"),
        ([0, 1], [[0, 1], [2]], {}, f"targets: got list, which is not rectangular; {TARGETS}"),
        (
            [0, 1, 2],
            [0, 1, -1],
            {},
            f"targets: example 2 has -1; expected labels from 0 to 1. {RANGE}",
        ),
        (
            [0, 1, 2],
            [0, 3, 4],
            {"names": "abc"},
            f"targets: example 1 has 3; expected labels from 0 to 2. {RANGE}",
        ),
        (
            [0, 1],
            [0, 0],
            {},
            "labels: got 1; expected a whole number >= 2. Pass labels=2.",
        ),
        (
            [0, 1],
            [0, 1],
            {"names": "abc", "labels": 2},
            "names: got 3; expected 2, one for each label. Give 2, or leave names out for numbers "
            "from 0.",
        ),
        (
            np.zeros((2, 3), np.float32),
            [0, 1],
            {},
            f"inputs: got an array of dtype float32 and shape (2, 3); {INPUTS}",
        ),
        (
            np.zeros((2, 3, 1), int),
            [0, 1],
            {},
            f"inputs: got an array of dtype int64 and shape (2, 3, 1); {INPUTS}",
        ),
        ([[0], [1]], [0, 1], {}, f"inputs: input 0 is a list; {INPUTS}"),
        ([0, float("nan")], [0, 1], {}, f"inputs: input 1 is the float nan; {INPUTS}"),
        (3, [0, 1], {}, f"inputs: got int; {INPUTS}"),
    ],
)
def test_bad_arrays(inputs: Any, targets: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        nb.data.from_arrays(inputs, targets, **options)
    assert str(caught.value) == message


# --- the package


def test_reading_data_starts_no_backend() -> None:
    """The sets are NumPy: asking for them neither chooses a device nor makes a JAX array."""
    program = """
import nce_bias as nb
nb.data.from_counts([1, 2]).popularity
nb.data.from_arrays([0, 1], [0, 1]).population
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
