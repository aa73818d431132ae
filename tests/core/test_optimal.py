"""The proposal of least bias: by hand, by non-negative least squares, and what it must refuse."""

import inspect
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import nce_bias as nb
from nce_bias import optimal
from nce_bias.optimal.objective import parameter_space
from tests import cases

SCORES = np.array([[0.4, -0.9, 1.1, 0.0, -0.3], [-0.6, 0.8, 0.2, -1.4, 0.5]])
POPULATION = np.array([[0.55, 0.1, 0.05, 0.2, 0.1], [0.1, 0.15, 0.4, 0.3, 0.05]])
WEIGHTS = np.array([0.7, 0.3])
ONE = nb.Problem(SCORES[0], POPULATION[0])
BOTH = nb.Problem(SCORES, POPULATION, weights=WEIGHTS)
#: A uniform start where several would do: one compilation, and nothing found by luck.
UNIFORM = nb.uniform()


def table_problem():
    """V = 50, scores N(0, 1), population softmax of N(0, 4): 4 is the variance."""
    rng = np.random.default_rng(0)
    scores, logits = rng.normal(size=50), 2 * rng.normal(size=50)
    return nb.Problem(scores, np.exp(logits) / np.exp(logits).sum())


def residual_matrix(scores, population):
    """B with eps = -B q for one masked negative: gold g and draw y, each picked by its share.

    gamma_y = pop_y sum_y' q_y' A_yy' + q_y sum_g pop_g A_yg with A_yy' = w_y / (w_y + w_y'), the
    terms y = y' and y = g adding up to the pop_y q_y of a masked hit.
    """
    weight = np.exp(scores)
    picked = weight[:, None] / (weight[:, None] + weight)
    gamma = population[:, None] * picked + np.diag(picked @ population)
    return gamma - (weight / weight.sum())[:, None]


def least(matrix, floor=0.0):
    """The q >= floor, sum 1, with the least ||matrix q||.

    The norm is homogeneous in b, so asking for sum b = 1 as one more equation changes the scale of
    the answer and not its direction.
    """
    labels = matrix.shape[1]
    moved = (1 - labels * floor) * matrix + floor * matrix.sum(axis=1, keepdims=True)
    b = nnls(np.vstack([moved, np.ones(labels)]), np.append(np.zeros(len(moved)), 1.0))[0]
    q = floor + (1 - labels * floor) * b / b.sum()
    return q, float(np.linalg.norm(matrix @ q))


def found_q(found):
    return np.exp(np.asarray(found.log_q))


def assert_least(found, matrix, floor=0.0):
    """Norms to the default gap: half of 1e-6, of a quadratic; q to its square root."""
    q, norm = least(matrix, floor)
    assert found.status == "ok: minimum"
    np.testing.assert_allclose(found.bias_norm, norm, rtol=1e-6)
    np.testing.assert_allclose(found_q(found), q, atol=1e-4)


@pytest.mark.parametrize("m", [1, 4, 16])
def test_three_numbers_of_negatives(m):
    problem = table_problem()
    found = nb.optimal_proposal(problem, m)
    others = [
        float(nb.exact(problem, nb.iid(proposal, m, "mask"), split=False).bias_norm)
        for proposal in (nb.uniform(), nb.popularity(), nb.model())
    ]
    assert found.bias_norm < 0.6 * min(others)
    if m == 16:
        assert found.status == "ok: zero reached"
        assert found.bias_norm < 1e-12
        assert min(others) > 0.02
    else:
        assert found.status == "ok: minimum"
    if m == 1:
        assert_least(found, residual_matrix(np.asarray(problem.scores), problem.population))
        np.testing.assert_allclose(found.bias_norm, 0.0607, atol=5e-5)
        np.testing.assert_allclose(others, [0.172, 0.306, 0.111], atol=5e-4)


def test_two_labels_by_hand():
    """gamma_0 = g pi + a (g (1 - pi) + (1 - g) pi) = pi: the odds of q are those of p over pop."""
    found = nb.optimal_proposal(nb.Problem(np.log([0.6, 0.4]), [0.9, 0.1]), 1, start=UNIFORM)
    np.testing.assert_allclose(found_q(found), [1 / 7, 6 / 7], rtol=1e-10)
    assert found.status == "ok: zero reached"


def test_flat_scores_by_hand():
    """gamma = (pop + m q) / (m + 1); out of reach, the nearest point of the simplex is the best."""
    population = np.array([0.7, 0.1, 0.1, 0.05, 0.05])
    problem = nb.Problem(np.zeros(5), population)
    found = nb.optimal_proposal(problem, 3, hits="keep")
    np.testing.assert_allclose(found_q(found), (4 / 5 - population) / 3, rtol=1e-10)
    assert found.status == "ok: zero reached"
    out_of_reach = nb.optimal_proposal(problem, 2, hits="keep")  # 0.7 > (m + 1) / V
    # The target (0.6 - pop) / 2 is (-0.05, 0.25, 0.25, 0.275, 0.275): 0, and 0.0125 off the rest.
    q = np.array([0, 0.2375, 0.2375, 0.2625, 0.2625])
    np.testing.assert_allclose(found_q(out_of_reach), q, atol=1e-7)
    np.testing.assert_allclose(
        out_of_reach.bias_norm, 2 / 3 * np.sqrt(0.05**2 + 4 * 0.0125**2), rtol=1e-9
    )
    assert out_of_reach.status == "ok: minimum"


def test_a_gold_too_frequent_keeps_a_bias():
    """p_y / (p_y + m p_max) is the least share of a gold. More negatives lift the bound."""
    scores = np.array([-1.0, 0.0, 0.3, 0.0, 0.2])
    population = np.array([0.8, 0.05, 0.05, 0.05, 0.05])
    problem = nb.Problem(scores, population)
    p = np.exp(problem.log_model)
    excess = population[0] * p[0] / (p[0] + p[2]) - p[0]
    assert excess > 0
    few = nb.optimal_proposal(problem, 1, hits="keep")
    assert few.status == "ok: minimum"
    assert few.bias_norm > excess
    assert population[0] < p[0] + 40 * p[2]
    assert nb.optimal_proposal(problem, 40, hits="keep").status == "ok: zero reached"


@pytest.mark.slow
def test_excluded_hits_leave_a_bias_that_masked_or_kept_ones_need_not():
    """A gold of 400 others has a share of at most p / (p + 400 min p), and 1 - pop elsewhere."""
    p = POPULATION[0]
    problem = nb.Problem(np.log(p), p)  # p + pop = 1.1 at label 0
    excluded = nb.optimal_proposal(problem, 400, hits="exclude", floor=1e-4)
    assert excluded.status == "ok: minimum"
    least_bias = p[0] - (p[0] * p[0] / (p[0] + 400 * p.min()) + 1 - p[0])
    assert excluded.bias_norm > least_bias > 0.08
    # Without a floor the least is a limit that no q attains, and the status says so.
    limit = nb.optimal_proposal(problem, 400, hits="exclude")
    assert limit.status == "did not converge: best returned; try another start or a floor > 0"
    assert least_bias < limit.bias_norm < excluded.bias_norm
    for hits in ("mask", "keep"):
        assert nb.optimal_proposal(problem, 400, hits=hits).status == "ok: zero reached"


def test_one_q_shared_by_inputs_weighs_them():
    found = nb.optimal_proposal(BOTH, 1)
    blocks = [residual_matrix(*row) for row in zip(SCORES, POPULATION, strict=True)]
    weighted = np.vstack([np.sqrt(w) * block for w, block in zip(WEIGHTS, blocks, strict=True)])
    assert_least(found, weighted)
    assert np.abs(least(np.vstack(blocks))[0] - found_q(found)).max() > 0.01
    np.testing.assert_allclose(found.bias_norm, found.moments.bias_norm, rtol=1e-12)


@pytest.mark.parametrize("floor", [0.05, 0.2])
def test_a_floor_holds(floor):
    found = nb.optimal_proposal(ONE, 1, floor=floor)
    assert_least(found, residual_matrix(SCORES[0], POPULATION[0]), floor)
    assert found_q(found).min() >= floor * (1 - 1e-12)
    assert found.bias_norm > 1.01 * least(residual_matrix(SCORES[0], POPULATION[0]))[1]


def linear(params, x):
    return params["out"] @ x + params["offset"]


@pytest.mark.slow
@pytest.mark.parametrize("features", [2, 7])
def test_bias_of_parameters(features):
    """7 features: more parameters than scores, so the pull-back is a QR factor."""
    rng = np.random.default_rng(1)
    inputs = jnp.asarray(rng.normal(size=(2, features)))
    params = {"out": jnp.asarray(rng.normal(size=(5, features))), "offset": jnp.zeros(5), "n": 3}
    problem = nb.Problem(jax.vmap(lambda x: linear(params, x))(inputs), POPULATION, None, WEIGHTS)
    model = nb.ScoreModel(linear, params)
    found = nb.optimal_proposal(problem, 1, model=model, inputs=inputs)
    slopes = [np.kron(np.eye(5), np.append(x, 1.0)).T for x in np.asarray(inputs)]  # [d, V]
    rows = zip(WEIGHTS, slopes, np.asarray(problem.scores), POPULATION, strict=True)
    matrix = sum(w * slope @ residual_matrix(s, pop) for w, slope, s, pop in rows)
    assert_least(found, matrix)
    there = nb.gradient_bias(
        model, inputs, POPULATION, nb.iid(found.proposal, 1, "mask"), weights=WEIGHTS
    )
    np.testing.assert_allclose(found.bias_norm, there.norm, rtol=1e-10)
    assert found.moments.bias_norm > nb.optimal_proposal(problem, 1).bias_norm


def test_few_parameters_are_unbiased_where_scores_are_not():
    """Two equations for four unknowns."""
    features = jnp.asarray(np.random.default_rng(3).normal(size=(5, 2)))
    params = jnp.array([0.3, -0.2])
    score = lambda params, _: features @ params  # noqa: E731
    problem = nb.Problem(score(params, 0), POPULATION[0])
    found = nb.optimal_proposal(problem, 1, model=nb.ScoreModel(score, params))
    assert found.status == "ok: zero reached"
    assert found.moments.bias_norm > 0.01


def test_a_corrected_loss_finds_the_model():
    """Model negatives make the partition of sampled softmax constant (Blanc & Rendle)."""
    found = nb.optimal_proposal(ONE, 3, nb.sampled_softmax, hits="exclude", start=UNIFORM)
    assert found.status == "ok: zero reached"
    np.testing.assert_allclose(found.log_q, ONE.log_model, atol=1e-9)


def test_quasi_newton_for_many_labels_agrees(monkeypatch):
    """It stops at the gap that makes a minimum, or says that it did not."""
    exactly = nb.optimal_proposal(ONE, 4)
    monkeypatch.setattr(optimal, "DENSE", 0)
    found = nb.optimal_proposal(ONE, 4, steps=2000)
    np.testing.assert_allclose(found.bias_norm, exactly.bias_norm, rtol=1e-6, atol=1e-12)
    assert found.status == exactly.status


def test_single_precision():
    with cases.single_precision():
        found = nb.optimal_proposal(nb.Problem(SCORES[0], POPULATION[0]), 1)
    assert found.log_q.dtype == np.float32
    assert found.status == "ok: minimum"
    q, norm = least(residual_matrix(SCORES[0], POPULATION[0]))
    np.testing.assert_allclose(found.bias_norm, norm, rtol=1e-4)
    np.testing.assert_allclose(found_q(found), q, atol=1e-2)


def test_too_few_steps_return_the_best_and_say_so():
    found = nb.optimal_proposal(ONE, 1, steps=2)
    assert found.status == "did not converge: best returned; raise steps"
    assert found.steps == 2
    start = min(
        float(nb.exact(ONE, nb.iid(q, 1, "mask")).bias_norm)
        for q in (nb.uniform(), nb.popularity(), nb.model())
    )
    assert least(residual_matrix(SCORES[0], POPULATION[0]))[1] < found.bias_norm < start
    assert found.gap > 0
    assert found.gradient_norm > 0


def test_the_result_is_a_proposal_and_readable():
    found = nb.optimal_proposal(ONE, 1)
    moments = nb.exact(ONE, nb.iid(found.proposal, 1, "mask"))
    np.testing.assert_array_equal(moments.selection, found.moments.selection)
    assert repr(found) == (
        "OptimalProposal of infonce with iid(from_probabilities([5]), m=1, hits='mask')\n"
        f"  bias_norm {float(found.bias_norm):.6g}, q from {found_q(found).min():.3g} to "
        f"{found_q(found).max():.3g}\n"
        f"  ok: minimum; {found.steps} steps, gap {found.gap:.1g}, "
        f"gradient_norm {found.gradient_norm:.1g}"
    )
    with pytest.raises(AttributeError):
        found.steps = 3


REFUSED = {
    "floor: got 0.3; expected 0 <= floor <= 1/V = 0.2. Every q_y is at least the floor, and they "
    "sum to 1.": {"floor": 0.3},
    "steps: got 0; expected a whole number >= 1. Pass steps=1.": {"steps": 0},
    "model: its scores, of shape (5,), are not those of the problem, of shape (5,); expected "
    "the same scores. Make the problem of model.scores(inputs), or model(x) for one input.": {
        "model": nb.ScoreModel(lambda params, x: params * x, jnp.ones(5)),
        "inputs": jnp.ones(5),
    },
    "model: got 13421773 parameters for 5 scores; expected a product of at most 67108864. Pass "
    "fewer inputs or fewer of the parameters, or leave model out.": {
        "model": nb.ScoreModel(lambda params, x: params[:5] * x, jnp.ones(2**26 // 5 + 1)),
        "inputs": jnp.ones(5),
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        nb.optimal_proposal(ONE, 1, **REFUSED[message])


def test_refused_under_jit():
    with pytest.raises(ValueError) as error:
        jax.jit(lambda s: nb.optimal_proposal(nb.Problem(s, POPULATION[0]), 1).log_q)(SCORES[0])
    assert str(error.value) == (
        "problem: got traced values; expected concrete ones. Call optimal_proposal outside "
        "jax.jit, jax.vmap and jax.grad."
    )


def test_a_proposal_is_no_model():
    with pytest.raises(ValueError) as error:
        inspect.unwrap(parameter_space)(ONE, nb.model(), None)
    assert str(error.value) == (
        "model: got model; expected a model nb.ScoreModel(score_fn, params). nb.ScoreModel(lambda "
        "params, x: params @ x, params) is a linear one."
    )


def test_the_old_arguments_work_for_one_release_and_say_so():
    old: Any = nb.optimal_proposal
    scores = lambda params, x: params + x  # noqa: E731
    message = (
        "nb.optimal_proposal(..., score_fn=, params=) is nb.optimal_proposal(..., "
        "model=nb.ScoreModel(score_fn, params)) now; the next release takes the old call no more"
    )
    given = {"inputs": jnp.zeros(5), "start": UNIFORM}
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(message)}$"):
        found = old(ONE, 1, score_fn=scores, params=jnp.asarray(SCORES[0]), **given)
    new = nb.optimal_proposal(ONE, 1, model=nb.ScoreModel(scores, jnp.asarray(SCORES[0])), **given)
    np.testing.assert_array_equal(found.log_q, new.log_q)


# The words do not hang on the last bit -----------------------------------------------------------


def shuffled(problem, seed):
    """The same problem, rounded differently: labels in another order, scores 1e-13 off."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(problem.labels)
    scores = np.asarray(problem.scores)[order] + 1e-13 * rng.normal(size=problem.labels)
    return nb.Problem(scores, np.asarray(problem.population)[order])


@pytest.mark.slow
def test_the_table_says_the_same_however_sums_are_rounded():
    """Half of all orders used to end at a gap of 1e-3, the label of a bound half way gone."""
    found = [nb.optimal_proposal(shuffled(table_problem(), seed), 8) for seed in range(4)]
    assert {result.status for result in found} == {"ok: minimum"}
    norms = [float(result.bias_norm) for result in found]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-11)
    assert max(result.gap / (0.5 * result.bias_norm**2) for result in found) < 1e-6


@pytest.mark.parametrize("above", [1e-3, 1e-5, 1e-7, 1e-9])
def test_a_least_bias_near_rounding_is_found_and_said(above):
    """A floor a little above the least q of no bias: the norm is proportional to that little.

    A gap relative to the squared norm is all noise there, and a search in fixed units stopped at a
    norm of 3e-8 for all floors.
    """
    unbiased = nb.optimal_proposal(ONE, 16)
    assert unbiased.status == "ok: zero reached"
    least = found_q(unbiased).min()
    found = [
        nb.optimal_proposal(shuffled(ONE, seed), 16, floor=least * (1 + above)) for seed in range(3)
    ]
    assert {result.status for result in found} == {"ok: minimum"}
    for result in found:
        np.testing.assert_allclose(result.bias_norm, 0.07088 * above, rtol=2e-3)


@pytest.mark.slow
def test_a_limit_is_no_minimum_however_sums_are_rounded():
    """Its gap may look closed, where one label has nearly all of q and the others cannot tell."""
    p = POPULATION[0]
    problem = nb.Problem(np.log(p), p)
    found = [
        nb.optimal_proposal(shuffled(problem, seed), 400, hits="exclude", start=start)
        for seed in range(4)
        for start in (None, UNIFORM)
    ]
    words = "did not converge: best returned; try another start or a floor > 0"
    assert {result.status for result in found} == {words}
    closed = [result.gap < 1e-6 * 0.5 * result.bias_norm**2 for result in found]
    assert any(closed)  # or this would test nothing
