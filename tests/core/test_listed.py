"""Labels on lists: against enumeration, and several positives of one input by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases
from tests.core.test_loss_family import assert_enumerated
from tests.oracles.enumeration import enumerate_moments

SCORES, POPULATION, Q = cases.SCORES[0], cases.POPULATION[2], cases.FIXED_Q
V = len(SCORES)
PROBLEM = nb.Problem(SCORES, POPULATION, sides={"mined": [0, 1, 0, 1, 1]})
LISTED = ("listed", [[1, 3, 4]] * V)
A = nb.from_probabilities(Q)
#: Another list for each gold, of other lengths; the gold's own label stands on some.
BY_GOLD = [[1], [0, 2], [2, 3, 4], [], [0, 1, 4]]
MARKS = jnp.asarray([[y in row for y in range(V)] for row in BY_GOLD])


def exact(sampler, loss: nb.Loss = nb.infonce, **options):
    return nb.exact(nb.Problem(SCORES, POPULATION), sampler, loss, split=True, **options)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["infonce", "negative_sampling"])
def test_every_moment_is_the_enumerated_one(name, compiled):
    found = exact(nb.listed([3, 1, 4, 1, -1]), nb.LOSSES[name], compiled=compiled)
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, LISTED, name))


@pytest.mark.parametrize(
    ("sampler", "spec"),
    [
        (nb.iid(A, 2, "keep"), ("iid", Q, 2, "keep")),
        (nb.without_replacement(A, 2), ("without_replacement", Q, 2)),
        (nb.poisson(A, 2), ("poisson", Q, 2)),
    ],
    ids=str,
)
def test_as_a_part_of_a_sum(sampler, spec):
    """A listed label that is drawn too is twice among the candidates."""
    found = exact(nb.listed([1, 3, 4]) + sampler)
    spec = ("concat", [LISTED, spec])
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


def test_a_side_and_a_function_say_what_numbers_do():
    numbers = exact(nb.listed([1, 3, 4]))
    given = [nb.listed("mined", 3), nb.listed(lambda mined: mined > 0.5, 3)]
    given.append(nb.listed(lambda scores, popularity: jnp.arange(len(scores)) % 5 * 2 % 3 > 0, 4))
    for sampler in given[:2]:
        found = nb.exact(PROBLEM, sampler, split=True)
        np.testing.assert_array_equal(found.bias, numbers.bias)
    assert not given[0].reads_scores
    assert given[2].reads_scores


def test_lists_of_each_gold():
    sampler = nb.listed(lambda gold: MARKS[gold], 3)
    found = exact(sampler + nb.iid(A, 1, "keep"))
    spec = ("concat", [("listed", BY_GOLD), ("iid", Q, 1, "keep")])
    assert_enumerated(found, enumerate_moments(SCORES, POPULATION, spec))


def test_lists_of_each_input_stay_with_it():
    lists = np.array([[1, 2], [0, -1], [4, 3]])
    problem = nb.Problem(cases.SCORES, cases.POPULATION)
    found = nb.exact(problem, nb.listed(lists))
    for x, row in enumerate(lists):
        spec = ("listed", [[y for y in row if y >= 0]] * V)
        alone = enumerate_moments(cases.SCORES[x], cases.POPULATION[x], spec)
        np.testing.assert_allclose(found.bias[x], alone.bias, atol=1e-12)
    taken = nb.exact(problem.take([2, 0]), nb.listed(lists))
    np.testing.assert_array_equal(taken.bias, np.asarray(found.bias)[[2, 0]])


def test_two_positives_of_one_input_by_hand():
    """Both in the denominator, targets of a half, and one wrong label of the two that are left."""
    scores = np.array([0.5, -0.2, 0.1, -0.7])
    w = np.exp(scores)
    sums = w[0] + w[1] + w[2:]
    loss = np.mean(np.log(sums)) - (scores[0] + scores[1]) / 2
    selected = np.array([*np.mean(w[:2, None] / sums, axis=1), *(w[2:] / sums / 2)])
    bias = w / w.sum() - selected

    problem = nb.Problem(scores, [0.5, 0.5, 0, 0], sides={"positives": [1, 1, 0, 0]})
    others = nb.iid(lambda positives: jnp.where(positives > 0, -jnp.inf, 0.0), 1)
    found = nb.exact(problem, nb.listed("positives", 2) + others)
    np.testing.assert_allclose(found.bias, bias, atol=1e-13)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-13)
    one_at_a_time = nb.exact(problem, others)
    assert abs(float(one_at_a_time.bias_norm) - np.linalg.norm(bias)) > 0.02


def test_sampled_and_exact_agree_and_a_shorter_list_does_not():
    key = jax.random.key(0)
    problem = nb.Problem(SCORES, POPULATION)
    sampler = nb.listed([1, 3, 4]) + nb.iid(A, 2)
    sampled = nb.monte_carlo(problem, sampler, key=key, draws=4000)
    for other, agrees in ((sampler, True), (nb.listed([1, 3]) + nb.iid(A, 2), False)):
        missed = abs(float(sampled.loss) - float(nb.exact(problem, other).loss))
        assert (missed < 5 * float(sampled.standard_errors["loss"])) == agrees
    assert nb.check_sampler(problem, nb.listed([1, 3, 4]), key=key, draws=200).ok


def test_corrected_by_inclusion_and_over_parameters():
    loss = nb.with_inclusion(nb.sampled_softmax)
    found = exact(nb.listed([1, 3, 4]), loss)
    plain = exact(nb.listed([1, 3, 4]))  # each is there for certain: log 1 is taken off
    np.testing.assert_allclose(found.bias, plain.bias, atol=1e-12)

    model = nb.ScoreModel(lambda parameter, x: parameter * x, jnp.asarray(1.3))
    inputs = jnp.asarray(SCORES)[None] / 1.3
    over = nb.gradient_bias(model, inputs, POPULATION[None], nb.listed([1, 3, 4]))
    expected = np.linalg.norm(np.vdot(plain.bias, inputs[0]))
    np.testing.assert_allclose(over.norm, expected, rtol=1e-9)


def test_what_is_refused():
    problem = nb.Problem(SCORES, POPULATION)
    with pytest.raises(ValueError, match=r"ids from 2 to 7; expected .* from 0 to 4, or -1"):
        nb.exact(problem, nb.listed([2, 7]))
    with pytest.raises(ValueError, match=r"has 3 labels on its list; expected at most m = 2"):
        nb.exact(PROBLEM, nb.listed("mined", 2))
    with pytest.raises(ValueError, match=r"m: got none; .* For example nb.listed\('positives'"):
        nb.listed("mined")
    with pytest.raises(ValueError, match=r"1 lists, and an input of number 2; expected one list"):
        nb.exact(nb.Problem(cases.SCORES, cases.POPULATION), nb.listed([[1, 2]]))
    with pytest.raises(ValueError, match=r"returned float64 of shape \(5,\); expected booleans"):
        nb.exact(PROBLEM, nb.listed(lambda mined: mined, 3))
    with pytest.raises(ValueError, match=r"labels: got shape \(2, 0\)"):
        nb.listed(np.zeros((2, 0), int))
    with pytest.raises(ValueError, match=r"it corrects scores by log q, and Listed negatives"):
        nb.exact(problem, nb.listed([1, 3]), nb.sampled_softmax)
