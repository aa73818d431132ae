"""Monte Carlo is right within its standard errors, and its standard errors are right.

z-scores over a table of cases, at a family-wise level; each unbiased or calibrated claim has a twin
that is not, and that the same test rejects at the same number of draws.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import nce_bias as nb
from nce_bias.losses import Corrected
from tests import cases

#: Chance that a right estimator fails anywhere in the table (the keys are fixed: it does not).
LEVEL = 1e-6
DRAWS = 4096
BATCHES = 64  # of the jackknife: its standard errors have 63 degrees of freedom

#: Every sampler and every loss, every loss without replacement, and sums with one loss of each
#: family.
TABLE = [
    *(case for case in cases.CASES if case.sampler is cases.WITHOUT_REPLACEMENT),
    *(
        case
        for case in cases.CASES
        if str(case)
        in (
            "iid-exclude-infonce-4",
            "iid-exclude-sampled_softmax-2",
            "iid-mask-infonce-4",
            "iid-mask-sampled_softmax_both-3",
            "iid-keep-infonce-4",
            "iid-keep-ranking_nce-2",
            "iid-keep-self_normalized-3",
            "iid-exclude-binary_nce-2",
            "poisson-infonce-3",
            "poisson-negative_sampling-3",
            "top-infonce-4",
        )
    ),
    *(
        case
        for case in cases.CASES
        if case.sampler in cases.SUMS
        if case.loss == "infonce" or str(case) == "top+iid-exclude-negative_sampling-3"
    ),
]


BY_NAME = {str(case): case for case in TABLE}


@functools.cache
def estimates(name):
    """One case for every proposal, each with its own key."""
    case, number = BY_NAME[name], list(BY_NAME).index(name)
    return [
        nb.monte_carlo(
            cases.problem(),
            case.sampler.make(cases.OneOf(jnp.asarray(index)), case.m),
            nb.LOSSES[case.loss],
            key=jax.random.fold_in(key, number),
            draws=DRAWS,
        )
        for index, key in enumerate(jax.random.split(jax.random.key(20), len(cases.PROPOSALS)))
    ]


def z_scores(found, expected):
    """Estimates against the truth; an entry of `selection` by the largest error of any."""
    wanted = {
        "loss": expected.loss,
        "cosine": expected.cosine,
        "bias_norm_squared": expected.bias_norm**2,
        "variance": expected.variance,
        "variance_negatives": expected.variance_negatives,
        "variance_gold": expected.variance_gold,
        "coverage": expected.coverage,
        "effective_sample_size": expected.effective_sample_size,
    }
    scores = {
        name: (float(getattr(found, name)) - value)
        / (float(found.standard_errors[name]) + ROUNDING)
        for name, value in wanted.items()
    }
    if np.isnan(expected.effective_sample_size):
        assert np.isnan(scores.pop("effective_sample_size"))
    missed = np.abs(np.asarray(found.selection) - expected.selection).max()
    return {**scores, "selection": missed / (float(found.error) + ROUNDING)}


#: With all wrong labels drawn there is no spread, only a sum of 4096 terms.
ROUNDING = 1e-12
TESTS_OF_ONE = 8 + cases.SCORES.size


def critical(tests):
    return stats.t.isf(LEVEL / (2 * tests), BATCHES - 1)


def test_the_table_is_complete():
    assert {name for case in TABLE for name in case.sampler.registered} == set(nb.SAMPLERS)
    assert {case.loss for case in TABLE} == set(nb.LOSSES)
    assert {case.sampler.name for case in TABLE} == {s.name for s in cases.SAMPLERS}
    assert len(TABLE) * len(cases.PROPOSALS) > 100


def test_estimates_agree_with_enumeration():
    """Each pair of a case and a proposal; `selection` has 15 entries, the rest one each."""
    tests = len(TABLE) * len(cases.PROPOSALS) * TESTS_OF_ONE
    worst = 0.0
    for case in TABLE:
        for proposal, found in zip(cases.PROPOSALS, estimates(str(case)), strict=True):
            for name, z in z_scores(found, cases.truth(case, proposal)).items():
                assert abs(z) < critical(tests), (str(case), str(proposal), name, z)
                worst = max(worst, abs(z))
            assert found.cross_entropy == pytest.approx(float(cases.problem().cross_entropy))
            if case.loss in cases.NORMALIZED:
                np.testing.assert_allclose(np.sum(found.selection, axis=-1), 1, atol=1e-12)
    assert worst > 2  # standard errors so wide that nothing is ever 2 of them off are wrong, too


@pytest.mark.parametrize(
    ("estimated", "claimed"),
    [
        ("iid-keep-infonce-4", "iid-mask-infonce-4"),
        ("iid-mask-infonce-4", "iid-exclude-infonce-4"),
        ("iid-exclude-infonce-4", "without_replacement-infonce-2"),
        ("without_replacement-sampled_softmax-3", "iid-exclude-sampled_softmax-2"),
        ("without_replacement-sampled_softmax_both-4", "iid-mask-sampled_softmax_both-3"),
        ("iid-keep-ranking_nce-2", "iid-keep-infonce-4"),
    ],
)
def test_a_swapped_policy_is_rejected(estimated, claimed):
    """With the same draws, at the same level: another hits policy, law or correction."""
    tests = len(TABLE) * len(cases.PROPOSALS) * TESTS_OF_ONE
    for proposal, found in zip(cases.PROPOSALS, estimates(estimated), strict=True):
        z = z_scores(found, cases.truth(BY_NAME[claimed], proposal))
        assert max(map(abs, z.values())) > critical(tests), str(proposal)


# Many keys, one problem ---------------------------------------------------------------------------

REPEATS = 2000
#: The sd of `REPEATS` estimates is itself known to 1 / sqrt(2 (REPEATS - 1)) = 1.6 %, and a mean of
#: as many jackknife variances better than that; five of those, and 2 % for curvature.
SD_ACCURACY = 5 / np.sqrt(2 * (REPEATS - 1)) + 0.02
BIASED = nb.iid(nb.popularity(), 4, "keep")
UNBIASED = nb.iid(nb.model(), 2)  # with sampled_softmax: bias 0 exactly


@functools.cache
def repeated(biased):
    problem = nb.Problem(cases.SCORES[0], cases.POPULATION[0], popularity=cases.POPULARITY)
    sampler, loss = (BIASED, nb.infonce) if biased else (UNBIASED, nb.sampled_softmax)
    keys = jax.random.split(jax.random.key(int(biased)), REPEATS)
    draws = 128 if biased else 64
    estimates = jax.jit(
        lambda problem, keys: jax.lax.map(
            lambda key: nb.monte_carlo(problem, sampler, loss, key=key, draws=draws), keys
        )
    )(problem, keys)
    return estimates, cases.exact(problem, sampler, loss)


def mean_z(values, truth):
    values = np.asarray(values, float)
    return (values.mean() - float(truth)) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("biased", [True, False], ids=["biased loss", "unbiased loss"])
def test_the_squared_norm_is_unbiased_and_the_plain_one_is_not(biased):
    found, truth = repeated(biased)
    # two thousand estimates: |z| > 5 has chance 6e-7
    assert abs(mean_z(found.bias_norm_squared, truth.bias_norm_squared)) < 5
    assert abs(mean_z(found.loss, truth.loss)) < 5
    for y in range(cases.LABELS):
        assert abs(mean_z(found.selection[:, y], truth.selection[y])) < 5
    # the plain square has tr Cov(v) / R too much: at the same draws it is rejected
    assert mean_z(np.asarray(found.bias_norm_plugin) ** 2, truth.bias_norm_squared) > 6
    excess = np.mean(np.asarray(found.bias_norm_plugin) ** 2 - found.bias_norm_squared)
    noise = np.var(np.asarray(found.selection), axis=0, ddof=1).sum()
    np.testing.assert_allclose(excess, noise, rtol=SD_ACCURACY)


def test_where_there_is_no_bias_half_of_the_estimates_are_negative():
    found, truth = repeated(False)
    square, size = (np.asarray(a) for a in (found.bias_norm_squared, found.bias_norm))
    assert truth.bias_norm < 1e-12
    assert 0.3 < np.mean(square < 0) < 0.8  # a centred, right-skewed law
    np.testing.assert_allclose(size, np.sign(square) * np.sqrt(np.abs(square)), rtol=1e-12)
    errors = {name: np.asarray(a) for name, a in found.standard_errors.items()}
    assert np.isfinite(errors["bias_norm"]).all()
    expected = np.sqrt(np.abs(square) + errors["bias_norm_squared"]) - np.abs(size)
    np.testing.assert_allclose(errors["bias_norm"], expected, rtol=1e-9, atol=1e-12)
    # A U-statistic without its linear term: the jackknife overstates its variance by 2, no more
    # (Efron & Stein 1981), so the error is conservative by sqrt 2
    ratio = np.sqrt(np.mean(errors["bias_norm_squared"] ** 2)) / square.std(ddof=1)
    assert 1 < ratio < np.sqrt(2) * (1 + SD_ACCURACY)


def test_standard_errors_are_the_spread_of_the_estimates():
    """And one that is a fifth too small or too large would not pass."""
    found, _ = repeated(True)
    assert set(found.standard_errors) == {
        "loss",
        "cosine",
        "bias_norm",
        "bias_norm_squared",
        "bias_norm_plugin",
        "variance",
        "variance_negatives",
        "variance_gold",
        "coverage",
        "effective_sample_size",
    }
    for name, reported in found.standard_errors.items():
        spread = np.std(np.asarray(getattr(found, name)), ddof=1)
        ratio = np.sqrt(np.mean(np.asarray(reported) ** 2)) / spread
        assert abs(ratio - 1) < SD_ACCURACY < 0.2, (name, ratio)
    # `error` is the largest of five, each known to 9 %: their maximum is up to 9 % above the truth
    spread = np.std(np.asarray(found.selection), axis=0, ddof=1).max()
    ratio = np.mean(np.asarray(found.error)) / spread
    assert 1 - SD_ACCURACY < ratio < 1.1 + SD_ACCURACY, ratio


# Use ----------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_result():
    problem = cases.problem()
    sampler = nb.iid(nb.model(), 2, "mask")
    sample = functools.partial(
        jax.jit(lambda p, key: nb.monte_carlo(p, sampler, key=key, draws=200)), problem
    )
    first, again, other = (sample(jax.random.key(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.selection, again.selection)
    assert np.abs(np.asarray(first.selection - other.selection)).max() > 1e-4
    # 200 in 64 batches of as many pairs
    assert first.method == "monte carlo, 256 draws per input, float64"


def test_the_fewest_draws():
    """Two batches give an estimate; its jackknife needs three, and says so."""
    found = jax.jit(lambda p: nb.monte_carlo(p, nb.top(1), key=jax.random.key(0), draws=2))(
        cases.problem()
    )
    assert np.isfinite(found.bias_norm_squared)
    assert np.isnan(found.standard_errors["bias_norm_squared"])
    assert np.isfinite(found.standard_errors["loss"])
    assert found.method == "monte carlo, 4 draws per input, float64"


def test_a_gold_of_certain_value_is_drawn_always():
    """pop = 0 is never gold, wherever it stands; the rest in proportion."""
    population = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    # one label that every set contains beside the gold, scores so far down that it never wins
    scores = np.array([-80.0, 0.0, 0.0, 0.0, 0.0])
    sampler = nb.iid(nb.from_probabilities([1.0, 0, 0, 0, 0]), 1)
    found = jax.jit(lambda p: nb.monte_carlo(p, sampler, key=jax.random.key(3), draws=10_000))(
        nb.Problem(scores, population)
    )
    np.testing.assert_allclose(np.asarray(found.selection)[[0, 2, 4]], 0, atol=1e-30)
    assert abs(float(found.selection[3]) - 0.75) < 5 * found.error
    golds = 10_000 / 2  # candidate sets come in pairs that share one
    assert 0.5 < found.error / np.sqrt(0.75 * 0.25 / golds) < 1.5


def test_float32():
    problem = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), cases.problem())
    found = nb.monte_carlo(problem, nb.iid(nb.model(), 2), key=jax.random.key(0), draws=4096)
    assert found.selection.dtype == jnp.float32
    assert found.status == "ok"
    truth = cases.exact(cases.problem(), nb.iid(cases.proposal("model"), 2))
    missed = np.abs(np.asarray(found.selection, float) - truth.selection).max()
    assert missed < critical(cases.SCORES.size) * found.error


class Margin:
    """The hinge of the best negative: a loss of one's own, with the four members and no more."""

    name = "margin"

    def corrected(self, scores, law, m):
        return Corrected(gold=scores, negatives=scores)

    def value(self, gold, negatives, present):
        return jnp.max(jnp.where(present, jax.nn.relu(1 + negatives - gold), 0.0))

    def check(self, problem, sampler):
        pass


class CalledSoftmax(Margin):
    normalized = True


def test_a_loss_says_itself_whether_it_is_a_softmax():
    """Only then has 1 / sum_k pi(k)^2 a meaning; a loss that does not say is none."""
    results = [
        nb.monte_carlo(cases.problem(), nb.top(1), loss, key=jax.random.key(0), draws=64)
        for loss in (Margin(), CalledSoftmax())
    ]
    assert np.isnan(results[0].effective_sample_size)
    assert np.isfinite(results[1].effective_sample_size)
    np.testing.assert_array_equal(results[0].gradient, results[1].gradient)
