"""Towers, `world_scores` and `rank`: against NumPy, one pair at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import ranking, tower
from tests.oracles import scores as direct
from tests.oracles import tower as oracle
from tests.retrieval import tiny_linking as tiny

# float32 through sums of up to 32 tokens, columns of length 1: measured 1e-6
FLOAT32 = 1e-5
CODES = jnp.asarray(np.random.default_rng(5).normal(size=(3, tiny.SIZE)), jnp.float32)
SCORES = {
    "dual": (nb.scores.Dual(), direct.dual),
    "multi": (nb.scores.Multi(3), lambda E, F: direct.multi(E, F, 3)),
    "som": (nb.scores.Som(), direct.som),
    "poly": (nb.scores.Poly(CODES), lambda E, F: direct.poly(E, F, np.asarray(CODES, float))),
}
each_score = pytest.mark.parametrize("name", SCORES)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: Any) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("cache"))


def trained(corpus: nb.retrieval.Corpus, score: nb.scores.Score) -> nb.retrieval.Retriever:
    """A retriever with other numbers everywhere: roles, words and columns all differ."""
    random = np.random.default_rng(3)
    model = nb.retrieval.retriever(corpus, score, dim=tiny.SIZE)
    arrays, rest = eqx.partition((model.inputs, model.labels), eqx.is_array)
    noisy = jax.tree.map(lambda x: x + jnp.asarray(0.3 * random.normal(size=x.shape), "f4"), arrays)
    inputs, labels = eqx.combine(noisy, rest)
    return nb.retrieval.Retriever(
        inputs=inputs, labels=labels, score=score, log_scale=jnp.asarray(0.7, jnp.float32)
    )


# --- towers


@each_score
def test_columns_are_the_formulae(name: str, corpus: nb.retrieval.Corpus) -> None:
    model = trained(corpus, SCORES[name][0])
    for texts, side, read in (
        (corpus["train"].texts, model.inputs, lambda row: tiny.mention("train", row)),
        (corpus.entities, model.labels, tiny.entity),
    ):
        found = eqx.filter_jit(side)(texts.batch(np.arange(40), tiny.LONGEST))
        exact, missed = tiny.numbers(side), 0.0
        for row in range(40):
            text = read(row)
            expected = oracle.columns(exact, text)
            assert int(found.mask[row].sum()) == len(expected)
            inside = np.asarray(found.states[row][found.mask[row]])
            assert inside == pytest.approx(expected, abs=FLOAT32)
            assert not np.asarray(found.states[row][~found.mask[row]]).any()
            if len(exact.project) == 2:  # what one projection for both roles would give
                alike = oracle.columns(exact, text._replace(roles=np.zeros_like(text.roles)))
                missed = max(missed, np.abs(alike - expected).max())
        assert missed > 0.1 or len(exact.project) == 1


@each_score
def test_what_belongs_to_no_text_has_no_weight(name: str, corpus: nb.retrieval.Corpus) -> None:
    """Nor a gradient, whatever stands there; nothing is left of a text without tokens."""
    model = trained(corpus, SCORES[name][0])

    @eqx.filter_jit
    @eqx.filter_value_and_grad(has_aux=True)
    def run(side: Any, batch: tower.Batch) -> Any:
        columns = side(batch)
        return jnp.sum(columns.states**3), columns

    for texts, side in ((corpus["train"].texts, model.inputs), (corpus.entities, model.labels)):
        batch = texts.batch(np.arange(5), 8)
        none = len(batch.ids)
        assert batch.states is not None
        at = np.where((np.arange(5) == 2)[:, None], none, batch.at)
        unread = ~np.isin(np.arange(none), at)
        assert unread.sum() >= 2
        other = tower.Batch(
            np.where(unread[:, None], np.float32(1e3), batch.states),
            np.where(unread, 7, batch.ids),
            np.where(unread, 0, batch.roles),
            at,
        )
        (clean, gradient), (dirty, twin) = (run(side, b) for b in (batch._replace(at=at), other))
        assert jnp.array_equal(clean[1].states, dirty[1].states)
        assert not clean[1].states[2].any() and not clean[1].mask[2].any()
        assert clean[1].mask.any(axis=1).tolist() == [True, True, False, True, True]
        for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(twin), strict=True):
            assert np.isfinite(np.asarray(one)).all() and np.array_equal(one, two)
        assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))


def test_an_untrained_retriever(corpus: nb.retrieval.Corpus) -> None:
    """Both sides project alike, by columns at right angles; words weigh by rarity."""
    model = nb.retrieval.retriever(corpus, nb.scores.Multi(3), dim=tiny.SIZE, seed=2)
    first = np.asarray(model.inputs.project[0])
    assert first.T @ first == pytest.approx(np.eye(tiny.SIZE), abs=FLOAT32)
    for other in (model.inputs.project[1], model.labels.project[0]):
        assert np.array_equal(first, other)
    half = corpus.rarity().astype(np.float32) / 2
    assert np.asarray(model.labels.gates) == pytest.approx(half[None], rel=1e-6)
    assert np.asarray(model.inputs.gates) == pytest.approx(np.stack([half, half + 1]), rel=1e-6)
    assert not np.asarray(model.labels.queries[0]).any()
    assert np.abs(np.asarray(model.labels.queries[1] - model.labels.queries[2])).max() > 0.1
    assert float(model.log_scale) == pytest.approx(np.log(20), rel=1e-6)
    again = nb.retrieval.retriever(corpus, nb.scores.Multi(3), dim=tiny.SIZE, seed=3)
    assert not np.allclose(first, again.inputs.project[0], atol=0.1)


# --- scores and ranks


def table(
    corpus: nb.retrieval.Corpus, model: nb.retrieval.Retriever, name: str, split: str
) -> np.ndarray:
    """Scores of all mentions with all entities, pair by pair; NaN outside of the world."""
    exact, score = tiny.numbers(model), SCORES[name][1]
    E = [
        np.exp(exact.log_scale) * oracle.columns(exact.inputs, tiny.mention(split, row))
        for row in range(len(corpus[split]))
    ]
    F = [oracle.columns(exact.labels, tiny.entity(label)) for label in range(len(corpus.entities))]
    found = np.full((len(E), len(F)), np.nan)
    for row, (first, end) in enumerate(corpus[split].spans):
        found[row, first:end] = [score(E[row], F[label]) for label in range(first, end)]
    return found


def scored(model: Any, mentions: nb.retrieval.Mentions) -> np.ndarray:
    """The same, from `world_scores`; every mention comes once."""
    found = np.full((len(mentions), len(mentions.entities)), np.nan)
    for part in nb.retrieval.world_scores(model, mentions):
        assert np.isnan(found[part.rows]).all()
        found[part.rows, part.first : part.first + part.scores.shape[1]] = part.scores
    return found


@each_score
def test_scores_and_ranks_are_those_of_each_pair(
    name: str, corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks smaller than worlds, filled up in part."""
    monkeypatch.setattr(ranking, "INPUTS", 5)
    monkeypatch.setattr(ranking, "LABELS", 7)
    model = trained(corpus, SCORES[name][0])
    expected = table(corpus, model, name, "train")
    found = scored(model, corpus["train"])
    # float32: scores of up to 20 from sums of 8 products
    np.testing.assert_allclose(found, expected, atol=5e-5)
    golds = expected[np.arange(40), corpus["train"].labels]
    # SOM has true ties, where the best tokens are the same words
    ranks = [int(sum(row >= own - 1e-9)) for row, own in zip(expected, golds, strict=True)]
    assert nb.retrieval.rank(model, corpus["train"]).tolist() == ranks
    assert len(set(ranks)) > 5
    rows = np.array([31, 2, 17, 2])
    some = corpus["train"][rows]
    assert nb.retrieval.rank(model, some).tolist() == [ranks[row] for row in rows]
    np.testing.assert_allclose(scored(model, some), expected[rows], atol=5e-5)


def test_ranks_by_hand(corpus: nb.retrieval.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties count against the gold, and so does what is not a number on either side."""
    rows, nan = np.array([4, 0, 8, 1]), np.nan
    golds = corpus["val"].labels[rows] - 12
    scores = np.tile(np.arange(12, dtype=np.float32), (4, 1))
    scores[0, golds[0]] = 10.5  # below 11 alone
    scores[1] = 3.0
    scores[2, golds[2]] = nan
    scores[3, :] = nan
    scores[3, golds[3]] = 1.0
    scored = ranking.Scored(np.arange(4), 12, scores)
    monkeypatch.setattr(ranking, "world_scores", lambda *_, **options: iter([scored]))
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)  # not asked
    found = ranking.rank(model, corpus["val"][rows])
    assert golds[0] != 11
    assert found.tolist() == [2, 12, 12, 12]


def test_a_model_that_tells_nothing_apart_ranks_every_gold_last(
    corpus: nb.retrieval.Corpus,
) -> None:
    model = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    same = eqx.tree_at(lambda m: m.labels.project, model, jnp.zeros_like(model.labels.project))
    lost = eqx.tree_at(lambda m: m.log_scale, model, jnp.asarray(jnp.nan, jnp.float32))
    sizes = np.diff(corpus["train"].spans)[:, 0].tolist()
    assert nb.retrieval.rank(same, corpus["train"]).tolist() == sizes
    assert nb.retrieval.rank(lost, corpus["train"]).tolist() == sizes


def test_only_pairs_that_can_be_retrieved_by(corpus: nb.retrieval.Corpus) -> None:
    with pytest.raises(ValueError) as caught:
        nb.retrieval.retriever(corpus, nb.scores.Joint(np.ones(3), lambda *_: np.ones((1, 3))))
    assert str(caught.value).endswith(
        "; expected dual, multi, som or poly, which score from encodings of each side. "
        "JOINT reads pairs and can re-rank, not retrieve."
    )
