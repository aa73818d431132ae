"""Losses of any functions: every moment, with every kind of sampler, against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.oracles.any_loss import enumerate_any
from tests.oracles.enumeration import enumerate_moments

SCORES, POPULATION, Q = cases.SCORES[0], cases.POPULATION[2], cases.FIXED_Q
PROPOSAL = nb.from_probabilities(Q)
PROBLEM = nb.Problem(SCORES, POPULATION)
LABELS = len(SCORES)
DISTINCT = nb.without_replacement(PROPOSAL, 2), ("without_replacement", Q, 2)
SAMPLERS = {
    "exclude": (nb.iid(PROPOSAL, 3), ("iid", Q, 3, "exclude")),
    "mask": (nb.iid(PROPOSAL, 3, "mask"), ("iid", Q, 3, "mask")),
    "keep": (nb.iid(PROPOSAL, 3, "keep"), ("iid", Q, 3, "keep")),
    "distinct": DISTINCT,
    "poisson": (nb.poisson(PROPOSAL, 2), ("poisson", Q, 2)),
    "top": (nb.top(2), ("top", 2)),
    "sum": (nb.top(1) + DISTINCT[0], ("concat", [("top", 1), DISTINCT[1]])),
}
FIELDS = (
    "loss",
    "gradient",
    "bias",
    "variance",
    "variance_negatives",
    "variance_gold",
    "coverage",
)


def softplus(x):
    return np.log(1 + np.exp(x))


def positive(x):
    return np.where(x.real > 0, x, 0)


def gbce(t):
    def value(gold, negatives, log_counts, m):
        alpha = m / (LABELS - 1)
        beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
        return beta * softplus(-gold) + softplus(negatives).sum()

    return value


def log_mq(gold, m):
    """log(m q) of the gold, by its score."""
    return np.log(m * Q[np.argmin(np.abs(SCORES - gold.real))])


#: The library's, and the same from its definition: of the gold, negatives, log counts and m.
LOSSES = {
    "bpr": (nb.bpr, lambda g, n, c, m: softplus(n - g).sum()),
    "hinge": (nb.hinge(1.0), lambda g, n, c, m: positive(1 + n - g).sum()),
    "ccl": (nb.ccl(3.0, 0.1), lambda g, n, c, m: 1 - g + 3 * positive(n - 0.1).sum() / m),
    "gbce": (nb.gbce(0.75), gbce(0.75)),
    "siglip": (
        nb.siglip(2.0, -1.0),
        lambda g, n, c, m: softplus(-(2 * g - 1)) + softplus(2 * n - 1).sum(),
    ),
    "spectral": (nb.spectral, lambda g, n, c, m: -2 * g + (n**2).sum() / m),
    "jsd": (nb.jsd, lambda g, n, c, m: softplus(-g) + softplus(n).sum() / m),
    "exponential_nce": (
        nb.exponential_nce,
        lambda g, n, c, m: np.exp(-(g - log_mq(g, m)) / 2) + np.exp((n - c) / 2).sum(),
    ),
    "nwj": (nb.nwj, lambda g, n, c, m: -g + np.exp(n - 1).sum() / m),
    "one_vs_each": (nb.one_vs_each, lambda g, n, c, m: (softplus(n - g) * np.exp(-c)).sum()),
}


def expected(name, spec, m, **options):
    of = LOSSES[name][1]
    return enumerate_any(SCORES, POPULATION, spec, lambda g, n, c: of(g, n, c, m), **options)


def check(found, enumerated):
    for name in FIELDS:
        missed = np.abs(np.asarray(getattr(found, name)) - getattr(enumerated, name))
        assert np.max(missed) < 1e-11 * max(1, np.max(np.abs(getattr(enumerated, name)))), name


@pytest.mark.parametrize("name", LOSSES)
def test_every_moment_is_the_enumerated_one(name):
    sampler, spec = SAMPLERS["exclude"]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True)
    check(found, expected(name, spec, 3))
    assert found.method.startswith("exact, closed form")


@pytest.mark.parametrize("kind", [kind for kind in SAMPLERS if kind != "exclude"])
@pytest.mark.parametrize("name", ["bpr", "one_vs_each", "spectral"])
def test_with_every_kind_of_sampler(name, kind):
    """A pairwise h, one with weights, and one of the negatives alone."""
    if (name, kind) == ("one_vs_each", "mask"):
        kind = "keep"
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, LOSSES[name][0], split=True)
    check(found, expected(name, spec, sampler.m))


def test_both_oracles_agree():
    """On InfoNCE, which the other one knows from its own formula of v."""
    for _, spec in SAMPLERS.values():
        ours = enumerate_any(
            SCORES, POPULATION, spec, lambda g, n, c: np.log(np.exp(g) + np.exp(n).sum()) - g
        )
        theirs = enumerate_moments(SCORES, POPULATION, spec)
        for name in FIELDS:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-14)


def test_the_oracle_rejects_the_wrong_cross_terms():
    """Without what the negatives add to the gold's score, the variance is another one."""
    spec = SAMPLERS["keep"][1]
    whole = enumerate_any(SCORES, POPULATION, spec, lambda g, n, c: softplus(n - g).sum())
    alone = enumerate_any(SCORES, POPULATION, spec, lambda g, n, c: softplus(n - g.real).sum())
    assert abs(whole.variance - alone.variance) > 0.01
    assert np.abs(whole.gradient - alone.gradient).max() > 0.01


@pytest.mark.parametrize("kind", ["keep", "distinct"])
@pytest.mark.parametrize("name", ["bpr", "siglip"])
def test_over_parameters(name, kind):
    sampler, spec = SAMPLERS[kind]
    jacobian = np.random.default_rng(0).normal(size=(LABELS, 3))
    model = nb.ScoreModel(lambda theta, x: jnp.asarray(SCORES) + jacobian @ theta, jnp.zeros(3))
    found = nb.gradient_bias(model, jnp.zeros((1, 1)), POPULATION[None], sampler, LOSSES[name][0])
    enumerated = expected(name, spec, sampler.m, jacobian=jacobian)
    assert float(found.variance) == pytest.approx(enumerated.variance, rel=1e-11)
    np.testing.assert_allclose(found.bias, enumerated.bias @ jacobian, atol=1e-12)


def test_one_pairwise_negative_is_one_of_infonce():
    sampler = nb.iid(nb.model(), 1)
    ours, theirs = (nb.exact(PROBLEM, sampler, loss) for loss in (nb.bpr, nb.infonce))
    for name in ("loss", "gradient", "variance"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-13)
    two = [nb.exact(PROBLEM, nb.iid(nb.model(), 2), loss) for loss in (nb.bpr, nb.infonce)]
    assert float(abs(two[0].loss - two[1].loss)) > 0.1  # and with two they are not


def test_one_vs_each_is_unbiased_for_its_bound_whatever_q():
    bound = 0.0
    for gold, share in enumerate(POPULATION):
        others = np.delete(SCORES, gold)
        bound += share * softplus(others - SCORES[gold]).sum()
    for proposal in (nb.uniform(), PROPOSAL, nb.model(0.5)):
        found = nb.exact(PROBLEM, nb.iid(proposal, 3), nb.one_vs_each)
        assert float(found.loss) == pytest.approx(bound, rel=1e-12)
    plain = nb.exact(PROBLEM, nb.iid(PROPOSAL, 3), nb.bpr)
    assert abs(float(plain.loss) - bound) > 0.1


def test_gbce_calibrates_where_the_gold_is_never_a_negative_and_not_where_it_is():
    """gSASRec's theorem: at t = 1, sigma(s) = p is stationary for uniform negatives."""
    p = np.array([0.5, 0.3, 0.2])
    problem = nb.Problem(np.log(p / (1 - p)), p)
    calibrated = nb.exact(problem, nb.iid(nb.uniform(), 2), nb.gbce(1.0))
    np.testing.assert_allclose(calibrated.gradient, 0, atol=1e-14)
    drawable = nb.exact(problem, nb.iid(nb.uniform(), 2, hits="keep"), nb.gbce(1.0))
    by_hand = 2 / 3 * p - p * (1 - p)  # E[copies] sigma - beta p (1 - sigma), beta = 1 here
    np.testing.assert_allclose(drawable.gradient, by_hand, atol=1e-14)
    assert np.abs(by_hand).max() > 0.08


def test_monte_carlo_agrees_and_another_loss_does_not():
    sampler = SAMPLERS["keep"][0]
    for loss in (nb.bpr, nb.one_vs_each, nb.gbce(0.5)):
        found = nb.monte_carlo(PROBLEM, sampler, loss, key=jax.random.key(3), draws=20_000)
        truth = nb.exact(PROBLEM, sampler, loss)
        for name in ("loss", "variance"):
            away = abs(float(getattr(found, name) - getattr(truth, name)))
            assert away < 4.5 * float(found.standard_errors[name]), (loss, name)
        other = nb.exact(PROBLEM, sampler, nb.hinge(2.0))
        assert abs(float(found.loss - other.loss)) > 9 * float(found.standard_errors["loss"])


def test_a_loss_of_ones_own_reads_by_name():
    squared = nb.Additive("squared", lambda s: -s, lambda negative, gold: (negative - gold) ** 2)
    found = nb.exact(PROBLEM, SAMPLERS["keep"][0], squared, split=True)
    check(
        found,
        enumerate_any(
            SCORES, POPULATION, SAMPLERS["keep"][1], lambda g, n, c: -g + ((n - g) ** 2).sum()
        ),
    )


def test_corrections_come_off_first():
    plain = nb.Additive("x", None, lambda gold, negative: jax.nn.softplus(negative - gold))
    corrected = nb.Additive(
        "x", None, lambda gold, negative: jax.nn.softplus(negative - gold), ("none", "log_mq")
    )
    sampler, spec = SAMPLERS["exclude"]
    found = nb.exact(PROBLEM, sampler, corrected, split=True)
    check(
        found,
        enumerate_any(SCORES, POPULATION, spec, lambda g, n, c: softplus(n - c - g).sum()),
    )
    assert abs(float(found.loss - nb.exact(PROBLEM, sampler, plain).loss)) > 0.1


def test_a_correction_of_the_gold_alone():
    gold, (sampler, spec) = 3, SAMPLERS["exclude"]
    problem = nb.Problem(SCORES, np.eye(LABELS)[gold])
    loss = nb.Additive("x", None, lambda gold, negative: negative - 2 * gold, ("log_mq", "none"))
    own = np.log(3 * Q[gold])  # the proposal's, not renormalised
    expected = enumerate_any(
        SCORES, np.eye(LABELS)[gold], spec, lambda g, n, c: (n - 2 * (g - own)).sum()
    )
    check(nb.exact(problem, sampler, loss, split=True), expected)


def test_a_label_that_is_never_drawn_may_add_anything():
    """Its h is infinite where its score is masked, and no moment sees it."""
    masked = np.where(np.arange(LABELS) == 2, -np.inf, SCORES)
    problem = nb.Problem(masked, POPULATION)  # label 2 is never the gold
    found = nb.exact(problem, nb.iid(nb.model(), 3), nb.spectral)
    kept = nb.Problem(np.delete(masked, 2), np.delete(POPULATION, 2))
    plain = nb.exact(kept, nb.iid(nb.model(), 3), nb.spectral)
    for name in ("loss", "variance"):
        assert float(getattr(found, name)) == pytest.approx(float(getattr(plain, name)), rel=1e-12)
    np.testing.assert_allclose(np.delete(found.gradient, 2), plain.gradient, rtol=1e-12)


@pytest.mark.parametrize("golds", [[3], [[3, 1]]])
@pytest.mark.parametrize("compiled", [False, True])
def test_observed_golds_and_proposals_that_read_them(golds, compiled):
    """A pairwise loss with a law for each gold: the mean over golds of one-hot problems."""

    def near(scores, gold):
        return -((scores - scores[gold]) ** 2)

    sampler = nb.iid(near, 2)
    problem = nb.Problem.from_golds(SCORES[None], golds)
    found = nb.exact(problem, sampler, nb.bpr, compiled=compiled)
    chosen = np.ravel(golds)
    alone = []
    for gold in chosen:
        q = np.exp(-((SCORES - SCORES[gold]) ** 2))
        spec = ("iid", q / q.sum(), 2, "exclude")
        one_hot = np.eye(LABELS)[gold]
        alone.append(enumerate_any(SCORES, one_hot, spec, lambda g, n, c: softplus(n - g).sum()))
    mean = np.mean([one.gradient for one in alone], axis=0)
    np.testing.assert_allclose(found.gradient[0], mean, atol=1e-13)
    assert float(found.loss) == pytest.approx(np.mean([one.loss for one in alone]), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nb.Additive("x", None, lambda: 0.0), "its function of the negative reads nothing"),
        (lambda: nb.Additive("x", None, lambda gold, other: other), "reads 'gold', 'other'"),
        (lambda: nb.Additive("x", lambda negative: negative, jnp.exp), "of the gold reads"),
        (lambda: nb.Additive("x", None, jnp.exp, ("none", "q")), "got corrections="),
        (lambda: nb.hinge(float("nan")), "margin: got nan"),
        (lambda: nb.gbce(1.5), r"t: got 1.5; expected a number in \[0, 1\]"),
        (lambda: nb.with_inclusion(nb.bpr), "bpr corrects no score"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
