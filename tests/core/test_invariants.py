"""What cannot change an answer, what transformations must not change, and the ends of the range."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nce_bias as nb
from tests import cases
from tests.oracles.enumeration import enumerate_moments

#: With and without a correction, by score and by rank; all in one compilation.
SETTINGS = [
    (nb.iid(nb.mixture(nb.model(2.0), nb.log_uniform(), 0.4), 3), nb.sampled_softmax_both),
    (nb.top(2) + nb.iid(nb.popularity(0.5), 1, "mask"), nb.infonce),
]


@jax.jit
def compute(problem):
    """(selection, loss, error) of each setting."""
    results = (nb.exact(problem, sampler, loss) for sampler, loss in SETTINGS)
    return [(r.selection, r.loss, r.error) for r in results]


#: Popularity ranks and top-m are discontinuous: no ties within what a permutation may reorder.
DISTINCT = np.array([0.31, 0.04, 0.17, 0.26, 0.22])
SCORES = arrays(np.float64, (2, 5), elements=st.floats(-20, 20, width=32), unique=True).filter(
    lambda a: np.abs(np.diff(np.sort(a, axis=1), axis=1)).min() > 1e-3
)
POPULATIONS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).dirichlet(np.full(5, 0.5), 2)
)
#: Moving a score by c changes it by its rounding, which moves a probability by as much.
WEIGHTS = np.array([0.4, 0.6])


def problem(scores, population, popularity=DISTINCT, weights=WEIGHTS):
    return nb.Problem(scores, population, popularity=popularity, weights=weights)


@settings(max_examples=25)
@given(SCORES, POPULATIONS, arrays(np.float64, (2, 1), elements=st.floats(-1e3, 1e3)))
def test_a_constant_added_to_the_scores_changes_nothing(scores, population, shift):
    before = compute(problem(scores, population))
    after = compute(problem(scores + shift, population))
    rounding = 8 * np.spacing(np.abs(scores + shift).max())
    for (first, loss, error), (second, other, after_error) in zip(before, after, strict=True):
        tolerance = error + after_error + rounding
        assert np.abs(np.asarray(first - second)).max() <= tolerance < 1e-11
        assert abs(float(loss - other)) <= tolerance * max(1.0, float(loss))


@settings(max_examples=25)
@given(SCORES, POPULATIONS, st.permutations(range(5)))
def test_labels_have_no_order(scores, population, order):
    before = compute(problem(scores, population))
    after = compute(problem(scores[:, order], population[:, order], DISTINCT[list(order)]))
    for (first, loss, error), (second, other, after_error) in zip(before, after, strict=True):
        tolerance = error + after_error
        assert np.abs(np.asarray(first)[:, order] - np.asarray(second)).max() <= tolerance < 1e-12
        assert abs(float(loss - other)) <= tolerance * max(1.0, float(loss))


@settings(max_examples=25)
@given(SCORES, POPULATIONS)
def test_selection_is_a_distribution(scores, population):
    for selection, loss, error in compute(problem(scores, population)):
        assert np.asarray(selection).min() >= -error
        np.testing.assert_allclose(np.sum(selection, axis=1), 1, rtol=0, atol=1e-12)
        assert loss >= 0


@settings(max_examples=10)
@given(SCORES, POPULATIONS)
def test_inputs_are_averaged_by_their_weights(scores, population):
    """Two inputs are one and the other: rows stay apart, the loss is a weighted mean."""
    both = compute(problem(scores, population))
    # an input twice, its weight in two parts
    doubled = [
        compute(problem(scores[[i, i]], population[[i, i]], weights=np.array([0.3, 0.7])))
        for i in range(2)
    ]
    for number, (selection, loss, error) in enumerate(both):
        parts = [one[number] for one in doubled]
        for row, (single, _, single_error) in enumerate(parts):
            assert np.abs(np.asarray(single - selection[row])).max() <= error + single_error
        expected = WEIGHTS @ [float(part[1]) for part in parts]
        assert abs(float(loss) - expected) <= 2 * error * max(1.0, expected)


def test_the_rank_of_the_batch_does_not_matter():
    """[V], [1, V] and a row of [X, V] are the same problem; [V] in, [V] out."""
    sampler, loss = nb.iid(cases.proposal("model"), 2), nb.infonce
    rows = cases.exact(cases.problem(), sampler, loss)
    for row in range(cases.INPUTS):
        scores, population = cases.SCORES[row], cases.POPULATION[row]
        flat = cases.exact(nb.Problem(scores, population, cases.POPULARITY), sampler, loss)
        one = cases.exact(
            nb.Problem(scores[None], population[None], cases.POPULARITY), sampler, loss
        )
        for name in ("selection", "gradient", "bias"):
            assert getattr(flat, name).shape == (cases.LABELS,)
            assert getattr(one, name).shape == (1, cases.LABELS)
            assert getattr(rows, name).shape == (cases.INPUTS, cases.LABELS)
            missed = np.abs(np.asarray(getattr(flat, name) - getattr(rows, name)[row])).max()
            assert missed <= flat.error + rows.error
        cases.assert_same(flat, jax.tree.map(lambda a: a[0] if a.ndim == 2 else a, one))


# Transformations ----------------------------------------------------------------------------------

ONE = cases.SCORES[0], cases.POPULATION[0]


def test_jit_of_a_function_of_scores():
    sampler = nb.iid(nb.model(), 2)
    eager = nb.exact(nb.Problem(*ONE), sampler)
    traced = jax.jit(lambda s: nb.exact(nb.Problem(s, ONE[1]), sampler))(ONE[0])
    cases.assert_same(traced, eager)
    np.testing.assert_allclose(traced.bias, eager.bias, rtol=0, atol=2e-13)
    assert (eager.status, traced.status) == ("ok", "not checked under a JAX transformation")
    assert traced.method.endswith(", float64")


def temperature_norm(temperature, loss=nb.infonce):
    return nb.exact(nb.Problem(*ONE), nb.iid(nb.model(temperature), 2), loss).bias_norm


@functools.cache
def by_temperature():
    return [float(temperature_norm(t)) for t in (0.5, 2.0)]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_vmap_over_problems():
    sampler = nb.iid(nb.model(), 2)
    found = jax.jit(jax.vmap(lambda s, p: nb.exact(nb.Problem(s, p), sampler).bias))(
        cases.SCORES, cases.POPULATION
    )
    for row in range(cases.INPUTS):
        one = cases.exact(
            nb.Problem(cases.SCORES[row], cases.POPULATION[row]), nb.iid(cases.proposal("model"), 2)
        )
        np.testing.assert_allclose(found[row], one.bias, rtol=0, atol=2e-13)


def test_jit_of_a_problem_from_outside():
    """A concrete problem closed over by a user's jit."""
    problem = nb.Problem(*ONE)
    found = jax.jit(lambda x: x * nb.exact(problem, nb.iid(nb.model(0.5), 2)).bias_norm)(1.0)
    close(found, by_temperature()[0])


def test_jit_of_a_function_of_the_proposal():
    close([jax.jit(temperature_norm)(t) for t in (0.5, 2.0)], by_temperature())


def test_jit_of_a_function_of_the_proposal_with_a_corrected_gold():
    eager = temperature_norm(0.5, nb.ranking_nce)
    close(jax.jit(lambda t: temperature_norm(t, nb.ranking_nce))(0.5), eager)


def test_vmap_over_proposals():
    close(jax.vmap(temperature_norm)(jnp.array([0.5, 2.0])), by_temperature())


def test_grad_by_the_proposal():
    """What a search for better negatives needs: d norm / d temperature, against differences."""
    slope = jax.grad(temperature_norm)(2.0)
    step = 1e-4
    difference = (temperature_norm(2 + step) - temperature_norm(2 - step)) / (2 * step)
    # central difference: step^2 / 6 times a third derivative of order 1
    np.testing.assert_allclose(slope, difference, atol=1e-7)
    assert abs(slope) > 1e-3


def test_grad_by_the_scores_is_the_gradient():
    """Also the second derivative exists: the bias can itself be differentiated."""
    sampler = nb.iid(cases.proposal("uniform"), 3, "keep")
    scores, population = jnp.asarray(cases.SCORES), cases.POPULATION

    def loss(s):
        return nb.exact(nb.Problem(s, population, weights=cases.WEIGHTS), sampler).loss

    slope = jax.jit(jax.grad(loss))(scores)
    found = cases.exact(nb.Problem(scores, population, weights=cases.WEIGHTS), sampler)
    expected = cases.WEIGHTS[:, None] * np.asarray(found.gradient)
    np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-12)

    def square(s):
        return nb.exact(nb.Problem(s, population, weights=cases.WEIGHTS), sampler).bias_norm_squared

    both = jax.jit(jax.value_and_grad(square))
    direction = np.random.default_rng(0).normal(size=scores.shape)
    ends = [both(scores + sign * 1e-4 * direction)[0] for sign in (1, -1)]
    along = float(jnp.vdot(both(scores)[1], direction))
    np.testing.assert_allclose(along, float(ends[0] - ends[1]) / 2e-4, atol=1e-7)
    assert abs(along) > 1e-3


def test_results_of_vmap_can_be_printed():
    found = jax.jit(jax.vmap(lambda s: nb.exact(nb.Problem(s, ONE[1]), nb.top(1))))(cases.SCORES)
    assert "infonce with top(m=1)" in repr(found)


# The ends of the range ----------------------------------------------------------------------------


def assert_enumerated(scores, population, sampler, spec, loss="infonce", bound=1e-10, **options):
    """Against enumeration in extended precision, within `error`, itself below `bound`."""
    found = nb.exact(nb.Problem(scores, population), sampler, nb.LOSSES[loss], **options)
    truth = enumerate_moments(scores, population, spec, loss)
    missed = np.abs(np.asarray(found.selection) - truth.selection).max()
    assert missed <= found.error < bound
    assert np.isfinite(np.asarray(found.bias)).all()
    if np.isinf(truth.loss):
        assert np.isinf(found.loss)
    else:
        np.testing.assert_allclose(found.loss, truth.loss, rtol=bound, atol=1e-300)
    return found


FIFTH = np.full(5, 0.2)
EXTREMES = {
    "ten thousand": [1e4, 0.0, -1e4, 9999.0, -3.0],
    "ties": [0.5, 0.5, 0.5, -1.0, -1.0],
    "ties at the top": [1e4, 1e4, -1e4, -1e4, 0.0],
    "all alike": [0.0, 0.0, 0.0, 0.0, 0.0],
    "never": [0.3, -np.inf, 1.0, -np.inf, 0.1],
}


@pytest.mark.filterwarnings("ignore::nce_bias.UnusualInput")  # masked labels are drawn
def test_extreme_scores():
    scores = np.array(list(EXTREMES.values()))
    population = np.where(np.isneginf(scores), 0.0, 0.2)
    population /= population.sum(axis=1, keepdims=True)
    for m, hits in [(2, "keep"), (1, "keep")]:
        found = nb.exact(nb.Problem(scores, population), nb.iid(nb.uniform(), m, hits))
        truth = [
            enumerate_moments(scores[i], population[i], ("iid", FIFTH, m, hits)) for i in range(5)
        ]
        missed = np.abs(np.asarray(found.selection) - [one.selection for one in truth]).max()
        assert missed <= found.error < 1e-10
        np.testing.assert_allclose(found.loss, np.mean([one.loss for one in truth]), rtol=1e-12)
        assert found.status == "ok"
    # By hand, for one kept draw and ties at the top: of the 25 pairs (gold, negative) the better
    # label is picked, or either with 1/2. 0 wins 7 alone, its own copy one of them, and shares 2;
    # 1 alike; 4 wins 5; 2 and 3 win their own copies and share 2.
    by_hand = np.array([7 + 1, 7 + 1, 1 + 1, 1 + 1, 5]) / 25
    row = list(EXTREMES).index("ties at the top")
    np.testing.assert_allclose(found.selection[row], by_hand, atol=float(found.error))


@pytest.mark.parametrize(
    ("hits", "loss"),
    [("mask", "infonce"), ("exclude", "sampled_softmax")],
)
def test_a_model_that_is_sure(hits, loss):
    """Model negatives at scores +-1e4: every other label has q = exp(-1e4), which is 0 in floats.

    For the gold 0 the law of what is left is a point mass on the label 1; for others on 0.
    """
    scores = np.array([1e4, 0.0, -1e4])
    found = nb.exact(
        nb.Problem(scores, [0.5, 0.25, 0.25]), nb.iid(nb.model(), 2, hits), nb.LOSSES[loss]
    )
    np.testing.assert_allclose(found.selection, [1, 0, 0], atol=float(found.error))
    assert found.error < 1e-10
    # uncorrected, two copies of label 0 beat each other gold by 1e4 and 2e4, and log 2; with the
    # correction s - log(2 q) the two weights add up to one
    twice = np.log(2) if loss == "infonce" else 0.0
    expected = 0.25 * (1e4 + twice) + 0.25 * (2e4 + twice)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-12)


def test_a_gold_that_the_model_excludes():
    """Score -inf at a possible gold: the loss is infinite, the gradient is not, and p = 0."""
    scores = np.array([0.0, -np.inf, 1.0])
    q = np.full(3, 1 / 3)
    found = assert_enumerated(
        scores, np.array([0.5, 0.25, 0.25]), nb.iid(nb.uniform(), 1), ("iid", q, 1, "exclude")
    )
    # gold 1 always loses to the negative: 0 or 2 with 1/2 each. Against label 1 a gold always wins
    first = 1 / (1 + np.e)
    by_hand = 0.5 * (0.5 + 0.5 * first) + 0.25 * 0.5 + 0.25 * 0.5 * first
    np.testing.assert_allclose(found.selection[:2], [by_hand, 0.0], atol=float(found.error))
    assert found.loss == found.cross_entropy == np.inf
    truth = enumerate_moments(
        scores, np.array([0.5, 0.25, 0.25]), ("iid", q, 1, "exclude"), "infonce"
    )
    for part in ("variance", "variance_negatives", "variance_gold"):
        assert abs(getattr(found, part) - float(getattr(truth, part))) < 1e-12, part


def test_zeros_in_q_and_in_the_population():
    hits = "exclude"
    q = np.array([0.0, 0.5, 0.3, 0.0, 0.2])
    population = np.array([0.4, 0.0, 0.35, 0.0, 0.25])
    found = assert_enumerated(
        cases.SCORES[0],
        population,
        nb.iid(nb.from_probabilities(q), 3, hits),
        ("iid", q, 3, hits),
        "sampled_softmax",
    )
    assert found.selection[3] == pytest.approx(0, abs=float(found.error))


ALMOST_ALL = [
    *((rest, hits, "infonce") for hits in cases.HITS for rest in (1e-3, 1e-14, 1e-300)),
    (1e-14, "exclude", "sampled_softmax"),
]


@pytest.mark.parametrize(("rest", "hits", "loss"), ALMOST_ALL)
def test_q_that_is_almost_all_at_one_gold(rest, hits, loss):
    """1 - q_gold = 1e-14: what is left of q keeps its digits, it is never 1 - q."""
    q = np.array([0.3 * rest, 1 - rest, 0.1 * rest, 0.6 * rest])
    assert_enumerated(
        np.array([0.4, -0.3, 1.1, 0.2]),
        np.array([0.2, 0.6, 0.1, 0.1]),
        nb.iid(nb.from_probabilities(q), 2, hits),
        ("iid", q, 2, hits),
        loss,
    )


def test_distinct_draws_where_q_is_almost_all_at_one_gold():
    rest = 1e-14
    q = np.array([0.3 * rest, 1 - rest, 0.1 * rest, 0.6 * rest])
    assert_enumerated(
        np.array([0.4, -0.3, 1.1, 0.2]),
        np.array([0.2, 0.6, 0.1, 0.1]),
        nb.without_replacement(nb.from_probabilities(q), 2),
        ("without_replacement", q, 2),
    )


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1e-10, 1e-40])
def test_distinct_draws_over_many_orders_of_magnitude(ratio):
    """Rates over 92 and 368 nats: the third ring is waited for, however rare its label."""
    q = ratio ** np.arange(5.0)
    q /= q.sum()
    assert_enumerated(
        cases.SCORES[0],
        cases.POPULATION[0],
        nb.without_replacement(nb.from_probabilities(q), 3),
        ("without_replacement", q, 3),
        split=False,
    )


@pytest.mark.slow
def test_distinct_model_negatives_of_a_model_that_is_sure():
    scores = np.array([60.0, 0.0, -60.0, 30.0, -30.0])
    q = np.exp(scores - 60) / np.exp(scores - 60).sum()
    assert_enumerated(
        scores,
        cases.POPULATION[0],
        nb.without_replacement(nb.model(), 3),
        ("without_replacement", q, 3),
        split=False,
    )


def test_two_labels():
    """One wrong label: m copies of it, whatever the proposal; p = 1 / (1 + m e^d)."""
    m, scores, population = 4096, np.array([0.7, -0.4]), np.array([0.25, 0.75])
    found = nb.exact(nb.Problem(scores, population), nb.iid(nb.model(), m))
    first, second = 1 / (1 + m * np.exp(-1.1)), 1 / (1 + m * np.exp(1.1))
    expected = 0.25 * first + 0.75 * (1 - second)
    np.testing.assert_allclose(found.selection[0], expected, atol=float(found.error))
    assert found.error < 1e-12
    loss = -0.25 * np.log(first) - 0.75 * np.log(second)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)


def test_traced_extremes_are_known_to_be_unknown():
    """Under a user's jit 512 nodes cannot reach over 2e4 nats: finite, and `error` says it."""
    scores = np.array([EXTREMES["ten thousand"]] * 3)
    problem = nb.Problem(scores, np.full((3, 5), 0.2), popularity=cases.POPULARITY)
    found = cases.exact(problem, nb.iid(cases.proposal("uniform"), 2, "keep"))
    truth = enumerate_moments(scores[0], FIFTH, ("iid", FIFTH, 2, "keep"))
    assert np.isfinite(np.asarray(found.selection)).all()
    assert np.abs(np.asarray(found.selection) - truth.selection).max() <= found.error
    assert found.error > 1e-3


def test_float32_extremes_are_known():
    """Wide gaps are closed: in float32 weights of e^1e4 once were known to 1e-3 only."""
    scores = np.asarray(EXTREMES["ten thousand"], np.float32)
    problem = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), nb.Problem(scores, FIFTH))
    found = nb.exact(problem, nb.iid(nb.uniform(), 2, "keep"))
    truth = enumerate_moments(scores, FIFTH, ("iid", FIFTH, 2, "keep"))
    assert np.abs(np.asarray(found.selection) - truth.selection).max() <= found.error < 1e-4
    assert found.status == "ok"


@pytest.mark.slow
def test_what_is_not_known_says_so():
    """Labels 100 apart, as many as there are: no gap to close, and float32 has few digits there."""
    scores = -99.0 * np.arange(120)
    problem = nb.Problem(scores, np.full(120, 1 / 120))
    problem = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), problem)
    found = nb.exact(problem, nb.iid(nb.uniform(), 2, "keep"))
    assert 1e-3 < found.error < 1e-2
    assert found.status == (
        f"selection is known to {float(found.error):.1g} only: use float64, or fewer extreme scores"
    )
