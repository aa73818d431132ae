"""A device that has no memory left: smaller blocks, and a note of what helps."""

import dataclasses
import warnings
from typing import Any

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import ranking
from nce_bias.train import loop
from tests.retrieval import tiny_linking as tiny
from tests.retrieval.test_encoder_runs import CONFIG

SAID = "RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."


@pytest.fixture(scope="module")
def model(bert_corpus: nb.retrieval.Corpus) -> nb.retrieval.EncoderRetriever:
    return nb.retrieval.encoder_retriever(bert_corpus, nb.scores.Som())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.small_blocks(monkeypatch.setattr)


def fitting(monkeypatch: pytest.MonkeyPatch, most: int, said: str = SAID) -> list[int]:
    """Labels are encoded by a device that holds `most` of them; the sizes that did fit."""
    encoder, sizes = ranking._encode_labels, []

    def encode(model: Any, texts: Any) -> Any:
        if len(texts.at) > most:
            raise jax.errors.JaxRuntimeError(said)
        sizes.append(len(texts.at))
        return encoder(model, texts)

    monkeypatch.setattr(ranking, "_encode_labels", encode)
    return sizes


def test_blocks_that_do_not_fit_are_halved(
    model: Any, bert_corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, in the middle of the lengths that there are: the same scores, said once a size."""
    expected = nb.retrieval.rank_candidates(model, bert_corpus["test"], 12)
    monkeypatch.setattr(ranking, "LABELS", 8)
    sizes = fitting(monkeypatch, 3)
    with pytest.warns(UserWarning) as said:
        found = nb.retrieval.rank_candidates(model, bert_corpus["test"], 12)
    assert [str(one.message) for one in said] == [
        "labels: 8 texts at a time do not fit the memory; going on with 4.",
        "labels: 4 texts at a time do not fit the memory; going on with 2.",
    ]
    assert set(sizes) == {2}
    assert (found.ranks == expected.ranks).all() and (found.labels == expected.labels).all()
    assert np.abs(found.scores - expected.scores).max() < 1e-4  # float32, other blocks


def test_what_was_encoded_is_not_encoded_again(
    model: Any, bert_corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out behind the first block of four: the other eight come two at a time."""
    monkeypatch.setattr(ranking, "LABELS", 4)
    encoder, seen = ranking._encode_labels, []

    def encode(model: Any, texts: Any) -> Any:
        if seen and len(texts.at) > 2:
            raise jax.errors.JaxRuntimeError(SAID)
        seen.append(len(texts.at))
        return encoder(model, texts)

    monkeypatch.setattr(ranking, "_encode_labels", encode)
    rows = np.arange(12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(ranking.encode(model, bert_corpus.entities, rows, "labels"))
    assert sorted(np.concatenate([one.rows for one in found])) == rows.tolist()
    assert seen[0] == 4 and set(seen[1:]) == {2}


@pytest.mark.parametrize(("most", "said"), [(0, SAID), (3, "INTERNAL: a bug")])
def test_what_cannot_be_helped_is_raised(
    most: int,
    said: str,
    model: Any,
    bert_corpus: nb.retrieval.Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One text that does not fit, and another error."""
    fitting(monkeypatch, most, said)
    with warnings.catch_warnings(), pytest.raises(jax.errors.JaxRuntimeError, match=said[:8]):
        warnings.simplefilter("ignore")
        nb.retrieval.rank(model, bert_corpus["test"])


@pytest.mark.parametrize("said", [SAID, "INTERNAL: a bug"])
def test_a_step_that_does_not_fit_says_what_helps(
    said: str, bert_corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError(said)

    monkeypatch.setattr(loop, "update", update)
    config = dataclasses.replace(CONFIG, accumulate=3)
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        nb.retrieval.train_encoder(bert_corpus, nb.scores.Dual(), config=config, progress=False)
    notes = getattr(caught.value, "__notes__", [])
    assert notes == (
        [
            "A step of batch=8 does not fit the memory. Half the batch with accumulate=6 makes "
            "updates of as many mentions; an encoder of remat=True keeps less of each layer."
        ]
        if said == SAID
        else []
    )
