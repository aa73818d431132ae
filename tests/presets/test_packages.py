"""What published packages measure, from the exact engine: blocks of views, mined and hard rows.

The packages take embeddings: q_x = (t s(x, .), what makes its norm 1) and unit vectors for labels,
so that their products over t are the scores. An input and its label make a pair; a batch has 4.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.presets._score_proposals import less_log_popularity

FILE = pathlib.Path(__file__).parents[1] / "data" / "packages.json"
ROWS = {row["id"]: row for row in json.loads(FILE.read_text(encoding="utf-8"))["rows"]}
SIZE, TEMPERATURE, ROUNDING = 4, 0.25, 3e-6
INPUTS, LABELS = 2, 4
X, Y = np.divmod(np.arange(INPUTS * LABELS), LABELS)  # of a pair
#: The gold once more as a negative, as where both directions or all labels are in one softmax.
GOLD_TWICE = nb.LogSums("twice", nb.LogSum(1.0, lambda s: s, lambda s: s + np.log(2)), lambda s: -s)


def same(loss, gradient, name, *, but=0.0):
    """Within 4.5 standard errors and rounding; `but` is what the package's loss leaves out."""
    row = ROWS[name]
    for mine, its in ((loss - but, row["loss"]), (gradient, row["gradient"])):
        away = np.abs(np.asarray(mine) - its["mean"])
        if not np.all(away < np.hypot(4.5 * np.asarray(its["se"]), ROUNDING)):
            return False
    return True


def of(name):
    given = ROWS[name]["problem"]
    return nb.Problem(
        given["scores"], given["population"], given["popularity"], weights=given.get("weights")
    )


# --- scores as they are

CORRECTED = less_log_popularity()
EVERY = nb.listed(np.arange(8))


def leave_one_out(popularity, gold):
    counts = jnp.round(6 * popularity)
    left = counts - (jnp.arange(len(counts)) == gold)
    return jnp.where(left > 0, jnp.log(jnp.where(left > 0, left, 1.0)), -jnp.inf)


def margin(by):
    return nb.LogSums("margin", nb.LogSum(1.0, lambda s: s, lambda s: s - by), lambda s: by - s)


#: The pair that a package is, and one that it might be taken for.
PAIRS = {
    "keras_rs.hard1": (
        nb.preset("in_batch_hardest", 1, times=3),
        nb.preset("in_batch_hardest", 1, times=2),
    ),
    "tfrs.hard1": (
        nb.preset("in_batch_hardest", 1, times=3),
        nb.preset("in_batch_infonce", 3),
    ),
    "tfrs.probability.hits_removed.hard2": (
        (nb.best_of(nb.in_batch(SIZE, hits="mask"), 2, by=CORRECTED), nb.ranking_nce),
        (nb.best_of(nb.in_batch(SIZE, hits="mask"), 2), nb.ranking_nce),
    ),
    "tf.sampled_softmax_loss.all_candidates.hits_kept": ((EVERY, GOLD_TWICE), (EVERY, nb.infonce)),
    "transformers.wav2vec2": (
        (nb.iid(leave_one_out, 3, hits="mask"), nb.infonce),
        (nb.iid(nb.popularity(), 3, hits="mask"), nb.infonce),
    ),
    "pykeen.InfoNCE.margin": (
        (nb.iid(nb.uniform(), 3), margin(0.5)),
        (nb.iid(nb.uniform(), 3), nb.infonce),
    ),
}


def exact(problem, pair):
    found = nb.exact(problem, *pair) if isinstance(pair, tuple) else pair.exact(problem)
    return float(found.loss), found.gradient


@pytest.mark.parametrize("name", PAIRS)
def test_by_scores(name):
    right, wrong = (exact(of(name), pair) for pair in PAIRS[name])
    assert same(*right, name) and not same(*wrong, name)


def test_supcon_on_labels_is_in_batch_infonce():
    """Copies of the gold are its positives there: the mean over them has the gold's own gradient.

    A batch of one label alone counts 0 in the package; its loss is log 4 for each row.
    """
    name = "pml.SupConLoss.label_ids"
    problem = of(name)
    left_out = np.log(SIZE) * np.sum(np.asarray(problem.popularity) ** SIZE)
    assert same(*exact(problem, (nb.in_batch(SIZE), nb.infonce)), name, but=left_out)
    masked = nb.in_batch(SIZE, hits="mask")
    assert not same(*exact(problem, (masked, nb.infonce)), name, but=left_out)


# --- pairs and their views: tables of scores, differentiable in s(x, y)


def embedded(scores):
    queries = scores * TEMPERATURE
    rest = jnp.sqrt(1 - jnp.sum(queries**2, axis=1, keepdims=True))
    return jnp.concatenate([queries, rest], axis=1), jnp.eye(LABELS + 1)[:LABELS]


def between(scores):
    queries, labels = embedded(scores)
    return queries @ queries.T / TEMPERATURE, labels @ labels.T / TEMPERATURE


def both_views(scores):
    """Views are inputs and labels: of each pair its query, then its label."""
    queries, labels = embedded(scores)
    views = jnp.stack([queries[X], labels[Y]], axis=1).reshape(2 * len(X), -1)
    return views @ views.T / TEMPERATURE


def row_and_column(scores):
    """Pairs are inputs; each brings its label for the input's query, its query for the label."""
    table = jnp.stack([scores[X][:, Y], scores.T[Y][:, X]], axis=2)
    return table.reshape(len(X), -1)


def all_four(scores):
    """Besides queries with queries, labels with labels."""
    of_queries, of_labels = between(scores)
    table = [scores[X][:, Y], scores.T[Y][:, X], of_queries[X][:, X], of_labels[Y][:, Y]]
    return jnp.stack(table, axis=2).reshape(len(X), -1)


def of_pairs(name, table, views, pair):
    """The loss, and its gradient by s(x, y) over pop(x)."""
    given = ROWS[name]["problem"]
    scores, weights = jnp.asarray(given["scores"]), np.asarray(given["weights"])[:, None]
    joint = (weights * np.asarray(given["population"])).ravel()
    rows, pull_back = jax.vjp(table, scores)
    inputs = len(rows)
    golds = np.arange(inputs) ^ 1 if inputs > len(X) else views * np.arange(inputs)
    chances = np.repeat(joint, inputs // len(X)) * len(X) / inputs
    problem = nb.Problem.from_golds(
        rows, golds, popularity=np.repeat(joint / views, views), weights=chances
    )
    loss, gradient = exact(problem, pair)
    (by_scores,) = pull_back(chances[:, None] * jnp.asarray(gradient))
    return loss, by_scores / weights


OTHERS = nb.in_batch(SIZE, views=2)
VIEWS = {
    "optax.ntxent.example_ids": (
        both_views,
        2,
        nb.preset("simclr", 6),
        nb.preset("decoupled_views", 6),
    ),
    "pml.SelfSupervisedLoss.symmetric": (
        both_views,
        2,
        nb.preset("simclr", 6),
        nb.preset("in_batch_infonce", 6),
    ),
    "lightly.DCLLoss": (
        both_views,
        2,
        nb.preset("decoupled_views", 6),
        nb.preset("decoupled_contrastive", 6),
    ),
    "sentence_transformers.MNRL.joint_both": (
        row_and_column,
        2,
        (OTHERS, GOLD_TWICE),
        (OTHERS, nb.infonce),
    ),
    "sentence_transformers.MNRL.gte": (
        all_four,
        4,
        (nb.in_batch(SIZE, views=4), GOLD_TWICE),
        (nb.in_batch(SIZE, views=4), nb.infonce),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_by_views(name):
    table, views, *pairs = VIEWS[name]
    right, wrong = (of_pairs(name, table, views, pair) for pair in pairs)
    assert same(*right, name) and not same(*wrong, name)


def test_each_row_is_tested():
    assert {*PAIRS, *VIEWS, "pml.SupConLoss.label_ids"} == set(ROWS)
