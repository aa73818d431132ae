"""Distinct draws, with the gold among them or without: laws, corrections, draws, refusals."""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.proposals import FromProbabilities
from nce_bias.samplers import IidLaw, UniqueLaw
from tests import cases
from tests.core.test_samplers import LEVEL, drawn
from tests.oracles import distinct

SCORES = np.array([0.5, -0.2, 0.1, -0.7])
POPULATION = np.array([0.4, 0.3, 0.2, 0.1])
Q = np.array([0.5, 0.27, 0.15, 0.08])
PROBLEM = nb.Problem(SCORES, POPULATION, popularity=Q)
FIXED = nb.from_probabilities(Q)
FIELDS = ("loss", "bias_norm", "variance", "variance_negatives", "variance_gold", "coverage")


def unique(m, hits):
    return nb.unique(nb.iid(FIXED, m, hits))


def with_hits(m, hits):
    return nb.without_replacement(FIXED, m, hits)


MAKERS = {"unique": (unique, distinct.unique), "distinct": (with_hits, distinct.distinct)}
LISTED = [("unique", m, hits) for m in (1, 2, 3) for hits in distinct.HITS] + [
    ("distinct", m, hits) for m in (1, 2, 3) for hits in ("mask", "keep")
]


def agrees(found, oracle, tolerance=1e-12):
    for field in FIELDS:
        assert float(getattr(found, field)) == pytest.approx(
            getattr(oracle, field), abs=tolerance, rel=tolerance
        ), field
    assert np.abs(np.asarray(found.gradient) - oracle.gradient).max() < tolerance
    assert found.status == "ok"


@pytest.mark.parametrize(("name", "m", "hits"), LISTED)
def test_every_moment_is_the_enumerated_one(name, m, hits):
    make, listed = MAKERS[name]
    for loss, corrected in ((nb.infonce, False), (nb.sampled_softmax_both, True)):
        oracle = distinct.moments(SCORES, POPULATION, listed(Q, m, hits, corrected=corrected))
        agrees(nb.exact(PROBLEM, make(m, hits), loss), oracle)


@pytest.mark.parametrize(("name", "m", "hits"), [LISTED[5], LISTED[8], LISTED[-4], LISTED[-3]])
def test_the_binary_losses_too(name, m, hits):
    make, listed = MAKERS[name]
    oracle = distinct.moments(SCORES, POPULATION, listed(Q, m, hits, corrected=True), binary=True)
    agrees(nb.exact(PROBLEM, make(m, hits), nb.binary_nce), oracle)


def test_a_repeat_that_counts_once():
    """Counts neither as iid (copies) nor as distinct draws; the values were computed by others."""
    problem = nb.Problem(SCORES, POPULATION)
    found = nb.exact(problem, nb.unique(nb.iid(nb.uniform(), 2)))
    assert float(found.bias_norm) == pytest.approx(0.0214543315, abs=1e-10)
    assert float(found.loss) == pytest.approx(0.9034809070, abs=1e-10)
    others = nb.iid(nb.uniform(), 2), nb.without_replacement(nb.uniform(), 2)
    assert [round(float(nb.exact(problem, s).bias_norm), 6) for s in others] == [0.02407, 0.012048]


def test_numpy_and_xla_agree():
    for hits in distinct.HITS:
        plain, compiled = (
            nb.exact(PROBLEM, unique(3, hits), compiled=compiled) for compiled in (False, True)
        )
        assert np.abs(np.asarray(plain.gradient - compiled.gradient)).max() < 1e-14


@pytest.mark.parametrize("hits", distinct.HITS)
@pytest.mark.parametrize("m", [40, 300])
def test_many_draws_from_a_steep_proposal(m, hits):
    """A label's copies average 100 and more, where factors vanish near the contour.

    The oracle adds up the law of the set by inclusion and exclusion: with five labels 2^5 terms.
    """
    q = np.array([0.6, 0.3, 0.06, 0.03, 0.01])
    z: Any = np.array([0.3, 2.0, 1e-3, 5.0, 0.7])
    log_q: Any = np.log(q)
    law = UniqueLaw(IidLaw(log_q, m, hits), 5, m)
    log_f, copies = law.tilted(z)
    share: Any = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    wanted, slopes = _by_inclusion(q, z, m, hits)
    assert law.error < 1e-12 and np.abs(np.exp(log_f) - wanted).max() < law.error
    # as integrals weigh them: by F
    assert np.abs(copies(share * wanted) - share @ slopes).max() < 10 * law.error


def _by_inclusion(q, z, m, hits):
    """F_g and -dF_g/dz_y from P(set inside A) = q(A)^m."""
    size = len(q)
    subsets = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    f, slopes = np.zeros(size), np.zeros((size, size))
    for gold in range(size):
        own = distinct._left(q, gold) if hits == "exclude" else q
        inside = np.longdouble(subsets @ own) ** m
        chance = inside.copy()
        for y in range(size):  # Moebius
            with_y = subsets[:, y] == 1
            chance[with_y] -= chance[np.flatnonzero(with_y) - 2**y]
        counted = subsets.copy()
        if hits != "keep":
            counted[:, gold] = 0
        weight = chance * np.exp(-(counted @ z))
        f[gold], slopes[gold] = weight.sum(), weight @ counted
    return f, slopes


@functools.cache
def sampled(name, m, hits, loss=nb.sampled_softmax_both):
    make = MAKERS[name][0]
    return nb.monte_carlo(PROBLEM, make(m, hits), loss, key=jax.random.key(7), draws=60_000)


@pytest.mark.parametrize(("name", "hits"), [("unique", "mask"), ("distinct", "keep")])
def test_sampling_agrees_and_rejects_the_other_law(name, hits):
    found = sampled(name, 3, hits)
    own = MAKERS[name][0](3, hits)
    twin = nb.iid(FIXED, 3, hits) if name == "unique" else with_hits(3, "mask")
    for sampler, right in ((own, True), (twin, False)):
        truth = nb.exact(PROBLEM, sampler, nb.sampled_softmax_both)
        z = [
            float(getattr(found, field) - getattr(truth, field)) / found.standard_errors[field]
            for field in ("loss", "variance", "coverage")
        ]
        assert (np.abs(z).max() < 4.5) == right, z


def frequencies(labels, listed, gold):
    """p-value of the drawn sets against the oracle's."""
    from scipy import stats

    law = {}
    for chance, negatives, *_ in listed(gold):
        law[negatives] = law.get(negatives, 0.0) + chance
    observed = dict.fromkeys(law, 0)
    for row in labels:
        drawn_set = tuple(sorted(int(y) for y in row if y >= 0))
        if drawn_set not in law:
            return 0.0
        observed[drawn_set] += 1
    if len(law) == 1:
        return 1.0
    expected = np.array(list(law.values()))
    return stats.chisquare(list(observed.values()), expected / expected.sum() * len(labels)).pvalue


@pytest.mark.parametrize(("name", "m", "hits"), [row for row in LISTED if row[1] > 1])
def test_sets_are_drawn_with_their_probabilities(name, m, hits):
    make, listed = MAKERS[name]
    for gold in (0, 2):
        labels = drawn(make(m, hits), gold, SCORES, Q)
        assert frequencies(labels, listed(Q, m, hits), gold) > LEVEL
        others = [h for h in distinct.HITS if h != hits]
        assert min(frequencies(labels, listed(Q, m, h), gold) for h in others) < LEVEL


@pytest.mark.slow
def test_check_sampler_accepts_them_and_rejects_others():
    draws = {"key": jax.random.key(0), "draws": 20_000}
    for sampler in (unique(3, "mask"), unique(3, "exclude"), with_hits(2, "keep")):
        assert nb.check_sampler(PROBLEM, sampler, **draws).ok

    @jax.jit
    def with_copies(key, scores, popularity, gold):
        return nb.iid(FIXED, 3).law(scores, popularity).draw(key, gold)

    assert not nb.check_sampler(PROBLEM, unique(3, "exclude"), draw=with_copies, **draws).ok


def test_what_is_distinct_already_is_returned():
    for sampler in (with_hits(2, "keep"), nb.top(2), nb.poisson(FIXED, 2)):
        assert nb.unique(sampler) is sampler
    assert repr(unique(3, "mask")) == "unique(iid(from_probabilities([4]), m=3, hits='mask'))"
    assert repr(with_hits(2, "keep")) == (
        "without_replacement(from_probabilities([4]), m=2, hits='keep')"
    )


def test_unique_of_one_draw_is_iid():
    for hits in distinct.HITS:
        one, iid = (nb.exact(PROBLEM, s) for s in (unique(1, hits), nb.iid(FIXED, 1, hits)))
        assert np.abs(np.asarray(one.gradient - iid.gradient)).max() < 1e-15


def test_sums_are_known_by_sampling_alone():
    both = nb.unique(nb.top(1) + nb.iid(FIXED, 2))
    found = nb.monte_carlo(PROBLEM, both, key=jax.random.key(0), draws=1000)
    assert found.status == "ok"
    labels = drawn(both, 2, SCORES, Q, count=500)
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in labels)
    with pytest.raises(nb.NoExactMethod, match=r"nb\.monte_carlo"):
        nb.exact(PROBLEM, both)


def test_refusals():
    with pytest.raises(ValueError) as refused:
        nb.without_replacement(FIXED, 2, hits="drop")
    assert str(refused.value) == (
        "hits: got 'drop'; expected 'exclude' or 'mask' or 'keep'. Pick one of them."
    )
    with pytest.raises(ValueError, match="m <= V - 1 = 3"):
        nb.exact(PROBLEM, with_hits(4, "keep"))
    with pytest.raises(ValueError, match="may have none"):
        nb.exact(PROBLEM, with_hits(1, "mask"), nb.self_normalized)
    with pytest.raises(ValueError) as refused:
        nb.unique(nb.uniform())
    assert str(refused.value) == (
        "sampler: got uniform, of type Uniform; expected a sampler. For example "
        "nb.unique(nb.iid(nb.uniform(), m=16))."
    )


@pytest.mark.parametrize("hits", ["mask", "keep"])
def test_the_transform_route_is_the_products_route(hits, monkeypatch):
    from nce_bias.samplers._distinct_hits import DistinctHitsLaw

    module = sys.modules["nce_bias.samplers._without_replacement"]
    log_q = jnp.asarray(np.log(np.random.default_rng(0).dirichlet(np.ones(12))))
    z = jnp.asarray(np.random.default_rng(1).exponential(size=12))
    found = []
    for most in (0, 5):
        monkeypatch.setattr(module, "MOST_BY_PRODUCTS", most)
        law = DistinctHitsLaw(log_q, 5, 200, 1e-14, None, hits).prepared()
        found.append([law.log_laplace(z), law.copies_along(z, z), law.tilted(z)[1](z)])
    np.testing.assert_allclose(*found, rtol=0, atol=1e-12)


def test_kept_hits_do_not_depend_on_the_gold():
    law = with_hits(2, "keep").law(jnp.asarray(SCORES), jnp.asarray(Q)).prepared()
    log_f = np.asarray(law.log_laplace(jnp.asarray([0.1, 2.0, 0.5, 3.0])))
    assert np.ptp(log_f) < 1e-14


@pytest.mark.slow
def test_its_derivative_by_the_proposal_is_that_of_differences():
    def loss(logits):
        sampler = nb.unique(nb.iid(FromProbabilities(logits), 3))
        return nb.exact(PROBLEM, sampler, split=False, compiled=True).loss

    logits, step = jnp.log(jnp.asarray(Q)), 1e-5 * jnp.eye(4)
    slopes = np.array([(loss(logits + row) - loss(logits - row)) / 2e-5 for row in step])
    assert np.abs(np.asarray(jax.grad(loss)(logits)) - slopes).max() < 1e-8


def test_the_cases_problem_is_answered_with_every_loss():
    """Three inputs, one of them with a label that is never the gold."""
    sampler = nb.unique(nb.iid(nb.popularity(), 2, "mask"))
    for name, loss in nb.LOSSES.items():
        if name == "self_normalized":
            continue
        found = nb.exact(cases.problem(), sampler, loss)
        assert found.status == "ok" and bool(jnp.isfinite(found.bias_norm)), name
