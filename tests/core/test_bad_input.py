"""Every refusal names the argument, what was given, what was expected, and what to do.

Full messages: a reader of this file judges them as a user would. `raises` compares whole strings.
"""

import inspect
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._checks import check_kind

NAN, INF = math.nan, math.inf
HALVES = [0.5, 0.5]
HALVES_TWICE = [HALVES, HALVES]
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def problem():
    return nb.Problem([1.0, 0.0, -1.0], [0.7, 0.2, 0.1])


def raises(message, call):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


FINITE = (
    "expected finite numbers or -inf. "
    "Find the overflow or the missing value upstream; nothing was computed."
)
AN_ARRAY = (
    "expected an array of numbers (NumPy, JAX, PyTorch, pandas, nested lists of equal lengths)."
)
NOT_NUMBERS = f"{AN_ARRAY} Convert it to a rectangular array of floats first."
RECTANGULAR = (
    f"{AN_ARRAY} Make it rectangular: pad rows of scores with -inf, rows of probabilities with 0."
)
PROBLEMS = {
    "nan": (([NAN, 0.0], HALVES), f"scores: got nan at input 0, label 0; {FINITE}"),
    "inf": (
        ([[0.0, 1.0], [0.0, INF]], [HALVES] * 2),
        f"scores: got inf at input 1, label 1; {FINITE}",
    ),
    "no finite score": (
        ([[0.0, 1.0], [-INF, -INF]], [HALVES] * 2),
        "scores: every score of input 1 is -inf; expected at least one finite score in each row. "
        "Remove that input: its softmax does not exist.",
    ),
    "negative": (
        ([0.0] * 3, [0.7, -0.1, 0.4]),
        "population: it has the negative entry -0.1 at label 1; expected probabilities >= 0. "
        "Pass probabilities, not log-probabilities or scores.",
    ),
    "sum": (
        ([[0.0, 0.0]] * 2, [HALVES, [0.5, 0.4]]),
        "population: row 1 sums to 0.9; expected a sum of 1. "
        "Normalise it: population / population.sum(-1, keepdims=True).",
    ),
    "population nan": (
        ([0.0, 0.0], [NAN, 0.5]),
        "population: it has nan at label 0; expected finite probabilities. "
        "Remove or repair the offending row.",
    ),
    "shapes": (
        ([0.0, 0.0], [0.5, 0.3, 0.2]),
        "population: got shape (3,); expected the shape of scores, (2,). "
        "Give one row pop(.|x) for each row of scores.",
    ),
    "one row for two": (
        ([[0.0, 0.0]] * 2, HALVES),
        "population: got shape (2,); expected the shape of scores, (2, 2). "
        "Give one row pop(.|x) for each row of scores.",
    ),
    "axes": (
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2))),
        "scores: got shape (2, 2, 2); expected [V] or [X, V]. "
        "Flatten all inputs into one leading axis.",
    ),
    "no label": (
        ([], []),
        "scores: got shape (0,); expected at least one input and two labels. "
        "With fewer than two labels there is no wrong label to draw.",
    ),
    "one label": (
        ([1.0], [1.0]),
        "scores: got shape (1,); expected at least one input and two labels. "
        "With fewer than two labels there is no wrong label to draw.",
    ),
    "popularity shape": (
        ([0.0, 0.0], HALVES, [1.0]),
        "popularity: got shape (1,); expected [V] = (2,). One pop(y) per label.",
    ),
    "popularity sum": (
        ([0.0, 0.0], HALVES, [0.5, 0.6]),
        "popularity: it sums to 1.1; expected a sum of 1. "
        "Normalise it: popularity / popularity.sum(-1, keepdims=True).",
    ),
    "weights shape": (
        ([[0.0, 0.0]] * 2, [HALVES] * 2, None, [1.0]),
        "weights: got shape (1,); expected [X] = (2,). One pop(x) per input.",
    ),
    "weights sum": (
        ([[0.0, 0.0]] * 2, [HALVES] * 2, None, [0.5, 0.6]),
        "weights: it sums to 1.1; expected a sum of 1. "
        "Normalise it: weights / weights.sum(-1, keepdims=True).",
    ),
    "row of zeros": (
        ([[0.0, 0.0]] * 2, [HALVES, [0.0, 0.0]]),
        "population: row 1 is all zeros; expected a sum of 1. Leave that input out, in the scores "
        "too: pop(y|x) does not exist for it.",
    ),
    "weights of zeros": (
        ([[0.0, 0.0]] * 2, [HALVES] * 2, None, [0.0, 0.0]),
        "weights: it is all zeros; expected a sum of 1. Leave weights out for equal ones.",
    ),
    "popularity of zeros": (
        ([0.0, 0.0], HALVES, [0, 0]),
        "popularity: it is all zeros; expected a sum of 1. "
        "Leave popularity out for weights @ population.",
    ),
    "labels for rows": (
        (np.zeros((3, 2)), [0, 1, 1]),
        "population: got shape (3,); expected the shape of scores, (3, 2). "
        "For integer golds use nb.Problem.from_golds(scores, golds).",
    ),
    "text": (
        (["red", "blue"], HALVES),
        f"scores: got list of type <U4, which are not numbers; {NOT_NUMBERS}",
    ),
    "ragged": (
        ([[0.0, 1.0], [1.0]], [HALVES] * 2),
        f"scores: got list whose rows have different lengths; {RECTANGULAR}",
    ),
    "nothing": (
        (None, HALVES),
        f"scores: got NoneType, which is not an array of numbers; {NOT_NUMBERS}",
    ),
    "complex": (
        ([1j, 0.0], HALVES),
        "scores: got dtype complex128; expected real numbers. Take the real part.",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_that_is_none(name):
    arguments, message = PROBLEMS[name]
    raises(message, lambda: nb.Problem(*arguments))


def test_rounding_is_not_refused():
    """A float32 softmax over many labels sums to 1 within its rounding only."""
    thirds = np.full(3, 1 / 3, np.float32) + np.float32(5e-5)
    np.testing.assert_allclose(nb.Problem(np.zeros(3, np.float32), thirds).population, 1 / 3)
    raises(
        "population: it sums to 1.00015; expected a sum of 1. "
        "Normalise it: population / population.sum(-1, keepdims=True).",
        lambda: nb.Problem(np.zeros(3), np.full(3, 1 / 3) + 5e-5),
    )


def test_integers_and_other_arrays_are_welcome():
    problem = nb.Problem([2, 0, 1], np.eye(3, dtype=int)[1])
    assert problem.scores.dtype == problem.population.dtype == jnp.float64
    assert problem.labels == 3


# Numbers ------------------------------------------------------------------------------------------

MAKERS = {
    "iid": lambda m: nb.iid(nb.uniform(), m),
    "without_replacement": lambda m: nb.without_replacement(nb.uniform(), m),
    "poisson": lambda m: nb.poisson(nb.uniform(), m),
    "top": nb.top,
}


def test_every_sampler_has_a_maker():
    assert set(MAKERS) == set(nb.SAMPLERS)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("m", [0, -1, True])
def test_m_too_small(name, m):
    raises(f"m: got {m}; expected a whole number >= 1. Pass m=1.", lambda: MAKERS[name](m))


@pytest.mark.parametrize("m", [1.5, "4", NAN, INF])
def test_m_is_a_whole_number(m):
    """Without the type checks that only tests run under."""
    top = inspect.unwrap(nb.top)
    raises(f"m: got {m!r}; expected a whole number >= 1. Pass m=1.", lambda: top(m))


@pytest.mark.parametrize("call", [nb.exact, lambda *a: nb.monte_carlo(*a, key=KEY, draws=10)])
def test_more_distinct_labels_than_there_are(call, problem):
    remedy = "expected m <= V - 1 = 2. Lower m, or draw with replacement by nb.iid."
    asked = "asks for 3 distinct wrong labels of 3 labels"
    raises(f"m: top(m=3) {asked}; {remedy}", lambda: call(problem, nb.top(3)))
    for name in ("without_replacement", "poisson"):
        raises(
            f"m: {name}(uniform, m=3) {asked}; {remedy}",
            lambda name=name: call(problem, nb.SAMPLERS[name](nb.uniform(), 3)),
        )
    raises(
        f"m: top(m=3) {asked}; {remedy}",
        lambda: call(problem, nb.iid(nb.uniform(), 1) + nb.top(3)),
    )


def test_fewer_distinct_labels_than_asked(problem):
    raises(
        "m: without_replacement(from_probabilities([3]), m=2) asks for 2 distinct labels besides "
        "the gold 1 of input 0, where only 1 have q > 0; expected m at most the number of labels "
        "the proposal can draw. Lower m, or mix in another proposal: "
        "nb.mixture(q, nb.uniform(), share=0.99).",
        lambda: nb.monte_carlo(
            problem,
            nb.without_replacement(nb.from_probabilities([0.0, 0.5, 0.5]), 2),
            key=KEY,
            draws=10,
        ),
    )


@pytest.mark.parametrize("draws", [1, 0, -3])
def test_draws(draws, problem):
    raises(
        f"draws: got {draws}; expected a whole number >= 2. Pass draws=2.",
        lambda: nb.monte_carlo(problem, nb.top(1), key=KEY, draws=draws),
    )


def test_hits():
    raises(
        "hits: got 'drop'; expected 'exclude' or 'mask' or 'mask_last' or 'keep'. Pick one of "
        "them.",
        lambda: nb.iid(nb.uniform(), 1, hits="drop"),
    )


@pytest.mark.parametrize("share", [1.2, -0.1])
def test_share(share):
    raises(
        f"share: got {share}; expected a number in [0, 1]. It is the share of a.",
        lambda: nb.mixture(nb.model(), nb.uniform(), share),
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature(temperature):
    raises(
        f"temperature: got {temperature}; expected a number > 0. "
        "For the highest-scoring labels themselves use nb.top(m).",
        lambda: nb.model(temperature),
    )


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("temperature", nb.model),
        ("power", nb.popularity),
        ("share", lambda x: nb.mixture(nb.model(), nb.uniform(), x)),
    ],
)
@pytest.mark.parametrize("value", [NAN, INF])
def test_numbers_are_finite(name, call, value):
    raises(f"{name}: got {value}; expected one finite number. Pass a scalar.", lambda: call(value))


def test_from_probabilities():
    raises(
        "q: got shape (1, 1, 2); expected [V] or [X, V]. Give one row for each input.",
        lambda: nb.from_probabilities([[HALVES]]),
    )
    three = nb.Problem([[1.0, 0.0]] * 3, [HALVES] * 3)
    raises(
        "q: got shape (1, 2); expected [X, V] = (3, 2). Give a row an input.",
        lambda: nb.exact(three, nb.iid(nb.from_probabilities([HALVES]), 1)),
    )
    raises(
        "q: it sums to 0.9; expected a sum of 1. Normalise it: q / q.sum(-1, keepdims=True).",
        lambda: nb.from_probabilities([0.5, 0.4]),
    )


# Proposals ----------------------------------------------------------------------------------------


def two_numbers(scores, popularity):
    return jnp.zeros(2)


def not_a_number(scores, popularity):
    return jnp.where(scores > 0, jnp.nan, scores)


def infinite(scores, popularity):
    return jnp.where(scores > 0, jnp.inf, scores)


def nothing(scores, popularity):
    return jnp.full_like(scores, -jnp.inf)


def forgetful(scores, popularity):
    """Returns None."""


ENGINES = {"exact": nb.exact, "monte_carlo": lambda *a: nb.monte_carlo(*a, key=KEY, draws=10)}


@pytest.mark.parametrize("engine", ENGINES)
def test_proposals_of_the_wrong_shape(engine, problem):
    expected = "expected [V] = (3,). Return one log-probability per label, for one input at a time."
    for proposal, name in [
        (two_numbers, "two_numbers"),
        (nb.from_probabilities(HALVES), "from_probabilities([2])"),
    ]:
        raises(
            f"proposal {name}: returned shape (2,); {expected}",
            lambda proposal=proposal: ENGINES[engine](problem, nb.iid(proposal, 1)),
        )


@pytest.mark.parametrize("proposal", [not_a_number, infinite, nothing])
def test_proposals_that_are_no_distribution(proposal, problem):
    raises(
        f"proposal {proposal.__name__}: returned NaN or +inf, or -inf everywhere, for input 0; "
        "expected log-probabilities: finite, or -inf for labels never drawn. "
        "Guard its logarithms and divisions; nothing was computed.",
        lambda: nb.exact(problem, nb.iid(proposal, 1, hits="keep")),
    )


def test_proposals_that_return_nothing(problem):
    raises(
        f"proposal forgetful: got NoneType, which is not an array of numbers; {NOT_NUMBERS}",
        lambda: nb.exact(problem, nb.iid(cast("Any", forgetful), 1)),
    )


@pytest.mark.parametrize("hits", ["exclude", "mask"])
def test_no_mass_outside_a_gold(hits, problem):
    only_one = nb.from_probabilities([0.0, 1.0, 0.0])
    raises(
        "proposal from_probabilities([3]): has no mass outside the gold 1 of input 0; "
        "expected at least one other label with q > 0. "
        "Mix in another proposal: nb.mixture(q, nb.uniform(), share=0.9).",
        lambda: nb.exact(problem, nb.iid(only_one, 1, hits)),
    )
    # where that label is never the gold, or may be drawn again, there is nothing to refuse
    never = nb.Problem([1.0, 0.0, -1.0], [0.9, 0.0, 0.1])
    nb.iid(only_one, 1, hits).check(never)
    nb.iid(only_one, 1, "keep").check(problem)


# Losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["sampled_softmax_both", "ranking_nce"])
def test_a_gold_without_q(name, engine, problem):
    raises(
        f"loss: {name} takes log q off the gold, and iid(from_probabilities([3]), m=1) has q = 0 "
        "at the gold 0 of input 0; expected q > 0 at every label with pop(y|x) > 0. Mix in another "
        "proposal, nb.mixture(q, nb.uniform(), share=0.99), or use nb.sampled_softmax, which "
        "corrects the negatives alone.",
        lambda: ENGINES[engine](
            problem, nb.iid(nb.from_probabilities([0.0, 0.5, 0.5]), 1), nb.LOSSES[name]
        ),
    )


def test_what_it_points_to_works(problem):
    hidden = nb.from_probabilities([0.0, 0.5, 0.5])
    nb.sampled_softmax.check(problem, nb.iid(hidden, 1))
    mixed = nb.mixture(hidden, nb.uniform(), share=0.99)
    nb.ranking_nce.check(problem, nb.iid(mixed, 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", sorted(set(nb.LOSSES) - {"infonce", "negative_sampling"}))
def test_corrections_without_one_q(name, engine, problem):
    for sampler, kind in [
        (nb.top(1), "Top"),
        (nb.top(1) + nb.iid(nb.uniform(), 1), "Concatenation"),
    ]:
        raises(
            f"loss: it corrects scores by log q, and {kind} negatives are not drawn from one q; "
            "expected an uncorrected loss such as nb.infonce here, or one iid sampler. To correct "
            "a mixture use nb.iid(nb.mixture(a, b, share), m), which has a q, or "
            "nb.with_inclusion(loss), which corrects by expected numbers of draws.",
            lambda sampler=sampler: ENGINES[engine](problem, sampler, nb.LOSSES[name]),
        )


# Parameters ---------------------------------------------------------------------------------------


def test_gradient_bias():
    def call(size: Any = 2, **options: Any):
        return nb.gradient_bias(
            nb.ScoreModel(lambda p, x: p, jnp.zeros(size)),
            0.0,
            np.array(HALVES),
            nb.top(1),
            **options,
        )

    for half in ({"key": KEY}, {"draws": 100}):
        raises(
            "key, draws: one of them is given; expected both (Monte Carlo) or neither (exact). "
            "Pass key=jax.random.key(0), draws=10_000.",
            lambda half=half: call(**half),
        )
    raises(
        "population: got shape (2,); expected the shape of scores, (3,). "
        "Give one row pop(.|x) for each row of scores.",
        lambda: call(size=3),
    )


def test_scores_in_place_of_a_problem_are_named_by_their_shape():
    """On one line; a long list by its beginning, a short array whole."""
    scores = np.zeros((64, 200), np.float32)
    for given, shown in (
        (scores, "an array (64, 200) of float32, of type ndarray"),
        (jnp.asarray(scores), "an array (64, 200) of float32, of type ArrayImpl"),
        ([0.0] * 64, "[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ...], of type list"),
        (scores[0, :2], "array([0., 0.], dtype=float32), of type ndarray"),
    ):
        raises(
            f"problem: got {shown}; expected a problem. For example nb.Problem(scores, golds).",
            lambda given=given: check_kind(
                "problem", given, nb.Problem, "nb.Problem(scores, golds)"
            ),
        )


def test_one_hot_golds_of_whole_numbers_are_refused():
    """PyTorch's one_hot gives them; two labels, and one gold in every row, stay what they are."""
    scores = np.zeros((2, 3))
    raises(
        "golds: got shape (2, 3) of 0 and 1, one 1 in each row, which is one-hot; expected "
        "integers that number labels from 0. Give golds.argmax(-1).",
        lambda: nb.Problem.from_golds(scores, np.eye(3, dtype=int)[[2, 0]]),
    )
    both = nb.Problem.from_golds(scores[:, :2], [[0, 1], [1, 0]])
    assert np.asarray(both.population).tolist() == HALVES_TWICE
    three = nb.Problem.from_golds(scores, [[0, 1, 1], [0, 1, 2]])
    assert np.asarray(three.population)[0, 1] == pytest.approx(2 / 3)
