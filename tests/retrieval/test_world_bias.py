"""`pull_back` against `nb.gradient_bias` on one function of all labels, and refusals."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import world_bias as pullback
from tests.retrieval import tiny_linking as tiny

SPLIT, WORLD = "test", slice(35, 47)  # "fir", after worlds of 12, 12 and 11
ROWS = np.array([7, 0, 3, 10, 4])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("states"))


def all_at_once(corpus: nb.retrieval.Corpus) -> Any:
    """Scores of the i-th of `ROWS` against all labels of the world, padded to the longest."""
    entities = corpus.entities.batch(np.arange(WORLD.start, WORLD.stop), 32)
    mentions = corpus[SPLIT].texts.batch(ROWS, 32)

    def score_fn(model: nb.retrieval.Retriever, index: Any) -> Any:
        inputs = jax.tree.map(lambda leaf: leaf[index][None], model.encode_inputs(mentions))
        return model.against(inputs, model.encode_labels(entities))[0]

    return score_fn


@pytest.mark.slow
@pytest.mark.parametrize("score", [nb.scores.Dual(), nb.scores.Som()], ids=["dual", "som"])
def test_it_is_the_bias_over_parameters(
    score: Any, corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of 5 of the 12 labels; and the gradient of cross entropy beside it."""
    monkeypatch.setattr(pullback, "LABELS", 5)
    model = nb.retrieval.retriever(corpus, score, dim=tiny.SIZE, seed=3)
    gold = corpus[SPLIT].labels[ROWS] - WORLD.start
    population = np.eye(WORLD.stop - WORLD.start)[gold]
    found = nb.gradient_bias(
        nb.ScoreModel(all_at_once(corpus), model),
        jnp.arange(len(ROWS)),
        population,
        nb.iid(nb.uniform(), 2),
        variance=False,
    )
    assert np.linalg.norm(found.moments.bias) > 0.1
    exact = np.asarray(found.moments.bias) + np.asarray(found.moments.gradient)  # p - pop
    both = np.stack([np.asarray(found.moments.bias), exact]) / len(ROWS)
    pulled = nb.retrieval.pull_back(model, corpus[SPLIT][ROWS], both)
    for place, expected in enumerate((found.bias, found.exact_gradient)):
        leaves = jax.tree.leaves(eqx.filter(expected, eqx.is_inexact_array))
        got = [np.asarray(leaf)[place] for leaf in jax.tree.leaves(pulled)]
        assert len(got) == len(leaves)
        size = max(float(np.abs(leaf).max(initial=0)) for leaf in leaves)
        for a, b in zip(got, leaves, strict=True):
            # float32: sums over 60 pairs of products of both signs, in another order
            np.testing.assert_allclose(a, np.asarray(b), atol=1e-5 * size)
    flipped = nb.retrieval.pull_back(model, corpus[SPLIT][ROWS], both[:, ::-1])
    pairs = zip(jax.tree.leaves(flipped), jax.tree.leaves(pulled), strict=True)
    twin = [float(np.abs(np.asarray(a - b)).max(initial=0)) for a, b in pairs]
    assert max(twin) > 0.01  # mentions in another order are another sum


def test_mentions_of_several_worlds_are_refused(corpus: nb.retrieval.Corpus) -> None:
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    with pytest.raises(ValueError) as caught:
        nb.retrieval.pull_back(model, corpus["train"][:2], np.zeros((1, 2, 12)))
    assert str(caught.value) == (
        "mentions: got those of 2 worlds; expected mentions of one world. "
        "Call it for each world and add the results."
    )


@pytest.mark.parametrize("shape", [(5, 12), (1, 5, 11), (1, 4, 12)])
def test_cotangents_that_do_not_fit_are_refused(
    shape: tuple[int, ...], corpus: nb.retrieval.Corpus
) -> None:
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    with pytest.raises(ValueError) as caught:
        nb.retrieval.pull_back(model, corpus[SPLIT][ROWS], np.zeros(shape))
    assert str(caught.value) == (
        f"cotangents: got shape {shape}; expected [C, n, V] with n = 5 and V = 12, the labels of "
        "the world. Add a leading axis to a single one."
    )


# --- what `mine_negatives` and `train_retriever` refuse


def test_a_corpus_is_no_mentions(corpus: nb.retrieval.Corpus) -> None:
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    for call in (
        lambda: nb.retrieval.rank(model, corpus),
        lambda: nb.retrieval.pull_back(model, corpus, np.zeros((1, 2, 12))),
        lambda: nb.retrieval.mine_negatives(model, corpus, nb.top(2), nb.infonce, seed=0),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == (
            "mentions: got Corpus; expected the mentions of a split, or some of them. "
            "Pass corpus['test'] or corpus['test'][rows]."
        )


def test_a_mention_is_mined_once(corpus: nb.retrieval.Corpus) -> None:
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    with pytest.raises(ValueError) as caught:
        nb.retrieval.mine_negatives(
            model, corpus["train"][np.array([3, 5, 3])], nb.top(2), nb.infonce, seed=0
        )
    assert str(caught.value) == (
        "mentions: got 3 mentions, 2 of them different; expected each mention once. "
        "For another draw of the same mention give another seed."
    )


def test_checkpoints_are_steps_of_the_run(corpus: nb.retrieval.Corpus) -> None:
    with pytest.raises(ValueError) as caught:
        tiny.train(corpus, checkpoints=[2, 9])
    assert str(caught.value) == (
        "checkpoints: got steps [9]; expected steps from 0 to 8. "
        "0 is the initial model, the last number the last update."
    )
