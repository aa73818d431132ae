"""`nb.which` on losses of PyTorch, optax and TensorFlow, written as training code writes them.

Sets are drawn, losses taken and gradients by the scores recorded without this library; what comes
back has to be that convention, under all of its names, and no other of all that are asked by
default.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorflow as tf
import torch
from torch.nn import functional

import nce_bias as nb

LABELS, M, SETS, RECORDED = 6, 4, 20_000, 4
SCALE = 3.0


def towers() -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of two queries and of six documents, float32."""
    generator = torch.Generator().manual_seed(3)
    return tuple(
        functional.normalize(torch.randn(n, 5, generator=generator), dim=1) for n in (2, LABELS)
    )


def problem() -> nb.Problem:
    queries, documents = towers()
    population = np.random.default_rng(4).dirichlet(np.full(LABELS, 0.7), size=2)
    return nb.Problem(SCALE * queries @ documents.T, population, weights=[0.6, 0.4])


PROBLEM = problem()
POPULATION, WEIGHTS = (np.asarray(part) for part in (PROBLEM.population, PROBLEM.weights))
POPULARITY = np.asarray(PROBLEM.popularity)


def examples(rng, n):
    """Inputs and golds as a data loader brings them."""
    inputs = rng.choice(2, size=n, p=WEIGHTS)
    golds = (rng.random(n)[:, None] > POPULATION.cumsum(axis=1)[inputs]).sum(axis=1)
    return inputs, np.minimum(golds, LABELS - 1)


def drawn(q, rejecting=False, seed=0):
    """M draws from q for each example; `rejecting` those equal to the gold."""
    rng = np.random.default_rng(seed)
    inputs, golds = examples(rng, SETS)
    labels = rng.choice(LABELS, size=(SETS, M), p=q)
    while rejecting and (hits := labels == golds[:, None]).any():
        labels[hits] = rng.choice(LABELS, size=hits.sum(), p=q)
    return inputs, golds, labels


def recorded(inputs, golds, labels, loss):
    """Gradients of the first sets by their candidates' scores, NaN in the others."""
    queries, documents = towers()
    candidates = torch.tensor(np.hstack([golds[:, None], labels])[:RECORDED])
    scores = SCALE * torch.einsum(
        "nd,nkd->nk", queries[torch.tensor(inputs[:RECORDED])], documents[candidates]
    )
    scores.requires_grad_()
    loss(scores, candidates).backward()
    gradients = np.full((SETS, 1 + M), np.nan)
    gradients[:RECORDED] = scores.grad.numpy()
    return gradients


def names_of(name: str) -> set[str]:
    """A convention's names: its own, and those of what is the same whatever m is."""
    rows = nb.presets.PRESETS.items()
    return {name} | {other for other, row in rows if row.same_as == name and row.same_m is None}


def assert_named(found, name, factor=None):
    """By all its names and no other, and all others are refused for a reason."""
    assert set(found.fits) == names_of(name), repr(found)
    assert len(found.rejected) > 50 and all(found.rejected.values())
    for verdict in found.verdicts:
        if verdict.fits:
            assert verdict.error < 1e-5
            assert factor is None or verdict.factor == pytest.approx(factor, rel=1e-4)


# --- PyTorch: a softmax over the gold and its negatives


def first(scores):
    """The gold is candidate 0."""
    return torch.zeros(len(scores), dtype=torch.long)


def plain(scores, candidates):
    return functional.cross_entropy(scores, first(scores))


def off_all(scores, candidates):
    """log q of all candidates, hits masked to -inf: as two-tower retrieval does it."""
    logits = scores - torch.log(torch.tensor(POPULARITY, dtype=scores.dtype))[candidates]
    hits = candidates[:, 1:] == candidates[:, :1]
    logits = torch.cat([logits[:, :1], logits[:, 1:].masked_fill(hits, -torch.inf)], dim=1)
    return functional.cross_entropy(logits, first(scores))


def off_all_hits_left(scores, candidates):
    logits = scores - torch.log(torch.tensor(POPULARITY, dtype=scores.dtype))[candidates]
    return functional.cross_entropy(logits, first(scores), reduction="sum")


def off_negatives(scores, candidates):
    """log of the expected number of draws, of the negatives alone; q without the gold."""
    q = torch.tensor(POPULARITY, dtype=scores.dtype)
    expected = M * q[candidates[:, 1:]] / (1 - q[candidates[:, :1]])
    logits = torch.cat([scores[:, :1], scores[:, 1:] - torch.log(expected)], dim=1)
    return functional.cross_entropy(logits, first(scores), reduction="sum")


# --- PyTorch: binary losses


def labelled(scores):
    return functional.one_hot(first(scores), 1 + M).to(scores.dtype)


def binary(scores, candidates):
    return functional.binary_cross_entropy_with_logits(scores, labelled(scores), reduction="sum")


def binary_without_hits(scores, candidates):
    """As word2vec has it: a draw of the word itself is no negative."""
    keep = (candidates != candidates[:, :1]).to(scores.dtype)
    keep[:, 0] = 1
    return functional.binary_cross_entropy_with_logits(
        scores, labelled(scores), weight=keep, reduction="sum"
    )


def noise_contrastive(scores, candidates):
    logits = scores - torch.log(M * torch.tensor(POPULARITY, dtype=scores.dtype))[candidates]
    return functional.binary_cross_entropy_with_logits(logits, labelled(scores), reduction="mean")


def pairwise(scores, candidates):
    return -functional.logsigmoid(scores[:, :1] - scores[:, 1:]).sum()


def margin(scores, candidates):
    gold = scores[:, :1].expand(-1, M)
    return functional.margin_ranking_loss(
        gold, scores[:, 1:], torch.ones_like(gold), margin=1.0, reduction="sum"
    )


UNIFORM = np.full(LABELS, 1 / LABELS)
SMOOTHED = POPULARITY**0.75 / np.sum(POPULARITY**0.75)
#: Convention -> proposal, whether hits are drawn again or dropped, loss, factor of its gradients.
CODE: dict[str, tuple[Any, str, Any, float]] = {
    "in_batch_infonce": (POPULARITY, "", plain, 1 / RECORDED),
    "uniform_infonce": (UNIFORM, "again", plain, 1 / RECORDED),
    "tfrs_in_batch": (POPULARITY, "dropped", off_all, 1 / RECORDED),
    "ranking_nce": (POPULARITY, "", off_all_hits_left, 1.0),
    "bengio_senecal_2008": (POPULARITY, "again", off_negatives, 1.0),
    "line": (SMOOTHED, "", binary, 1.0),
    "word2vec": (SMOOTHED, "dropped", binary_without_hits, 1.0),
    "complex_logistic": (UNIFORM, "again", binary, 1.0),
    "binary_nce": (POPULARITY, "", noise_contrastive, 1 / RECORDED / (1 + M)),
    "bpr": (UNIFORM, "again", pairwise, 1.0),
    "bpr_popularity": (POPULARITY, "again", pairwise, 1.0),
    "transe": (UNIFORM, "again", margin, 1.0),
}


@pytest.mark.parametrize("name", CODE)
def test_losses_of_torch(name):
    q, hits, loss, factor = CODE[name]
    inputs, golds, labels = drawn(q, rejecting=hits == "again")
    gradients = recorded(inputs, golds, labels, loss)
    present = labels != golds[:, None] if hits == "dropped" else None
    found = nb.which(PROBLEM, labels, golds, gradients, inputs=inputs, present=present)
    assert_named(found, name, factor)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("in_batch_infonce", off_negatives),  # right draws, half a correction
        ("ranking_nce", plain),  # the correction forgotten
        ("word2vec", noise_contrastive),
        ("bpr", margin),
    ],
)
def test_another_loss_on_the_right_draws_is_none_of_them(name, code):
    q, hits, _, _ = CODE[name]
    inputs, golds, labels = drawn(q, rejecting=hits == "again")
    gradients = recorded(inputs, golds, labels, code)
    present = labels != golds[:, None] if hits == "dropped" else None
    found = nb.which(
        PROBLEM, labels, golds, gradients, inputs=inputs, present=present, presets=[name]
    )
    assert found.fits == ()
    assert "gradients are off" in found.rejected[name]


# --- PyTorch: a batch whose rows are each other's negatives


def multiple_negatives(batches, seed=0, rows=1 + M):
    """cross_entropy(scale * cos_sim(anchors, positives), arange), as sentence-transformers does.

    Inputs, golds, negatives `[batches, rows, ...]` and the gradients by all scores of a batch.
    """
    rng = np.random.default_rng(seed)
    inputs, golds = (part.reshape(batches, rows) for part in examples(rng, batches * rows))
    queries, documents = towers()
    anchors, positives = queries[torch.tensor(inputs)], documents[torch.tensor(golds)]
    cosines = functional.normalize(anchors, dim=-1) @ functional.normalize(
        positives, dim=-1
    ).transpose(1, 2)
    scores = (SCALE * cosines).requires_grad_()
    target = torch.arange(rows).expand(batches, rows)
    losses = functional.cross_entropy(
        scores.flatten(0, 1), target.flatten(), reduction="none"
    ).reshape(batches, rows)
    losses.mean(dim=1).sum().backward()
    order = np.array([[row, *np.delete(np.arange(rows), row)] for row in range(rows)])
    gradients = np.take_along_axis(scores.grad.numpy(), order[None], axis=2)
    negatives = golds[:, order[:, 1:]]
    return inputs, golds, negatives, gradients


def test_one_row_of_each_batch_is_in_batch_infonce():
    inputs, golds, negatives, gradients = (part[:, 0] for part in multiple_negatives(SETS))
    found = nb.which(PROBLEM, negatives, golds, gradients, inputs=inputs)
    assert "multiple_negatives_ranking" in found.fits
    assert_named(found, "in_batch_infonce", 1 / (1 + M))


# --- optax and TensorFlow


def test_a_loss_of_optax():
    def loss(gold, negatives):
        logits = jnp.append(gold, negatives)
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, 0)

    inputs, golds, labels = drawn(UNIFORM, rejecting=True)
    found = nb.which(PROBLEM, labels, golds, loss=loss, inputs=inputs)
    assert_named(found, "uniform_infonce", 1.0)

    def logistic(gold, negatives):
        own = optax.losses.sigmoid_binary_cross_entropy(gold, 1.0)
        return own + optax.losses.sigmoid_binary_cross_entropy(negatives, 0.0).sum()

    inputs, golds, labels = drawn(SMOOTHED)
    found = nb.which(PROBLEM, labels, golds, loss=logistic, inputs=inputs)
    assert_named(found, "line", 1.0)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tf_sampled_softmax_repeats", tf.nn.sampled_softmax_loss),
        ("tf_nce_repeats", tf.nn.nce_loss),
    ],
)
def test_losses_of_tensorflow(name, call):
    """Log-uniform candidates with repeats; a bias's gradient is that by its label's score."""
    inputs, golds = examples(np.random.default_rng(0), SETS)
    queries, documents = (part.numpy().astype(float) for part in towers())
    sampler: Any = tf.random.log_uniform_candidate_sampler
    labels, gradients = np.zeros((SETS, M), int), np.full((SETS, LABELS), np.nan)
    for row, (x, gold) in enumerate(zip(inputs, golds, strict=True)):
        sampled = sampler(np.array([[gold]]), 1, M, unique=False, range_max=LABELS, seed=row)
        labels[row] = sampled[0].numpy()
        if row < RECORDED:
            biases: Any = tf.Variable(tf.zeros(LABELS, "float64"))
            tape: Any = tf.GradientTape()
            with tape:
                loss = call(
                    weights=tf.constant(SCALE * documents),
                    biases=biases,
                    labels=np.array([[gold]]),
                    inputs=tf.constant(queries[x : x + 1]),
                    num_sampled=M,
                    num_classes=LABELS,
                    sampled_values=[
                        sampled[0],
                        *(tf.cast(part, "float64") for part in sampled[1:]),
                    ],
                    remove_accidental_hits=True,
                )
            gradients[row] = tf.convert_to_tensor(tape.gradient(loss, biases)).numpy()
    # of several copies of the gold the last alone is dropped
    hits = labels == golds[:, None]
    last = M - 1 - np.argmax(hits[:, ::-1], axis=1)
    present = np.ones_like(hits)
    present[np.arange(SETS), last] = ~hits.any(axis=1)
    found = nb.which(PROBLEM, labels, golds, gradients, inputs=inputs, present=present)
    assert_named(found, name, 1.0)
