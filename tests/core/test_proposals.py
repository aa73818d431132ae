"""What each proposal is, against its definition, at its edges too, and in words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from tests import cases

FOUR = np.log([4.0, 1.0, 9.0, 2.0])
SEEN = np.array([0.25, 0.25, 0.5, 0.0])


def q(proposal, scores=FOUR, popularity=SEEN):
    """A proposal is a function of scores and popularity; the library normalises it, as here."""
    mass = np.exp(np.asarray(proposal(jnp.asarray(scores), jnp.asarray(popularity))))
    return mass / mass.sum()


def agrees(given, expected):
    np.testing.assert_allclose(given, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("case", cases.PROPOSALS, ids=str)
@pytest.mark.parametrize("row", range(cases.INPUTS))
def test_every_proposal_is_what_it_says(case, row):
    found = q(case.proposal, cases.SCORES[row], cases.POPULARITY)
    agrees(found, case.q(cases.SCORES[row], cases.POPULARITY).astype(float))


def test_uniform_is_no_constant_to_the_compiler():
    """What follows from a constant is computed while compiling, 8 s for 200,000 labels."""

    def compiled(proposal):
        zeros = jnp.zeros(3)
        return jax.jit(lambda *given: proposal(*given)).lower(zeros, zeros).as_text()

    assert "optimization_barrier" in compiled(nb.uniform())
    assert "optimization_barrier" not in compiled(nb.model())
    both = jax.vmap(nb.uniform())(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    assert both.shape == (2, 3) and not both.any()


def test_by_hand():
    agrees(q(nb.uniform()), [0.25] * 4)
    agrees(q(nb.popularity()), [0.25, 0.25, 0.5, 0])
    agrees(q(nb.popularity(2.0)), [1 / 6, 1 / 6, 4 / 6, 0])
    agrees(q(nb.popularity(0.0)), [0.25] * 4)  # 0^0 = 1: power 0 is uniform, unseen labels too
    agrees(q(nb.model()), np.array([4, 1, 9, 2]) / 16)
    agrees(q(nb.model(0.5)), np.array([16, 1, 81, 4]) / 102)  # s / T, not s T
    # ranks 1, 2, 0, 3 by popularity, ties to the lower index
    agrees(q(nb.log_uniform()), np.log([3 / 2, 4 / 3, 2, 5 / 4]) / np.log(5))
    agrees(
        q(nb.mixture(nb.model(), nb.uniform(), share=0.25)),
        np.array([4, 1, 9, 2]) / 64 + 3 / 16,  # share is that of the first
    )


def test_a_mixture_normalises_its_parts_first():
    """Scores + 100 would drown the other part if unnormalised masses were mixed."""
    shifted = nb.mixture(lambda s, p: s + 100.0, nb.uniform(), share=0.5)
    agrees(q(shifted), q(nb.mixture(nb.model(), nb.uniform(), share=0.5)))


@pytest.mark.parametrize(("share", "left"), [(0.0, nb.uniform()), (1.0, nb.model())])
def test_a_share_of_all_or_nothing(share, left):
    agrees(q(nb.mixture(nb.model(), nb.uniform(), share=share)), q(left))


def test_labels_that_are_never_drawn():
    hidden = np.array([1.0, -np.inf, 0.0, 2.0])
    assert q(nb.model(), hidden)[1] == 0
    agrees(q(nb.mixture(nb.model(), nb.uniform(), 0.5), hidden)[1], 1 / 8)
    assert q(nb.from_probabilities([0.5, 0.0, 0.5, 0.0]))[1] == 0
    assert q(nb.popularity(0.75))[3] == 0
    assert q(nb.popularity(-1.0))[3] == 0  # and not infinity


def test_a_hot_model_tends_to_uniform_and_a_cold_one_to_the_best():
    # e^{s/T} = 1 + s/T + ...: deviations of order max|s| / T = 2e-6
    np.testing.assert_allclose(q(nb.model(1e6)), 0.25, rtol=3e-6)
    cold = [0, 0, 1, 0] + np.array([4, 1, 0, 2]) ** 100.0 / 9**100
    np.testing.assert_allclose(q(nb.model(1e-2)), cold, rtol=220 * 3e-16)  # log q is down to -220


def test_only_the_shape_of_an_own_proposal_matters():
    """An additive constant is normalised away, and a NumPy array is as good as JAX's."""
    problem = cases.problem()
    counts = np.array([3, 1, 2, 4, 6])
    expected = cases.exact(problem, nb.iid(nb.from_probabilities(counts / 16), 2))
    found = cases.exact(problem, nb.iid(lambda s, p: jnp.asarray(np.log(counts) - 700.0), 2))
    cases.assert_same(found, expected)


def test_popularity_is_the_populations_unless_given():
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    problem = nb.Problem(np.zeros((2, 3)), rows, weights=[0.25, 0.75])
    agrees(problem.popularity, [0.25, 0.275, 0.475])
    given = nb.Problem(np.zeros((2, 3)), rows, popularity=[0.2, 0.3, 0.5])
    agrees(given.popularity, [0.2, 0.3, 0.5])
    agrees(given.weights, [0.5, 0.5])


def test_numbers_of_proposals_are_traced():
    """One compilation serves a sweep over temperatures, powers and shares."""
    compilations = []

    @jax.jit
    def sweep(temperature, power, share):
        compilations.append(1)
        a, b = nb.model(temperature), nb.popularity(power)
        return nb.mixture(a, b, share)(jnp.asarray(FOUR), jnp.asarray(SEEN))

    for numbers in [(1.0, 0.5, 0.1), (2.0, 0.7, 0.9)]:
        a, b = nb.model(numbers[0]), nb.popularity(numbers[1])
        np.testing.assert_allclose(
            sweep(*numbers),
            nb.mixture(a, b, numbers[2])(jnp.asarray(FOUR), jnp.asarray(SEEN)),
            rtol=1e-14,
        )
    assert len(compilations) == 1


def test_names():
    """What tables and messages call them."""
    nested = nb.mixture(nb.model(2.0), nb.popularity(0.75), share=0.3)
    assert repr(nested) == "mixture(model(temperature=2), popularity(power=0.75), share=0.3)"
    assert [repr(p) for p in (nb.uniform(), nb.model(), nb.popularity(), nb.log_uniform())] == [
        "uniform",
        "model",
        "popularity",
        "log_uniform",
    ]
    assert repr(nb.from_probabilities([0.5, 0.5])) == "from_probabilities([2])"
    assert repr(nb.iid(cases.harder_and_rarer, 3)) == "iid(harder_and_rarer, m=3)"
