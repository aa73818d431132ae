"""The best of a pool: against all pools listed, closed forms, draws, refusals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import nce_bias as nb
from nce_bias._reads import Seen, bind
from nce_bias.samplers._best_of_draws import gauss_nodes
from tests.core.test_loss_family import assert_enumerated
from tests.core.test_samplers import LEVEL
from tests.oracles.drawing import draws, outcomes
from tests.oracles.enumeration import enumerate_moments
from tests.refusals import refusal

SCORES = np.array([0.2, 1.3, -0.4, -2.1, 0.7])
POPULATION = np.array([0.3, 0.05, 0.35, 0.2, 0.1])
Q = np.array([0.1, 0.36, 0.24, 0.18, 0.12])
SIDE = np.array([0.5, -1.0, 0.5, 0.0, 0.2])  # two labels tie
PROBLEM = nb.Problem(SCORES, POPULATION, popularity=Q)
UNIFORM = np.full(5, 0.2)
BY_SCORE = np.tile(SCORES, (5, 1))


def draws_from(hits):
    """A pool of independent draws and what the oracle calls it."""
    return lambda m: (nb.iid(nb.from_probabilities(Q), m, hits), ("iid", Q, m, hits))


def distinct(m):
    return nb.without_replacement(nb.uniform(), m), ("without_replacement", UNIFORM, m)


def rows(hits):
    return lambda m: (nb.in_batch(m + 1, hits=hits), ("batch", Q, m, hits, 1, None))


def each_once(m):
    counts = [1, 1, 1, 1, 1]
    return nb.in_batch(m + 1, counts=counts), ("batch", UNIFORM, m, "keep", 1, counts)


POOLS = {
    "exclude": draws_from("exclude"),
    "mask": draws_from("mask"),
    "keep": draws_from("keep"),
    "distinct": distinct,
    "rows": rows("keep"),
    "rows, masked": rows("mask"),
    "epoch": each_once,
}
LISTED = [
    *itertools.product(("exclude", "mask", "keep"), ((2, 1), (3, 2), (5, 2))),
    *itertools.product(("distinct", "epoch"), ((2, 1), (3, 2), (3, 1))),
    *itertools.product(("rows", "rows, masked"), ((4, 3),)),
]
CORRECTED = [("keep", "ranking_nce"), ("exclude", "sampled_softmax"), ("mask", "binary_nce")]


def best(kind, sizes, key=BY_SCORE):
    pool, spec = POOLS[kind](sizes[0])
    return pool, ("best_of", spec[1], sizes[1], spec, key)


@pytest.mark.parametrize(("kind", "sizes"), LISTED)
@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
def test_every_moment_is_the_enumerated_one(kind, sizes, name):
    pool, spec = best(kind, sizes)
    found = nb.exact(PROBLEM, nb.best_of(pool, sizes[1]), nb.LOSSES[name], split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name))
    assert found.status == "ok" and float(found.error) < 1e-11
    plain = nb.exact(PROBLEM, POOLS[kind](sizes[1])[0], nb.LOSSES[name])
    assert abs(float(plain.loss - found.loss)) > 1e-2  # a pool of m, of which none is chosen


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["exclude", "keep"])
def test_numpy_and_xla_agree(kind, compiled):
    pool, spec = best(kind, (4, 2))
    found = nb.exact(PROBLEM, nb.best_of(pool, 2), split=True, compiled=compiled)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


@pytest.mark.parametrize(("kind", "name"), CORRECTED)
def test_corrections_are_by_the_pool(kind, name):
    pool, spec = best(kind, (3, 2))
    found = nb.exact(PROBLEM, nb.best_of(pool, 2), nb.LOSSES[name], split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name))


@pytest.mark.parametrize("kind", ["exclude", "keep", "distinct"])
def test_corrections_by_expected_copies(kind):
    pool, spec = best(kind, (3, 2))
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = nb.exact(PROBLEM, nb.best_of(pool, 2), loss, split=True)
    wanted = enumerate_moments(SCORES, POPULATION, spec, "sampled_softmax", inclusion=True)
    assert_enumerated(found, wanted)


def pairs_listed(spec, scores, population):
    """Loss, gradient and variance of -log sigma(s_gold - s_y) over all sets."""
    rows, chances, loss = [], [], 0.0
    for gold in range(len(scores)):
        for chance, labels in outcomes(spec, gold, scores):
            row = np.zeros(len(scores))
            for y in labels:
                picked = 1 / (1 + np.exp(scores[gold] - scores[y]))
                row[y] += picked
                row[gold] -= picked
                loss += population[gold] * chance * np.log1p(np.exp(scores[y] - scores[gold]))
            rows.append(row)
            chances.append(population[gold] * chance)
    mean = np.array(chances) @ np.array(rows)
    return loss, mean, np.array(chances) @ ((np.array(rows) - mean) ** 2).sum(axis=1)


@pytest.mark.parametrize("kind", ["exclude", "mask", "keep", "distinct"])
def test_bpr_of_the_best(kind):
    """Pairs with the gold, whose second moment needs derivatives at z = 0."""
    pool, spec = best(kind, (3, 2))
    found = nb.exact(PROBLEM, nb.best_of(pool, 2), nb.bpr)
    loss, gradient, variance = pairs_listed(spec, SCORES, POPULATION)
    assert float(found.loss) == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)
    assert float(found.variance) == pytest.approx(variance, abs=1e-11)


# --- other packages


def test_hard_negatives_of_recommenders_libraries():
    """Enumerated over all batches of four by the libraries themselves, in float32.

    TensorFlow Recommenders 0.7.7 and Keras RS 0.4.0 with one hard negative give the same; the
    former also with two, log q off all, hits removed.
    """
    problem = nb.Problem(
        [[0.8, -0.3, 0.4, -1.1], [-0.5, 0.9, 0.2, 0.1]],
        [[0.5, 0.1, 0.3, 0.1], [0.2, 0.3, 0.1, 0.4]],
        weights=[0.6, 0.4],
        popularity=[0.38, 0.18, 0.22, 0.22],
    )
    one = nb.exact(problem, nb.best_of(nb.in_batch(4), 1))
    row = [0.217868756, -0.0534696436, -0.0818136961, -0.0825854133]
    assert float(one.loss) == pytest.approx(0.880219091, rel=3e-6)
    np.testing.assert_allclose(one.gradient[0], row, atol=3e-6)

    def corrected(scores, popularity):
        return scores - jnp.log(popularity)

    rows = nb.in_batch(4, hits="mask")
    two = nb.exact(problem, nb.best_of(rows, 2, by=corrected), nb.ranking_nce)
    assert float(two.loss) == pytest.approx(0.999217578, rel=3e-6)
    by_score = nb.exact(problem, nb.best_of(rows, 2), nb.ranking_nce)
    assert abs(float(by_score.loss - two.loss)) > 1e-3


# --- keys


def test_a_key_that_ties_reads_a_side():
    sided = nb.Problem(SCORES, POPULATION, popularity=Q, sides={"other": SIDE})
    for kind in ("exclude", "distinct"):
        pool, spec = best(kind, (3, 2), np.tile(SIDE, (5, 1)))
        found = nb.exact(sided, nb.best_of(pool, 2, by="other"), split=True)
        assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))
    turned = np.tile(SIDE - [1e-3, 0, 0, 0, 0], (5, 1))  # the tie broken the other way
    wrong = enumerate_moments(SCORES, POPULATION, best("exclude", (3, 2), turned)[1])
    pool = POOLS["exclude"](3)[0]
    assert abs(float(nb.exact(sided, nb.best_of(pool, 2, by="other")).loss) - wrong.loss) > 1e-3


@pytest.mark.parametrize("kind", ["keep", "exclude", "distinct"])
def test_a_key_that_reads_the_gold(kind):
    def near(scores, gold):
        return -abs(scores - scores[gold])

    key = -np.abs(SCORES[None, :] - SCORES[:, None])
    pool, spec = best(kind, (3, 2), key)
    found = nb.exact(PROBLEM, nb.best_of(pool, 2, by=near), split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


def test_a_corrected_score_is_a_key():
    def corrected(scores, popularity):
        return scores - jnp.log(popularity)

    pool, spec = best("rows, masked", (3, 2), np.tile(SCORES - np.log(Q), (5, 1)))
    found = nb.exact(PROBLEM, nb.best_of(pool, 2, by=corrected), nb.ranking_nce, split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, "ranking_nce"))


# --- closed forms


def test_the_best_one_is_a_draw_from_a_proposal():
    """(1 - u)^M - (1 - u')^M, for a pool far larger than can be listed."""
    order = np.argsort(-SCORES)
    u = np.concatenate([[0], np.cumsum(Q[order])])
    chance = np.empty(5)
    chance[order] = (1 - u[:-1]) ** 40 - (1 - u[1:]).clip(0) ** 40
    pool = nb.iid(nb.from_probabilities(Q), 40, "keep")
    one = nb.iid(nb.from_probabilities(chance), 1, "keep")
    found, wanted = (nb.exact(PROBLEM, s, split=True) for s in (nb.best_of(pool, 1), one))
    for field in ("loss", "gradient", "variance", "variance_gold", "coverage"):
        mine, its = np.asarray(getattr(found, field)), np.asarray(getattr(wanted, field))
        np.testing.assert_allclose(mine, its, atol=1e-12, err_msg=field)


def test_a_whole_pool_is_itself_and_all_labels_are_the_top():
    pool = nb.iid(nb.uniform(), 5)
    assert nb.best_of(pool, 5) is pool
    every = nb.best_of(nb.without_replacement(nb.uniform(), 4), 2)
    found, top = (nb.exact(PROBLEM, s, split=True) for s in (every, nb.top(2)))
    np.testing.assert_allclose(found.gradient, top.gradient, atol=1e-12)
    assert abs(float(found.variance_negatives)) < 1e-12


def test_a_large_pool_of_draws_is_the_same_one_over_few_labels():
    """Labels cut in equal pieces change nothing but the rule, of fewer nodes each."""
    pieces, pool = 50, 64
    scores, shares, q = (np.repeat(row, pieces) for row in (SCORES, POPULATION, Q))
    many = nb.Problem(scores, shares / pieces, popularity=q / pieces)
    few, fine = (
        nb.exact(problem, nb.best_of(nb.iid(nb.popularity(), pool, "keep"), 8), split=False)
        for problem in (PROBLEM, many)
    )
    longest = float(Q.max()) / pieces
    assert gauss_nodes(pool, longest, 1e-16) < 10 < gauss_nodes(pool, 0.4, 1e-16) <= pool / 2
    assert float(few.loss) == pytest.approx(float(fine.loss), abs=1e-12)
    summed = np.asarray(fine.selection).reshape(5, pieces).sum(axis=1)
    np.testing.assert_allclose(few.selection, summed, atol=1e-12)


@pytest.mark.parametrize("of", [7, 64, 301])
def test_the_bound_of_the_rule_is_one(of):
    """Of the densities themselves, whose integral is 1, with cuts that are no node's friends."""
    for longest in (0.3, 0.05, 0.004):
        nodes = gauss_nodes(of, longest, 1e-9)
        at, weights = np.polynomial.legendre.leggauss(nodes)
        edges = np.append(np.arange(0, 1, longest), 1.0)
        h = np.diff(edges)[:, None]
        u = edges[:-1, None] + h * (1 + at) / 2
        for m in (1, of // 3, of - 1):
            total = (h / 2 * weights * stats.beta.pdf(u, m + 1, of - m)).sum()
            assert abs(total - 1) < 2e-9


@pytest.mark.parametrize("kind", ["exclude", "mask", "keep"])
def test_the_chance_to_be_chosen(kind):
    pool, spec = best(kind, (4, 2))
    found = nb.exact(PROBLEM, nb.best_of(pool, 2))
    wanted = enumerate_moments(SCORES, POPULATION, spec)
    assert float(found.coverage) == pytest.approx(wanted.coverage, abs=1e-13)


# --- draws

COUNT = 20_000


@functools.cache
def sets_drawn(kind, gold, by=None):
    """Sets `[COUNT, 2]` of the best 2 of 3, -1 where a draw was dropped."""
    sided = nb.best_of(POOLS[kind](3)[0], 2, by=by)
    bound = bind(sided, Seen(jnp.asarray(0), {"other": jnp.asarray(SIDE)}), jnp.asarray(gold))
    law = bound.law(jnp.asarray(SCORES), jnp.asarray(Q))
    keys = jax.random.split(jax.random.key(3), COUNT)
    labels, present = jax.jit(jax.vmap(lambda key: law.draw(key, jnp.asarray(gold))))(keys)
    return np.where(present, labels, -1)


def p_value(labels, spec, gold, scores=SCORES):
    """Of drawn sets, against those listed; 0 where one is impossible."""
    chance, listed = draws(spec, gold, scores)
    sets, place = np.unique(np.sort(listed, axis=1), axis=0, return_inverse=True)
    law = np.bincount(place.ravel(), weights=chance.astype(float))
    code = {tuple(row): i for i, row in enumerate(sets)}
    found = [code.get(tuple(row), -1) for row in np.sort(labels, axis=1)]
    if min(found) < 0:
        return 0.0
    observed = np.bincount(found, minlength=len(law))
    return stats.chisquare(observed, law / law.sum() * len(labels)).pvalue


@pytest.mark.parametrize("kind", POOLS)
def test_sets_are_drawn_with_their_probabilities(kind):
    for gold in (0, 2):
        assert p_value(sets_drawn(kind, gold), best(kind, (3, 2))[1], gold) > LEVEL


def test_ties_are_drawn_as_the_law_has_them():
    labels = sets_drawn("exclude", 3, "other")
    as_said, turned = (np.tile(SIDE - [less, 0, 0, 0, 0], (5, 1)) for less in (0, 1e-3))
    assert p_value(labels, best("exclude", (3, 2), as_said)[1], 3) > LEVEL
    assert p_value(labels, best("exclude", (3, 2), turned)[1], 3) < LEVEL


@pytest.mark.parametrize(
    ("kind", "claimed"), [("mask", "exclude"), ("keep", "mask"), ("distinct", "exclude")]
)
def test_another_law_is_rejected(kind, claimed):
    assert p_value(sets_drawn(kind, 0), best(claimed, (3, 2))[1], 0) < LEVEL


def test_any_pool_is_known_by_sampling():
    """Two kinds of draws together have no exact law; and the pool itself is told apart."""
    pool, spec = nb.without_replacement(nb.popularity(), 3), ("without_replacement", Q, 3)
    sampler = nb.best_of(pool + nb.iid(nb.uniform(), 1, "mask"), 2)
    both = ("concat", [spec, ("iid", UNIFORM, 1, "mask")])
    found = nb.monte_carlo(PROBLEM, sampler, key=3, draws=20_000)
    wanted, worst = (
        enumerate_moments(SCORES, POPULATION, ("best_of", None, 2, both, key))
        for key in (BY_SCORE, -BY_SCORE)
    )
    sigma = found.standard_errors["loss"]
    assert abs(float(found.loss) - wanted.loss) < 4.5 * sigma
    assert abs(float(found.loss) - worst.loss) > 4.5 * sigma
    with pytest.raises(nb.NoExactMethod) as refused:
        nb.exact(PROBLEM, nb.best_of(nb.poisson(nb.uniform(), 3), 2))
    assert str(refused.value) == (
        "best_of(poisson(uniform, m=3), m=2) has no exact moments: the pool is neither independent "
        "draws (nb.iid, nb.in_batch of independent rows) nor distinct labels "
        "(nb.without_replacement, rows of an epoch that do not repeat). Use "
        "nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000)."
    )


def test_a_sampler_is_checked_by_its_copies():
    sampler, other = (nb.best_of(nb.iid(nb.popularity(), of), 2) for of in (6, 4))
    asked = {"key": jax.random.key(1), "draws": 4000}
    report = nb.check_sampler(PROBLEM, sampler, **asked)
    assert report.ok
    frame = report.to_frame().set_index("name")
    assert "none of its slots" in frame.loc["frequencies", "remedy"].iloc[0]

    @jax.jit
    def of_fewer(key, scores, popularity, gold):
        law = bind(other, Seen(jnp.asarray(0), {}), gold).law(scores, popularity)
        return law.draw(key, gold)

    assert not nb.check_sampler(PROBLEM, sampler, draw=of_fewer, **asked).ok


# --- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nb.best_of(nb.iid(nb.uniform(), 3), 4),
            "m: got 4 of a pool of 3; expected m at most the size of the pool. Draw a larger pool, "
            "or fewer of it.",
        ),
        (lambda: nb.best_of(nb.iid(nb.uniform(), 3), 0), "m: got 0; expected a whole number >= 1"),
        (
            lambda: nb.best_of(nb.iid(nb.uniform(), 3), 2, by=1.0),
            "by: got 1.0; expected a function of scores, popularity, gold or sides, or the name of "
            "a side. For example by='stale', or by=lambda scores, popularity: scores - "
            "jnp.log(popularity).",
        ),
        (
            lambda: nb.exact(
                PROBLEM, nb.best_of(nb.iid(nb.uniform(), 3), 2, by=lambda scores, popularity: 1.0)
            ),
            "by <lambda>: returned shape (); expected [V] = (5,). Return one number per label, for "
            "one input at a time.",
        ),
        (
            lambda: nb.exact(
                PROBLEM,
                nb.best_of(
                    nb.iid(nb.uniform(), 3), 2, by=lambda scores, popularity: jnp.log(scores)
                ),
            ),
            "by <lambda>: returned NaN for input 0; expected numbers, the largest the best; -inf "
            "for a label that comes last. Guard its logarithms and divisions; nothing was "
            "computed.",
        ),
    ],
)
def test_refused(call, message):
    assert refusal(call).startswith(message)


def test_a_name_that_is_no_side():
    sampler = nb.best_of(nb.iid(nb.uniform(), 3), 2, by="stale")
    message = refusal(lambda: nb.exact(PROBLEM, sampler))
    assert "'stale' is neither of" in message and "nor a side of the problem" in message
    assert refusal(lambda: nb.best_of(nb.uniform(), 2)).startswith("pool: got uniform")
