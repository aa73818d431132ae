"""Debiased and hard-reweighted losses: exact while the floor is idle, else within what is said."""

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.losses.floor import floor_of
from tests import cases
from tests.oracles.any_loss import enumerate_any
from tests.oracles.drawing import draws, long

SCORES, Q = 0.5 * cases.SCORES[0], cases.FIXED_Q
POPULATION = np.array([0.3, 0.0, 0.6, 0.1, 0.0])
PROPOSAL = nb.from_probabilities(Q)
PROBLEM = nb.Problem(SCORES, POPULATION)
SAMPLERS = {
    "exclude": (nb.iid(PROPOSAL, 3), ("iid", Q, 3, "exclude")),
    "keep": (nb.iid(PROPOSAL, 3, "keep"), ("iid", Q, 3, "keep")),
    "mask": (nb.iid(PROPOSAL, 3, "mask"), ("iid", Q, 3, "mask")),
    "poisson": (nb.poisson(PROPOSAL, 2), ("poisson", Q, 2)),
    "top": (nb.top(2), ("top", 2)),
}
FIELDS = ("loss", "gradient", "bias", "variance", "variance_negatives", "variance_gold")


def reweighted(tau, beta, temperature, floored=True):
    """The loss as the authors' code has it."""

    def value(g, n, counts):
        if len(n) == 0:
            return 0 * g
        w = np.exp(n)
        ratio = (w ** (1 + beta)).sum() / (w**beta).sum()
        g_hat = (ratio - tau * np.exp(g)) / (1 - tau)
        if floored and tau and g_hat.real < np.exp(-1 / temperature):
            g_hat = np.exp(-1 / temperature)
        return np.log(np.exp(g) + len(n) * g_hat) - g

    return value


def worst(found, truth):
    missed = [np.abs(np.asarray(getattr(found, f)) - getattr(truth, f)).max() for f in FIELDS]
    return max(missed)


@pytest.mark.parametrize(
    ("kind", "tau", "beta", "temperature"),
    [
        ("exclude", 0.1, 0.0, 0.5),
        ("exclude", 0.05, 0.5, 0.3),
        ("keep", 0.1, 0.0, 0.5),
        ("keep", 0.05, 0.5, 0.3),
        ("keep", 0.0, 0.7, 1.0),
        ("mask", 0.1, 0.0, 0.5),
        ("mask", 0.0, 0.0, 1.0),
        ("poisson", 0.1, 0.0, 0.5),
        ("top", 0.05, 0.5, 0.3),
    ],
)
def test_exact_while_the_floor_is_idle(kind, tau, beta, temperature):
    """Second moments within 1e-10, the plane being taken to 1e-12; the rest is closer."""
    sampler, spec = SAMPLERS[kind]
    found = nb.exact(PROBLEM, sampler, nb.hard_reweighted(beta, tau, temperature), split=True)
    loss = reweighted(tau, beta, temperature)
    assert worst(found, enumerate_any(SCORES, POPULATION, spec, loss)) < 1e-10
    assert found.status == "ok" and found.error < 1e-12
    other = reweighted(tau + 0.01, beta, temperature)
    assert worst(found, enumerate_any(SCORES, POPULATION, spec, other)) > 1e-4


#: One gold; the floor acts in the sets of many draws of label 2, which are rare. V = 3, m = 5.
RARE_SCORES, RARE_Q, GOLD = np.array([0.0, 0.6, -3.0]), np.array([0.2, 0.77, 0.03]), np.eye(3)[0]


def rare(tau, beta, temperature, share):
    q = np.array([0.2, 0.8 - share, share])
    problem, sampler = nb.Problem(RARE_SCORES, GOLD), nb.iid(nb.from_probabilities(q), 5)
    law = sampler.law(problem.scores, problem.popularity)
    floor = floor_of((tau, beta, temperature), law, problem.scores, 0, 5)
    spec = ("iid", q, 5, "exclude")
    probability, labels = draws(spec, 0, long(RARE_SCORES))
    w = np.exp(RARE_SCORES)[labels]
    ratio = (w ** (1 + beta)).sum(1) / (w**beta).sum(1)
    acts = ratio < tau + (1 - tau) * np.exp(-1 / temperature)
    true, raw = (
        enumerate_any(RARE_SCORES, GOLD, spec, reweighted(tau, beta, temperature, floored))
        for floored in (True, False)
    )
    return problem, sampler, floor, float(probability @ acts), true, raw


@pytest.mark.parametrize(("tau", "beta", "temperature"), [(0.1, 0.0, 1.0), (0.1, 1.0, 1.0)])
@pytest.mark.parametrize("share", [0.3, 0.05, 0.005])
def test_what_the_floor_may_change_is_bounded(tau, beta, temperature, share):
    """The chance, and what acting changes in an entry of the gradient: true numbers below both."""
    _, _, floor, chance, true, raw = rare(tau, beta, temperature, share)
    moved = np.abs(true.gradient - raw.gradient).max()
    assert 0 < chance <= floor.chance <= min(1, 60 * chance + 0.5)
    assert 0 < moved <= floor.error
    assert moved > 0.05 * chance  # the event matters, and its chance alone would be no bound of all


def test_where_it_acts_rarely_error_and_status_say_so():
    problem, sampler, floor, chance, true, _ = rare(0.1, 0.0, 1.0, 0.005)
    found = nb.exact(problem, sampler, nb.debiased(0.1))
    off = np.abs(np.asarray(found.gradient) - true.gradient).max()
    assert 1e-13 < off <= found.error < 1e-3
    assert found.error >= floor.error > 1e3 * np.finfo(float).eps
    assert found.status == (
        f"ok: the floor acts with a chance of at most {float(floor.chance):.1g}, without which it "
        f"was computed; `error` has {float(floor.error):.1g} for that"
    )
    assert chance <= floor.chance


def test_where_it_acts_often_there_is_monte_carlo():
    problem, sampler, floor, *_ = rare(0.1, 0.0, 1.0, 0.3)
    with pytest.raises(nb.NoExactMethod) as caught:
        nb.exact(problem, sampler, nb.debiased(0.1))
    assert str(caught.value) == (
        f"debiased(tau=0.1) is at its floor with a chance of up to {float(floor.chance):.1g} for a "
        f"gold (bounded), which may change selection by {float(floor.error):.1g}: no exact "
        "moments. Use nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000), which gives "
        "each number with its standard error."
    )


@pytest.mark.parametrize(
    ("loss", "kind", "message"),
    [
        (nb.hard_reweighted(0.5, 0.0), "mask", "needs the number of negatives, which differs"),
        (nb.debiased(0.3), "mask", "needs the number of negatives, which differs"),
        (nb.debiased(0.6), "exclude", "has a negative Z without its floor"),
    ],
)
def test_what_is_no_log_sum(loss, kind, message):
    with pytest.raises(nb.NoExactMethod, match=message):
        nb.exact(PROBLEM, SAMPLERS[kind][0], loss)
    assert nb.monte_carlo(PROBLEM, SAMPLERS[kind][0], loss, key=0, draws=16).loss > 0


def test_no_reweighting_is_infonce():
    for kind in ("mask", "top"):
        plain = nb.exact(PROBLEM, SAMPLERS[kind][0])
        found = nb.exact(PROBLEM, SAMPLERS[kind][0], nb.hard_reweighted(0.0, 0.0))
        np.testing.assert_allclose(found.gradient, plain.gradient, atol=1e-13)
        np.testing.assert_allclose(found.variance, plain.variance, atol=1e-12)


def test_under_a_transformation_error_still_has_the_floor():
    problem, sampler, floor, *_ = rare(0.1, 0.0, 1.0, 0.3)
    error = jax.jit(
        lambda s: nb.exact(nb.Problem(s, GOLD), sampler, nb.debiased(0.1), split=False).error
    )(problem.scores)
    assert error >= floor.error > 1e-3
