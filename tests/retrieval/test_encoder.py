"""An encoder that is trained: its forward pass, its corpus, its pool. Runs: `test_encoder_runs`."""

import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import encoder as encoder_module
from nce_bias.retrieval import pool, ranking
from nce_bias.retrieval.mining import Mined
from nce_bias.retrieval.tokens import packed
from nce_bias.text.bert import Dropout, Form, states
from tests.oracles import bert as oracle
from tests.retrieval import tiny_bert
from tests.retrieval import tiny_linking as tiny

FLOAT32 = 2e-5  # rounding through all layers, states of order 1


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.small_blocks(monkeypatch.setattr)


def model(bert_corpus: nb.retrieval.Corpus, score: Any = None, **given: Any) -> Any:
    return nb.retrieval.encoder_retriever(bert_corpus, score or nb.scores.Dual(), **given)


# --- the forward pass


def test_without_dropout_the_states_are_the_frozen_encoders(
    bert_corpus: nb.retrieval.Corpus, bert: nb.text.Bert
) -> None:
    """Of entities, whose texts are the same on both ways; and packing changes nothing."""
    rows = np.arange(12, 24)
    texts = [tiny.data().entities[row].description for row in rows]
    frozen = bert.encode(texts)
    trained = encoder_module.bert_states(bert)
    together = bert_corpus.entities.batch(rows, 64)
    found = trained(together)
    for place, row in enumerate(rows):
        alone = bert_corpus.entities.batch(rows[place : place + 1], 64)
        length = bert_corpus.entities.lengths[row]
        assert np.abs(found[together.at[place, :length]] - frozen[place]).max() < FLOAT32
        assert np.abs(trained(alone)[:length] - frozen[place]).max() < FLOAT32
    longer = encoder_module.bert_states(bert)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "CELLS", 64)  # one row at a time
        assert np.abs(longer(together) - found).max() < FLOAT32


def test_types_of_tokens_are_berts(bert: nb.text.Bert, bert_folder: pathlib.Path) -> None:
    """By moving the embedding of type 1 into the oracle's words: no code is shared."""
    w = oracle.tensors(bert_folder / "model.safetensors")
    ids = [2, 7, 9, 3, 12, 11, 3]
    both = packed([np.array(ids, np.int32)], [0], 8, types=[4])
    found = encoder_module.bert_states(bert)(both)[: len(ids)]
    kinds = w["embeddings.token_type_embeddings.weight"]
    words = w["embeddings.word_embeddings.weight"]
    # token k of the pair gets a word of its own: its embedding and what type 1 adds
    own = words[ids] + (np.arange(7) >= 4)[:, None] * (kinds[1] - kinds[0])
    moved = w | {"embeddings.word_embeddings.weight": np.concatenate([words, own])}
    expected = oracle.states(moved, list(range(len(words), len(words) + 7)), tiny_bert.HEADS)
    assert np.abs(found - expected).max() < FLOAT32
    plain = oracle.states(w, ids, tiny_bert.HEADS)
    assert np.abs(found - plain).max() > 100 * FLOAT32


def test_the_gradient_is_that_of_finite_differences(
    bert_corpus: nb.retrieval.Corpus, bert: nb.text.Bert
) -> None:
    """Along one direction in float64, with dropout of one key; kept and computed again alike."""
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), bert.weights)
    cells: Any = tuple(map(jnp.asarray, bert_corpus.entities.batch(np.arange(4), 64).cells))
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), weights)

    def value(weights: Any, remat: bool = False, key: int = 0, constant: int = 0) -> Any:
        dropout = Dropout(jax.random.key(key), 0.2)
        found = states(
            weights, cells, Form(tiny_bert.HEADS, 1e-12), dropout=dropout, remat=remat,
            constant=constant,
        )  # fmt: skip
        return jnp.sum(jnp.sin(found) * (cells[2] > 0)[..., None])

    def along(step: float) -> float:
        return float(value(jax.tree.map(lambda w, d: w + step * d, weights, direction)))

    gradient = jax.grad(value)(weights)
    found = sum(
        jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    )
    size = 1e-6
    expected = (along(size) - along(-size)) / (2 * size)
    assert abs(found - expected) < 1e-6 * abs(expected) + 1e-5
    again = jax.grad(value)(weights, remat=True)
    assert all(
        jnp.allclose(a, b, rtol=1e-9, atol=1e-12)
        for a, b in zip(*map(jax.tree.leaves, (gradient, again)), strict=True)
    )
    assert abs(value(weights) - value(weights, key=1)) > 1e-3
    # where the derivative ends changes no value: each layer drops the same numbers
    assert abs(value(weights) - value(weights, constant=1)) < 1e-9


def test_dropout_keeps_the_mean() -> None:
    """Exactly: what stays is divided by its chance, 230 of 256 for a rate of 0.1."""
    found = np.asarray(Dropout(jax.random.key(0), 0.1)(3, jnp.ones(200_000)))
    assert set(np.unique(found)) == {0.0, 256 / 230}
    chance = 230 / 256
    assert abs(np.mean(found > 0) - chance) < 4 * np.sqrt(chance * (1 - chance) / 200_000)
    assert abs(np.mean(found > 0) - 0.95) > 0.04
    other = np.asarray(Dropout(jax.random.key(0), 0.1)(4, jnp.ones(200_000)))
    assert np.mean(found == other) < 0.9


# --- the bert_corpus


def test_a_mention_stands_between_its_marks(bert_corpus: nb.retrieval.Corpus) -> None:
    ids = {piece: number for number, piece in enumerate([*tiny_bert.MARKS, *tiny_bert.words()])}
    for split, mentions in tiny.data().mentions.items():
        for row in (0, 1, 5, 7):
            one = mentions[row]
            parts = [*_words(one.left), "[unused0]", *_words(one.text), "[unused1]"]
            expected = [ids[w] for w in ["[CLS]", *parts, *_words(one.right), "[SEP]"]]
            assert bert_corpus[split].texts[row].tolist() == expected


def _words(text: str) -> list[str]:
    return text.lower().replace(",", " ,").split()


def test_long_texts_lose_what_is_far_from_the_mention(bert_folder: pathlib.Path) -> None:
    short = nb.text.bert(bert_folder, max_tokens=9)
    with pytest.warns(UserWarning, match="9 tokens and were cut") as said:
        bert_corpus = nb.retrieval.corpus(tiny.data(), short, learn=True)
    whole = [len(_words(entity.description)) + 2 for entity in tiny.data().entities]
    cut = sum(length > 9 for length in whole)
    assert str(said[0].message).startswith(f"corpus: {cut} of 59 entities are longer than 9")
    assert len(said) == 4  # and each split's mentions
    ids = {piece: number for number, piece in enumerate([*tiny_bert.MARKS, *tiny_bert.words()])}
    row = next(
        i for i, m in enumerate(tiny.data().mentions["train"])
        if len(m.left.split()) > 5 and len(m.right.split()) > 5
    )  # fmt: skip
    one = tiny.data().mentions["train"][row]
    expected = [
        "[CLS]", one.left.split()[-1], "[unused0]", *one.text.split(), "[unused1]",
        *one.right.split()[:2], "[SEP]",
    ]  # fmt: skip
    assert bert_corpus["train"].texts[row].tolist() == [ids[word] for word in expected]
    assert max(bert_corpus["train"].texts.lengths) == 9 == max(bert_corpus.entities.lengths)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"encoder.layer.1.output.dense.bias": None},
            "no tensor encoder.layer.1.output.dense.bias",
        ),
        (
            {"embeddings.position_embeddings.weight": np.zeros((7, 16), "f4")},
            r"embeddings.position_embeddings.weight of shape \(7, 16\)",
        ),
    ],
)
def test_tensors_that_do_not_fit(changed: Any, said: str, tmp_path: pathlib.Path) -> None:
    tiny_bert.write(tmp_path, **changed)
    with pytest.raises(ValueError, match=said):
        nb.text.bert(tmp_path)


def test_what_is_refused(
    bert_corpus: nb.retrieval.Corpus, tmp_path: pathlib.Path, bert_folder: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=r"which has no file model\.safetensors"):
        nb.text.bert(tmp_path)
    unmarked = nb.text.bert(tiny_bert.write(tmp_path, tiny_bert.MARKS[:4]), max_tokens=64)
    with pytest.raises(ValueError, match=r"a tokenizer without \[unused0\]"):
        nb.retrieval.corpus(tiny.data(), unmarked, learn=True)
    with pytest.raises(ValueError, match="holds tokens and no states"):
        nb.retrieval.retriever(bert_corpus, nb.scores.Dual())
    with pytest.raises(ValueError, match="which takes log q off"):
        nb.retrieval.train_encoder(bert_corpus, nb.scores.Dual(), None, nb.sampled_softmax)
    with pytest.raises(ValueError, match="got jsd, which reads 'm' beside the scores; expected"):
        nb.retrieval.train_encoder(bert_corpus, nb.scores.Dual(), None, nb.jsd)
    joint = nb.scores.Joint(jnp.ones(2), lambda *texts: texts[0])
    with pytest.raises(ValueError, match="can re-rank, not retrieve"):
        model(bert_corpus, joint)
    wrong = nb.retrieval.EncoderConfig(dropout=1.0)
    with pytest.raises(ValueError, match=r"dropout: got 1.0; expected a number in \[0, 1\)"):
        nb.retrieval.train_encoder(bert_corpus, nb.scores.Dual(), config=wrong)


# --- the pool


def by_hand(scores: np.ndarray, golds: list[int], labels: list[int], masked: bool) -> float:
    """Mean of -log softmax at the gold, one candidate after the other."""
    total = 0.0
    for row, gold in enumerate(golds):
        candidates = [scores[row][row]]
        for place, label in enumerate(labels):
            if place != row and not (masked and label == gold):
                candidates.append(scores[row][place])
        total += np.log(sum(np.exp(c - candidates[0]) for c in candidates))
    return total / len(golds)


@pytest.mark.parametrize("mines", [True, False])
@pytest.mark.parametrize("score", [nb.scores.Dual(), nb.scores.Som(), nb.scores.Multi(3)], ids=repr)
def test_the_loss_of_a_pool_by_hand(
    bert_corpus: nb.retrieval.Corpus, score: Any, mines: bool
) -> None:
    """With repeated golds and repeats of the gold among what is mined; unmasked is another loss."""
    mentions = bert_corpus["train"][np.array([0, 12, 33, 5])]
    golds = mentions.labels.tolist()
    assert len(set(golds)) < 4  # two mentions of one entity
    labels = np.array(
        [[golds[0], golds[1], 7], [golds[1], 2, 40], [golds[2], 2, 9], [golds[3], 8, 1]]
    )
    mined = Mined(labels, np.ones((4, 3), bool), np.zeros((4, 3), np.float32))
    own = model(bert_corpus, score, scale=3.0)
    batch = pool.batch(mentions, mined if mines else None)
    every = [*golds, *labels[:, 1:].ravel().tolist()] if mines else golds
    E = own.encode_inputs(mentions.texts.batch(mentions.rows, 64))
    F = own.encode_labels(bert_corpus.entities.batch(np.array(every), 64))
    scores = np.asarray(own.against(E, F), float)
    found = float(pool.PoolLoss(nb.infonce)(own, batch))
    assert abs(found - by_hand(scores, golds, every, masked=True)) < FLOAT32
    assert abs(found - by_hand(scores, golds, every, masked=False)) > 100 * FLOAT32


def test_columns_are_what_the_heads_say(bert_corpus: nb.retrieval.Corpus) -> None:
    """A mean over all tokens of a text, of length 1; SOM's columns weigh 1 / T at first."""
    rows = np.array([3, 14, 3])
    dual, som = model(bert_corpus, scale=5.0), model(bert_corpus, nb.scores.Som(), dim=6)
    texts = bert_corpus.entities.batch(rows, 64)
    found = dual.encoder(texts)
    for place, row in enumerate(rows):
        length = bert_corpus.entities.lengths[row]
        mean = np.asarray(found)[texts.at[place, :length]].mean(axis=0)
        expected = mean / np.linalg.norm(mean)
        assert np.abs(dual.encode_labels(texts).states[place, 0] - expected).max() < FLOAT32
        assert np.abs(dual.encode_inputs(texts).states[place, 0] - 5 * expected).max() < FLOAT32
        sizes = np.linalg.norm(som.encode_inputs(texts).states[place], axis=-1)
        assert np.abs(sizes - np.where(np.arange(64) < length, 20 / length, 0)).max() < FLOAT32


# --- layers without a derivative


def test_constants_have_no_gradient(bert_corpus: nb.retrieval.Corpus) -> None:
    """What is left of the gradient is its upper part, through columns and both sides."""
    whole = model(bert_corpus, nb.scores.Som(), shared=False)
    mentions, generator = bert_corpus["test"][np.arange(3)], np.random.default_rng(0)
    first, end = mentions.spans[0]
    rows = generator.normal(size=(2, 3, end - first))
    every = nb.retrieval.pull_back(whole, mentions, rows)
    for constant in range(1, tiny_bert.LAYERS + 1):
        found = nb.retrieval.pull_back(whole.frozen(constant), mentions, rows)
        assert jnp.abs(found.inputs.gate - every.inputs.gate).max() < FLOAT32
        for side in ("encoder", "label_encoder"):
            full, upper = getattr(every, side).weights, getattr(found, side).weights
            below = slice(constant)
            layers = jax.tree.map(
                lambda leaf, below=below: leaf.at[:, below].set(0), full["layers"]
            )
            expected = jax.tree.map(jnp.zeros_like, full) | {"layers": layers}
            for a, b in zip(*map(jax.tree.leaves, (upper, expected)), strict=True):
                assert np.abs(a - b).max() <= FLOAT32 * max(1, np.abs(b).max())
            outer = full["layers"]["outer"][0]
            assert (np.abs(outer).max(axis=(0, 2, 3)) > 0.01).all()  # what is 0 above is not here
    with pytest.raises(ValueError) as caught:
        whole.frozen(3)
    assert str(caught.value) == "layers: got 3; expected 0 to 2. So many layers the encoder has."


# --- what takes a retriever takes this one


def test_it_ranks_and_is_mined_from(bert_corpus: nb.retrieval.Corpus) -> None:
    own = model(bert_corpus, nb.scores.Som())
    mentions = bert_corpus["test"]
    ranks = nb.retrieval.rank(own, mentions)
    ranked = nb.retrieval.rank_candidates(own, mentions, 5)
    assert (ranked.ranks == ranks).all()
    E = own.encode_inputs(mentions.texts.batch(mentions.rows, 64))
    first, end = mentions.spans[0]
    F = own.encode_labels(bert_corpus.entities.batch(np.arange(first, end), 64))
    scores = np.asarray(own.against(E, F))
    assert (ranked.labels == first + np.argsort(-scores, axis=1)[:, :5]).all()
    gold = scores[np.arange(len(scores)), mentions.labels - first]
    assert (ranks == np.sum(scores > gold[:, None] + 1e-6, axis=1) + 1).all()
    parts = [part._replace(rows=part.rows[1:], scores=part.scores[1:])
             for part in nb.retrieval.world_scores(own, mentions)]  # fmt: skip
    with pytest.raises(ValueError, match=rf"none of {len(parts)} mentions"):
        ranking.ranked(parts, mentions, 5)
    mined = nb.retrieval.mine_negatives(own, bert_corpus["train"], nb.top(3), nb.infonce, seed=0)
    spans = bert_corpus["train"].spans
    assert ((mined.labels >= spans[:, :1]) & (mined.labels < spans[:, 1:])).all()


def test_ties_count_against_the_gold(bert_corpus: nb.retrieval.Corpus) -> None:
    """All scores 0: the gold is last, and the candidates are the world's first entities."""
    own = eqx.tree_at(lambda m: m.scale, model(bert_corpus), 0.0)
    ranked = nb.retrieval.rank_candidates(own, bert_corpus["test"], 20)
    first, end = bert_corpus["test"].spans[0]
    assert set(ranked.ranks.tolist()) == {int(end - first)}
    expected = [*range(first, end), *[-1] * (20 - (end - first))]
    assert ranked.labels[0].tolist() == expected
