"""`nb.which` on sets that conventions drew themselves: the right one is found, no other."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb

POPULATION = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
PROBLEM = nb.Problem([1.0, 0.2, -0.5, 0.1, 0.7], POPULATION, [0.1, 0.2, 0.3, 0.25, 0.15])
#: Their gradients differ by more than 2 % of each other on this problem (`test_they_differ`).
NAMES = (
    "in_batch_infonce",
    "tfrs_in_batch",
    "word2vec",
    "blanc_rendle",
    "paper_replacement",
    "bengio_senecal_2003",
)
M = 3


@functools.cache
def recorder(name):
    """Draws sets of a convention with their gradients by the slots, compiled once."""
    preset = nb.preset(name, M)
    scores, popularity = PROBLEM.scores, PROBLEM.popularity

    def one(key):
        chosen, drawn = jax.random.split(key)
        gold = jax.random.choice(chosen, len(POPULATION), p=jnp.asarray(POPULATION))
        law = preset.sampler.law(scores, popularity)
        labels, present = law.draw(drawn, gold)
        corrected = preset.loss.corrected(scores, law, M)
        own, others = jax.grad(preset.loss.value, (0, 1))(
            corrected.gold[gold], corrected.negatives_of(gold)[labels], present
        )
        by_slot = jnp.concatenate([own[None], jnp.where(present, others, 0.0)])
        return gold, jnp.where(present, labels, -1), by_slot

    return jax.jit(lambda key, sets: jax.vmap(one)(jax.random.split(key, sets)), static_argnums=1)


def recorded(name, seed, sets=20_000):
    golds, labels, gradients = recorder(name)(jax.random.key(seed), sets)
    return np.asarray(labels), np.asarray(golds), np.asarray(gradients)


def test_they_differ():
    gradients = {name: nb.preset(name, M).exact(PROBLEM).gradient for name in NAMES}
    for one, other in itertools.combinations(NAMES, 2):
        apart = np.linalg.norm(gradients[one] - gradients[other])
        assert apart > 0.02 * np.linalg.norm(gradients[one]), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_right_one_is_found_by_law_and_gradient(name):
    labels, golds, gradients = recorded(name, 1)
    found = nb.which(PROBLEM, labels, golds, 0.25 * gradients, presets=NAMES)
    assert found.fits == (name,), repr(found)
    [verdict] = [v for v in found.verdicts if v.fits]
    assert verdict.factor == pytest.approx(0.25, rel=1e-6)
    assert verdict.error < 1e-6
    assert found.status == "ok"
    assert set(found.rejected) == set(NAMES) - {name}
    assert all(found.rejected.values())  # each with its reason


@pytest.mark.slow
def test_in_how_many_runs_the_right_one_is_found():
    """The level is .01 for each law that is right: of 100 runs some 99 keep it."""
    for name in NAMES[:3]:
        right = sum(
            nb.which(PROBLEM, *recorded(name, 100 + run), presets=NAMES).fits == (name,)
            for run in range(100)
        )
        assert right >= 95, (name, right)


def test_none_of_them_where_the_code_is_none():
    rng = np.random.default_rng(3)
    golds = rng.choice(5, size=20_000, p=POPULATION)
    labels = rng.choice(5, size=(20_000, M))  # uniform, hits kept: no convention here
    found = nb.which(PROBLEM, labels, golds, presets=NAMES)
    assert found.fits == ()
    assert found.status.startswith("none of them")


def test_a_right_law_with_another_loss_is_rejected_by_its_gradients():
    labels, golds, _ = recorded("in_batch_infonce", 4)

    def hinge(gold, negatives):
        return jnp.sum(jax.nn.relu(1 + negatives - gold))

    found = nb.which(PROBLEM, labels, golds, loss=hinge, presets=["in_batch_infonce"])
    assert found.fits == ()
    assert "gradients are off" in found.rejected["in_batch_infonce"]

    def mine(gold, negatives):
        return jax.nn.logsumexp(jnp.append(negatives, gold)) - gold

    found = nb.which(PROBLEM, labels, golds, loss=mine, presets=["in_batch_infonce"])
    assert found.fits == ("in_batch_infonce",)


def test_gradients_by_label_and_by_slot_are_one():
    labels, golds, by_slot = recorded("in_batch_infonce", 5, sets=500)
    by_label = np.zeros((500, 5))
    for row, (gold, drawn, values) in enumerate(zip(golds, labels, by_slot, strict=True)):
        for label, value in zip([gold, *drawn], values, strict=True):
            by_label[row, label] += value
    for gradients in (by_label, by_slot):
        found = nb.which(PROBLEM, labels, golds, gradients, presets=["in_batch_infonce"])
        assert found.verdicts[0].error < 1e-6


def test_laws_alone_and_too_few_sets():
    """Popularity and its 3/4-th power: 60 sets do not tell, as many as are named do."""
    names = ["tfrs_in_batch", "word2vec"]
    labels, golds, _ = recorded("tfrs_in_batch", 6)
    few = nb.which(PROBLEM, labels[:60], golds[:60], presets=names)
    assert few.fits == tuple(names)
    assert "laws alone" in few.status
    assert "tfrs_in_batch and word2vec draw differently: some" in few.status
    needed = int(few.few.split("some ")[1].split()[0].replace(",", ""))
    assert 60 < needed < 10_000
    many = 2 * needed
    assert nb.which(PROBLEM, labels[:many], golds[:many], presets=names).fits == (names[0],)


def test_samplers_that_look_alike_are_asked_apart():
    """Two epochs whose repr is one: the counts decide, not the words."""
    counts = [np.array([4, 3, 2, 1, 1]), np.array([1, 1, 2, 3, 4])]
    epochs = [nb.in_batch(2, counts=count) for count in counts]
    assert repr(epochs[0]) == repr(epochs[1])
    golds = np.repeat(np.arange(5), 2000)
    left = [counts[0] - (np.arange(5) == gold) for gold in range(5)]  # ten examples each
    labels = np.concatenate([np.repeat(np.arange(5), 200 * each) for each in left])[:, None]
    pairs = {"ours": (epochs[0], nb.infonce), "other": (epochs[1], nb.infonce)}
    for order in (["ours", "other"], ["other", "ours"]):
        named = {name: pairs[name] for name in order}
        assert nb.which(PROBLEM, labels, golds, presets=named).fits == ("ours",)


def test_corrections_by_the_number_of_tries_are_compared_by_their_law_alone():
    """TensorFlow's unique=True: its own gradients do not speak against it."""
    problem = nb.Problem([1.0, 0.2, -0.5], [0.5, 0.3, 0.2])
    preset = nb.preset("tf_sampled_softmax", 2)
    q = np.log1p(1 / np.arange(1, 4)) / np.log(4)
    rng = np.random.default_rng(8)
    golds = rng.choice(3, size=600, p=[0.5, 0.3, 0.2])
    labels, gradients = np.zeros((600, 2), int), np.zeros((600, 3))
    for row, gold in enumerate(golds):
        drawn = list(rng.choice(3, size=2, p=q))
        while len(set(drawn)) < 2:
            drawn.append(rng.choice(3, p=q))
        labels[row] = sorted(set(drawn))
        expected = -np.expm1(len(drawn) * np.log1p(-q))
        weights = np.exp(np.array([1.0, 0.2, -0.5])) / expected
        weights[~np.isin(np.arange(3), [gold, *drawn])] = 0
        gradients[row] = weights / weights.sum() - (np.arange(3) == gold)
    present = labels != golds[:, None]
    found = nb.which(problem, labels, golds, gradients, present=present, presets=[preset])
    assert found.fits == ("tf_sampled_softmax",), repr(found)
    assert "depend on how a set was drawn" in found.verdicts[0].reason
    # a loss that takes nothing off the scores is compared, whatever drew them
    plain = (preset.sampler, nb.infonce)
    found = nb.which(problem, labels, golds, gradients, present=present, presets=[plain])
    assert found.fits == () and found.verdicts[0].error > 0.01


def test_what_is_shown():
    labels, golds, gradients = recorded("word2vec", 7)
    found = nb.which(PROBLEM, labels, golds, gradients, presets=NAMES)
    frame = found.to_frame()
    assert list(frame["fits"]) == [True] + [False] * (len(NAMES) - 1)
    assert "1 of 6 conventions fit 20000 sets of 3 negatives" in repr(found)
    assert "not tfrs_in_batch: " in repr(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(5, int)}, r"labels: shape \[5\]"),
        ({"labels": np.full((50, M), 7)}, "labels: got 7; expected numbers from -1 to 4"),
        ({"golds": np.zeros(3, int)}, r"golds: shape \[3\] for 50 sets"),
        ({"golds": np.full(50, -1)}, "golds: got -1"),
        ({"gradients": np.zeros((50, 2))}, "gradients: 2 columns"),
        ({"gradients": np.zeros((3, 5))}, r"gradients: shape \[3, 5\] for 50 sets"),
        ({"loss": sum, "gradients": np.zeros((50, 5))}, "loss: got gradients too"),
        ({"presets": [3]}, "presets: got 3"),
        ({"presets": ["word3vec"]}, "word2vec"),
        ({"inputs": np.ones(50, int)}, "inputs: got 1; expected numbers from 0 to 0"),
    ],
)
def test_what_is_refused(change, message):
    given: dict[str, Any] = {"labels": np.zeros((50, M), int), "golds": np.zeros(50, int)}
    with pytest.raises(ValueError, match=message):
        nb.which(PROBLEM, **(given | change))
