"""Labels without weight cost nothing: a mask of any size is answered as -inf is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nce_bias as nb
from nce_bias.engine import candidate_sets
from nce_bias.engine.moments import _status

TWO = nb.iid(nb.uniform(), 2)
MASKS = [-1e4, -65504.0, -1e6, -1e9, float(np.finfo(np.float32).min), -np.inf]
POP = np.array([0.4, 0.3, 0.2, 0.1])

pytestmark = pytest.mark.filterwarnings("ignore::nce_bias.UnusualInput")


def enumerated(scores, population, m):
    """Expected loss and gradient over golds and ordered uniform negatives without the gold."""
    scores = np.asarray(scores, np.float64)
    loss, gradient, labels = 0.0, np.zeros(len(scores)), range(len(scores))
    for gold in np.flatnonzero(population):
        others = [y for y in labels if y != gold]
        for negatives in itertools.product(others, repeat=m):
            candidates = [gold, *negatives]
            chance = population[gold] / len(others) ** m
            top = scores[candidates].max()
            weights = np.exp(scores[candidates] - top)
            loss += chance * (top - scores[gold] + np.log(weights.sum()))
            np.add.at(gradient, candidates, chance * weights / weights.sum())
            gradient[gold] -= chance
    return loss, gradient


def in_float32(problem):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), problem)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sampler", [TWO, nb.without_replacement(nb.uniform(), 2)], ids=str)
def test_a_mask_where_the_population_is_zero(mask, sampler):
    problem = nb.Problem(*np.array([[0.5, -0.2, 0.1, mask], [0.5, 0.3, 0.2, 0]], np.float32))
    for asked, known in ((problem, 1e-12), (in_float32(problem), 1e-3)):
        found = nb.exact(asked, sampler)
        assert found.status == "ok"
        assert found.error < known
        if sampler is TWO:
            np.testing.assert_allclose(found.bias_norm, 0.0281890, atol=2e-7)


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_over_a_gold(mask):
    problem = nb.Problem([0.5, -0.2, 0.1, mask], POP)
    found = nb.exact(problem, TWO)
    np.testing.assert_allclose(found.bias_norm, 0.0344490428, atol=1e-10)
    assert found.status == "ok" and found.error < 1e-12
    nodes = int(found.method.split()[1])
    assert nodes < 1000  # three million and 721 GB once
    single = nb.exact(in_float32(problem), TWO)
    np.testing.assert_allclose(single.bias_norm, 0.0344490428, atol=1e-6)
    assert single.status == "ok" and np.isfinite(single.variance)
    if np.isinf(mask):
        assert np.isinf(found.loss)
    else:
        loss, _ = enumerated([0.5, -0.2, 0.1, mask], POP, 2)
        np.testing.assert_allclose(found.loss, loss, rtol=1e-12)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([0.0, -1e9, -2e9, -1e3, 1e5, -520.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.5, -1.0, 3.0]), min_size=4, max_size=4),
)
def test_labels_far_below_still_tell_each_other_apart(levels, within):
    """Several steps, golds and negatives on each: against enumeration, and honestly."""
    scores = np.array(levels) + within
    loss, gradient = enumerated(scores, POP, 2)
    found = nb.exact(nb.Problem(scores, POP), TWO)
    missed = np.abs(np.asarray(found.gradient) - gradient).max()
    # scores of 1e9 are themselves known to 1e-7
    assert missed <= float(found.error) + 4e-16 * np.abs(scores).max()
    np.testing.assert_allclose(found.loss, loss, rtol=1e-11, atol=1e-12)
    assert found.status == "ok"


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("hits", ["keep", "mask"])
@pytest.mark.parametrize("loss", [nb.infonce, nb.sampled_softmax], ids=str)
def test_both_array_modules_close_the_same_gaps(compiled, hits, loss):
    scores = [0.5, -0.2, -700.0, -701.0]
    sampler = nb.iid(nb.popularity(), 2, hits)
    near = nb.exact(nb.Problem([0.5, -0.2, -300.0, -301.0], POP), sampler, loss)
    found = nb.exact(nb.Problem(scores, POP), sampler, loss, compiled=compiled)
    np.testing.assert_allclose(found.gradient, near.gradient, atol=1e-13)
    np.testing.assert_allclose(found.variance, near.variance, atol=1e-12)


def test_an_error_that_is_not_known_is_not_ok():
    status = _status(jnp.ones(3), jnp.asarray(jnp.nan), exact=True)
    assert status == (
        "how well selection is known could not be computed: use float64, or smaller scores"
    )


def test_nodes_are_bounded_beforehand():
    scores = -1e6 * np.arange(40.0) ** 2
    with pytest.raises(ValueError) as caught:
        nb.exact(nb.Problem(scores, np.full(40, 1 / 40)), TWO)
    assert str(caught.value).startswith(
        "scores: corrected, they spread over 5.29e+08 nats"
    )  # 1e6 23^2
    assert str(caught.value).endswith(
        "in more than 16 steps; expected at most 1e+06 nats besides 16 wide gaps. Divide them by a "
        "temperature, or set labels that no one picks to -inf, and their population to 0."
    )


@pytest.mark.slow
def test_every_label_can_be_drawn_in_float32():
    """One float32 uniform has 2^23 values: all draws of 2^24 labels once were even."""
    labels = 2**24
    uniform = jnp.full(labels, 1 / labels, jnp.float32)
    law = nb.iid(nb.uniform(), 4000, hits="keep").law(jnp.zeros_like(uniform), uniform)
    drawn = np.asarray(law.draw(jax.random.key(3), jnp.asarray(0))[0])
    # 4000 draws: a standard deviation is 0.008
    assert abs((drawn % 2 == 0).mean() - 0.5) < 0.04
    assert abs(drawn.mean() / labels - 0.5) < 4 * 0.29 / 63
    assert len(np.unique(drawn)) > 3990


def test_rare_labels_are_drawn_in_float32():
    """Half of the labels have 2e-8 each, a thousandth of the mass together."""
    q = np.r_[np.full(50_000, 2e-8), np.full(50_000, (1 - 1e-3) / 50_000)]
    q = jnp.asarray(q, jnp.float32)
    law = nb.iid(nb.popularity(), 400_000, hits="keep").law(jnp.zeros_like(q), q)
    drawn = np.asarray(law.draw(jax.random.key(0), jnp.asarray(0))[0])
    rare = drawn[drawn < 50_000]
    assert abs(len(rare) - 400) < 4 * 20
    assert len(np.unique(rare)) > 0.98 * len(rare)


@pytest.mark.slow
def test_every_gold_can_be_drawn_in_float32():
    """The same of golds, and that one number would not do."""
    population = jnp.full(2**24, 2.0**-24, jnp.float32)
    keys, draw = (
        jax.random.split(jax.random.key(1), 4000),
        jax.vmap(candidate_sets._drawn, (0, None)),
    )
    drawn, coarse = (draw(keys, of(population)) for of in (candidate_sets.cumulative, jnp.cumsum))
    assert abs((drawn % 2 == 0).mean() - 0.5) < 0.04
    assert abs(drawn.mean() / 2**24 - 0.5) < 4 * 0.29 / 63
    assert len(np.unique(drawn)) > 3990
    assert (coarse % 2 == 0).mean() == 1


def test_few_golds_are_drawn_as_ever():
    """By one number each, so that what a key gives stays."""
    population = jnp.asarray(POP, jnp.float32)
    np.testing.assert_array_equal(candidate_sets.cumulative(population), jnp.cumsum(population))


@pytest.mark.parametrize("gold", range(4))
def test_excluded_golds_are_skipped_in_float32(gold):
    q = jnp.asarray(POP, jnp.float32)
    law = nb.iid(nb.popularity(), 40_000).law(jnp.zeros_like(q), q)
    drawn, present = law.draw(jax.random.key(gold), jnp.asarray(gold))
    expected = np.where(np.arange(4) == gold, 0, POP) / (1 - POP[gold])
    found = np.bincount(np.asarray(drawn), minlength=4) / 40_000
    assert np.all(np.asarray(present)) and found[gold] == 0
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / 200)
