"""What a loss teaches: by hand, against what consistency promises, and where there is nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._fixed_point import _solve
from tests import cases

POPULATION = np.array([[0.35, 0.05, 0.3, 0.1, 0.2], [0.1, 0.45, 0.15, 0.05, 0.25]])
POPULARITY = np.array([0.12, 0.4, 0.08, 0.25, 0.15])
WEIGHTS = np.array([0.7, 0.3])
PROBLEM = nb.Problem(np.zeros((2, 5)), POPULATION, POPULARITY, WEIGHTS)
#: A residual of 1e-10 in log gamma, through a Jacobian with a condition below 1e2 at V = 5.
CLOSE = 1e-8


def normalised(scores):
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def assert_learns(found, scores):
    assert found.status == "ok"
    np.testing.assert_allclose(found.scores, normalised(scores), atol=CLOSE)
    # The answer is checked against the engine, not against the solver's own residual.
    np.testing.assert_allclose(found.moments.gradient, 0, atol=1e-10)


@pytest.mark.parametrize("m", [1, 3])
def test_ranking_nce_learns_the_population_if_hits_are_kept(m):
    found = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), m, "keep"), nb.ranking_nce)
    assert_learns(found, np.log(POPULATION))
    assert found.distance < CLOSE
    masked = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), m, "mask"), nb.ranking_nce)
    assert masked.status == "ok"
    # One masked hit leaves the gold alone, and so does one kept: the same. Two are not.
    assert (masked.distance < CLOSE) if m == 1 else (masked.distance > 1e-3)


@pytest.mark.parametrize("m", [1, 3])
def test_uncorrected_popularity_negatives_learn_mutual_information(m):
    mutual_information = np.log(POPULATION) - np.log(POPULARITY)
    found = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), m, "keep"))
    assert_learns(found, mutual_information)
    assert found.distance > 0.1
    if m > 1:
        masked = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), m, "mask"))
        off = np.abs(np.asarray(masked.scores) - normalised(mutual_information))
        assert masked.status == "ok"
        assert off.max() > 0.1


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_model_negatives_learn_a_power_of_the_population(temperature):
    """s + s/T = log pop: the negatives follow the scores, or the power would be 1."""
    found = nb.fixed_point(PROBLEM, nb.iid(nb.model(temperature), 3, "keep"))
    power = temperature / (1 + temperature) * np.log(POPULATION)
    assert_learns(found, power)
    masked = nb.fixed_point(PROBLEM, nb.iid(nb.model(temperature), 3, "mask"))
    assert masked.status == "ok"
    assert np.abs(np.asarray(masked.scores) - normalised(power)).max() > 0.01


def test_two_labels_and_one_model_negative_by_hand():
    """gamma_0 = 2 g pi + pi^2 - 2 g pi^2 = g at g = 0.8: pi = 2/3, odds 2 where pop has 4."""
    found = nb.fixed_point(nb.Problem([0.0, 0.0], [0.8, 0.2]), nb.iid(nb.model(), 1, "keep"))
    np.testing.assert_allclose(np.exp(found.scores), [2 / 3, 1 / 3], rtol=CLOSE)
    np.testing.assert_allclose(found.distance, (0.8 - 2 / 3) * 2**0.5, rtol=CLOSE)


def test_corrected_model_negatives_learn_the_population():
    sampler = nb.iid(nb.model(), 3)
    assert_learns(nb.fixed_point(PROBLEM, sampler, nb.sampled_softmax), np.log(POPULATION))
    assert nb.fixed_point(PROBLEM, sampler).distance > 0.05


def test_one_uniform_negative_learns_the_population_and_four_do_not():
    """One is distinct from itself; of four, two may be the same."""
    assert_learns(nb.fixed_point(PROBLEM, nb.iid(nb.uniform(), 1)), np.log(POPULATION))
    four = nb.fixed_point(PROBLEM, nb.iid(nb.uniform(), 4))
    assert four.status == "ok"
    assert four.distance > 1e-3


def test_distinct_model_negatives():
    """Two of three labels without replacement are all there are: cross entropy."""
    problem = nb.Problem(np.zeros(3), [0.5, 0.3, 0.2])
    found = nb.fixed_point(problem, nb.without_replacement(nb.model(), 2))
    assert_learns(found, np.log([0.5, 0.3, 0.2]))


def test_inputs_do_not_see_each_other():
    both = nb.fixed_point(PROBLEM, nb.iid(nb.model(), 3, "mask"))
    for row in range(2):
        one = nb.Problem(np.ones(5), POPULATION[row], POPULARITY)
        alone = nb.fixed_point(one, nb.iid(nb.model(), 3, "mask"))
        np.testing.assert_allclose(both.scores[row], alone.scores, atol=CLOSE)
        assert alone.scores.shape == (5,)
    off = np.exp(np.asarray(both.scores)) - POPULATION
    np.testing.assert_allclose(both.distance, np.sqrt(WEIGHTS @ np.sum(off**2, axis=-1)))


def test_proposals_that_read_an_input_or_a_side():
    """Each input is solved with its own: the gradient of the whole problem is 0 there."""
    logs = np.log([[0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6]])
    beside = nb.Problem(np.zeros((2, 5)), POPULATION, POPULARITY, WEIGHTS, sides={"side": logs})

    def of_input(input):
        return jnp.asarray(logs)[input]

    def of_side(side):
        return side

    pairs = ((PROBLEM, of_input), (beside, of_side))
    found = [nb.fixed_point(problem, nb.iid(q, 2, hits="keep")) for problem, q in pairs]
    for one in found:
        assert one.status == "ok" and np.abs(one.moments.gradient).max() < CLOSE
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=CLOSE)
    # uncorrected, hits kept: log pop(y|x) - log q(y|x), up to a constant of the input
    expected = np.log(POPULATION) - logs
    apart = np.asarray(found[0].scores) - expected
    np.testing.assert_allclose(apart - apart.mean(-1, keepdims=True), 0, atol=1e-7)


def test_negatives_that_see_a_constant():
    """A family of fixed points; that of log-probabilities is returned, and is one."""

    def squashed(scores, popularity):
        return 2 * jnp.tanh(scores + 2)

    found = nb.fixed_point(PROBLEM, nb.iid(squashed, 3, "keep"))
    assert found.status == "ok"
    np.testing.assert_allclose(found.moments.gradient, 0, atol=1e-10)
    scores = np.asarray(found.scores)
    np.testing.assert_allclose(np.logaddexp.reduce(scores, axis=-1), 0, atol=1e-12)
    learnt = scores + 2 * np.tanh(scores + 2)
    np.testing.assert_allclose(normalised(learnt), np.log(POPULATION), atol=CLOSE)


def test_scores_without_a_free_constant_are_left_as_found():
    """Negative sampling: -pop (1 - sigma) + m q sigma = 0 at s = log pop - log(m q)."""
    population, expected = POPULATION[0], 3 * POPULARITY

    def log_ratio(scores):
        chance = 1 / (1 + np.exp(-scores))
        return np.log((population + expected) * chance / population)

    scores, residual, _ = _solve(log_ratio, population, 50, 1e-10)
    np.testing.assert_allclose(scores, np.log(population / expected), atol=CLOSE)
    assert residual < 1e-10
    assert abs(np.logaddexp.reduce(scores)) > 0.1


def test_the_highest_scoring_negatives_have_no_fixed_point():
    """They jump as the scores cross, and labels below them are never pushed down."""
    found = nb.fixed_point(PROBLEM, nb.top(2))
    assert found.status == "did not converge: best returned; there may be no fixed point"
    start = nb.Problem(np.log(POPULATION), POPULATION, POPULARITY, WEIGHTS)
    at_start = nb.exact(start, nb.top(2)).selection
    at_end = found.moments.selection
    off = [np.linalg.norm(np.log(at / POPULATION), axis=-1) for at in (at_start, at_end)]
    assert (off[1] < off[0]).all()
    assert found.residual > 0.1


def test_single_precision():
    with cases.single_precision():
        single = nb.Problem(np.zeros((2, 5)), POPULATION, POPULARITY)
        found = nb.fixed_point(single, nb.iid(nb.popularity(), 3, "keep"))
    assert found.status == "ok"
    expected = normalised(np.log(POPULATION) - np.log(POPULARITY))
    np.testing.assert_allclose(found.scores, expected, atol=1e-3)


def test_too_few_steps_say_so():
    found = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), 3, "keep"), steps=1)
    assert found.status == "did not converge: best returned; raise steps"
    assert found.steps == 1
    assert found.residual > 1e-10


def test_the_result_is_readable():
    found = nb.fixed_point(PROBLEM, nb.iid(nb.popularity(), 3, "keep"))
    assert repr(found) == (
        "FixedPoint of infonce with iid(popularity, m=3, hits='keep'), scores [2, 5]\n"
        f"  distance to the population {float(found.distance):.6g}\n"
        f"  ok; {found.steps} steps, residual {found.residual:.1g}"
    )
    with pytest.raises(AttributeError):
        found.steps = 3


def test_refused():
    gone = nb.Problem(np.zeros(3), [0.6, 0.4, 0.0])
    with pytest.raises(ValueError) as error:
        nb.fixed_point(gone, nb.iid(nb.uniform(), 1))
    assert str(error.value) == (
        "population: pop(y|x) = 0 at label 2 of input 0, where the fixed point has score -inf; "
        "expected pop(y|x) > 0 everywhere. Leave out the label or smooth the population."
    )
    with pytest.raises(ValueError, match=r"^steps: got 0; expected a whole number >= 1\. Pass"):
        nb.fixed_point(PROBLEM, nb.top(2), steps=0)
    with pytest.raises(ValueError, match=r"^m: top\(m=9\) asks for 9 distinct wrong labels of 5"):
        nb.fixed_point(PROBLEM, nb.top(9))
    with pytest.raises(ValueError) as error:
        jax.jit(lambda s: nb.fixed_point(nb.Problem(s, POPULATION[0]), nb.top(2)).scores)(
            jnp.zeros(5)
        )
    assert str(error.value) == (
        "problem: got traced values; expected concrete ones. Call fixed_point outside jax.jit, "
        "jax.vmap and jax.grad."
    )


def test_binary_losses_learn_the_population_and_mutual_information():
    """Unnormalised: binary NCE log pop, negative sampling log pop - log(m q), hits kept.

    Masked, a gold is told from noise that it never is: neither holds.
    """
    problem = nb.Problem(np.zeros(5), POPULATION[0], POPULARITY)
    log_pop = np.log(POPULATION[0])
    mutual = log_pop - np.log(4 * POPULARITY)
    for loss, expected in ((nb.binary_nce, log_pop), (nb.negative_sampling, mutual)):
        found = nb.fixed_point(problem, nb.iid(nb.popularity(), 4, hits="keep"), loss)
        np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-10)
        masked = nb.fixed_point(problem, nb.iid(nb.popularity(), 4, hits="mask"), loss)
        assert np.abs(np.asarray(masked.scores) - expected).max() > 0.05
