"""BM25 ranks, against the formula written out for a set of a few words."""

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

import nce_bias as nb
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.retrieval import bm25
from nce_bias.retrieval.bm25 import bm25_ranks, singular

RIVER = [
    ("bank", "sloping land beside water, the bank of a river or a canal, often steep"),
    ("banks", "money money money"),
    ("canal", "water between two banks"),
    ("land", "dry land"),
    ("shore", "land along the water of a lake or a river"),
    ("steep", "rising fast"),
    ("lake", "still water"),
    ("pond", "still water of a small lake"),
]
OTHER = [("bank", "a row of lifts"), ("bank", "a row of lifts"), ("lift", "a bank of it")]
MENTIONS = [  # left, text, right, label, world
    ("the steep", "bank", "of a river", 0, "river"),
    ("they drew", "money", "from banks", 1, "river"),
    ("a boat on a", "Canal", "with water and land", 2, "river"),
    ("take the", "bank", "of lifts", 9, "other"),  # files need not be in the order of worlds
    ("by the still", "lakes", "and the water of a lake", 7, "river"),
    ("land and land and", "water", "", 4, "river"),
    ("quite", "different", "words", 5, "river"),
    ("", "canal", "rising", 2, "river"),  # once it loses against "rising", twice it wins
]


def linking() -> EntityLinking:
    entities = [Entity(f"r{i}", *texts, "river", 0) for i, texts in enumerate(RIVER)]
    entities += [Entity(f"o{i}", *texts, "other", 0) for i, texts in enumerate(OTHER)]
    mentions = tuple(
        Mention(f"m{i}", left, text, right, label, world, "")
        for i, (left, text, right, label, world) in enumerate(MENTIONS)
    )
    spans = {"river": slice(0, 8), "other": slice(8, 11)}
    return EntityLinking(tuple(entities), {"test": mentions}, spans, "", "")


def words(text: str, plural: bool, stopwords: tuple[str, ...] = ()) -> list[str]:
    found = [word for word in text.lower().replace(",", " ").split() if len(word) > 1]
    found = [word for word in found if word not in stopwords]
    return [w[:-1] if plural and w.endswith("s") and w != "across" else w for w in found]


def oracle(
    query: str, texts: list[str], k1: float = 1.5, b: float = 0.75, plural: bool = True,
    stopwords: tuple[str, ...] = (), once: bool = False,
) -> list[float]:  # fmt: skip
    """Lucene's BM25 of every text, each query word as often as it occurs (or `once`)."""
    documents = [words(text, plural, stopwords) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    asked = words(query, plural, stopwords)
    scores = [0.0] * len(documents)
    for word in set(asked) if once else asked:
        having = sum(word in document for document in documents)
        idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
        for i, document in enumerate(documents):
            f = document.count(word)
            scores[i] += idf * f / (f + k1 * (1 - b + b * len(document) / mean))
    return scores


def oracle_ranks(
    form: str = "{text} {left} {text} {right}", titles: int = 1, **options: Any
) -> Any:
    ranks = []
    for left, text, right, label, world in MENTIONS:
        first, entities = (0, RIVER) if world == "river" else (8, OTHER)
        texts = [" ".join([title] * titles + [rest]) for title, rest in entities]
        scores = oracle(form.format(left=left, text=text, right=right), texts, **options)
        own = scores[label - first]
        ranks.append(sum(score > own - 1e-9 for score in scores))  # ties count against it
    return ranks


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"query": "mention"}, {"form": "{text}"}),
        ({"query": "context"}, {"form": "{left} {text} {right}"}),
        ({"stem": None}, {"plural": False}),
        ({"titles": 3}, {"titles": 3}),
        ({"k1": 0.2, "b": 0.0}, {"k1": 0.2, "b": 0.0}),
        ({"b": 1.0}, {"b": 1.0}),
        ({"stopwords": ("of", "the", "and", "land")}, {"stopwords": ("of", "the", "and", "land")}),
    ],
)
def test_ranks_are_those_of_the_formula(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    found = bm25_ranks(linking(), "test", **ours).tolist()
    assert found == oracle_ranks(**theirs)
    if ours:  # the set tells the options apart
        assert found != oracle_ranks()


def test_scores_are_those_of_the_formula_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "BLOCK", 2)
    parts = list(bm25.Bm25(titles=2).scores(linking(), "test"))
    assert sorted(np.concatenate([part.rows for part in parts]).tolist()) == [*range(len(MENTIONS))]
    assert [len(part.rows) for part in parts] == [2, 2, 2, 1, 1]  # seven of one world, one of two
    for part in parts:
        for row, found in zip(part.rows.tolist(), part.scores, strict=True):
            left, text, right, _, world = MENTIONS[row]
            first, entities = (0, RIVER) if world == "river" else (8, OTHER)
            texts = [" ".join([title] * 2 + [rest]) for title, rest in entities]
            assert part.first == first
            expected = oracle(f"{text} {left} {text} {right}", texts)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_set_tells_words_counted_once_apart() -> None:
    assert oracle_ranks() != oracle_ranks(once=True)


def test_by_hand() -> None:
    """Of 8 entities no word is shared with the one meant: all tie, and it is last of its world.

    Two entities of the other world are the same, and a shorter one has all the shared words: 3.
    """
    ranks = bm25_ranks(linking(), "test")
    assert ranks[6] == 8
    assert ranks[3] == 3
    assert ranks[0] == 1 and np.issubdtype(ranks.dtype, np.integer)


def test_stemming() -> None:
    given = ["ponies", "zombies", "houses", "shoes", "bees", "cats", "glass", "virus", "cat"]
    stems = ["pony", "zomby", "house", "shoe", "bee", "cat", "glass", "virus", "cat"]
    assert [singular(word) for word in given] == stems


def test_the_bar_is_told_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []

    class Noted(bm25.Bar):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            bars.append((self, given, options))

    monkeypatch.setattr(bm25, "Bar", Noted)
    bm25_ranks(linking(), "test", progress=False)
    ((bar, *about),) = bars
    assert about == [(8, "ranking"), {"enabled": False}] and bar._done == 8


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(nb.text.MissingExtra) as caught:
        bm25_ranks(linking(), "test")
    assert str(caught.value) == (
        "nb.retrieval.bm25_ranks() needs the package bm25s, which is not installed; "
        "run: pip install 'nce-bias[retrieval]'"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"query": "title"},
            "query: got 'title'; expected one of 'mention', 'context', 'mention + context'. "
            "Pass query='mention + context'.",
        ),
        ({"titles": 0}, "titles: got 0; expected a whole number >= 1. Pass titles=1."),
        ({"k1": -0.5}, "k1: got -0.5; expected a finite number >= 0. Pass k1=1.5."),
        ({"k1": math.nan}, "k1: got nan; expected a finite number >= 0. Pass k1=1.5."),
        ({"b": 1.5}, "b: got 1.5; expected a number in [0, 1]. Pass b=0.75."),
        ({"split": "dev"}, "split is 'dev', expected one of test"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        bm25_ranks(linking(), **{"split": "test", **options})
    assert str(caught.value) == message
