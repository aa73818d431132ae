"""A re-ranker: pairs against BERT's oracle, two stages by hand, its training."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import Ranked, reranker_training
from nce_bias.retrieval.reranker import Reranker, pair_texts
from nce_bias.train import loop
from tests.oracles import bert as oracle
from tests.retrieval import tiny_bert
from tests.retrieval import tiny_linking as tiny

FLOAT32 = 2e-5  # rounding through all layers, scores of order 1
CONFIG = nb.retrieval.RerankerConfig(
    batch=4, negatives=3, learning_rate=2e-3, warm_up=2, epochs=2, seed=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> pathlib.Path:
    return tmp_path_factory.mktemp("bert")


@pytest.fixture(scope="module")
def corpus(folder: pathlib.Path) -> nb.retrieval.Corpus:
    with pytest.warns(UserWarning, match="longer than 32 tokens and were cut"):
        return nb.retrieval.corpus(tiny.data(), tiny_bert.encoder(folder, 32), learn=True)


@pytest.fixture(scope="module")
def retriever(corpus: nb.retrieval.Corpus) -> nb.retrieval.EncoderRetriever:
    return nb.retrieval.encoder_retriever(corpus, nb.scores.Dual())


def pair_state(folder: pathlib.Path, mention: list[int], entity: list[int]) -> np.ndarray:
    """First state of a pair, by the oracle; token type 1 is made part of words of its own."""
    w = oracle.tensors(folder / "model.safetensors")
    ids = [*mention, *entity[1:]]  # one [CLS]
    kinds = w["embeddings.token_type_embeddings.weight"]
    second = (np.arange(len(ids)) >= len(mention))[:, None]
    words = w["embeddings.word_embeddings.weight"]
    own = words[ids] + second * (kinds[1] - kinds[0])
    moved = w | {"embeddings.word_embeddings.weight": np.concatenate([words, own])}
    numbers = [*range(len(words), len(words) + len(ids))]
    return oracle.states(moved, numbers, tiny_bert.HEADS)[0]


@pytest.mark.parametrize("joined", [True, False])
def test_scores_and_ranks_by_hand(
    corpus: nb.retrieval.Corpus, folder: pathlib.Path, joined: bool
) -> None:
    """Golds first, last and missing; one mention has a candidate less."""
    mentions = corpus["test"][np.array([0, 3, 7])]
    golds = mentions.labels
    others = [label for label in range(*mentions.spans[0]) if label not in golds]
    labels = np.array(
        [[golds[0], *others[:3]], [*others[3:6], golds[1]], [others[6], others[7], others[0], -1]]
    )
    said = np.array([[0.1, 0.2, -0.3, 0.0], [1.0, 0.5, 0.1, 0.3], [0.4, 0.2, 0.1, -np.inf]])
    candidates = Ranked(np.array([2, 4, 6]), labels, said.astype(np.float32))
    model = nb.retrieval.reranker(corpus, joined=joined, seed=1)
    assert (np.asarray(model.prior) == 1) is np.bool_(joined)
    found = nb.retrieval.rerank(model, mentions, candidates)
    read = np.asarray(model.read, float)
    for row in range(3):
        scores = np.full(4, -np.inf)
        for place, label in enumerate(labels[row]):
            if label >= 0:
                mention = mentions.texts[mentions.rows[row]].tolist()
                state = pair_state(folder, mention, corpus.entities[label].tolist())
                scores[place] = state @ read + joined * said[row, place]
        order = np.argsort(-scores, kind="stable")
        assert found.labels[row].tolist() == labels[row][order].tolist()
        assert np.abs(found.scores[row, :3] - scores[order][:3]).max() < FLOAT32
        held = np.flatnonzero(labels[row] == golds[row])
        expected = 1 + np.sum(scores > scores[held[0]]) if held.size else 6
        assert found.ranks[row] == expected
    # token types are read: without them the scores are others
    plain = pair_texts(mentions, np.maximum(labels, 0))
    untyped = dataclasses.replace(plain, firsts=None)
    rows = np.arange(3)
    typed, other = (np.asarray(model(texts.batch(rows, 64))) for texts in (plain, untyped))
    assert np.abs(typed - other).max() > 100 * FLOAT32


def test_what_was_not_retrieved_stays_behind(corpus: nb.retrieval.Corpus) -> None:
    """A retriever's ties may give a rank that the candidates' number would not: all count."""
    mentions = corpus["test"][np.array([0, 1])]
    golds = mentions.labels
    other = next(label for label in range(*mentions.spans[0]) if label not in golds)
    labels = np.array([[other, golds[0]], [other, -1]])
    candidates = Ranked(np.array([1, 1]), labels, np.zeros((2, 2), np.float32))
    silent = Reranker(nb.retrieval.reranker(corpus).encoder, jnp.zeros(tiny_bert.HIDDEN), prior=0.0)
    assert nb.retrieval.rerank(silent, mentions, candidates).ranks.tolist() == [2, 2]


def test_it_begins_as_its_retriever(
    corpus: nb.retrieval.Corpus, retriever: nb.retrieval.EncoderRetriever
) -> None:
    """With nothing read off the pair, the retriever's order and its scores."""
    found = nb.retrieval.rank_candidates(retriever, corpus["test"], 8)
    model = nb.retrieval.reranker(corpus, retriever)
    silent = Reranker(model.encoder, 0 * model.read, model.prior)
    again = nb.retrieval.rerank(silent, corpus["test"], found)
    assert (again.labels == found.labels).all() and (again.scores == found.scores).all()
    assert (again.ranks == found.ranks).all()


# --- training


def ranked(corpus: nb.retrieval.Corpus, retriever: Any, k: int = 6) -> Ranked:
    return nb.retrieval.rank_candidates(retriever, corpus["train"], k)


def train(corpus: Any, retriever: Any, folder: Any = None, **changed: Any) -> nb.train.Fit:
    model = nb.retrieval.reranker(corpus, retriever, dropout=changed.pop("dropout", 0.1))
    config = dataclasses.replace(CONFIG, **changed)
    with pytest.warns(UserWarning, match="of 40 mentions are left out"):
        return nb.retrieval.train_reranker(
            model, corpus["train"], ranked(corpus, retriever), config=config, folder=folder,
            every=1, progress=False,
        )  # fmt: skip


def plan(corpus: Any, candidates: Ranked) -> Any:
    usable = reranker_training._usable(corpus["train"], candidates)
    return reranker_training._Plan(corpus["train"], candidates, CONFIG, usable)


def test_each_mention_once_with_its_own_candidates(
    corpus: nb.retrieval.Corpus, retriever: Any
) -> None:
    """And the loss, one candidate after the other; a mention of two candidates has two."""
    found = ranked(corpus, retriever)
    labels, scores = found.labels.copy(), found.scores.copy()
    usable = np.flatnonzero((labels == corpus["train"].labels[:, None]).any(axis=1))
    short = usable[0]
    gold = corpus["train"].labels[short]
    labels[short], scores[short] = -1, -np.inf
    labels[short, :2], scores[short, :2] = (gold, gold + 1), (0.5, 0.25)
    batches = plan(corpus, Ranked(found.ranks, labels, scores))
    model = nb.retrieval.reranker(corpus, retriever)
    seen = []
    for step in range(batches.steps):
        pairs = batches.pairs(step)._replace()
        quiet = pairs._replace(texts=pairs.texts._replace(noise=None))
        alone = np.asarray(model(quiet.texts), float).reshape(pairs.prior.shape)
        total = alone + np.where(np.isfinite(pairs.prior), pairs.prior, -np.inf)
        expected = np.mean([np.log(np.exp(row - row[0]).sum()) for row in total])
        assert abs(reranker_training.PairLoss(nb.infonce)(model, quiet) - expected) < FLOAT32
        # the mention's tokens stand in front of each of its pairs
        order = np.random.default_rng([CONFIG.seed, 0]).permutation(batches.usable)
        rows = order[step * CONFIG.batch :][: CONFIG.batch]
        seen += rows.tolist()
        for place, row in enumerate(rows):
            first = corpus["train"].texts[row]
            for column in range(1 + CONFIG.negatives):
                cells = pairs.texts.at[place * (1 + CONFIG.negatives) + column]
                ids = np.append(pairs.texts.ids.ravel(), 0)[cells]
                assert (ids[: len(first)] == first).all()
            assert np.isfinite(pairs.prior[place]).sum() == (2 if row == short else 4)
    assert len(set(seen)) == len(seen) and set(seen) <= set(usable.tolist())
    assert len(seen) > len(usable) - CONFIG.batch


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    corpus: nb.retrieval.Corpus, retriever: Any, tmp_path: pathlib.Path
) -> None:
    whole, function, calls = train(corpus, retriever), loop.update, []

    def interrupting(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return function(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", interrupting)
        part = train(corpus, retriever, tmp_path)
    assert part.status.startswith("interrupted at step 3")
    again = train(corpus, retriever, tmp_path)
    leaves = zip(*map(jax.tree.leaves, (again, whole)), strict=True)
    assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)
    other = train(corpus, retriever, seed=4)
    assert other.losses.tobytes() != whole.losses.tobytes()


def test_a_run_learns_what_its_retriever_does_not_know(
    corpus: nb.retrieval.Corpus, retriever: Any
) -> None:
    run = train(corpus, retriever, epochs=25, dropout=0.0)
    found = nb.retrieval.rank_candidates(retriever, corpus["test"], 12)
    again = nb.retrieval.rerank(run.model, corpus["test"], found)
    assert run.losses[-5:].mean() < 0.5 * run.losses[:5].mean()
    assert nb.retrieval.reciprocal_rank(again.ranks) > nb.retrieval.reciprocal_rank(found.ranks)
    assert run.model.prior != 1


def test_what_is_refused(corpus: nb.retrieval.Corpus, retriever: Any, folder: pathlib.Path) -> None:
    model, test = nb.retrieval.reranker(corpus), corpus["test"]
    found = nb.retrieval.rank_candidates(retriever, test, 3)
    with pytest.raises(ValueError, match="encodes no label alone; expected a retriever"):
        nb.retrieval.rank(model, test)
    with pytest.raises(ValueError, match="got EncoderRetriever; expected a Reranker"):
        nb.retrieval.rerank(retriever, test, found)
    with pytest.raises(ValueError, match="got candidates of 12 mentions for 2 mentions"):
        nb.retrieval.rerank(model, test[:2], found)
    with pytest.raises(ValueError, match=r"got ndarray for 12 mentions; .*rank_candidates"):
        nb.retrieval.rerank(model, test, found.labels)
    with pytest.raises(ValueError, match=r"the golds of \d of 2 mentions; expected .* a batch, 16"):
        nb.retrieval.train_reranker(model, test[:2], Ranked(*(part[:2] for part in found)))
    with pytest.raises(ValueError, match="which takes log q off"):
        nb.retrieval.train_reranker(model, test, found, nb.sampled_softmax)
    with pytest.raises(ValueError, match="got jsd, which reads 'm' beside the scores; expected"):
        nb.retrieval.train_reranker(model, test, found, nb.jsd)
    long = nb.retrieval.corpus(tiny.data(), nb.text.bert(folder, max_tokens=64), learn=True)
    with pytest.raises(ValueError, match=r"pairs of up to 127; expected .* 64 or less.*=32"):
        nb.retrieval.reranker(long)
