"""Sums of log-sums: every moment against enumeration, by complex steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine import plan
from tests import cases
from tests.oracles.any_loss import enumerate_any

#: Few golds: each is asked alone.
SCORES, POPULATION, Q = cases.SCORES[0], np.array([0.3, 0.0, 0.6, 0.1, 0.0]), cases.FIXED_Q
PROPOSAL = nb.from_probabilities(Q)
PROBLEM = nb.Problem(SCORES, POPULATION)
LABELS = len(SCORES)
SAMPLERS = {
    "exclude": (nb.iid(PROPOSAL, 3), ("iid", Q, 3, "exclude")),
    "mask": (nb.iid(PROPOSAL, 3, "mask"), ("iid", Q, 3, "mask")),
    "keep": (nb.iid(PROPOSAL, 3, "keep"), ("iid", Q, 3, "keep")),
    "distinct": (nb.without_replacement(PROPOSAL, 2), ("without_replacement", Q, 2)),
    "poisson": (nb.poisson(PROPOSAL, 2), ("poisson", Q, 2)),
    "top": (nb.top(2), ("top", 2)),
    "sum": (
        nb.top(1) + nb.iid(PROPOSAL, 2, "keep"),
        ("concat", [("top", 1), ("iid", Q, 2, "keep")]),
    ),
}
FIELDS = ("loss", "gradient", "bias", "variance", "variance_negatives", "variance_gold")


def same(score):
    return score


def log_total(gold, negatives):
    return np.log(np.exp(gold) + np.exp(negatives).sum())


def without_each(gold, negatives):
    return sum(log_total(gold, np.delete(negatives, k)) for k in range(len(negatives)))


def blackout(g, n, c, q):
    """From its definition: the logarithms of one candidate's chance and of all others' misses."""
    g, n = g - np.log(q[0]), n - np.log(q[1])
    chances = np.exp(n - log_total(g, n))
    return log_total(g, n) - g - np.log(1 - chances).sum()


def jackknifed(g, n, c, q):
    n, m = n - np.log(q[1]), len(n)
    every = log_total(g, n - np.log(m))
    return -g + m * every - (m - 1) * without_each(g, n - np.log(m - 1)) / m


def clipped(g, n, c, q):
    n = np.where(n.real > 1, 1, np.where(n.real < -1, -1, n))
    return -g + np.log(np.exp(n).mean())


#: The library's, and the same from its definition: of the gold, negatives, log counts and q.
LOSSES = {
    "nce": (
        nb.LogSums("nce", nb.LogSum(1.0, same, same), lambda s: -s),
        lambda g, n, c, q: log_total(g, n) - g,
    ),
    "two": (
        nb.LogSums(
            "two",
            [nb.LogSum(1.0, lambda s: 2 * s, same), nb.LogSum(-0.5, lambda s: -0.5 * s)],
            lambda s: -s,
        ),
        lambda g, n, c, q: log_total(g, 2 * n) - 0.5 * np.log(np.exp(-0.5 * n).sum()) - g,
    ),
    "pairwise": (
        nb.LogSums(
            "pairwise",
            [
                nb.LogSum(1.0, lambda gold, negative: 1.5 * jax.nn.log_sigmoid(negative - gold)),
                nb.LogSum(-0.5, lambda negative, log_count: negative - log_count),
            ],
        ),
        lambda g, n, c, q: (
            np.log((1 + np.exp(g - n)) ** -1.5 @ np.ones(len(n)))
            - 0.5 * np.log(np.exp(n - c).sum())
        ),
    ),
    "first": (
        nb.LogSums(
            "first",
            [
                nb.LogSum(lambda m: m, same, same),
                nb.LogSum(-1.0, same, same, draws=lambda m: m - 1),
                nb.LogSum(0.3, same, same, leaves_one_out=True),
            ],
        ),
        lambda g, n, c, q: (
            len(n) * log_total(g, n) - log_total(g, n[:-1]) + 0.1 * without_each(g, n)
        ),
    ),
    "blackout": (nb.blackout, blackout),
    "jackknifed": (nb.jackknifed_softmax, jackknifed),
    "psl": (nb.psl(0.5), lambda g, n, c, q: np.log((1 + np.exp(g - n)) ** -2 @ np.ones(len(n)))),
    "smile": (nb.smile(1.0), clipped),
}


def expected(name, spec, **options):
    """q as the corrections have it: the gold's own, and a negative's given the gold."""

    def value(g, n, c):
        own = Q[np.argmin(np.abs(SCORES - g.real))]
        return LOSSES[name][1](g, n, c, (own, np.exp(c) / max(len(n), 1)))

    return enumerate_any(SCORES, POPULATION, spec, value, **options)


def check(found, enumerated):
    """Within `error`; second moments within 30 times that (`cases`) and 1e-10, for the plane."""
    for name in FIELDS:
        missed = np.abs(np.asarray(getattr(found, name)) - getattr(enumerated, name))
        assert np.max(missed) < (1e-10 + 30 * found.error if "variance" in name else found.error), (
            name
        )
    assert found.error < 1e-9


@pytest.mark.parametrize("kind", ["exclude", "keep"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_moment_is_the_enumerated_one(name, kind):
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True)
    check(found, expected(name, spec))
    assert found.status == "ok" and np.isnan(found.effective_sample_size)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("nce", "mask"), ("nce", "poisson"), ("two", "top"), ("two", "sum"), ("two", "distinct")],
)
def test_with_every_kind_of_sampler(name, kind):
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True, tolerance=1e-11)
    check(found, expected(name, spec))


def test_pairwise_without_replacement():
    """The covariance of the copies is a derivative by JAX there; one log-sum, so no plane."""
    sampler, spec = SAMPLERS["distinct"]
    found = nb.exact(PROBLEM, sampler, LOSSES["psl"][0], tolerance=1e-11)
    check(found, expected("psl", spec))


def test_which_draws_are_left_out_moves_second_moments_alone():
    """The first m - 1 draws, or the mean over all m - 1: one expectation, two variances."""
    sampler = SAMPLERS["keep"][0]
    first = nb.LogSums("first", nb.LogSum(1.0, same, same, draws=lambda m: m - 1))
    mean = nb.LogSums("mean", nb.LogSum(1.0, same, same, leaves_one_out=True))
    one, other = (nb.exact(PROBLEM, sampler, loss, split=True) for loss in (first, mean))
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-14)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-14)
    assert one.variance > other.variance + 0.01


@pytest.mark.parametrize(("name", "kind"), [("blackout", "keep"), ("pairwise", "exclude")])
def test_over_parameters(name, kind):
    sampler, spec = SAMPLERS[kind]
    jacobian = np.random.default_rng(0).normal(size=(LABELS, 3))
    model = nb.ScoreModel(lambda theta, x: jnp.asarray(SCORES) + jacobian @ theta, jnp.zeros(3))
    found = nb.gradient_bias(model, jnp.zeros((1, 1)), POPULATION[None], sampler, LOSSES[name][0])
    enumerated = expected(name, spec, jacobian=jacobian)
    assert float(found.variance) == pytest.approx(enumerated.variance, rel=1e-10)
    np.testing.assert_allclose(found.bias, enumerated.bias @ jacobian, atol=1e-12)


def test_monte_carlo_agrees_and_another_loss_does_not():
    sampler = SAMPLERS["exclude"][0]
    for loss in (nb.blackout, LOSSES["first"][0]):
        found = nb.monte_carlo(PROBLEM, sampler, loss, key=jax.random.key(3), draws=20_000)
        truth = nb.exact(PROBLEM, sampler, loss, split=True)
        for name in ("loss", "variance"):
            away = abs(float(getattr(found, name) - getattr(truth, name)))
            assert away < 4.5 * float(found.standard_errors[name]), (loss, name)
        other = nb.exact(PROBLEM, sampler, nb.ranking_nce)
        assert abs(float(found.loss - other.loss)) > 9 * float(found.standard_errors["loss"])


def test_the_jackknife_takes_a_power_of_m_off_the_bias():
    """log(w_g + mean w/q) estimates log of the sum over all labels: E off by 1/m, then by 1/m^2."""
    problem = nb.Problem(SCORES, np.eye(LABELS)[2])

    def off(loss, m):
        found = nb.exact(problem, nb.iid(PROPOSAL, m), loss, split=False)
        return float(found.loss - found.cross_entropy)

    for loss, power in ((nb.sampled_softmax, 1), (nb.jackknifed_softmax, 2)):
        ratio = off(loss, 256) / off(loss, 512)
        assert abs(ratio / 2**power - 1) < 0.02, loss


def test_what_takes_a_plane_is_left_out_where_that_is_dear(monkeypatch):
    monkeypatch.setattr(plan, "MOST_PLANE", 0)
    sampler = SAMPLERS["keep"][0]
    found = nb.exact(PROBLEM, sampler, LOSSES["two"][0])
    assert np.isnan(found.variance) and np.isnan(found.variance_negatives)
    assert np.isfinite(found.variance_gold)
    assert "variance left out, a plane of nodes (split=True takes it)" in found.method
    assert np.isfinite(nb.exact(PROBLEM, sampler, LOSSES["two"][0], split=True).variance)
    assert np.isfinite(nb.exact(PROBLEM, sampler, LOSSES["nce"][0]).variance)


def test_compiled_and_large_gaps():
    """Both array modules; a label 200 nats away is closed up to, and its loss is counted."""
    sampler = SAMPLERS["keep"][0]
    plain, compiled = (
        nb.exact(PROBLEM, sampler, LOSSES["two"][0], compiled=way) for way in (False, True)
    )
    for name in FIELDS:
        np.testing.assert_allclose(getattr(plain, name), getattr(compiled, name), atol=1e-11)
    far = nb.Problem(SCORES * [1, 1, 1, 1, 600], POPULATION)
    for loss in (LOSSES["nce"][0], nb.infonce):
        found = nb.exact(far, sampler, loss, split=True)
        assert float(found.loss) == pytest.approx(float(nb.exact(far, sampler).loss), rel=1e-12)


def test_golds_as_integers_and_proposals_that_read_them():
    def nearest(scores, gold):
        return -abs(scores - scores[gold])

    problem = nb.Problem.from_golds(np.stack([SCORES, SCORES]), [2, 0])
    found = nb.exact(problem, nb.iid(nearest, 3), nb.blackout, split=True)
    for row, gold in enumerate((2, 0)):
        q = np.exp(-np.abs(SCORES - SCORES[gold]))
        q /= q.sum()

        def value(g, n, counts, q=q, gold=gold):
            return blackout(g, n, counts, (q[gold], np.exp(counts) / 3))

        truth = enumerate_any(SCORES, np.eye(LABELS)[gold], ("iid", q, 3, "exclude"), value)
        np.testing.assert_allclose(found.gradient[row], truth.gradient, atol=1e-12)
        np.testing.assert_allclose(found.by_input.variance[row], truth.variance, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nb.LogSums("x", []), r"loss x: got the terms \(\)"),
        (lambda: nb.LogSum(1.0, same, draws=2, leaves_one_out=True), "draws: got 2 beside"),
        (lambda: nb.LogSum(1.0, lambda gold, other: other), "reads 'gold', 'other'"),
        (lambda: nb.psl(0.0), "temperature: got 0.0; expected a number > 0"),
        (lambda: nb.smile(-1.0), "clip: got -1.0; expected a number > 0"),
        (
            lambda: nb.exact(PROBLEM, nb.top(2), LOSSES["first"][0]),
            "first has log-sums of fewer draws, and Top negatives are not independent draws",
        ),
        (
            lambda: nb.exact(PROBLEM, nb.poisson(PROPOSAL, 2), nb.smile()),
            "has a log-sum of the negatives alone, and .* may have none",
        ),
        (
            lambda: nb.exact(
                PROBLEM, nb.iid(PROPOSAL, 2), nb.LogSums("x", nb.LogSum(np.exp, same))
            ),
            "a number of it reads",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
