"""A retriever that learns its words: what it reads, what is trained, what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

import nce_bias as nb
from tests.retrieval import tiny_linking as tiny

GRAMS = (2, 3)  # so that the longest word of the tiny data has all its buckets read


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> nb.retrieval.Corpus:
    encoder = nb.text.hashed(tiny.HIDDEN, tiny.BUCKETS, GRAMS)
    return nb.retrieval.corpus(
        tiny.data(), encoder, folder=tmp_path_factory.mktemp("s"), learn=True
    )


def test_tokens_begin_as_the_states_of_the_encoder(corpus: nb.retrieval.Corpus) -> None:
    """The words of a batch, looked up once each, are the encoder's states token by token."""
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    rows = np.array([7, 0, 7, 21])
    batch = corpus.entities.batch(rows, 8)
    assert model.words is not None and batch.states is None and batch.word is not None
    states = np.asarray(model.words(jax.numpy.asarray(batch.bags)))[batch.word]
    lengths = np.minimum(corpus.entities.lengths[rows], 8)
    own = [corpus.entities.states[int(row)][:n] for row, n in zip(rows, lengths, strict=True)]
    expected = np.concatenate(own)
    # the mean of up to 30 rows in float32
    np.testing.assert_allclose(states[: len(expected)], expected, atol=1e-6)
    assert len(np.unique(batch.word)) < len(expected)
    assert not np.allclose(states[: len(expected)], expected[::-1], atol=0.1)


@pytest.mark.slow
def test_only_the_buckets_of_words_seen_are_trained(corpus: nb.retrieval.Corpus) -> None:
    """Adam leaves alone what never has a gradient: buckets of no training text."""
    run = tiny.train(corpus, checkpoints=(0,))
    table, begin = (np.asarray(m.words.table) for m in (run.model, run.at(0)))  # pyright: ignore
    moved = np.any(table != begin, axis=1)
    encoder = nb.text.hashed(tiny.HIDDEN, tiny.BUCKETS, GRAMS)
    data = tiny.data()
    texts = [m.context for m in data.mentions["train"]] + [e.description for e in data.entities]
    bags, _ = encoder.bags(texts)
    seen = np.zeros(tiny.BUCKETS, bool)
    seen[np.unique(bags[bags >= 0])] = True
    assert not moved[~seen].any() and moved[seen].mean() > 0.9
    assert 0.2 < seen.mean() < 0.9


def test_frozen_words_have_no_table(corpus: nb.retrieval.Corpus) -> None:
    """Without `learn` the same encoder's states are read, and another corpus is another run."""
    frozen = dataclasses.replace(corpus, words=None)
    model = nb.retrieval.retriever(frozen, nb.scores.Dual(), dim=tiny.SIZE)
    assert model.words is None
    with pytest.raises(ValueError) as caught:
        model.encode_labels(corpus.entities.batch(np.arange(3), 8))
    assert str(caught.value) == (
        "texts: got words that are to be learnt; expected token states. "
        "Make the model by nb.retrieval.retriever of the corpus with learn=True."
    )
    assert corpus.name.endswith(", learnt")
    assert np.all(corpus.center() == 0)


def test_only_words_that_are_looked_up_can_be_learnt(tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        nb.retrieval.corpus(tiny.data(), tiny.Marked(), folder=tmp_path, learn=True)
    assert str(caught.value) == (
        "learn: got Marked, whose states are frozen; expected the encoder nb.text.hashed(), "
        "nb.text.minilm() or nb.text.bert(path). Leave learn out: linear heads on frozen "
        "states are trained in any case."
    )
