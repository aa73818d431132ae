"""`analysis.linking.trained.sums`: weights in closed form, ranks by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import nce_bias as nb
from analysis.linking.trained import runs, sums
from analysis.linking.trained.sums import World
from nce_bias.data.linking import Entity, EntityLinking, Mention
from nce_bias.retrieval import Scored


def world(golds, parts):
    return World(np.arange(len(golds)), np.array(golds), np.array(parts, np.float32))


def random_worlds(seed=0, sizes=((7, 5), (4, 9)), parts=3):
    """Two worlds, a score of each kind with a spread of its own."""
    random, found, first = np.random.default_rng(seed), [], 0
    for count, width in sizes:
        values = random.normal(size=(parts, count, width)) * np.array([[[20.0]], [[0.1]], [[3.0]]])
        golds = random.integers(width, size=count)
        rows = np.arange(first, first + count)
        found.append(World(rows, golds, values.astype(np.float32)))
        first += count
    return found


def test_one_score_of_two_entities_has_the_weight_of_its_odds():
    """Three golds of four have the score 1, the other entity 0: exp w = 3."""
    (weight,) = sums.likeliest([world([0, 0, 0, 1], [[[1, 0]] * 4])])
    assert weight == pytest.approx(math.log(3), abs=1e-4)


def test_a_score_in_other_units_is_the_same_sum():
    some = random_worlds()
    units = np.array([1e-3, 50.0, 7.0], np.float32)
    other = [w._replace(parts=w.parts * units[:, None, None]) for w in some]
    np.testing.assert_allclose(sums.likeliest(other) * units, sums.likeliest(some), rtol=1e-3)


def test_the_loss_is_the_mean_of_the_golds_cross_entropies_and_its_gradient_the_difference():
    some, weights = random_worlds(), np.array([0.05, 2.0, -0.3])

    def by_hand(weights):
        each = []
        for w in some:
            for i, gold in enumerate(w.golds):
                chances = [
                    math.exp(sum(a * f[i, y] for a, f in zip(weights, w.parts, strict=True)))
                    for y in range(w.parts.shape[2])
                ]
                each.append(-math.log(chances[gold] / sum(chances)))
        return sum(each) / len(each)

    value, gradient = sums.loss(weights, some)
    assert value == pytest.approx(by_hand(weights), rel=1e-12)
    for k in range(3):  # a difference over 2e-4 has an error of its third derivative, 1e-8 of it
        step = 1e-4 * np.eye(3)[k]
        slope = (by_hand(weights + step) - by_hand(weights - step)) / 2e-4
        assert gradient[k] == pytest.approx(slope, abs=1e-5)


def test_no_other_weights_are_likelier():
    some = random_worlds()
    best = sums.likeliest(some)
    least, slope = sums.loss(best, some)
    assert np.abs(slope * best).max() < 1e-4
    random = np.random.default_rng(1)
    for _ in range(20):
        assert sums.loss(best * (1 + 0.3 * random.normal(size=3)), some)[0] > least


def test_ranks_are_in_the_order_of_the_mentions_and_ties_count_against_the_gold():
    first = World(np.array([1, 2]), np.array([0, 2]), np.array([[[1, 2, 3]] * 2, [[3, 0, 0]] * 2]))
    second = World(np.array([0]), np.array([1]), np.array([[[5, 5]], [[0, 0]]]))
    assert sums.ranks(np.array([1.0, 0.0]), [first, second]).tolist() == [2, 3, 1]
    assert sums.ranks(np.array([1.0, 1.0]), [first, second]).tolist() == [2, 1, 2]


def linking():
    """Two worlds whose mentions are mixed in the file."""
    entities = (
        Entity("a", "bank", "of a river", "w", 0),
        Entity("b", "Banks", "money", "w", 6),
        Entity("c", "pond", "water", "v", 2),
        Entity("d", "lake", "water", "v", 0),
        Entity("e", "ponds", "water", "v", 0),
    )
    mentions = tuple(
        Mention(f"m{i}", "", text, "", label, name, "")
        for i, (text, label, name) in enumerate(
            [("lake", 3, "v"), ("bank", 0, "w"), ("pond", 2, "v")]
        )
    )
    spans = {"w": slice(0, 2), "v": slice(2, 5)}
    return EntityLinking(entities, {"test": mentions}, spans, "", "")


def test_titles_and_counts_of_each_world():
    data = linking()
    backwards = list(sums.titles(data, "test"))[::-1]  # a source may come in any order
    first, second = sums.worlds(data, "test", [backwards, sums.counts(data, "test")])
    assert first.rows.tolist() == [1] and second.rows.tolist() == [0, 2]
    assert first.golds.tolist() == [0] and second.golds.tolist() == [1, 0]
    assert first.parts[0].tolist() == [[1, 1]]
    assert second.parts[0].tolist() == [[0, 1, 0], [1, 0, 1]]
    np.testing.assert_allclose(np.exp(first.parts[1]), [[1, 7]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(second.parts[1]), [[3, 1, 1]] * 2, rtol=1e-6)


def test_a_mention_without_scores_is_seen():
    data = linking()
    some = [part for part in sums.titles(data, "test") if part.rows[0] != 2]
    _, second = sums.worlds(data, "test", [some])
    assert np.isnan(second.parts[0, 1]).all() and not np.isnan(second.parts[0, 0]).any()


def test_each_sum_has_its_own_parts():
    some = random_worlds()
    fits = sums.chosen(some, ["a", "b", "c"], {"two": ("c", "a"), "all": ("a", "b", "c")})
    assert list(fits["two"]) == ["c", "a"]
    whole = sums.likeliest(some)
    np.testing.assert_allclose(list(fits["all"].values()), whole, rtol=1e-6)
    apart = [w._replace(parts=w.parts[[2, 0]]) for w in some]
    np.testing.assert_allclose(list(fits["two"].values()), sums.likeliest(apart), rtol=1e-6)


def test_scores_of_a_run_are_computed_once(tmp_path, monkeypatch):
    """Kept in the order of the file, whatever the order they come in."""
    asked = []

    def scored(model, mentions, *, progress):
        asked.append(model)
        yield Scored(np.array([2, 0]), 5, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32))
        yield Scored(np.array([1]), 0, np.array([[7.0, 8.0]], np.float32))

    monkeypatch.setattr(nb.retrieval, "world_scores", scored)
    mentions = SimpleNamespace(spans=np.array([[5, 8], [0, 2], [5, 8]]))
    first, again = (
        list(runs.kept_scores("model", mentions, tmp_path / "scores.npz")) for _ in range(2)
    )
    assert asked == ["model"]
    for parts in (first, again):
        found = {part.first: (part.rows.tolist(), part.scores.tolist()) for part in parts}
        assert found == {0: ([1], [[7, 8]]), 5: ([0, 2], [[4, 5, 6], [1, 2, 3]])}
