"""What proposals read besides scores and popularity: the gold, the input, sides of the problem.

The truth is by hand or by enumeration over sets, with a q for each gold and input written out here.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb

S, POP = np.array([0.5, -0.2, 0.1, -0.7]), np.array([0.4, 0.3, 0.2, 0.1])
S2 = np.array([S, [0.0, 0.4, -0.3, 0.2]])
POP2 = np.array([POP, [0.1, 0.2, 0.3, 0.4]])
Q2 = np.array([[0.1, 0.4, 0.25, 0.25], [0.4, 0.1, 0.1, 0.4]])


def enumerated(scores, population, q_of, m, correct=False):
    """Loss and bias of infonce with m iid negatives of q_of(gold), gold excluded; one input."""
    labels = len(scores)
    loss, selected = 0.0, np.zeros(labels)
    for gold in range(labels):
        q = np.array(q_of(gold), float)
        q[gold] = 0.0
        q /= q.sum()
        for drawn in itertools.product(range(labels), repeat=m):
            chance = population[gold] * np.prod(q[list(drawn)])
            if chance == 0:
                continue
            candidates = [gold, *drawn]
            logits = scores[candidates].copy()
            if correct:
                logits[1:] -= np.log(m * q[list(drawn)])
            weights = np.exp(logits - logits.max())
            weights /= weights.sum()
            loss -= chance * np.log(weights[0])
            np.add.at(selected, candidates, chance * weights)
    model = np.exp(scores) / np.exp(scores).sum()
    return loss, model - selected


def near(scores, gold):
    return -((scores - scores[gold]) ** 2)


def simans(gold):
    return np.exp(-((S - S[gold]) ** 2))


def best_of_two(scores, gold):
    """DNS: of two uniform wrong labels the one that scores higher."""
    order = jnp.argsort(jnp.where(jnp.arange(len(scores)) == gold, jnp.inf, -scores))
    rank = jnp.argsort(order)
    wrong = len(scores) - 1
    return jnp.log(jnp.where(rank < wrong, 2 * (wrong - rank) - 1, 0.0))


def test_negatives_near_the_gold():
    """By hand: CASES of SimANS and of DNS."""
    problem = nb.Problem(S, POP)
    for proposal in (near, nb.near_gold(1.0, 0.0)):
        found = nb.exact(problem, nb.iid(proposal, 1))
        assert found.bias_norm == pytest.approx(0.0683237765, abs=1e-10)
        assert found.loss == pytest.approx(0.6538359442, abs=1e-10)
    hardest = nb.exact(problem, nb.iid(best_of_two, 1))
    assert hardest.bias_norm == pytest.approx(0.0968220022, abs=1e-10)
    assert hardest.loss == pytest.approx(0.7423684781, abs=1e-10)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("loss", ["infonce", "sampled_softmax"])
def test_a_law_for_each_gold_equals_enumeration(loss, compiled):
    sampler = nb.iid(near, 2)
    found = nb.exact(nb.Problem(S, POP), sampler, nb.LOSSES[loss], compiled=compiled)
    wanted, bias = enumerated(S, POP, simans, 2, correct=loss == "sampled_softmax")
    assert float(found.loss) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(found.bias, bias, rtol=0, atol=1e-12)
    assert found.status == "ok"


def test_the_law_of_another_gold_is_noticed():
    """The twin: the same proposal, told that the gold is always the first label."""
    found = nb.exact(nb.Problem(S, POP), nb.iid(lambda scores, popularity: near(scores, 0), 2))
    wanted, _ = enumerated(S, POP, simans, 2)
    assert abs(float(found.loss) - wanted) > 1e-3


def test_coverage_and_variance_are_of_each_gold():
    found = nb.exact(nb.Problem(S, POP), nb.iid(near, 1))
    model, second, covered = np.exp(S) / np.exp(S).sum(), 0.0, 0.0
    mean = np.zeros(4)
    for gold in range(4):
        q = simans(gold)
        q[gold] = 0
        q /= q.sum()
        for drawn in range(4):
            if drawn == gold:
                continue
            share = POP[gold] * q[drawn]
            v = np.zeros(4)
            weights = np.exp(S[[gold, drawn]])
            v[[gold, drawn]] = weights / weights.sum()
            v[gold] -= 1
            second, mean = second + share * v @ v, mean + share * v
            covered += share * (model[gold] + model[drawn])
    assert float(found.variance) == pytest.approx(second - mean @ mean, rel=1e-12)
    assert float(found.coverage) == pytest.approx(covered, rel=1e-12)


def test_sampling_agrees():
    problem, sampler = nb.Problem(S, POP), nb.iid(near, 2)
    exact = nb.exact(problem, sampler, nb.sampled_softmax)
    found = nb.monte_carlo(problem, sampler, nb.sampled_softmax, key=1, draws=100_000)
    for name in ("loss", "bias_norm", "variance"):
        off = abs(float(getattr(found, name)) - float(getattr(exact, name)))
        assert off < 4.5 * found.standard_errors[name]
    other = nb.exact(problem, nb.iid(nb.uniform(), 2), nb.sampled_softmax)
    assert abs(float(found.loss - other.loss)) > 4.5 * found.standard_errors["loss"]


def test_a_row_of_q_for_each_input():
    """By hand: CASES of negatives mined for each query; and a function that knows its input."""
    table = jnp.asarray(Q2)
    for proposal in (nb.from_probabilities(Q2), lambda input: jnp.log(table[input])):
        found = nb.exact(nb.Problem(S2, POP2), nb.without_replacement(proposal, 2))
        assert float(found.bias_norm) == pytest.approx(0.1217189906, abs=1e-10)
        assert float(found.loss) == pytest.approx(1.0522559475, abs=1e-10)


def test_sides_are_read_by_name():
    teacher = np.log(Q2)
    problem = nb.Problem(S2, POP2, sides={"teacher": teacher, "allowed": [1.0, 1.0, 0.0, 1.0]})

    def masked(allowed, teacher):
        return jnp.where(allowed > 0, teacher, -jnp.inf)

    q = np.where([1, 1, 0, 1], Q2, 0.0)
    found = nb.exact(problem, nb.iid(masked, 2))
    wanted = nb.exact(
        nb.Problem(S2, POP2), nb.iid(nb.from_probabilities(q / q.sum(1, keepdims=True)), 2)
    )
    np.testing.assert_allclose(found.bias, wanted.bias, rtol=0, atol=1e-14)
    both = nb.iid(nb.mixture(masked, nb.uniform(), share=0.5), 2)
    assert nb.exact(problem, both).status == "ok"
    sampled = nb.monte_carlo(problem, nb.iid(masked, 2), key=0, draws=2000)
    assert sampled.selection.shape == (2, 4)


def test_names_decide_and_defaults_do_not_count():
    problem = nb.Problem(S, POP)

    def swapped(popularity, scores, scale=0.5):
        return scale * scores + jnp.log(popularity)

    def plain(a, b):
        return 0.5 * a + jnp.log(b)

    first, second = (nb.exact(problem, nb.iid(f, 2)).loss for f in (swapped, plain))
    assert float(first) == float(second)
    by_hand = nb.proposal(lambda p, s: 0.5 * s + jnp.log(p), reads=("popularity", "scores"))
    assert float(nb.exact(problem, nb.iid(by_hand, 2)).loss) == float(first)


@pytest.mark.parametrize(
    ("function", "sides", "named"),
    [
        (lambda scores, teacher: scores, None, "'teacher' is neither"),
        (lambda s, p: s, {"bm25": S}, "'s' is neither"),
        (lambda bm52: bm52, {"bm25": S}, "has bm25"),
    ],
    ids=["no side", "positions", "another"],
)
def test_a_name_that_is_no_side(function, sides, named):
    with pytest.raises(ValueError, match=named):
        nb.exact(nb.Problem(S, POP, sides=sides), nb.iid(function, 2))


def test_a_side_that_no_one_reads():
    with pytest.warns(nb.UnusualInput, match="no proposal of .* reads 'bm25'"):
        nb.exact(nb.Problem(S, POP, sides={"bm25": S}), nb.iid(nb.uniform(), 2))


@pytest.mark.parametrize(
    ("sides", "named"),
    [
        ({"gold": S}, "got the name 'gold'"),
        ({"a b": S}, "got the name 'a b'"),
        ({"bm25": S[:3]}, r"sides\['bm25'\]: got shape \(3,\)"),
    ],
    ids=["gold", "two words", "short"],
)
def test_sides_that_are_none(sides, named):
    with pytest.raises(ValueError, match=named):
        nb.Problem(S, POP, sides=sides)


def test_check_sampler_knows_the_gold():
    """And finds the draws of a pipeline that looks at another gold."""
    problem = nb.Problem(S, POP)
    sampler = nb.iid(lambda scores, gold: 3 * near(scores, gold), 2)
    assert nb.check_sampler(problem, sampler, key=jax.random.key(0), draws=4000).ok


# Built in


ARGUMENTS = [
    (nb.window(2, 3), lambda gold: [r in (2, 3) for r in ranks(gold)]),
    (nb.semi_hard(), lambda gold: list(gold_above(gold))),
    (nb.margin(0.3), lambda gold: [S[gold] - 0.3 >= s for s in S]),
]


def ranks(gold):
    wrong = sorted((y for y in range(4) if y != gold), key=lambda y: -S[y])
    return [wrong.index(y) + 1 if y != gold else 0 for y in range(4)]


def gold_above(gold):
    return (s < S[gold] for s in S)


@pytest.mark.parametrize(("proposal", "meets"), ARGUMENTS, ids=lambda x: repr(x)[:20])
def test_conditions_on_the_gold(proposal, meets):
    """Golds that have such labels: the best two of four."""
    population = np.array([0.7, 0.0, 0.3, 0.0])
    found = nb.exact(nb.Problem(S, population), nb.iid(proposal, 1))
    wanted, bias = enumerated(S, population, lambda gold: guarded(meets(gold)), 1)
    assert float(found.loss) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(found.bias, bias, rtol=0, atol=1e-12)


def guarded(meets):
    """Golds that do not occur may have no such labels; here any will do for them."""
    return np.where(np.any(meets), meets, 1.0) * np.ones(4)


def test_a_gold_without_such_labels_is_named():
    """And each remedy that the message names works; a mixture would not."""
    with pytest.raises(ValueError, match=r"input 0, gold 3; .* Widen its condition, give golds"):
        nb.exact(nb.Problem(S, POP), nb.iid(nb.semi_hard(), 1))
    with pytest.raises(ValueError, match="input 0, gold 3"):
        nb.exact(nb.Problem(S, POP), nb.iid(nb.mixture(nb.semi_hard(), nb.uniform()), 1))
    assert nb.exact(nb.Problem(S, [0.4, 0.4, 0.2, 0.0]), nb.iid(nb.semi_hard(), 1)).status == "ok"

    def falls_back(scores, gold):
        below = scores < scores[gold]
        return jnp.where(below | ~jnp.any(below), 0.0, -jnp.inf)

    assert nb.exact(nb.Problem(S, POP), nb.iid(falls_back, 1)).status == "ok"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: nb.window(0, 3),
        lambda: nb.window(3, 2),
        lambda: nb.semi_hard(-1.0),
        lambda: nb.margin(),
        lambda: nb.margin(share=1.5),
        lambda: nb.near_gold(-1.0),
    ],
    ids=["rank 0", "no rank", "margin < 0", "no margin", "share > 1", "a < 0"],
)
def test_arguments_that_mean_nothing(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()


def test_a_number_taken_from_the_problem_stays_the_inputs_own():
    """`take`, and the blocks of `audit` and of two towers, keep what `input` is."""
    rows = jnp.log(jnp.asarray(POP2[::-1]))
    problem = nb.Problem(S2, POP2)
    sampler = nb.iid(lambda scores, input: rows[input], 2)
    whole, some = nb.exact(problem, sampler), nb.exact(problem.take([0, 1]).take([1]), sampler)
    np.testing.assert_allclose(some.bias[0], whole.bias[1], atol=1e-14)
    masked = nb.exact(problem.take(np.array([False, True])), sampler)
    np.testing.assert_allclose(masked.bias[0], whole.bias[1], atol=1e-14)
