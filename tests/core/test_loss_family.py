"""Corrections by inclusion, coverage, effective sample size, losses on a set, Monte Carlo alone."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

import nce_bias as nb
from tests import cases
from tests.oracles.enumeration import UNCORRECTED, enumerate_moments

SCORES, POPULATION, Q = cases.SCORES[0], cases.POPULATION[0], cases.FIXED_Q
PROPOSAL = nb.from_probabilities(Q)
PROBLEM = nb.Problem(SCORES, POPULATION)
DISTINCT = nb.without_replacement(PROPOSAL, 2), ("without_replacement", Q, 2)
POISSON = nb.poisson(PROPOSAL, 3), ("poisson", Q, 3)
TOP = nb.top(2), ("top", 2)
SUM = nb.top(1) + DISTINCT[0], ("concat", [("top", 1), DISTINCT[1]])
FIELDS = (
    "loss",
    "selection",
    "gradient",
    "bias",
    "variance",
    "variance_negatives",
    "variance_gold",
    "coverage",
)


def assert_enumerated(found, expected):
    """1e-9 is what is asked for; a second moment without replacement is good to 1e-11."""
    for name in FIELDS:
        missed = np.abs(np.asarray(getattr(found, name)) - np.asarray(getattr(expected, name)))
        assert np.max(missed) < 1e-11, name
    if not np.isnan(expected.concentration):
        assert abs(found.effective_sample_size - 1 / expected.concentration) < 1e-10


# Inclusion ----------------------------------------------------------------------------------------

CORRECTED = [name for name in nb.LOSSES if name not in UNCORRECTED]


@pytest.mark.parametrize(
    ("law", "name"),
    [
        (DISTINCT, "sampled_softmax"),
        (DISTINCT, "binary_nce"),
        *((POISSON, name) for name in CORRECTED if name != "self_normalized"),
        (TOP, "self_normalized"),
        (SUM, "self_normalized"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1][0],
)
def test_corrections_by_inclusion_equal_enumeration(law, name):
    sampler, spec = law
    loss = nb.with_inclusion(nb.LOSSES[name])
    found = nb.exact(PROBLEM, sampler, loss)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec, name, inclusion=True))
    assert repr(loss) == f"{name}_inclusion"
    if spec[0] not in ("top", "concat"):  # and by the one-draw q it is something else
        plain = enumerate_moments(SCORES, POPULATION, spec, name)
        assert np.abs(np.asarray(found.selection) - plain.selection).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("hits", cases.HITS)
def test_with_replacement_inclusion_is_the_one_draw_q(hits):
    sampler = nb.iid(PROPOSAL, 3, hits)
    for name in ("sampled_softmax", "ranking_nce", "binary_nce"):
        found = cases.exact(PROBLEM, sampler, nb.with_inclusion(nb.LOSSES[name]))
        plain = cases.exact(PROBLEM, sampler, nb.LOSSES[name])
        np.testing.assert_allclose(found.selection, plain.selection, rtol=0, atol=1e-15)


def test_all_labels_corrected_by_inclusion_are_the_full_softmax():
    """m = V - 1: every chance is 1, so nothing is corrected; by the one-draw q much is."""
    sampler = nb.without_replacement(PROPOSAL, 4)
    found = nb.exact(PROBLEM, sampler, nb.with_inclusion(nb.sampled_softmax))
    assert found.bias_norm < 1e-12
    assert nb.exact(PROBLEM, sampler, nb.sampled_softmax, split=False).bias_norm > 0.1


def test_nothing_to_correct():
    message = "loss: infonce corrects no score; expected a loss with a correction"
    with pytest.raises(ValueError, match=message):
        nb.with_inclusion(nb.infonce)


# Coverage and effective sample size ---------------------------------------------------------------


@pytest.mark.parametrize("parts", ["et", "ep", "tw", "ew", "pw", "ww"])
def test_coverage_of_sums(parts):
    """Separable with separable, with one that is not, and two that are not."""
    atoms = {
        "e": (nb.iid(PROPOSAL, 2), ("iid", Q, 2, "exclude")),
        "t": TOP,
        "p": POISSON,
        "w": (nb.without_replacement(PROPOSAL, 1), ("without_replacement", Q, 1)),
    }
    (a, first), (b, second) = (atoms[part] for part in parts)
    law = (a.sized(PROBLEM, 1e-13) + b.sized(PROBLEM, 1e-13)).law(
        PROBLEM.scores, PROBLEM.popularity
    )
    model = np.exp(SCORES - logsumexp(SCORES))
    found = model @ (POPULATION + np.asarray(law.prepared().included(jnp.asarray(POPULATION))))
    expected = enumerate_moments(SCORES, POPULATION, ("concat", [first, second]))
    assert abs(found - expected.coverage) < 1e-12


@pytest.mark.parametrize("m", [1, 30, 4096])
@pytest.mark.parametrize("peak", [0.003, 0.49, 0.9])
def test_coverage_with_the_gold_excluded(m, peak):
    """The expansion against the V x V array of chances, for flat and peaked q."""
    rng = np.random.default_rng(1)
    q = rng.dirichlet(np.ones(400)) * (1 - peak)
    q[[3, 7]] = [peak, q[3] + (0.02 if peak < 0.5 else 0.0)]
    q /= q.sum()
    law = nb.iid(nb.from_probabilities(q), m).law(jnp.zeros(400), jnp.full(400, 1 / 400))
    share = rng.dirichlet(np.ones(400))
    rest = np.array([np.delete(q, g).sum() for g in range(400)])[:, None]
    ratio = q / rest
    np.fill_diagonal(ratio, 0)
    chance = -np.expm1(m * np.log1p(-ratio))
    found = np.asarray(law.included(jnp.asarray(share)))
    np.testing.assert_allclose(found, share @ chance, rtol=0, atol=1e-13)


def test_effective_sample_size_of_equal_weights():
    """All candidates weigh the same: it is their number, and fewer where hits are dropped."""
    problem = nb.Problem(np.zeros(5), POPULATION)
    for hits in ("exclude", "keep"):
        found = cases.exact(problem, nb.iid(PROPOSAL, 3, hits))
        np.testing.assert_allclose(found.effective_sample_size, 4, rtol=1e-12)
    assert cases.exact(problem, nb.iid(PROPOSAL, 3, "mask")).effective_sample_size < 3.9


def test_poisson_with_certain_labels_and_large_weights():
    """Chances of 1, and weights over 60 nats, against enumeration."""
    scores = np.array([0.0, 30.0, -30.0, 1.0, 2.0])
    for m in (2, 3, 4):
        found = nb.exact(nb.Problem(scores, POPULATION), nb.poisson(PROPOSAL, m))
        expected = enumerate_moments(scores, POPULATION, ("poisson", Q, m))
        missed = np.abs(np.asarray(found.selection) - expected.selection).max()
        assert missed <= found.error < 1e-12
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)


# Losses on one set --------------------------------------------------------------------------------

S_GOLD, S_NEGATIVES = 0.3, np.array([0.9, -0.4, 1.7])


def value(loss, present=(True, True, True), gold=S_GOLD):
    args = jnp.asarray(gold), jnp.asarray(S_NEGATIVES), jnp.asarray(present)
    return jax.value_and_grad(loss.value, (0, 1))(*args)


def test_binary_losses_on_one_set_by_hand():
    """softplus of the gold and of what is present, slopes by hand."""
    found, (of_gold, of_negatives) = value(nb.negative_sampling, (True, False, True))
    odds = np.exp(S_NEGATIVES[[0, 2]])
    np.testing.assert_allclose(found, np.log1p(np.exp(-S_GOLD)) + np.log1p(odds).sum(), rtol=1e-14)
    np.testing.assert_allclose(of_gold, -1 / (1 + np.exp(S_GOLD)), rtol=1e-14)
    np.testing.assert_allclose(
        of_negatives,
        np.array([odds[0], 0, odds[1]]) / (1 + np.array([odds[0], 0, odds[1]])),
        rtol=1e-14,
    )


def test_debiased_and_hard_reweighted_by_hand():
    tau, beta = 0.1, 0.5
    e = np.exp(S_NEGATIVES)
    for loss, r in [
        (nb.debiased(tau), e.mean()),
        (nb.hard_reweighted(beta, tau), (e * e**beta).sum() / (e**beta).sum()),
    ]:
        g = (r - tau * np.exp(S_GOLD)) / (1 - tau)
        assert g > np.exp(-1)
        np.testing.assert_allclose(value(loss)[0], np.log1p(3 * g / np.exp(S_GOLD)), rtol=1e-14)
    dropped = value(nb.debiased(tau), (True, False, True))[0]
    g = (e[[0, 2]].mean() - tau * np.exp(S_GOLD)) / (1 - tau)
    np.testing.assert_allclose(dropped, np.log1p(2 * g / np.exp(S_GOLD)), rtol=1e-14)
    assert value(nb.debiased(tau), (False,) * 3)[0] == 0


def test_the_floor_stops_the_gradient_by_the_negatives():
    """A gold so strong that what is taken off exceeds the rest: G = e^{-1/temperature}."""
    strong = float(np.log(np.exp(S_NEGATIVES).mean() / 0.2)) + np.array([-0.1, 0.1])
    for gold, at_floor in zip(strong, (False, True), strict=True):
        found, (_, slopes) = value(nb.debiased(0.2, temperature=0.5), gold=gold)
        floored = np.log1p(3 * np.exp(-2 - gold))
        assert np.isclose(found, floored, rtol=1e-14, atol=0) == at_floor
        assert np.all(np.asarray(slopes) == 0) == at_floor


def test_no_reweighting_is_infonce():
    """tau = beta = 0, draw by draw; and a little of either is not."""
    args = {"key": jax.random.key(3), "draws": 256}
    sampler = nb.iid(PROPOSAL, 3, "mask")
    plain = nb.monte_carlo(PROBLEM, sampler, **args)
    for loss, same in [
        (nb.hard_reweighted(0.0, 0.0), True),
        (nb.hard_reweighted(0.1, 0.0), False),
        (nb.debiased(0.01), False),
    ]:
        found = nb.monte_carlo(PROBLEM, sampler, loss, **args)
        assert np.allclose(found.selection, plain.selection, rtol=0, atol=1e-14) == same
        assert np.allclose(found.loss, plain.loss, rtol=0, atol=1e-14) == same


def test_hard_reweighting_takes_from_the_easy():
    _, (_, plain) = value(nb.hard_reweighted(0.0, 0.0))
    _, (_, hard) = value(nb.hard_reweighted(2.0, 0.0))
    assert hard[2] > plain[2] > 0
    assert hard[1] < plain[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nb.debiased(1.0), "tau: got 1.0; expected a number in [0, 1). Pass tau=0.1."),
        (lambda: nb.debiased(1.5), "tau: got 1.5; expected a number in [0, 1). Pass tau=0.1."),
        (lambda: nb.hard_reweighted(-1.0), "beta: got -1.0; expected a number >= 0."),
        (lambda: nb.debiased(0.1, 0.0), "temperature: got 0.0; expected a number > 0."),
    ],
)
def test_parameters_out_of_range(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(message)


@pytest.mark.filterwarnings("ignore::nce_bias.UnusualInput")
def test_a_label_out_of_reach_costs_a_binary_loss_nothing():
    """Score -inf, never the gold: its logistic loss is 0 as a negative and absent as a gold."""
    scores = np.array([0.3, -np.inf, 1.0])
    sampler = nb.iid(nb.uniform(), 2, "keep")
    found = nb.exact(nb.Problem(scores, [0.4, 0.0, 0.6]), sampler, nb.negative_sampling)
    losses = np.log1p(np.exp(-scores[[0, 2]])), np.log1p(np.exp(scores[[0, 2]]))
    by_hand = np.array([0.4, 0.6]) @ losses[0] + 2 / 3 * losses[1].sum()
    np.testing.assert_allclose(found.loss, by_hand, rtol=1e-14)
    assert found.method == "exact, closed form, float64"


def test_no_exact_method_names_monte_carlo():
    with pytest.raises(nb.NoExactMethod) as caught:
        nb.exact(PROBLEM, TOP[0], Squared())
    assert str(caught.value) == (
        "squared has no exact moments: it has no `expectation` (nb.Additive and nb.LogSums do). "
        "Use nb.monte_carlo(problem, sampler, loss, key=key, draws=100_000), which gives each "
        "number with its standard error."
    )


def test_what_is_no_loss():
    call = inspect.unwrap(nb.exact)
    with pytest.raises(ValueError) as caught:
        call(PROBLEM, TOP[0], "infonce")
    assert str(caught.value) == (
        "loss: got 'infonce'; expected a loss such as nb.infonce, or an object with name, "
        "corrected, value and check. nb.LOSSES['infonce'] is one by its name."
    )


@pytest.mark.parametrize("sampler", [nb.iid(PROPOSAL, 2, "mask"), POISSON[0]], ids=repr)
def test_negatives_alone_must_not_be_empty(sampler):
    with pytest.raises(ValueError) as caught:
        nb.exact(PROBLEM, sampler, nb.self_normalized)
    assert str(caught.value).startswith(
        f"loss: self_normalized divides by the negatives alone, and {sampler!r} may have none; "
        "expected a sampler that always has a negative."
    )


class Squared:
    """A user's own loss: half the squared distance of the mean margin."""

    name = "squared"

    def corrected(self, scores, law, m):
        return nb.Corrected(scores, scores)

    def value(self, gold, negatives, present):
        return 0.5 * (gold - jnp.mean(negatives)) ** 2

    def check(self, problem, sampler):
        pass


def test_a_loss_of_ones_own():
    """One distinct wrong label: the gradient is the margin, by hand."""
    found = nb.monte_carlo(
        nb.Problem([1.0, 3.0], [1.0, 0.0]), nb.top(1), Squared(), key=jax.random.key(0), draws=4
    )
    np.testing.assert_allclose(found.gradient, [-2.0, 2.0], rtol=1e-15)
    assert found.loss == 2 and found.loss_name == "squared"
