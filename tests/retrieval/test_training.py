"""`nb.retrieval.train_retriever`: steps against NumPy, what is kept, and that it learns."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests.oracles import tower as oracle
from tests.retrieval import tiny_linking as tiny

CONFIG = nb.retrieval.TrainingConfig(
    epochs=2, batch=20, mentions=40, learning_rate=1e-2, dim=tiny.SIZE, seed=1
)
DUAL, HARD = nb.scores.Dual(), nb.top(5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: Any) -> nb.retrieval.Corpus:
    return tiny.corpus(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worlds have a dozen entities: blocks of a thousand are padding."""
    tiny.small_blocks(monkeypatch.setattr)


@pytest.fixture(scope="module")
def train(corpus: nb.retrieval.Corpus) -> Callable[..., nb.train.Fit]:
    def run(sampler: Any = HARD, loss: Any = nb.infonce, score: Any = DUAL, **options: Any):
        names = {field.name for field in dataclasses.fields(CONFIG)}
        numbers = {name: options.pop(name) for name in names & {*options}}
        given = {"config": dataclasses.replace(CONFIG, **numbers), "progress": False} | options
        return nb.retrieval.train_retriever(corpus, score, sampler, loss, **given)

    return run


def same(one: Any, two: Any) -> bool:
    leaves = [jax.tree.leaves(tree) for tree in (one, two)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


# --- steps


class Epoch:
    """Mean loss of all mentions and their hardest five, chosen with one model, for any model."""

    def __init__(self, corpus: nb.retrieval.Corpus, model: Any) -> None:
        self.mentions = [tiny.mention("train", row) for row in range(40)]
        self.entities = [tiny.entity(label) for label in range(59)]
        self.candidates = []
        scores = self.scores(model)
        worlds = corpus["train"].spans
        for row, (gold, (first, end)) in enumerate(
            zip(corpus["train"].labels, worlds, strict=True)
        ):
            wrong = [label for label in range(first, end) if label != gold]
            hardest = sorted(wrong, key=lambda label: -scores[row, label])[:5]
            self.candidates.append([gold, *hardest])

    def scores(self, model: Any) -> np.ndarray:
        E = np.concatenate([oracle.columns(model.inputs, text) for text in self.mentions])
        F = np.concatenate([oracle.columns(model.labels, text) for text in self.entities])
        return np.exp(model.log_scale) * E @ F.T

    def loss(self, model: Any) -> float:
        own = np.take_along_axis(self.scores(model), np.array(self.candidates), axis=1)
        return float(np.mean(np.log(np.exp(own - own[:, :1]).sum(axis=1))))

    def slope(self, model: Any, place: tuple[int, tuple[int, ...]]) -> float:
        """Of the loss along one coordinate."""
        leaves, tree = jax.tree.flatten(model)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [leaf.copy() for leaf in leaves]
            moved[place[0]][place[1]] += step
            ends.append(self.loss(jax.tree.unflatten(tree, moved)))
        return (ends[0] - ends[1]) / 2e-5


def test_two_steps_are_those_of_adam_by_differences(
    corpus: nb.retrieval.Corpus, train: Callable[..., nb.train.Fit]
) -> None:
    """Two epochs of one batch each: all mentions, with the hardest of the moment."""
    run = train(batch=40, checkpoints=range(3))
    models = [tiny.numbers(run.at(step)) for step in range(3)]
    epochs = [Epoch(corpus, model) for model in models[:2]]
    # float32 scores of order 20
    expected = [epoch.loss(model) for epoch, model in zip(epochs, models, strict=False)]
    assert run.losses == pytest.approx(np.array(expected), rel=1e-4)
    assert epochs[0].candidates != epochs[1].candidates
    assert abs(epochs[0].loss(models[1]) - expected[1]) > 0.01  # what mining once would give
    leaves = [list(map(np.asarray, jax.tree.leaves(model))) for model in models]
    random, checked, apart = np.random.default_rng(0), 0, 0.0
    for index, leaf in enumerate(leaves[0]):
        moving = np.argwhere(leaves[1][index] != leaf)
        for place in map(tuple, random.permutation(moving)[:4]):
            g = [e.slope(m, (index, place)) for e, m in zip(epochs, models, strict=False)]
            if min(map(abs, g)) < 1e-3:
                continue  # Adam divides float32's rounding by it
            first, second = 0.1 * g[0], 0.1 * (0.9 * g[0] + g[1])
            squares = 1e-3 * g[0] ** 2, 1e-3 * (0.999 * g[0] ** 2 + g[1] ** 2)
            moves = [
                -1e-2 * (first / 0.1) / (np.sqrt(squares[0] / 1e-3) + 1e-8),
                -1e-2 * (second / 0.19) / (np.sqrt(squares[1] / (1 - 0.999**2)) + 1e-8),
            ]
            found = [leaves[k + 1][index][place] - leaves[k][index][place] for k in range(2)]
            # gradients of 1e-3 and more have float32 errors of some 1e-6, parameters of 1e-7
            assert found == pytest.approx(moves, abs=5e-5)
            apart = max(apart, abs(moves[1] - moves[0]))
            checked += 1
    assert checked >= 12 and apart > 20 * 5e-5


def test_what_is_trained_and_what_is_not(train: Callable[..., nb.train.Fit]) -> None:
    run = train(checkpoints=[0])
    start, end = run.at(0), run.model
    for side in ("inputs", "labels"):
        one, two = getattr(start, side), getattr(end, side)
        assert np.array_equal(one.center, two.center)
        for name in ("project", "gates", "queries"):
            assert not np.array_equal(getattr(one, name), getattr(two, name))
    assert start.log_scale != end.log_scale
    codes = jnp.array([[1.0], [-1.0]], jnp.float32) * jnp.ones(tiny.SIZE, jnp.float32)
    poly = train(score=nb.scores.Poly(codes), checkpoints=[0])
    first, last = (jax.tree.leaves(model.score) for model in (poly.at(0), poly.model))
    assert np.array_equal(first[0], codes)
    assert not np.allclose(last[0], codes, atol=1e-3)


def test_kept_models_and_losses_are_those_of_their_steps(
    train: Callable[..., nb.train.Fit],
) -> None:
    """A run that ends earlier is the beginning of one that goes on."""
    run, short = train(epochs=3, checkpoints=[5, 4, 0, 4]), train(epochs=2, checkpoints=[1])
    assert run.steps.tolist() == [0, 4, 5]
    assert short.steps.tolist() == [1]
    assert same(run.at(4), short.model) and not same(run.at(5), short.model)
    assert run.losses.shape == (6,) and np.array_equal(run.losses[:4], short.losses)
    assert (run.status, short.status) == ("ok", "ok")


def test_a_run_follows_from_its_seed(train: Callable[..., nb.train.Fit]) -> None:
    sampler = nb.iid(nb.uniform(), 8)
    one, two, other = train(sampler), train(sampler), train(sampler, seed=2)
    assert same(one.model, two.model) and np.array_equal(one.losses, two.losses)
    assert not same(one.model, other.model)


def test_mentions_and_batches(
    train: Callable[..., nb.train.Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs go through the mentions, those of one in another order each time."""
    from nce_bias.retrieval import training

    seen = []
    batch = training._batch

    def noting(mentions: Any, mined: Any) -> Any:
        seen.append(mentions.rows.tolist())
        return batch(mentions, mined)

    monkeypatch.setattr(training, "_batch", noting)
    train(mentions=20, batch=10, epochs=4)
    epochs = [seen[k] + seen[k + 1] for k in (0, 2, 4, 6)]
    assert all(len(set(rows)) == 20 for rows in epochs)
    assert {*epochs[0], *epochs[1]} == {*range(40)}
    assert [{*epochs[2]}, {*epochs[3]}] == [{*epochs[0]}, {*epochs[1]}]  # and so on, but
    assert {*seen[4]} != {*seen[0]}  # in other batches
    seen.clear()
    train(mentions=11, batch=5)
    assert [len(rows) for rows in seen] == [5, 5, 5, 5]
    assert len({row for rows in seen for row in rows}) == 20
    seen.clear()
    assert train(mentions=3, batch=5).losses.shape == (2,)  # one batch is all there are
    assert [len(rows) for rows in seen] == [3, 3]


def softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


@pytest.mark.parametrize("loss", [nb.sampled_softmax, nb.binary_nce], ids=repr)
def test_a_loss_is_of_corrected_scores_and_of_negatives_that_are_there(
    loss: Any,
    corpus: nb.retrieval.Corpus,
    train: Callable[..., nb.train.Fit],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written out from what was mined: draws that hit the gold are not there."""
    from nce_bias.retrieval import training

    mine, given = training.mine_negatives, []

    def noting(model: Any, mentions: Any, *others: Any, **options: Any) -> Any:
        given.append((mentions.rows, mine(model, mentions, *others, **options)))
        return given[-1][1]

    monkeypatch.setattr(training, "mine_negatives", noting)
    sampler = nb.iid(nb.mixture(nb.model(), nb.uniform()), 6, "mask")
    run = train(sampler, loss, epochs=1, batch=40, checkpoints=[0])
    ((rows, mined),) = given
    exact = tiny.numbers(run.at(0))
    scores = Epoch(corpus, exact).scores(exact)[rows]
    raw = np.take_along_axis(scores, mined.labels, axis=1)

    def mean(own: np.ndarray, present: np.ndarray) -> float:
        if loss is nb.binary_nce:
            noise = np.where(present, softplus(own), 0.0)[:, 1:].sum(axis=1)
            return float(np.mean(softplus(-own[:, 0]) + noise))
        odds = np.where(present, np.exp(own - own[:, :1]), 0.0)
        return float(np.mean(np.log(odds.sum(axis=1))))

    everywhere = np.ones_like(mined.present)
    expected = mean(raw + mined.offsets, mined.present)
    assert run.losses[0] == pytest.approx(expected, rel=1e-4)  # float32 scores of order 20
    for wrong in (mean(raw, mined.present), mean(raw + mined.offsets, everywhere)):
        assert abs(wrong - expected) > 5e-3 * expected


# --- learning


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [nb.top(5), nb.iid(nb.uniform(), 8)], ids=repr)
def test_it_learns_to_link_in_worlds_it_has_not_seen(
    sampler: Any, corpus: nb.retrieval.Corpus, train: Callable[..., nb.train.Fit]
) -> None:
    """Chance is 1 of 12; untrained, words and their synonyms have nothing in common."""
    run = train(sampler, epochs=40, learning_rate=2e-2, checkpoints=[0])
    recall = {
        split: [np.mean(nb.retrieval.rank(m, corpus[split]) == 1) for m in (run.at(0), run.model)]
        for split in corpus.mentions
    }
    assert recall["train"][0] <= 0.25 and recall["train"][1] >= 0.9
    for split in ("val", "test"):
        assert recall[split][0] <= 0.25 and recall[split][1] >= 0.6
    assert run.losses[-2:].mean() < run.losses[:2].mean() / 4


PAIRS = [
    (nb.top(5), nb.negative_sampling, DUAL),
    (nb.iid(nb.model(), 4), nb.sampled_softmax, DUAL),
    (nb.iid(nb.popularity(), 4, "mask"), nb.binary_nce, DUAL),
    (nb.without_replacement(nb.model(), 4), nb.infonce, nb.scores.Multi(2)),
    (nb.poisson(nb.uniform(), 4), nb.sampled_softmax, DUAL),
    (nb.top(3) + nb.iid(nb.uniform(), 3), nb.infonce, nb.scores.Som()),
]


@pytest.mark.parametrize(("sampler", "loss", "score"), PAIRS, ids=lambda x: repr(x))
def test_every_kind_of_sampler_loss_and_score_trains(
    sampler: Any, loss: Any, score: Any, train: Callable[..., nb.train.Fit]
) -> None:
    run = train(sampler, loss, score, batch=40, epochs=6, learning_rate=2e-2)
    assert run.status == "ok" and np.isfinite(run.losses).all() and len(run.losses) == 6
    assert run.losses[-1] < run.losses[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tiny.numbers(run.model)))


# --- trouble


def test_a_loss_that_is_not_finite_is_reported(train: Callable[..., nb.train.Fit]) -> None:
    run = train(learning_rate=np.inf)
    assert np.isfinite(run.losses).tolist() == [True, False, False, False]
    assert run.status == (
        "loss is nan at step 2: do not use parameters after step 1 or later; "
        "lower the learning rate or check scores and targets"
    )


@pytest.mark.parametrize("name", ["epochs", "batch", "mentions", "dim"])
def test_numbers_out_of_range(name: str, train: Callable[..., nb.train.Fit]) -> None:
    with pytest.raises(ValueError) as caught:
        train(**{name: 0})
    assert str(caught.value) == (f"{name}: got 0; expected a whole number >= 1. Pass {name}=1.")


def test_former_names_go_on_for_a_release(corpus: nb.retrieval.Corpus) -> None:
    with pytest.warns(DeprecationWarning) as warned:
        plan = nb.retrieval.Plan(epochs=1, batch=40, mentions=40, size=tiny.SIZE)
        run = nb.retrieval.link(corpus, DUAL, HARD, plan=plan, keep=[1], progress=False)
        rows = np.array([3, 1])
        mined = nb.train.mine(run.model, corpus, rows, HARD, nb.infonce, seed=0)
        ranks = nb.train.rank(run.model, corpus, "train", rows)
        (*parts,) = nb.train.world_scores(run.model, corpus, "train", rows)
        assert nb.train.Run is nb.retrieval.Run is type(run)
    assert plan == dataclasses.replace(CONFIG, epochs=1, batch=40, learning_rate=2e-3, seed=0)
    assert same(run.at(1), run.model)
    assert ranks.tolist() == nb.retrieval.rank(run.model, corpus["train"])[rows].tolist()
    assert sorted(np.concatenate([part.rows for part in parts])) == [1, 3]
    assert mined.labels[:, 0].tolist() == corpus["train"].labels[rows].tolist()
    assert [str(one.message) for one in warned] == [
        "nb.retrieval.Plan is nb.retrieval.TrainingConfig now",
        "nb.retrieval.link is nb.retrieval.train_retriever now",
        "nb.train.mine is nb.retrieval.mine_negatives now",
        "nb.train.rank is nb.retrieval.rank(model, corpus[split][rows]) now",
        "nb.train.world_scores is nb.retrieval.world_scores(model, corpus[split][rows]) now",
        "nb.train.Run is nb.train.Fit now",
        "nb.retrieval.Run is nb.train.Fit now",
    ]
    for module in (nb.train, nb.retrieval):
        with pytest.raises(AttributeError, match="has no attribute 'lnik'"):
            module.lnik  # noqa: B018
