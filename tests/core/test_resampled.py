"""Draws by weight from a pool: against all pools and draws listed, limits, draws, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._reads import Seen, bind
from tests.core.test_best_of import (
    POOLS,
    POPULATION,
    PROBLEM,
    SCORES,
    Q,
    p_value,
    pairs_listed,
)
from tests.core.test_loss_family import assert_enumerated
from tests.core.test_samplers import LEVEL
from tests.oracles.enumeration import enumerate_moments

LOG_R = np.array([0.3, 2.0, -1.0, 0.5, 1.2])
SIDED = nb.Problem(SCORES, POPULATION, popularity=Q, sides={"other": LOG_R})
#: A pool, how many it has, how many are drawn from it.
LISTED = [
    *((kind, 3, 1) for kind in POOLS),
    *((kind, 3, 2) for kind in ("exclude", "keep", "mask", "rows")),
    ("keep", 1, 3),
    ("exclude", 2, 3),
]


def resampled(kind, of, m, log_r=LOG_R):
    pool, spec = POOLS[kind](of)
    weights = np.broadcast_to(np.exp(log_r), (5, 5))
    return nb.resampled(pool, "other", m), ("resampled", None, m, spec, weights)


@pytest.mark.parametrize(("kind", "of", "m"), LISTED)
@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
def test_every_moment_is_the_enumerated_one(kind, of, m, name):
    sampler, spec = resampled(kind, of, m)
    found = nb.exact(SIDED, sampler, nb.LOSSES[name], split=True, compiled=False)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name))
    assert found.status == "ok" and float(found.error) < 1e-12
    assert sampler.may_be_empty == ("mask" in repr(sampler))


@pytest.mark.parametrize(("kind", "m"), [("exclude", 1), ("mask", 2), ("distinct", 1)])
def test_xla_has_the_same(kind, m):
    sampler, spec = resampled(kind, 3, m)
    found = nb.exact(SIDED, sampler, compiled=True)
    wanted = enumerate_moments(SCORES, POPULATION, spec)
    for field in ("loss", "gradient", "variance", "coverage"):
        missed = np.abs(np.asarray(getattr(found, field)) - getattr(wanted, field))
        assert np.max(missed) < 1e-12, field


@pytest.mark.parametrize("m", [1, 2])
def test_what_is_read_is_weighed(m):
    """Scores less log q, and a weight that reads the gold."""
    pool, spec = POOLS["keep"](3)

    def corrected(scores, popularity):
        return scores - jnp.log(popularity)

    def near(scores, gold):
        return -abs(scores - scores[gold])

    for weight, log_r in (
        (None, SCORES),
        (corrected, SCORES - np.log(Q)),
        (near, -np.abs(SCORES[None, :] - SCORES[:, None])),
    ):
        weights = np.broadcast_to(np.exp(log_r), (5, 5))
        found = nb.exact(PROBLEM, nb.resampled(pool, weight, m), split=True)
        listed = ("resampled", None, m, spec, weights)
        assert_enumerated(found, enumerate_moments(SCORES, POPULATION, listed))


def test_a_coarse_rule_says_what_it_costs():
    for loss in (nb.infonce, nb.negative_sampling, nb.bpr):
        for m in (1, 2):
            sampler = resampled("keep", 3, m)[0]
            fine, coarse = (nb.exact(SIDED, sampler, loss, tolerance=t) for t in (2e-14, 1e-3))
            missed = np.abs(np.asarray(coarse.gradient - fine.gradient)).max()
            assert 1e-9 < missed < float(coarse.error) < 0.02, (loss, m)


@pytest.mark.parametrize(("kind", "m"), [("keep", 1), ("exclude", 1), ("keep", 2), ("exclude", 2)])
def test_pairs_with_the_gold(kind, m):
    """Whose second moment needs derivatives at z = 0."""
    sampler, spec = resampled(kind, 3, m)
    found = nb.exact(SIDED, sampler, nb.bpr)
    loss, gradient, variance = pairs_listed(spec, SCORES, POPULATION)
    assert float(found.loss) == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-12)
    assert float(found.variance) == pytest.approx(variance, abs=1e-11)


@pytest.mark.parametrize("m", [1, 2])
def test_corrections_take_off_the_law_of_a_draw(m):
    sampler, (_, _, _, pool, weights) = resampled("keep", 3, m)
    gamma = np.array([law_of_one("keep", 3, gold=0)[y] for y in range(5)])
    spec = ("resampled", gamma, m, pool, weights)
    for name in ("sampled_softmax", "ranking_nce", "binary_nce"):
        found = nb.exact(SIDED, sampler, nb.LOSSES[name], split=True)
        assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name))
    counted = nb.exact(SIDED, sampler, nb.with_inclusion(nb.sampled_softmax), split=True)
    plain = nb.exact(SIDED, sampler, nb.sampled_softmax, split=True)
    np.testing.assert_allclose(counted.gradient, plain.gradient, atol=1e-13)
    of_pool = nb.exact(PROBLEM, POOLS["keep"](3)[0], nb.sampled_softmax)
    assert np.abs(np.asarray(of_pool.gradient - plain.gradient)).max() > 1e-2


def law_of_one(kind, of, gold):
    """P(y is drawn) by listing, for one draw."""
    from tests.oracles.drawing import draws

    chance, labels = draws(resampled(kind, of, 1)[1], gold, SCORES)
    return [float(chance[labels[:, 0] == y].sum()) for y in range(5)]


# --- limits and closed forms


def test_a_large_pool_tends_to_the_model_like_one_over_its_size():
    """With r = e^s / q; at 1024 members the distance is that of the expansion to three digits."""

    def corrected(scores, popularity):
        return scores - jnp.log(popularity)

    def away(of):
        pool = nb.iid(nb.popularity(), of, "keep")
        one = nb.resampled(pool, corrected)
        law = one.sized(PROBLEM, 1e-14).law(PROBLEM.score_rows[0], PROBLEM.popularity)
        return np.exp(np.asarray(law.log_proposal()[0])) - np.exp(np.asarray(PROBLEM.log_model))

    p = np.exp(np.asarray(PROBLEM.log_model))
    bend = (p**2 / Q).sum()  # the delta method: M (gamma - p) tends to p (sum p^2/q - p/q)
    np.testing.assert_allclose(away(1), Q - p, atol=1e-14)
    np.testing.assert_allclose(1024 * away(1024), p * (bend - p / Q), rtol=0.02)
    assert np.abs(away(256)).max() > 3.9 * np.abs(away(1024)).max() > 1e-4


def test_the_integral_of_one_is_the_selection_of_a_softmax():
    """The gold not in it: weights r in place of e^s / q, hits kept."""
    pool = nb.iid(nb.popularity(), 7, "keep")

    def corrected(scores, popularity):
        return scores - jnp.log(popularity)

    selected = nb.exact(PROBLEM, pool, nb.self_normalized).selection
    one = nb.resampled(pool, corrected).sized(PROBLEM, 1e-14)
    law = one.law(PROBLEM.score_rows[0], PROBLEM.popularity)
    np.testing.assert_allclose(np.exp(np.asarray(law.log_proposal()[0])), selected, atol=1e-14)


def test_weights_alike_and_one_draw_are_the_pool_itself():
    def alike(scores, popularity):
        return 0 * scores

    for pool in (nb.iid(nb.popularity(), 5), nb.without_replacement(nb.uniform(), 3)):
        one = nb.exact(PROBLEM, nb.resampled(pool, alike), split=True)
        q = nb.popularity() if "popularity" in repr(pool) else nb.uniform()
        plain = nb.exact(PROBLEM, nb.iid(q, 1), split=True)
        for field in ("loss", "gradient", "variance", "coverage"):
            mine, its = np.asarray(getattr(one, field)), np.asarray(getattr(plain, field))
            np.testing.assert_allclose(mine, its, atol=1e-12, err_msg=field)


def test_weights_far_apart_are_the_best_of_the_pool():
    def steep(scores, popularity):
        return 60 * scores

    pool = nb.iid(nb.popularity(), 6)
    found, best = (nb.exact(PROBLEM, s) for s in (nb.resampled(pool, steep), nb.best_of(pool, 1)))
    np.testing.assert_allclose(found.gradient, best.gradient, atol=1e-12)
    thrice = nb.exact(PROBLEM, nb.resampled(pool, steep, 3))  # one label three times
    assert float(thrice.loss) > float(found.loss) + 0.5


# --- draws

COUNT = 20_000


@functools.cache
def sets_drawn(kind, m, gold):
    sampler = resampled(kind, 3, m)[0]
    seen = Seen(jnp.asarray(0), {"other": jnp.asarray(LOG_R)})
    law = bind(sampler, seen, jnp.asarray(gold)).law(jnp.asarray(SCORES), jnp.asarray(Q))
    keys = jax.random.split(jax.random.key(3), COUNT)
    labels, present = jax.jit(jax.vmap(lambda key: law.draw(key, jnp.asarray(gold))))(keys)
    return np.where(present, labels, -1)


@pytest.mark.parametrize(("kind", "m"), [("exclude", 2), ("mask", 2), ("keep", 1), ("distinct", 2)])
def test_sets_are_drawn_with_their_probabilities(kind, m):
    labels = sets_drawn(kind, m, 1)
    assert p_value(labels, resampled(kind, 3, m)[1], 1) > LEVEL
    assert p_value(labels, resampled(kind, 3, m, LOG_R / 2)[1], 1) < LEVEL


def test_two_draws_of_one_pool_are_no_two_pools():
    sampler, spec = resampled("exclude", 3, 1)
    twice = sampler + sampler
    found = nb.exact(SIDED, twice, split=True)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, ("concat", [spec, spec])))
    assert p_value(sets_drawn("exclude", 2, 1), ("concat", [spec, spec]), 1) < LEVEL


def test_any_pool_is_known_by_sampling():
    sampler, spec = resampled("distinct", 3, 2)
    found = nb.monte_carlo(SIDED, sampler, key=3, draws=20_000)
    sigma = found.standard_errors["loss"]
    wanted = enumerate_moments(SCORES, POPULATION, spec)
    other = enumerate_moments(SCORES, POPULATION, POOLS["distinct"](2)[1])
    assert abs(float(found.loss) - wanted.loss) < 4.5 * sigma < abs(float(found.loss) - other.loss)
    with pytest.raises(nb.NoExactMethod) as refused:
        nb.exact(SIDED, sampler)
    assert str(refused.value) == (
        "resampled(without_replacement(uniform, m=3), other, m=2) has no exact moments: several "
        "draws from one pool have them where it is independent draws (nb.iid, nb.in_batch of "
        "independent rows). Take m = 1, or nb.monte_carlo(problem, sampler, loss, key=key, "
        "draws=100_000)."
    )


@pytest.mark.parametrize("m", [1, 3])
def test_a_sampler_is_checked_by_its_copies(m):
    asked = {"key": jax.random.key(1), "draws": 4000}
    sampler = resampled("exclude", 6, m)[0]
    assert nb.check_sampler(SIDED, sampler, **asked).ok
    plain = nb.iid(nb.popularity(), m)

    @jax.jit
    def unweighted(key, scores, popularity, gold):
        return bind(plain, Seen(jnp.asarray(0), {}), gold).law(scores, popularity).draw(key, gold)

    assert not nb.check_sampler(SIDED, sampler, draw=unweighted, **asked).ok


# --- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nb.resampled(nb.iid(nb.uniform(), 3), m=0), "m: got 0; expected a whole number"),
        (lambda: nb.resampled(nb.uniform()), "pool: got uniform"),
        (
            lambda: nb.resampled(nb.iid(nb.uniform(), 3), 1.0),
            "weight: got 1.0; expected a function of scores, popularity, gold or sides, or the "
            "name of a side. For example weight='generator', or",
        ),
        (
            lambda: nb.exact(
                PROBLEM,
                nb.resampled(nb.iid(nb.uniform(), 3), lambda scores, popularity: jnp.log(scores)),
            ),
            "weight <lambda>: returned nan for the label 2 of input 0; expected the logarithm of a "
            "weight for each label, a finite number.",
        ),
        (
            lambda: nb.exact(PROBLEM, nb.resampled(nb.iid(nb.uniform(), 3), "stale")),
            "proposal stale: reads 'stale', and 'stale' is neither of",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_what_would_not_fit_is_refused():
    many = nb.Problem(np.zeros(40_000), np.eye(1, 40_000)[0])
    with pytest.raises(nb.NoExactMethod, match="for each of 40000 labels and 33 coefficients"):
        nb.exact(many, nb.resampled(nb.iid(nb.uniform(), 64, "keep"), m=32))
