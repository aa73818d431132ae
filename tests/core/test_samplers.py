"""How negatives are drawn: frequencies, hits, distinctness; and what samplers have in common.

That their expectations are right is for `tests/engine` (test_exact, test_monte_carlo); here the
draws themselves are looked at.
"""

import functools
import operator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import nce_bias as nb
from tests import cases
from tests.oracles.drawing import draws

DRAWS = 20_000
#: Of a chi-square test of a right sampler; a dozen tests and a fixed key: it never fails by chance.
LEVEL = 1e-6


def drawn(sampler, gold, scores, popularity, count=DRAWS, seed=0):
    """Labels `[count, m]`, -1 where a draw was dropped."""
    keys = jax.random.split(jax.random.key(seed), count)
    labels, present = _drawn(
        sampler, jnp.asarray(scores), jnp.asarray(popularity), keys, jnp.asarray(gold)
    )
    assert labels.shape == present.shape == (count, sampler.slots(len(scores)))
    return np.where(present, labels, -1)


@eqx.filter_jit
def _drawn(sampler, scores, popularity, keys, gold):
    law = sampler.law(scores, popularity)
    return jax.vmap(lambda key: law.draw(key, gold))(keys)


def sets(labels):
    """A set of negatives as one number: how often each label occurs in it."""
    counts = np.stack([(labels == y).sum(axis=-1) for y in range(cases.LABELS)], axis=-1)
    return counts @ (10 ** np.arange(cases.LABELS))


def p_value(labels, spec, gold, scores):
    """Chi-square of the drawn multisets against their enumerated law; None if one is impossible."""
    chance, outcomes = draws(spec, gold, scores)
    possible, place = np.unique(sets(outcomes), return_inverse=True)
    law = np.bincount(place, weights=chance.astype(float))
    found = np.searchsorted(possible, sets(labels)).clip(max=len(possible) - 1)
    if (possible[found] != sets(labels)).any():
        return None
    observed = np.bincount(found, minlength=len(possible))
    rare = law * len(labels) < 10
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        law = np.append(law[~rare], law[rare].sum())
    if len(law) == 1:
        return 1.0
    return stats.chisquare(observed, law / law.sum() * len(labels)).pvalue


@functools.cache
def example(name, m, gold):
    (case,) = (sampler for sampler in cases.SAMPLERS if sampler.name == name)
    q = cases.PROPOSALS[6].q(cases.SCORES[0], cases.POPULARITY)
    sampler = case.make(cases.PROPOSALS[6].proposal, m)
    return drawn(sampler, gold, cases.SCORES[0], cases.POPULARITY), case.spec(q, m)


@pytest.mark.parametrize("name", [sampler.name for sampler in cases.SAMPLERS])
def test_sets_are_drawn_with_their_probabilities(name):
    for gold in (0, 3):  # 0 is the label that q draws most
        labels, spec = example(name, 2, gold)
        value = p_value(labels, spec, gold, cases.SCORES[0])
        assert value is not None, "an impossible set was drawn"
        assert value > LEVEL


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("iid-exclude", "iid-mask"),
        ("iid-mask", "iid-keep"),
        ("iid-keep", "iid-exclude"),
        ("iid-exclude", "without_replacement"),
        ("without_replacement", "iid-exclude"),
        ("without_replacement", "top"),
        ("poisson", "without_replacement"),
        ("iid-exclude", "poisson"),
    ],
)
def test_another_law_is_rejected(name, claimed):
    labels, _ = example(name, 2, 0)
    _, spec = example(claimed, 2, 0)
    value = p_value(labels, spec, 0, cases.SCORES[0])
    assert value is None or value < LEVEL


def test_successive_draws_are_not_the_iid_law_made_distinct():
    """The usual mistake: redrawing sets until all labels differ gives another law."""
    labels, spec = example("without_replacement", 2, 3)
    chance, outcomes = draws(("iid", *spec[1:], "exclude"), 3, cases.SCORES[0])
    distinct = outcomes[:, 0] != outcomes[:, 1]
    possible, place = np.unique(sets(outcomes[distinct]), return_inverse=True)
    law = np.bincount(place, weights=(chance[distinct] / chance[distinct].sum()).astype(float))
    observed = np.bincount(np.searchsorted(possible, sets(labels)), minlength=len(possible))
    assert stats.chisquare(observed, law * len(labels)).pvalue < LEVEL


@pytest.mark.parametrize("scale", [1.0, 1e-14])
def test_what_is_left_of_a_gold_that_takes_almost_all_of_q(scale):
    """1 - q_gold = 1e-14: the others are drawn by their own ratio, the gold never."""
    wrong = np.array([0.3, 0.1, 0.6]) * 0.5 * scale
    q = np.array([wrong[0], 1 - wrong.sum(), wrong[1], wrong[2]])
    for sampler in (
        nb.iid(nb.from_probabilities(q), 1),
        nb.without_replacement(nb.from_probabilities(q), 1),
    ):
        labels = drawn(sampler, 1, np.zeros(4), q)
        observed = np.bincount(labels[:, 0], minlength=4)
        assert observed[1] == 0
        assert (
            stats.chisquare(observed[[0, 2, 3]], np.array([0.3, 0.1, 0.6]) * DRAWS).pvalue > LEVEL
        )


def test_labels_without_mass_are_never_drawn():
    q = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
    for sampler, gold in [
        (nb.iid(nb.from_probabilities(q), 3), 1),
        (nb.iid(nb.from_probabilities(q), 3), 0),
        (nb.iid(nb.from_probabilities(q), 3, "keep"), 3),
        (nb.iid(nb.from_probabilities(q), 3, "mask"), 3),
        (nb.without_replacement(nb.from_probabilities(q), 2), 4),
    ]:
        labels = drawn(sampler, gold, np.zeros(5), q, count=2000)
        assert set(np.unique(labels)) <= {-1, 1, 3}
        assert (gold in labels) == (getattr(sampler, "hits", None) == "keep")


def test_hits_only_matter_where_they_happen():
    """With a gold that q never draws the three policies are one."""
    problem = nb.Problem(cases.SCORES[0], np.eye(5)[2])
    q = nb.from_probabilities([0.4, 0.3, 0.0, 0.2, 0.1])
    found = [cases.exact(problem, nb.iid(q, 3, hits)) for hits in cases.HITS]
    for other in found[1:]:
        cases.assert_same(other, found[0])


def test_top_breaks_ties_by_index_and_skips_the_gold():
    scores = np.array([3.0, 1.0, 2.0, 2.0, 2.0])
    for gold, expected in [(0, [2, 3]), (2, [0, 3]), (3, [0, 2]), (1, [0, 2]), (4, [0, 2])]:
        assert drawn(nb.top(2), gold, scores, scores, count=1).tolist() == [expected]
        found = cases.exact(nb.Problem(scores, np.eye(5)[gold]), nb.top(2))
        weight = np.exp(scores) * np.isin(np.arange(5), [gold, *expected])
        missed = np.abs(np.asarray(found.selection) - weight / weight.sum()).max()
        assert missed <= found.error < 1e-12


def test_sums():
    a, b, c = nb.top(2), nb.iid(nb.uniform(), 3, "keep"), nb.without_replacement(nb.model(), 1)
    assert (a + b).m == 5
    assert repr((a + b) + c) == repr(a + (b + c)) == " + ".join(map(repr, (a, b, c)))
    assert ((a + b) + c).m == (a + (b + c)).m == 6
    number: Any = 1
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+"):
        operator.add(a, number)


def test_a_sum_of_iid_draws_is_more_draws():
    q = cases.proposal("model")
    found = cases.exact(cases.problem(), nb.iid(q, 1, "mask") + nb.iid(q, 2, "mask"))
    cases.assert_same(found, cases.exact(cases.problem(), nb.iid(q, 3, "mask")))


def test_names():
    assert repr(nb.iid(nb.model(), 4)) == "iid(model, m=4)"
    assert repr(nb.iid(nb.uniform(), 4, hits="mask")) == "iid(uniform, m=4, hits='mask')"
    assert repr(nb.without_replacement(nb.uniform(), 2)) == "without_replacement(uniform, m=2)"
    assert repr(nb.top(3)) == "top(m=3)"
