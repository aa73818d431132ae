"""In-batch negatives: rows, epochs and views against all batches listed, draws, refusals."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import nce_bias as nb
from nce_bias.samplers import EpochLaw
from tests import cases
from tests.core.test_loss_family import assert_enumerated
from tests.core.test_samplers import LEVEL, drawn
from tests.oracles.drawing import draws
from tests.oracles.enumeration import enumerate_moments

SCORES = np.array([1.3, -0.4, 0.2, -2.1])
POPULATION = np.array([0.35, 0.05, 0.4, 0.2])
POPULARITY = np.array([0.12, 0.4, 0.28, 0.2])
PROBLEM = nb.Problem(SCORES, POPULATION, popularity=POPULARITY)
#: Of labels, and of two blocks of two labels: no two alike, one that occurs once.
COUNTS = {1: [3, 1, 2, 2], 2: [4, 1]}
#: What a batch may be: views, counts, hits.
KINDS = {
    "rows": (1, None, "keep"),
    "rows, masked": (1, None, "mask"),
    "epoch": (1, COUNTS[1], "keep"),
    "views": (2, None, "keep"),
    "views, masked": (2, None, "mask"),
    "views, epoch": (2, COUNTS[2], "keep"),
    "views, each image once": (2, [1, 1], "mask"),
}
#: Those in which the gold's own block has another q.
BY_BLOCK = ("views, masked", "views, epoch", "views, each image once")
CORRECTED = ("sampled_softmax", "ranking_nce", "binary_nce")
LISTED = [
    *itertools.product(KINDS, ("infonce", "negative_sampling")),
    *((kind, name) for kind in KINDS if kind not in BY_BLOCK for name in CORRECTED),
]
SIZES = {"views, each image once": 2}


def batch(kind):
    """The sampler, and what the oracle is asked."""
    views, counts, hits = KINDS[kind]
    size = SIZES.get(kind, 4)
    blocks = POPULARITY.reshape(-1, views).sum(axis=1)
    chances = blocks if counts is None else np.array(counts) / np.sum(counts)
    q = np.repeat(chances / views, views)
    spec = ("batch", q, views * (size - 1), hits, views, counts)
    return nb.in_batch(size, views, counts, hits), spec


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_every_moment_is_the_enumerated_one(kind, name):
    sampler, spec = batch(kind)
    found = nb.exact(PROBLEM, sampler, nb.LOSSES[name], split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name))
    assert found.status == "ok" and float(found.error) < 1e-11


@pytest.mark.parametrize("kind", BY_BLOCK)
def test_where_no_one_q_exists(kind):
    with pytest.raises(ValueError) as refused:
        nb.exact(PROBLEM, batch(kind)[0], nb.sampled_softmax)
    assert str(refused.value) == (
        "loss: it corrects scores by log q, and the other views of a gold's own image are drawn by "
        "another q than it; expected an uncorrected loss such as nb.infonce, or independent rows "
        "with hits kept. nb.with_inclusion(loss) corrects by expected numbers of draws."
    )


def test_the_kinds_are_told_apart():
    """Rows of an epoch taken for independent ones, views for single labels, and so on."""
    found = [float(nb.exact(PROBLEM, batch(kind)[0]).loss) for kind in KINDS]
    apart = np.abs(np.subtract.outer(found, found)) + np.eye(len(found))
    assert apart.min() > 1e-3


def test_an_epoch_that_keeps_the_example_of_the_row_itself_is_another():
    """The usual slip, c in place of c - 1{y = g}: the loss of the rows drawn from all N."""
    sampler, spec = batch("epoch")
    found = float(nb.exact(PROBLEM, sampler).loss)
    with_itself = [c + (y == 0) for y, c in enumerate(COUNTS[1])]  # gold 0 keeps its three
    slip = enumerate_moments(SCORES, np.eye(4)[0], (*spec[:5], with_itself))
    right = enumerate_moments(SCORES, np.eye(4)[0], spec)
    assert abs(slip.loss - right.loss) > 0.02
    one = nb.exact(nb.Problem(SCORES, np.eye(4)[0], popularity=POPULARITY), sampler)
    assert float(one.loss) == pytest.approx(right.loss, abs=1e-12)
    assert found != pytest.approx(right.loss, abs=1e-3)


@pytest.mark.parametrize("kind", ["epoch", "views", "views, epoch"])
def test_numpy_and_xla_agree(kind):
    sampler, spec = batch(kind)
    found = nb.exact(PROBLEM, sampler, split=True, compiled=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


@pytest.mark.parametrize("kind", ["epoch", "views, masked", "views, epoch"])
def test_corrections_by_inclusion(kind):
    sampler, spec = batch(kind)
    found = nb.exact(PROBLEM, sampler, nb.with_inclusion(nb.sampled_softmax), split=True)
    expected = enumerate_moments(SCORES, POPULATION, spec, "sampled_softmax", inclusion=True)
    assert_enumerated(found, expected)


@pytest.mark.parametrize("kind", ["rows", "epoch", "views", "views, epoch"])
def test_other_negatives_beside_it(kind):
    sampler, spec = batch(kind)
    other = nb.iid(nb.from_probabilities(POPULARITY[::-1]), 2, "keep")
    both = ("concat", [spec, ("iid", POPULARITY[::-1], 2, "keep")])
    assert_enumerated(
        nb.exact(PROBLEM, sampler + other, split=True),
        enumerate_moments(SCORES, POPULATION, both),
    )


@pytest.mark.slow
def test_two_epochs_side_by_side():
    """Neither part is separable: their coincidences are derivatives, one along the other."""
    (one, spec), (other, second) = batch("epoch"), batch("views, epoch")
    found = nb.exact(PROBLEM, one + other, split=True)
    expected = enumerate_moments(SCORES, POPULATION, ("concat", [spec, second]))
    assert_enumerated(found, expected)


def test_rows_are_the_independent_draws_they_are_said_to_be():
    for hits in ("keep", "mask"):
        found, plain = (
            nb.exact(PROBLEM, sampler, nb.sampled_softmax)
            for sampler in (nb.in_batch(9, hits=hits), nb.iid(nb.popularity(), 8, hits))
        )
        assert float(found.loss) == pytest.approx(float(plain.loss), abs=1e-14)
        np.testing.assert_allclose(found.gradient, plain.gradient, atol=1e-15)


def test_a_long_epoch_is_that_of_independent_rows():
    """Its distance falls like 1 / N: ten times the examples, a tenth of it."""
    rows = nb.exact(PROBLEM, nb.in_batch(4)).gradient
    counts = np.rint(POPULARITY * 100)
    epochs = [nb.exact(PROBLEM, nb.in_batch(4, counts=n * counts)).gradient for n in (1, 10, 100)]
    far = [np.abs(epoch - rows).max() for epoch in epochs]
    assert far[0] / far[1] == pytest.approx(10, rel=0.02)
    assert far[1] / far[2] == pytest.approx(10, rel=0.02)


def test_a_label_that_does_not_occur():
    """It is not drawn and asks for nothing, however large its own factor would be."""
    problem = nb.Problem.from_golds([[1.0, 900.0, 0.3, -2.0], [0.5, 2.0, 0.0, 3.0]], [0, 2])
    counts = [2, 0, 1, 0]
    found = nb.exact(problem, nb.in_batch(3, counts=counts), split=True)
    for row, gold in enumerate((0, 2)):
        spec = ("batch", POPULARITY, 2, "keep", 1, counts)
        wanted = enumerate_moments(problem.scores[row], np.eye(4)[gold], spec)
        np.testing.assert_allclose(found.selection[row], wanted.selection, atol=1e-12)
    assert found.status == "ok"


def test_a_whole_epoch_is_no_draw_at_all():
    """Every batch is the epoch: nothing is left to vary but the gold."""
    found = nb.exact(PROBLEM, nb.in_batch(8, counts=COUNTS[1]), split=True)
    weights = np.array(COUNTS[1]) * np.exp(SCORES)
    np.testing.assert_allclose(found.selection, weights / weights.sum(), atol=1e-13)
    assert abs(float(found.variance_negatives)) < 1e-12


@pytest.mark.parametrize(("counts", "m"), [([200, 1, 1, 5], 50), ([40, 30, 20, 10], 9)])
def test_the_functional_of_large_counts(counts, m):
    """Against the polynomial itself, from exposures of 0 to those at which nothing is left."""
    mpmath = pytest.importorskip("mpmath")
    occurs: Any = np.array(counts, float)
    total = int(np.sum(counts))
    law, rng = EpochLaw(occurs, m, total), np.random.default_rng(0)

    def coefficient(counts, z, degree):
        found = [mpmath.mpf(1)] + [mpmath.mpf(0)] * degree
        for count, exposure in zip(counts, z, strict=True):
            f = mpmath.exp(-mpmath.mpf(exposure))
            for _ in range(count):
                found = [a + f * b for a, b in zip(found, [0, *found], strict=False)]
        return found[degree]

    every = mpmath.binomial(total - 1, m)
    for scale in (0.0, 1e-6, 0.1, 3.0, 1e6):
        z: Any = np.append(0.0, rng.exponential(size=len(counts) - 1)) * scale
        log_f, copies = law.tilted(z)
        for gold in range(len(counts)):
            left = [c - (y == gold) for y, c in enumerate(counts)]
            f = float(coefficient(left, z, m) / every)
            assert abs(np.exp(log_f[gold]) - f) < law.error
            found = copies(np.eye(len(counts))[gold]) * np.exp(log_f[gold])
            for y, count in enumerate(left):
                less = [c - (place == y) for place, c in enumerate(left)]
                wanted = 0.0
                if count:
                    one = mpmath.exp(-mpmath.mpf(z[y])) * coefficient(less, z, m - 1)
                    wanted = float(count * one / every)
                assert abs(found[y] - wanted) < m * law.error  # up to m copies


def p_value(labels, spec, gold):
    """Of drawn sets, against those listed."""
    chance, listed = draws(spec, gold, SCORES)
    sets, place = np.unique(np.sort(listed, axis=1), axis=0, return_inverse=True)
    law = np.bincount(place.ravel(), weights=chance.astype(float))
    code = {tuple(row): i for i, row in enumerate(sets)}
    found = [code.get(tuple(row), -1) for row in np.sort(labels, axis=1)]
    if min(found) < 0:
        return 0.0
    if len(law) == 1:
        return 1.0
    observed = np.bincount(found, minlength=len(law))
    return stats.chisquare(observed, law / law.sum() * len(labels)).pvalue


@functools.cache
def sets_drawn(kind, gold):
    return drawn(batch(kind)[0], gold, SCORES, POPULARITY)


@pytest.mark.parametrize("kind", KINDS)
def test_sets_are_drawn_with_their_probabilities(kind):
    for gold in (0, 2):
        assert p_value(sets_drawn(kind, gold), batch(kind)[1], gold) > LEVEL


@pytest.mark.parametrize(
    ("kind", "claimed"),
    [("rows", "epoch"), ("epoch", "rows"), ("views", "views, epoch"), ("rows", "rows, masked")],
)
def test_another_law_is_rejected(kind, claimed):
    assert p_value(sets_drawn(kind, 0), batch(claimed)[1], 0) < LEVEL


def test_an_epoch_that_drops_hits_is_known_by_sampling():
    sampler = nb.in_batch(4, counts=COUNTS[1], hits="mask")
    spec = ("batch", POPULARITY, 3, "mask", 1, COUNTS[1])
    assert p_value(drawn(sampler, 0, SCORES, POPULARITY), spec, 0) > LEVEL
    found = nb.monte_carlo(PROBLEM, sampler, key=3, draws=40_000)
    wanted, kept = (
        enumerate_moments(SCORES, POPULATION, (*spec[:3], hits, *spec[4:]))
        for hits in ("mask", "keep")
    )
    sigma = found.standard_errors["loss"]
    assert abs(float(found.loss) - wanted.loss) < 4.5 * sigma
    assert abs(float(found.loss) - kept.loss) > 4.5 * sigma
    with pytest.raises(nb.NoExactMethod) as refused:
        nb.exact(PROBLEM, sampler)
    assert str(refused.value) == (
        "in_batch(4, counts=[4], hits='mask') has no exact moments: examples of an epoch in which "
        "labels repeat, and those of the row's own gold dropped, have no Laplace functional here. "
        "Use nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000), or leave counts out "
        "for independent rows."
    )


def test_parameters_too():
    """A linear model with one parameter a label: its gradient's variance is the scores'."""
    model = nb.ScoreModel(lambda params, x: params + 0.0 * x, jnp.asarray(SCORES))
    x = np.zeros(1)
    for kind in ("rows", "epoch", "views"):
        views, counts, hits = KINDS[kind]
        sampler = nb.in_batch(4, views, counts, hits)
        found = nb.gradient_bias(model, x, POPULATION[None], sampler, variance=True)
        alone = nb.exact(nb.Problem(SCORES, POPULATION), sampler)
        assert float(found.variance) == pytest.approx(float(alone.variance), abs=1e-11)
        assert float(found.norm) == pytest.approx(float(alone.bias_norm), abs=1e-12)


def test_single_precision():
    with cases.single_precision():
        problem = nb.Problem(SCORES, POPULATION, popularity=POPULARITY)
        for kind in ("epoch", "views, epoch"):
            sampler, spec = batch(kind)
            found = nb.exact(problem, sampler)
            wanted = enumerate_moments(SCORES, POPULATION, spec)
            missed = np.abs(np.asarray(found.selection) - wanted.selection).max()
            assert missed < float(found.error) < 1e-3


def test_nt_xent_is_two_views_of_an_epoch():
    """The loss as published code has it, a matrix of 2 B views without its diagonal."""
    images, size, temperature = 4, 3, 0.5
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2 * images, 3))
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    scores = views @ views.T / temperature
    partner = np.arange(2 * images) ^ 1
    losses = []
    for batch in itertools.combinations(range(images), size):
        places = np.ravel([(2 * image, 2 * image + 1) for image in batch])
        logits = scores[np.ix_(places, places)]
        np.fill_diagonal(logits, -np.inf)
        logs = logits - logsumexp(logits, axis=1, keepdims=True)
        losses.append(-np.mean(logs[np.arange(2 * size), np.arange(2 * size) ^ 1]))
    problem = nb.Problem.from_golds(scores, partner)
    found = nb.exact(problem, nb.in_batch(size, views=2, counts=np.ones(images, int)))
    assert float(found.loss) == pytest.approx(np.mean(losses), abs=1e-12)
    independent = nb.exact(problem, nb.in_batch(size, views=2))  # which meet themselves
    assert abs(float(independent.loss) - np.mean(losses)) > 0.1


#: Labels mined for each label: overlapping, one label mined for two, one that has none.
HARD = [[1, 2], [2, -1], [0, 3], [-1, -1]]
TRIPLETS = ("triplets", POPULARITY, 2, HARD)


@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_that_bring_hard_negatives(name, compiled):
    sampler = nb.in_batch(3, hard=HARD)
    found = nb.exact(PROBLEM, sampler, nb.LOSSES[name], split=True, compiled=compiled)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, TRIPLETS, name))
    # the row's own alone, or the others' alone, is another law
    for spec in (
        ("concat", [("batch", POPULARITY, 2, "keep", 1, None), ("triplets", POPULARITY, 0, HARD)]),
        ("triplets", POPULARITY, 3, HARD),
    ):
        twin = enumerate_moments(SCORES, POPULATION, spec, name)
        assert abs(float(found.loss) - twin.loss) > 0.01


def test_other_negatives_beside_triplets():
    other = nb.iid(nb.from_probabilities(POPULARITY[::-1]), 2, "keep")
    both = ("concat", [TRIPLETS, ("iid", POPULARITY[::-1], 2, "keep")])
    found = nb.exact(PROBLEM, nb.in_batch(3, hard=HARD) + other, split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, both))


def test_triplets_are_drawn_as_they_are_said_to_be():
    for gold in (0, 3):
        labels = drawn(nb.in_batch(3, hard=HARD), gold, SCORES, POPULARITY)
        assert p_value(labels, TRIPLETS, gold) > LEVEL
        others = ("triplets", POPULARITY, 2, HARD[::-1])
        assert p_value(labels, others, gold) < LEVEL


def test_triplets_over_parameters():
    model = nb.ScoreModel(lambda params, x: params + 0.0 * x, jnp.asarray(SCORES))
    found = nb.gradient_bias(
        model, np.zeros(1), POPULATION[None], nb.in_batch(3, hard=HARD), variance=True
    )
    alone = nb.exact(nb.Problem(SCORES, POPULATION), nb.in_batch(3, hard=HARD))
    assert float(found.variance) == pytest.approx(float(alone.variance), abs=1e-11)


ONE_EACH = np.array([1.0, 2, -1, 2])


def test_labels_mined_for_each_may_be_a_side():
    table = nb.exact(PROBLEM, nb.in_batch(3, hard=ONE_EACH.astype(int)[:, None]))
    sampler = nb.in_batch(3, hard="mined")
    for side in (ONE_EACH, ONE_EACH[None]):
        rows = nb.Problem(
            SCORES if side.ndim == 1 else SCORES[None],
            POPULATION if side.ndim == 1 else POPULATION[None],
            popularity=POPULARITY,
            sides={"mined": side},
        )
        for compiled in (False, True):
            found = nb.exact(rows, sampler, compiled=compiled)
            assert float(found.loss) == pytest.approx(float(table.loss), abs=1e-14)
    assert repr(sampler) == "in_batch(3, hard='mined')" and sampler.m == 5
    found = nb.monte_carlo(rows, sampler, key=0, draws=4000)
    assert abs(float(found.loss - table.loss)) < 4.5 * float(found.standard_errors["loss"])
    for message, number in {
        "side 'mined': has numbers that are not whole; expected the number of the label mined for "
        "each label, -1 for none. Give numbers of labels, as its columns are numbered.": 0.5,
        "hard: got 1 at place 0 of label 1; expected labels from 0 to 3, none twice and not the "
        "label itself, or -1. Take golds and repetitions out of what was mined.": 1.0,
    }.items():
        given = nb.Problem(SCORES, POPULATION, POPULARITY, sides={"mined": np.full(4, number)})
        with pytest.raises(ValueError) as refused:
            nb.exact(given, sampler)
        assert str(refused.value) == message


def test_names():
    every = nb.in_batch(4, 2, [3, 4], "mask")
    assert repr(every) == "in_batch(4, views=2, counts=[2], hits='mask')"
    assert repr(nb.in_batch(64)) == "in_batch(64)"
    assert nb.in_batch(4, 2).m == 6
    assert repr(nb.in_batch(3, hard=HARD)) == "in_batch(3, hard=[4, 2])"
    assert nb.in_batch(3, hard=HARD).m == 8


REFUSED = {
    "hard: given beside views, counts or hits='mask'; expected independent rows of one view, hits "
    "kept. Leave the others out, or draw them by a loop of your own.": lambda: nb.in_batch(
        3, hits="mask", hard=HARD
    ),
    "hard: got float64 of shape (4,); expected integers [V, h], the labels mined for each label. "
    "Give -1 where there are fewer than h.": lambda: nb.in_batch(3, hard=SCORES),
    "hard: got 1 at place 0 of label 1; expected labels from 0 to 1, none twice and not the label "
    "itself, or -1. Take golds and repetitions out of what was mined.": lambda: nb.in_batch(
        3, hard=[[1], [1]]
    ),
    "hard: got 2 rows for 4 labels; expected the labels mined for each label as a gold, [V, h]. "
    "Give -1 where there are fewer than h.": lambda: nb.exact(
        PROBLEM, nb.in_batch(3, hard=[[1], [0]])
    ),
    "size: got 1; expected a whole number >= 2. Pass size=2.": lambda: nb.in_batch(1),
    "views: got 0; expected a whole number >= 1. Pass views=1.": lambda: nb.in_batch(4, 0),
    "hits: got 'exclude'; expected 'keep' or 'mask'. Rows are not redrawn for one gold: without "
    "the gold is nb.iid(nb.popularity(), size - 1).": lambda: nb.in_batch(4, hits="exclude"),
    "counts: got [1.5, 2]; expected whole numbers >= 0, one for each block of labels. For example "
    "np.bincount(golds, minlength=V).": lambda: nb.in_batch(2, counts=[1.5, 2]),
    "counts: an epoch of 3 examples; expected at least the size of a batch, 4. Lower size, or "
    "leave counts out for independent rows.": lambda: nb.in_batch(4, counts=[1, 2]),
    "views: blocks of 3 labels do not divide the 4 of the problem; expected labels that are whole "
    "blocks, those of a block one after the other. Order the labels by image, each with all its "
    "views.": lambda: nb.exact(PROBLEM, nb.in_batch(4, 3)),
    "counts: got 2 of them for 4 blocks of 1 labels; expected how often each block occurs in an "
    "epoch. Give 0 for one that does not occur.": lambda: nb.exact(
        PROBLEM, nb.in_batch(2, counts=[2, 2])
    ),
    "counts: 0 for the gold 1 of input 0, which therefore is no row of any batch; expected at "
    "least 1 for every label with pop(y|x) > 0. Count the golds of the same examples that the "
    "population is of.": lambda: nb.exact(PROBLEM, nb.in_batch(3, counts=[2, 0, 1, 1])),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError) as refused:
        REFUSED[message]()
    assert str(refused.value) == message


@pytest.mark.slow
def test_check_sampler_accepts_them_and_rejects_others():
    draws = {"key": jax.random.key(0), "draws": 20_000}
    for sampler in (
        *(batch(kind)[0] for kind in ("rows", "epoch", "views", "views, epoch")),
        nb.in_batch(3, hard=HARD),
    ):
        assert nb.check_sampler(PROBLEM, sampler, **draws).ok, sampler

    @jax.jit
    def with_itself(key, scores, popularity, gold):
        return nb.in_batch(4).law(scores, jnp.asarray(COUNTS[1]) / 8).draw(key, gold)

    assert not nb.check_sampler(PROBLEM, batch("epoch")[0], draw=with_itself, **draws).ok


def test_a_sample_of_an_epoch_under_jit():
    """m distinct examples whatever the key: no label more often than it is left."""
    law = nb.in_batch(7, counts=COUNTS[1]).law(jnp.asarray(SCORES), jnp.asarray(POPULARITY))
    labels, present = jax.jit(jax.vmap(lambda key: law.draw(key, jnp.asarray(0))))(
        jax.random.split(jax.random.key(0), 500)
    )
    most = np.stack([(labels == y).sum(axis=1) for y in range(4)]).max(axis=1)
    assert bool(present.all()) and (most == [2, 1, 2, 2]).all()
