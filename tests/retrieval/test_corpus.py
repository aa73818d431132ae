"""`nb.retrieval.corpus`: what is read of texts, and what is counted; against plain loops."""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import tower
from tests.oracles import tower as oracle
from tests.retrieval import tiny_linking as tiny

SPACE = [*range(12), *range(24, 35), *range(47, 59)]  # of the worlds ash, birch and cedar


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: Any) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("cache"))


def texts_of(corpus: nb.retrieval.Corpus) -> list[tuple[Any, list[oracle.Text]]]:
    entities = [tiny.entity(label) for label in range(len(corpus.entities))]
    mentions = [
        (some.texts, [tiny.mention(split, row) for row in range(len(some))])
        for split, some in corpus.mentions.items()
    ]
    return [(corpus.entities, entities), *mentions]


def text_of(batch: tower.Batch, row: int) -> oracle.Text:
    """Tokens of one text of a batch."""
    at = np.asarray(batch.at[row])
    at = at[at < len(batch.ids)]
    return oracle.Text(*(np.asarray(array)[at] for array in batch[:3]))


def test_marks_are_not_read_and_roles_are_the_mentions(corpus: nb.retrieval.Corpus) -> None:
    seen = []
    for texts, expected in texts_of(corpus):
        assert texts.lengths.tolist() == [len(one.ids) for one in expected]
        for length in (8, tiny.LONGEST):
            batch = texts.batch(np.arange(len(texts)), length)
            assert batch.at.shape == (len(texts), length)
            for row, one in enumerate(expected):
                count = min(len(one.ids), length)
                assert batch.mask[row].tolist() == [True] * count + [False] * (length - count)
                found = text_of(batch, row)
                for read, wanted in zip(found, one, strict=True):
                    assert np.array_equal(read, wanted[:length])
                seen.append((count, *one.roles[:2]))
    # a mention first and later, and texts that are cut
    assert {(2, 1, 1), (3, 0, 1), (8, 0, 0), (tiny.LONGEST, 0, 0)} <= set(seen)


def test_rows_of_a_batch_are_those_asked_for(corpus: nb.retrieval.Corpus) -> None:
    batch = corpus.entities.batch(np.array([58, 0, 58]), 8)
    for row, label in enumerate((58, 0, 58)):
        assert np.array_equal(text_of(batch, row).ids, tiny.entity(label).ids[:8])
    tokens = corpus.entities.tokens(np.array([14, 3]))  # of 40 words, of which 32 are read
    ids = corpus.entities.states.ids[tokens]
    assert np.array_equal(ids, [*tiny.entity(14).ids, *tiny.entity(3).ids])


def test_an_encoder_that_knows_no_places_has_no_roles(tmp_path: Any) -> None:
    def letters(texts: list[str]) -> Any:
        return [np.array([[ord(letter), 1.0] for letter in text]) for text in texts]

    found = nb.retrieval.corpus(
        tiny.data(), nb.text.from_function(letters, "letters"), folder=tmp_path
    )
    texts = found["train"].texts
    assert texts.marks == (0, 0) and not texts.roles.any()
    contexts = [mention.context for mention in tiny.data().mentions["train"]]
    batch = texts.batch(np.arange(40), tiny.LONGEST)
    for row, context in enumerate(contexts):
        letters_read = text_of(batch, row).states[:, 0].tolist()
        assert letters_read == [ord(letter) for letter in context[: tiny.LONGEST]]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 3]])
def test_a_text_without_words_has_no_tokens(rows: list[int]) -> None:
    """Not those of the text after it, nor is the last one read beyond the end."""
    states = nb.text.hashed(tiny.HIDDEN, tiny.BUCKETS).encode(["red dog", "?!", "cat", ""])
    texts = nb.retrieval.Texts(states, (0, 0), np.zeros(3, np.int32))
    batch = texts.batch(np.array(rows), 8)
    counts = [[2, 0, 1, 0][row] for row in rows]
    assert batch.mask.sum(axis=1).tolist() == counts
    assert texts.tokens(np.array(rows)).tolist() == [*range(sum(counts))]
    for pooled in (0, 1):
        side = tower.tower(
            jax.random.key(0), np.zeros(tiny.BUCKETS), np.zeros(tiny.HIDDEN),
            tower.Side(roles=1, pooled=pooled, gated=True), dim=tiny.SIZE,
        )  # fmt: skip
        found = eqx.filter_jit(side)(batch)
        assert found.mask.any(axis=1).tolist() == [count > 0 for count in counts]
        assert found.states.any(axis=(1, 2)).tolist() == [count > 0 for count in counts]


def test_labels_worlds_and_counts(corpus: nb.retrieval.Corpus) -> None:
    data = tiny.data()
    spans = {"ash": (0, 12), "elm": (12, 24), "birch": (24, 35), "fir": (35, 47), "cedar": (47, 59)}
    for split, mentions in data.mentions.items():
        encoded = corpus[split]
        assert encoded.labels.tolist() == [mention.label for mention in mentions]
        assert encoded.worlds.tolist() == [mention.world for mention in mentions]
        worlds = [spans[mention.world] for mention in mentions]
        assert list(map(tuple, encoded.spans.tolist())) == worlds
    assert corpus["train"].space.tolist() == SPACE
    assert corpus["val"].space.tolist() == [*range(12, 24)]
    assert corpus.counts.tolist() == [entity.count for entity in data.entities]
    assert repr(corpus) == ("Corpus(tiny; marked: 59 entities, mentions 40 train, 12 val, 12 test)")


def test_some_mentions_of_a_split(corpus: nb.retrieval.Corpus) -> None:
    """By integers, by a mask, by a slice, and some of some; the label space is the split's."""
    mentions, every = tiny.data().mentions["train"], corpus["train"]
    mask = np.arange(40) % 7 == 3
    for some, rows in (
        (every[np.array([31, 2, 17])], [31, 2, 17]),
        (every[mask], [3, 10, 17, 24, 31, 38]),
        (every[5:9], [5, 6, 7, 8]),
        (every[mask][np.array([4, 0])], [31, 3]),
    ):
        assert len(some) == len(rows) and some.rows.tolist() == rows
        assert some.labels.tolist() == [mentions[row].label for row in rows]
        assert some.worlds.tolist() == [mentions[row].world for row in rows]
        assert some.lengths.tolist() == [len(tiny.mention("train", row).ids) for row in rows]
        assert some.space.tolist() == SPACE
    assert repr(every[5:9]) == "Mentions(4 in 3 worlds)"
    with pytest.raises(ValueError) as caught:
        corpus["dev"]
    assert str(caught.value) == (
        "split: got 'dev'; expected one of 'train', 'val', 'test'. "
        "Pass the name of a split, and select mentions from that: corpus[split][rows]."
    )


def test_rarity_is_of_the_training_worlds_entities(corpus: nb.retrieval.Corpus) -> None:
    entities = [set(tiny.entity(label).ids.tolist()) for label in SPACE]
    having = [sum(word in words for words in entities) for word in range(tiny.BUCKETS)]
    expected = [np.log((len(SPACE) + 1) / (n + 0.5)) for n in having]
    assert corpus.rarity() == pytest.approx(np.array(expected), rel=1e-14)  # rounding
    assert {0, 1, len(SPACE) // 4} & set(having) and max(having) < len(SPACE)


def test_center_is_of_the_training_worlds_entities(
    corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = np.concatenate([tiny.entity(label).states for label in SPACE]).astype(np.float64)
    assert corpus.center() == pytest.approx(states.mean(axis=0), rel=1e-12)  # order of a sum
    monkeypatch.setattr(sys.modules["nce_bias.retrieval._corpus"], "SAMPLE", len(states) // 3)
    assert corpus.center() == pytest.approx(states[::3].mean(axis=0), rel=1e-12)


def test_a_limit_spreads_over_the_file(tmp_path: Any) -> None:
    found = nb.retrieval.corpus(tiny.data(), tiny.Marked(), folder=tmp_path, limit=7)
    whole = [mention.label for mention in tiny.data().mentions["train"]]
    assert found["train"].labels.tolist() == whole[::6]  # 7 of 40
    assert found["train"].spans.shape == (7, 2)
    assert len(found["train"]) == 7 and len(found["val"]) == len(found["val"].texts) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": -1}, r"mention 1 of 'test' has the label -1; expected an entity of its world"),
        ({"label": 0}, r"has the label 0; expected an entity of its world '.*', from \d+ to \d+\."),
        ({"label": None}, "has the label None; expected an entity of its world"),
        ({"world": "zz"}, "mention 1 of 'test' is of the world 'zz'; expected one of "),
    ],
)
def test_a_gold_outside_of_its_world_is_refused(change, message):
    """Otherwise its rank would be that of another entity, counted from the end."""
    data = tiny.data()
    first, second, *rest = data.mentions["test"]
    mentions = {**data.mentions, "test": (first, second._replace(**change), *rest)}
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, mentions=mentions)
