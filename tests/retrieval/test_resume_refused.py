"""`nb.retrieval.train_retriever` goes on from checkpoints of the same run alone."""

import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests.retrieval import tiny_linking as tiny
from tests.retrieval.tiny_linking import CONFIG, interrupt, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: Any) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.small_blocks(monkeypatch.setattr)


@pytest.fixture(scope="module")
def stopped(corpus: nb.retrieval.Corpus, tmp_path_factory: Any) -> pathlib.Path:
    """The folder of a run that was interrupted at once."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        tiny.small_blocks(patch.setattr)
        interrupt(patch, "update", 1)
        train(corpus, folder)
    return folder


def refusal(corpus: nb.retrieval.Corpus, folder: pathlib.Path, **options: Any) -> str:
    with pytest.raises(ValueError) as caught:
        train(corpus, folder, **options)
    return str(caught.value)


REMEDY = "Name another folder, or remove the file to begin again."


def test_another_run_is_refused(corpus: nb.retrieval.Corpus, stopped: pathlib.Path) -> None:
    path = stopped / "checkpoint.eqx"
    before = path.read_bytes()
    assert refusal(corpus, stopped, sampler=nb.top(6), loss=nb.negative_sampling) == (
        f"checkpoint: got {path} of loss = 'infonce', "
        "sampler = 'top(m=3) + iid(uniform, m=3)'; expected loss = 'negative_sampling', "
        f"sampler = 'top(m=6)'. {REMEDY}"
    )
    assert refusal(corpus, stopped, score=nb.scores.Multi(2)) == (
        f"checkpoint: got {path} of score = 'dual'; expected score = 'multi(m=2)'. {REMEDY}"
    )
    for name, value in {
        "batch": 19, "mentions": 41, "learning_rate": 0.02, "dim": 7, "seed": 2
    }.items():  # fmt: skip
        config = nb.retrieval.TrainingConfig(**{**vars(CONFIG), name: value})
        assert refusal(corpus, stopped, config=config) == (
            f"checkpoint: got {path} of {name} = {getattr(CONFIG, name)!r}; "
            f"expected {name} = {value!r}. {REMEDY}"
        )
    longer = nb.retrieval.TrainingConfig(**{**vars(CONFIG), "epochs": 5})
    assert refusal(corpus, stopped, config=longer) == (
        f"checkpoint: got {path} of epochs = 4, steps = 8; expected epochs = 5, steps = 10. "
        f"{REMEDY}"
    )
    other = nb.retrieval.Corpus(**{**vars(corpus), "name": "tiny; other"})
    assert refusal(other, stopped) == (
        f"checkpoint: got {path} of corpus = 'tiny; marked; 59, 40'; "
        f"expected corpus = 'tiny; other; 59, 40'. {REMEDY}"
    )
    assert path.read_bytes() == before


def test_a_score_of_other_codes_is_another_run(corpus: nb.retrieval.Corpus, tmp_path: Any) -> None:
    """Their repr is the same; the run would go on from the codes of the first."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "mine_negatives", 1)
        train(corpus, tmp_path, score=nb.scores.Poly(jnp.ones((2, tiny.SIZE), jnp.float32)))
    other = nb.scores.Poly(-jnp.ones((2, tiny.SIZE), jnp.float32))
    message = refusal(corpus, tmp_path, score=other)
    assert message.startswith(f"checkpoint: got {tmp_path / 'checkpoint.eqx'} of ")


def test_a_sampler_of_other_probabilities_is_another_run(
    corpus: nb.retrieval.Corpus, tmp_path: Any
) -> None:
    q = np.arange(1, 36) / np.arange(1, 36).sum()
    one, other = (nb.iid(nb.from_probabilities(p), 2) for p in (q, q[::-1]))
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "mine_negatives", 1)
        train(corpus, tmp_path, sampler=one)
    message = refusal(corpus, tmp_path, sampler=other)
    assert message.startswith(f"checkpoint: got {tmp_path / 'checkpoint.eqx'} of ")
