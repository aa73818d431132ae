"""`nb.retrieval.mine_negatives`: what is drawn, of what, with which correction and seed."""

from dataclasses import fields
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import mining, ranking
from nce_bias.retrieval.mining import Mined
from tests.retrieval import tiny_linking as tiny

ROWS = np.arange(40)
SPACE = np.array([*range(12), *range(24, 35), *range(47, 59)])
# float32 logarithms of order 10: measured 1e-6
FLOAT32 = 2e-5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: Any) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model(corpus: nb.retrieval.Corpus) -> nb.retrieval.Retriever:
    """Untrained, its scores small, so that its softmax gives every label of a world a chance."""
    start = nb.retrieval.retriever(corpus, nb.scores.Dual(), dim=tiny.SIZE)
    return eqx.tree_at(lambda m: m.log_scale, start, jnp.asarray(np.log(2.0), jnp.float32))


@pytest.fixture(scope="module")
def scores(corpus: nb.retrieval.Corpus, model: nb.retrieval.Retriever) -> np.ndarray:
    """Scores `[40, 59]`, -inf outside of a mention's world."""
    found = np.full((40, 59), -np.inf)
    for part in nb.retrieval.world_scores(model, corpus["train"]):
        found[part.rows, part.first : part.first + part.scores.shape[1]] = part.scores
    return found


@pytest.fixture(scope="module")
def mine(corpus: nb.retrieval.Corpus, model: nb.retrieval.Retriever) -> Any:
    def run(sampler: Any, loss: Any = nb.infonce, rows: Any = ROWS, seed: int = 4, **options: Any):
        some = corpus["train"][rows]
        return nb.retrieval.mine_negatives(model, some, sampler, loss, seed=seed, **options)

    return run


def sets(found: Mined) -> list[tuple[int, list[int]]]:
    """The gold and the negatives that are present, for each mention."""
    assert found.present[:, 0].all()
    return [
        (int(labels[0]), labels[1:][present[1:]].tolist())
        for labels, present in zip(found.labels, found.present, strict=True)
    ]


# --- golds and negatives

EXCLUDING = [
    nb.top(5),
    nb.without_replacement(nb.model(), 5),
    nb.iid(nb.uniform(), 12),
    nb.poisson(nb.uniform(), 6),
    nb.top(4) + nb.without_replacement(nb.uniform(), 5),
]


@pytest.mark.parametrize("sampler", EXCLUDING, ids=repr)
def test_the_gold_is_first_and_no_negative(
    sampler: Any, corpus: nb.retrieval.Corpus, mine: Any
) -> None:
    found = mine(sampler)
    assert found.labels[:, 0].tolist() == corpus["train"].labels.tolist()
    assert found.labels.shape == (40, 1 + sampler.slots(len(SPACE)))
    for gold, negatives in sets(found):
        assert gold not in negatives
        assert len(set(negatives)) == len(negatives)
        assert set(negatives) <= set(SPACE.tolist())
    assert not found.offsets.any()  # infonce corrects nothing


def test_top_is_the_hardest_of_the_world(mine: Any, scores: np.ndarray) -> None:
    for row, (gold, negatives) in zip(scores, sets(mine(nb.top(5))), strict=True):
        wrong = [label for label in np.argsort(-row) if label != gold]
        assert sorted(negatives) == sorted(wrong[:5])
        assert row[wrong[4]] > row[wrong[5]] > -np.inf  # no tie would hide another choice


def chi_square(labels: np.ndarray, golds: np.ndarray) -> float:
    """Of draws `[n, m]` against an even spread over all labels but each row's gold."""
    others = SPACE[None] != golds[:, None]
    expected = labels.shape[1] * (others / others.sum(axis=1, keepdims=True)).sum(axis=0)
    counts = np.array([(labels == label).sum() for label in SPACE])
    return float(np.sum((counts - expected) ** 2 / expected))


def test_uniform_negatives_are_of_all_worlds(corpus: nb.retrieval.Corpus, mine: Any) -> None:
    def draws(sampler: Any) -> np.ndarray:
        found = [mine(sampler, seed=seed, distinct=False).labels[:, 1:] for seed in range(8)]
        return np.concatenate(found)

    def outside(labels: np.ndarray) -> float:
        first, end = np.tile(corpus["train"].spans, (8, 1)).T[:, :, None]
        return float(np.mean((labels < first) | (labels >= end)))

    golds = np.tile(corpus["train"].labels, 8)
    evenly, closely = draws(nb.iid(nb.uniform(), 8)), draws(nb.iid(nb.model(), 8))
    sizes = np.diff(corpus["train"].spans)[:, 0]
    share = np.mean((35 - sizes) / 34)
    error = np.sqrt(share * (1 - share) / evenly.size)
    assert abs(outside(evenly) - share) < 4 * error < abs(outside(closely) - share)
    # 35 counts with one sum: mean 34, deviation sqrt(68); 4 of them
    assert chi_square(evenly, golds) < 34 + 4 * np.sqrt(68)
    popular = draws(nb.iid(nb.popularity(), 8))
    assert chi_square(popular, golds) > 2 * (34 + 4 * np.sqrt(68))


# --- repeats


def test_repeats_are_replaced_and_nothing_else(mine: Any) -> None:
    sampler = nb.iid(nb.model(), 12)
    raw, found = (mine(sampler, nb.sampled_softmax, distinct=d) for d in (False, True))
    again = np.array([[x in row[:k] for k, x in enumerate(row)] for row in raw.labels.tolist()])
    assert again.mean() > 0.1
    assert np.array_equal(found.labels[~again], raw.labels[~again])
    assert (found.labels[again] != raw.labels[again]).all()
    assert all(len(set(row)) == 13 for row in found.labels.tolist())
    assert set(found.labels.ravel().tolist()) <= set(SPACE.tolist())
    assert np.array_equal(found.offsets, raw.offsets) and found.present.all()


def test_repeats_stay_where_no_label_is_left(mine: Any) -> None:
    """Of 35 labels a mention has at most 35: none is invented, none present is lost."""
    found = mine(nb.iid(nb.uniform(), 60))
    assert found.present.all()
    assert {len(set(row)) for row in found.labels.tolist()} == {35}


def test_slots_without_a_label_repeat_nothing(mine: Any) -> None:
    """A world has at most 11 wrong labels: of 20 asked for 9 are missing, whatever stands there."""
    sampler = nb.without_replacement(nb.model(), 20) + nb.iid(nb.uniform(), 6)
    raw, found = mine(sampler, distinct=False), mine(sampler)
    assert set(raw.present.sum(axis=1).tolist()) == {1 + 11 + 6, 1 + 10 + 6}
    for row in range(40):
        labels = np.where(raw.present[row], raw.labels[row], -1 - np.arange(27)).tolist()
        fresh = np.array([label not in labels[:k] for k, label in enumerate(labels)])
        fresh &= raw.present[row]
        assert np.array_equal(found.labels[row][fresh], raw.labels[row][fresh])


def test_labels_of_poisson_are_not_repeated_by_another_part(mine: Any) -> None:
    """Every label has a slot of its own; those that are not present can replace a repeat."""
    for sampler in (
        nb.top(5) + nb.poisson(nb.uniform(), 5),
        nb.poisson(nb.uniform(), 5) + nb.top(5),
    ):
        found = mine(sampler)
        for _, negatives in sets(found):
            assert len(set(negatives)) == len(negatives)


def test_a_sampler_that_gives_the_gold_keeps_it(mine: Any) -> None:
    sampler = nb.iid(nb.model(), 6, hits="keep")
    raw, found = mine(sampler, distinct=False), mine(sampler)
    given = [gold in negatives for gold, negatives in sets(raw)]
    assert any(given)
    assert [gold in negatives for gold, negatives in sets(found)] == given


# --- corrections


def chances(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def test_offsets_by_hand(mine: Any, corpus: nb.retrieval.Corpus, scores: np.ndarray) -> None:
    """-log(m q) for negatives that may be the gold; q is over 1 - q_gold where it is excluded."""
    golds, rows = corpus["train"].labels, ROWS[:, None]
    counts = np.where(np.isin(np.arange(59), SPACE), corpus.counts + 1.0, 0.0)
    for proposal, q in (
        (nb.model(), chances(scores)),
        (nb.popularity(), np.tile(counts / counts.sum(), (40, 1))),
    ):
        for loss, own in ((nb.sampled_softmax, 0.0), (nb.binary_nce, np.log(4 * q[ROWS, golds]))):
            found = mine(nb.iid(proposal, 4, "mask"), loss, distinct=False)
            taken = np.log(4 * q[rows, found.labels])
            expected = np.where(found.present, -taken, 0.0)
            expected[:, 0] = -own
            assert found.offsets == pytest.approx(expected, abs=FLOAT32)
        excluded = mine(nb.iid(proposal, 4), nb.sampled_softmax, distinct=False)
        negatives, rest = excluded.labels[:, 1:], 1 - q[ROWS, golds]
        expected = -np.log(4 * q[rows, negatives] / rest[:, None])
        # a loss of ratios: what is common to gold and negatives is nothing
        relative = excluded.offsets[:, 1:] - excluded.offsets[:, :1]
        assert relative == pytest.approx(expected, abs=FLOAT32)
        missed = np.abs(relative + np.log(4 * q[rows, negatives])).max()
        assert missed > 100 * FLOAT32
        binary = mine(nb.iid(proposal, 4), nb.binary_nce, distinct=False)
        assert np.array_equal(binary.labels, excluded.labels)
        assert binary.offsets[:, 1:] == pytest.approx(expected, abs=FLOAT32)
        assert binary.offsets[:, 0] == pytest.approx(-np.log(4 * q[ROWS, golds]), abs=FLOAT32)


def test_what_cannot_be_corrected_is_refused(mine: Any) -> None:
    with pytest.raises(ValueError) as caught:
        mine(nb.top(5), nb.sampled_softmax)
    assert str(caught.value).startswith(
        "loss: it corrects scores by log q, and Top negatives are not drawn from one q; expected "
        "an uncorrected loss such as nb.infonce here, or one iid sampler. "
    )


# --- seeds


def test_a_draw_follows_from_seed_and_mention(mine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, order = nb.iid(nb.uniform(), 8), np.random.default_rng(0).permutation(40)
    found = mine(sampler, distinct=False)
    other = mine(sampler, rows=order, distinct=False)
    assert np.array_equal(found.labels[order], other.labels)
    few = mine(sampler, rows=order[:9], distinct=False)
    assert np.array_equal(found.labels[order[:9]], few.labels)
    monkeypatch.setattr(ranking, "INPUTS", 5)
    assert np.array_equal(found.labels, mine(sampler, distinct=False).labels)
    differs = mine(sampler, seed=5, distinct=False).labels != found.labels
    assert not differs[:, 0].any() and differs[:, 1:].mean() > 0.8


def test_what_replaces_a_repeat_follows_from_seed_and_mention(mine: Any) -> None:
    sampler, order = nb.iid(nb.uniform(), 8), np.random.default_rng(0).permutation(40)
    found = mine(sampler)
    assert not np.array_equal(found.labels, mine(sampler, distinct=False).labels)
    assert np.array_equal(found.labels[order], mine(sampler, rows=order).labels)
    assert np.array_equal(found.labels[order[:9]], mine(sampler, rows=order[:9]).labels)


def test_scores_are_taken_where_they_are_read(
    corpus: nb.retrieval.Corpus, mine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler that says it reads none has its draws without them; what says nothing has them."""

    class Reading(type(nb.iid(nb.uniform(), 8))):
        reads_scores = property(lambda self: True)

    blind = nb.iid(nb.uniform(), 8)
    uniform = Reading(**{field.name: getattr(blind, field.name) for field in fields(blind)})
    expected, taken = mine(uniform), []

    def noting(*given: Any, **options: Any) -> Any:
        taken.append(1)
        return ranking.world_scores(*given, **options)

    monkeypatch.setattr(mining, "world_scores", noting)
    assert np.array_equal(mine(blind).labels, expected.labels) and not taken
    mine(nb.top(5))
    assert taken
