"""One of several laws by lot: against enumeration, and apart from mixing draw by draw."""

import jax
import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.core.test_loss_family import assert_enumerated
from tests.oracles.enumeration import enumerate_moments

SCORES, POPULATION, Q = cases.SCORES[0], cases.POPULATION[2], cases.FIXED_Q
OTHER = np.array([0.1, 0.5, 0.1, 0.1, 0.2])
PROBLEM = nb.Problem(SCORES, POPULATION)
A, B = nb.from_probabilities(Q), nb.from_probabilities(OTHER)
KINDS = {
    "two iid": (
        [(nb.iid(A, 2, "keep"), 0.3), (nb.iid(B, 2, "keep"), 0.7)],
        [(("iid", Q, 2, "keep"), 0.3), (("iid", OTHER, 2, "keep"), 0.7)],
    ),
    "other sizes": (
        [(nb.iid(A, 3, "mask"), 0.6), (nb.top(1), 0.4)],
        [(("iid", Q, 3, "mask"), 0.6), (("top", 1), 0.4)],
    ),
    "distinct": (
        [(nb.without_replacement(A, 2), 0.25), (nb.poisson(B, 2), 0.5), (nb.iid(B, 1), 0.25)],
        [
            (("without_replacement", Q, 2), 0.25),
            (("poisson", OTHER, 2), 0.5),
            (("iid", OTHER, 1, "exclude"), 0.25),
        ],
    ),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_moment_is_the_enumerated_one(kind, name, compiled):
    lots, specs = KINDS[kind]
    if compiled and (kind, name) != ("two iid", "infonce"):
        compiled = None
    found = nb.exact(PROBLEM, nb.either(lots), nb.LOSSES[name], split=True, compiled=compiled)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, ("either", specs), name))


def test_a_sum_with_it_is_one_too():
    lots, specs = KINDS["two iid"]
    found = nb.exact(PROBLEM, nb.either(lots) + nb.top(1), split=True)
    spec = ("concat", [("either", specs), ("top", 1)])
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


@pytest.mark.parametrize("hits", ["mask", "keep"])
def test_a_part_that_may_draw_the_gold_meets_another(hits):
    """One distinct draw is one independent draw: coincidences on the gold itself count once."""
    distinct, alone = nb.without_replacement(A, 1, hits), nb.iid(A, 1, hits)
    for other in (nb.top(2), nb.iid(B, 2, "keep")):
        found, plain = (nb.exact(PROBLEM, part + other, split=True) for part in (distinct, alone))
        for name in ("gradient", "variance", "variance_negatives"):
            np.testing.assert_allclose(getattr(found, name), getattr(plain, name), atol=1e-12)


def test_corrections_by_inclusion():
    lots, specs = KINDS["two iid"]
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = nb.exact(PROBLEM, nb.either(lots), loss, split=True)
    spec = ("either", specs)
    oracle = enumerate_moments(SCORES, POPULATION, ("iid", Q, 2, "keep"), "sampled_softmax")
    assert abs(float(found.loss) - oracle.loss) > 1e-3  # one of the laws is not both
    # expected copies are means over the lots, so the correction is that of the mixture
    mixed = enumerate_inclusion(spec)
    assert_enumerated(found, mixed)


def enumerate_inclusion(spec):
    """The oracle asks a spec for its m, to divide ranking NCE by alone; here it is 2."""
    return enumerate_moments(SCORES, POPULATION, (*spec, 2), "sampled_softmax", inclusion=True)


def test_a_lot_for_the_set_is_not_one_for_each_draw():
    lots, _ = KINDS["two iid"]
    by_set = nb.exact(PROBLEM, nb.either(lots))
    by_draw = nb.exact(PROBLEM, nb.iid(nb.mixture(A, B, 0.3), 2, "keep"))
    assert abs(float(by_set.variance - by_draw.variance)) > 1e-4
    # with one draw they are one
    one = nb.either([(nb.iid(A, 1, "keep"), 0.3), (nb.iid(B, 1, "keep"), 0.7)])
    alike = nb.exact(PROBLEM, nb.iid(nb.mixture(A, B, 0.3), 1, "keep"))
    np.testing.assert_allclose(nb.exact(PROBLEM, one).gradient, alike.gradient, atol=1e-13)


def test_one_lot_is_the_sampler_itself():
    sampler = nb.without_replacement(A, 2)
    found, plain = nb.exact(PROBLEM, nb.either([(sampler, 1.0)])), nb.exact(PROBLEM, sampler)
    np.testing.assert_allclose(found.gradient, plain.gradient, atol=1e-13)
    assert float(found.variance) == pytest.approx(float(plain.variance), abs=1e-12)


def test_draws_have_the_law():
    lots, _ = KINDS["other sizes"]
    sampler = nb.either(lots)
    found = nb.monte_carlo(PROBLEM, sampler, key=jax.random.key(1), draws=40_000)
    truth = nb.exact(PROBLEM, sampler)
    swapped = nb.exact(PROBLEM, nb.either([(part, 1 - share) for part, share in lots]))
    for name in ("loss", "coverage", "variance"):
        spread = 4.5 * float(found.standard_errors[name])
        assert abs(float(getattr(found, name) - getattr(truth, name))) < spread, name
    spread = 4.5 * float(found.standard_errors["coverage"])
    assert abs(float(found.coverage - swapped.coverage)) > spread


@pytest.mark.parametrize(
    ("lots", "message"),
    [
        ([], "got shares \\[\\]"),
        ([(nb.top(1), 0.5)], "got shares \\[0.5\\]; expected shares above 0 that sum to 1"),
        ([(nb.top(1), 1.5), (nb.top(2), -0.5)], "shares above 0"),
        ([nb.top(1)], "pairs of a sampler and its share"),
        ([(nb.uniform(), 1.0)], "pairs of a sampler and its share"),
    ],
)
def test_bad_input(lots, message):
    with pytest.raises(ValueError, match=message):
        nb.either(lots)


def test_a_sampler_of_others_is_as_costly_as_they_are():
    costly = nb.until_distinct(nb.uniform(), 2)
    assert costly.costly
    assert nb.either([(costly, 0.5), (nb.top(1), 0.5)]).costly
    assert (costly + nb.top(1)).costly
    assert not (nb.top(1) + nb.top(2)).costly


def test_it_says_what_it_is():
    assert repr(nb.either([(nb.top(1), 0.25), (nb.top(2), 0.75)])) == (
        "either([(top(m=1), 0.25), (top(m=2), 0.75)])"
    )
    with pytest.raises(ValueError, match="not drawn from one q"):
        nb.exact(PROBLEM, nb.either(KINDS["two iid"][0]), nb.sampled_softmax)
