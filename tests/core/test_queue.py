"""Old copies with scores of their own: against all sets listed, a loop over slots, limits."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests.oracles.drawing import ABSENT, draws, softmax

SCORES = np.array([0.2, 1.3, -0.4, -2.1, 0.7])
POPULATION = np.array([0.3, 0.0, 0.4, 0.2, 0.1])
Q = np.array([0.1, 0.36, 0.24, 0.18, 0.12])
#: Two ages: some labels were heavier then, some lighter.
SIDES = {
    "one": SCORES + np.array([0.5, -0.8, 0.3, 2.5, -0.1]),
    "two": SCORES + np.array([-1.0, 0.4, 1.1, 0.2, -0.6]),
}
PROBLEM = nb.Problem(SCORES, POPULATION, popularity=Q, sides=SIDES)
STEP = 1e-30


def drawn(m, hits="keep"):
    return nb.iid(nb.popularity(), m, hits), ("iid", Q, m, hits)


def distinct(m):
    return nb.without_replacement(nb.popularity(), m), ("without_replacement", Q, m)


def aged(pair, side):
    """A sampler, what it draws, and what scores that has; None for today's."""
    return nb.queue(pair[0], side), pair[1], SIDES[side]


def fresh(pair):
    return *pair, SCORES


#: Parts of sums: all ages and none, hits of all kinds, parts with no separable law.
SUMS = {
    "one age": [aged(drawn(3), "one")],
    "one age, distinct": [aged(distinct(2), "one")],
    "one age, masked": [aged(drawn(3, "mask"), "two")],
    "fresh and old": [fresh(drawn(2, "exclude")), aged(drawn(2), "one")],
    "two ages": [aged(drawn(2), "one"), aged(drawn(2, "mask"), "two")],
    "three ages": [fresh(drawn(1)), aged(drawn(2), "one"), aged(drawn(1), "two")],
    "distinct and old": [aged(distinct(2), "two"), fresh(drawn(2))],
    "old and distinct": [fresh(distinct(2)), aged(drawn(2), "one")],
}


def sampler_of(name):
    first, *others = (part[0] for part in SUMS[name])
    return sum(others, first)


def infonce(gold, negatives, counts):
    return np.log(np.exp(gold) + np.exp(negatives).sum()) - gold


def by_counts(gold, negatives, counts):
    return infonce(gold, negatives - np.log(counts), counts)


def decoupled(gold, negatives, counts):
    return np.log(np.exp(negatives).sum()) - gold


def logistic(gold, negatives, counts):
    return np.log(1 + np.exp(-gold)) + np.log(1 + np.exp(negatives)).sum()


def listed(name, value):
    """All moments, each slot with its own score and its gradient added to its label's."""
    p = np.asarray(softmax(SCORES), float)
    chances, rows, losses, coverage, squares = [], [], [], 0.0, 0.0
    for gold in np.flatnonzero(POPULATION):
        parts = [draws(spec, gold, SCORES) for _, spec, _ in SUMS[name]]
        copies = np.zeros(5)
        for chance, labels in parts:
            copies += [float(chance @ (labels == y).sum(1)) for y in range(5)]
        for picks in itertools.product(*(range(len(chance)) for chance, _ in parts)):
            chance = np.prod([parts[a][0][i] for a, i in enumerate(picks)]) * POPULATION[gold]
            slots = [
                (y, SUMS[name][a][2][y])
                for a, i in enumerate(picks)
                for y in parts[a][1][i]
                if y != ABSENT
            ]
            labels = np.array([y for y, _ in slots], int)
            scores = np.array([s for _, s in slots])
            row, slopes = np.zeros(5), []
            for k in range(-1, len(slots)):
                moved = scores + 1j * STEP * (np.arange(len(slots)) == k)
                own = SCORES[gold] + 1j * STEP * (k < 0)
                slope = np.imag(value(own, moved, copies[labels])) / STEP
                row[gold if k < 0 else labels[k]] += slope
                slopes.append(slope + (k < 0))
            chances.append(float(chance))
            rows.append(row)
            losses.append(value(SCORES[gold], scores, copies[labels]))
            coverage += chances[-1] * p[list({gold, *labels})].sum()
            squares += chances[-1] * (np.array(slopes) ** 2).sum()
    chance, row = np.array(chances), np.array(rows)
    gradient = chance @ row
    return SimpleNamespace(
        loss=chance @ np.array(losses),
        gradient=gradient,
        bias=p - POPULATION - gradient,
        variance=chance @ ((row - gradient) ** 2).sum(-1),
        coverage=coverage,
        effective_sample_size=1 / squares,
    )


def assert_listed(found, wanted, fields=("loss", "gradient", "bias", "variance", "coverage")):
    for field in fields:
        missed = np.abs(np.asarray(getattr(found, field)) - getattr(wanted, field))
        assert np.max(missed) < 1e-11, field
    assert found.status == "ok" and float(found.error) < 1e-11


@pytest.mark.parametrize("name", SUMS)
def test_every_moment_is_the_listed_one(name):
    found = nb.exact(problem_of(name), sampler_of(name), split=True)
    wanted = listed(name, infonce)
    assert_listed(found, wanted)
    assert float(found.effective_sample_size) == pytest.approx(
        wanted.effective_sample_size, rel=1e-11
    )
    parts = float(found.variance_negatives + found.variance_gold)
    assert parts == pytest.approx(float(found.variance), abs=1e-12)


def problem_of(name):
    """With the sides that are read."""
    read = {side: row for side, row in SIDES.items() if side in repr(sampler_of(name))}
    return nb.Problem(SCORES, POPULATION, popularity=Q, sides=read)


@pytest.mark.parametrize("name", ["fresh and old", "old and distinct"])
def test_xla_has_the_same(name):
    found = nb.exact(problem_of(name), sampler_of(name), compiled=True)
    assert_listed(found, listed(name, infonce))


@pytest.mark.parametrize("name", ["one age", "two ages", "old and distinct"])
def test_corrections_count_copies_of_every_age(name):
    """As cross-batch sampling corrects: by how often a label is drawn, whatever its age."""
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = nb.exact(problem_of(name), sampler_of(name), loss)
    assert_listed(found, listed(name, by_counts))


@pytest.mark.parametrize("name", ["one age", "fresh and old"])
def test_the_gold_outside_the_sum(name):
    """The lightest copy ends the integral there."""
    loss = nb.presets.PRESETS["negative_cache"](1).loss
    assert loss.name == "decoupled"
    assert_listed(nb.exact(problem_of(name), sampler_of(name), loss), listed(name, decoupled))


@pytest.mark.parametrize("name", ["one age", "one age, distinct"])
def test_one_age_goes_with_every_loss(name):
    found = nb.exact(problem_of(name), sampler_of(name), nb.negative_sampling)
    assert_listed(found, listed(name, logistic))
    sums = nb.LogSums("decoupled", nb.LogSum(1.0, lambda s: s), lambda s: -s)
    assert_listed(nb.exact(problem_of(name), sampler_of(name), sums), listed(name, decoupled))


# --- limits


@pytest.mark.parametrize("kind", ["old", "sum"])
def test_copies_of_today_are_labels(kind):
    problem = nb.Problem(SCORES, POPULATION, popularity=Q, sides={"now": SCORES})
    pool, more = drawn(3)[0], drawn(2, "mask")[0]
    old = nb.queue(pool, "now")
    sampler, plain = (old, pool) if kind == "old" else (old + more, pool + more)
    found = nb.exact(problem, sampler, split=True)
    wanted = nb.exact(nb.Problem(SCORES, POPULATION, popularity=Q), plain, split=True)
    for field in ("loss", "gradient", "variance", "variance_gold", "effective_sample_size"):
        mine, its = np.asarray(getattr(found, field)), np.asarray(getattr(wanted, field))
        np.testing.assert_allclose(mine, its, atol=1e-13, err_msg=field)


def test_a_shift_of_all_scores_of_all_ages_moves_nothing():
    moved = {name: row + 700.0 for name, row in SIDES.items()}
    far = nb.Problem(SCORES + 700.0, POPULATION, popularity=Q, sides=moved)
    near, shifted = (nb.exact(problem, sampler_of("three ages")) for problem in (PROBLEM, far))
    assert float(near.loss) == pytest.approx(float(shifted.loss), abs=1e-12)
    np.testing.assert_allclose(near.gradient, shifted.gradient, atol=1e-13)


def test_old_copies_that_weigh_nothing_leave_the_fresh_ones():
    gone = nb.Problem(SCORES, POPULATION, popularity=Q, sides={"one": np.full(5, -np.inf)})
    (pool, _), (more, _) = drawn(2, "exclude"), drawn(4)
    found, wanted = (
        nb.exact(gone, pool + nb.queue(more, "one")),
        nb.exact(nb.Problem(SCORES, POPULATION, popularity=Q), pool),
    )
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-13)
    assert float(found.variance) == pytest.approx(float(wanted.variance), abs=1e-13)


def test_the_query_sees_old_keys_and_the_keys_do_not():
    """Over the query's parameters, by a loop over slots: each copy pulls by its own old key."""
    key = np.random.default_rng(2).normal(size=(5, 3))
    query = np.array([0.5, -1.0, 0.3])
    problem = nb.Problem(key @ query, POPULATION, popularity=Q, sides={"one": key @ query})
    rows = nb.exact(problem, nb.queue(drawn(3)[0], "one")).gradient
    held = nb.ScoreModel(lambda theta, x: jax.lax.stop_gradient(jnp.asarray(key)) @ theta, query)
    pulled = nb.pull_back(held, jnp.zeros((1, 1)), jnp.asarray(rows)[None])
    np.testing.assert_allclose(pulled, np.asarray(rows) @ key, atol=1e-13)
    with pytest.raises(ValueError, match="'one' is neither of"):  # keys move there
        nb.gradient_bias(
            held, jnp.zeros((1, 1)), POPULATION[None], nb.queue(drawn(3)[0], "one"), popularity=Q
        )


# --- draws


def test_monte_carlo_agrees_and_fresh_scores_do_not():
    for name, loss in (("three ages", nb.infonce), ("two ages", nb.negative_sampling)):
        problem, sampler = problem_of(name), sampler_of(name)
        found = nb.monte_carlo(problem, sampler, loss, key=3, draws=20_000)
        truth = listed(name, infonce if loss is nb.infonce else logistic)
        for field in ("loss", "variance"):
            away = abs(float(getattr(found, field)) - getattr(truth, field))
            assert away < 4.5 * float(found.standard_errors[field]), (name, field)
        today = {side: SCORES for side in problem.sides}
        same = nb.Problem(SCORES, POPULATION, popularity=Q, sides=today)
        other = nb.monte_carlo(same, sampler, loss, key=3, draws=20_000)
        apart = np.abs(np.asarray(found.gradient - other.gradient)).max()
        assert apart > 9 * float(found.error), name


def test_a_sampler_is_checked_by_its_labels():
    for name in ("one age", "fresh and old"):
        asked = {"key": jax.random.key(1), "draws": 4000}
        assert nb.check_sampler(problem_of(name), sampler_of(name), **asked).ok


# --- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nb.queue(nb.uniform(), "one"), "pool: got uniform"),
        (
            lambda: nb.best_of(drawn(1)[0] + nb.queue(drawn(2)[0], "one"), 1),
            "pool: iid(popularity, m=1, hits='keep') + queue(iid(popularity, m=2, hits='keep'), "
            "one) draws old copies, with scores of their own; expected a sampler of labels. Choose",
        ),
        (lambda: nb.resampled(nb.queue(drawn(2)[0], "one")), "pool: queue(iid(popularity, m=2,"),
        (lambda: nb.queue(nb.queue(drawn(2)[0], "one"), "two"), "pool: queue(iid(popularity, m="),
        (lambda: nb.unique(nb.queue(drawn(2)[0], "one")), "sampler: queue(iid(popularity, m=2,"),
        (lambda: nb.either([(nb.queue(drawn(2)[0], "one"), 1.0)]), "lots: queue(iid(popularity,"),
        (lambda: nb.queue(drawn(2)[0], None), "scores: got None; expected the name of a side"),
        (lambda: nb.queue(drawn(2)[0], 1.0), "scores: got 1.0; expected a function of scores,"),
        (
            lambda: nb.exact(PROBLEM, sampler_of("two ages"), nb.negative_sampling),
            "loss: negative_sampling has a function of each score to take, and negatives of one "
            "label have scores of several ages; expected a softmax over the candidates",
        ),
        (
            lambda: nb.exact(PROBLEM, sampler_of("two ages"), nb.psl()),
            "loss: psl(temperature=0.1) has a function of each score to take",
        ),
        (
            lambda: nb.exact(
                nb.Problem(SCORES, POPULATION, popularity=Q),
                nb.queue(drawn(2)[0], lambda scores, popularity: jnp.log(scores)),
            ),
            "scores <lambda>: nan at the label 2 of input 0; expected the score of an old copy",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)
