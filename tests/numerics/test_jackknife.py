"""The U-statistic and the jackknife by their definitions, pair by pair and leaving one out."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from nce_bias.numerics.jackknife import jackknife, left_out_means, unbiased_square

RNG = np.random.default_rng(0)


def by_pairs(estimates):
    """The mean of <e_b, e_c> over b != c."""
    return np.mean([a @ b for a, b in itertools.permutations(estimates, 2)])


def without(estimates, index):
    return np.delete(estimates, index, axis=0)


def products(estimates):
    return estimates @ estimates.sum(axis=0), np.sum(estimates**2, axis=1)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_square_is_the_mean_over_pairs(count):
    estimates = RNG.normal(size=(count, 4)) + 1
    square, left_out = unbiased_square(*products(estimates))
    np.testing.assert_allclose(square, by_pairs(estimates), rtol=1e-12)
    assert abs(square - np.sum(estimates.mean(axis=0) ** 2)) > 1e-2  # the plain square is another
    if count == 2:
        assert np.isnan(left_out).all()
        return
    expected = [by_pairs(without(estimates, i)) for i in range(count)]
    np.testing.assert_allclose(left_out, expected, rtol=1e-12)


def test_square_is_unbiased_and_may_be_negative():
    """4000 times three estimates of 0 and of (1, 1), noise of variance 1 in both entries."""
    repeats = 4000
    for mean, negative in ((0.0, True), (1.0, False)):
        draws = mean + RNG.normal(size=(repeats, 3, 2))
        squares = np.array([float(unbiased_square(*products(draw))[0]) for draw in draws])
        error = squares.std(ddof=1) / np.sqrt(repeats)
        assert abs(squares.mean() - 2 * mean**2) < 5 * error
        assert np.mean(np.sum(draws.mean(axis=1) ** 2, axis=1)) - 2 * mean**2 > 5 * error
        assert (np.mean(squares < 0) > 0.4) == negative


def test_a_mean_has_its_usual_standard_error():
    values = RNG.gamma(2.0, size=9)
    expected = [without(values, i).mean() for i in range(9)]
    np.testing.assert_allclose(left_out_means(values), expected, rtol=1e-12)
    usual = values.std(ddof=1) / 3
    np.testing.assert_allclose(jackknife(left_out_means(values)), usual, rtol=1e-12)


def test_a_ratio_by_the_definition():
    above, below = RNG.gamma(2.0, size=(2, 6))
    ratios = np.array([without(above, i).sum() / without(below, i).sum() for i in range(6)])
    expected = np.sqrt(5 / 6 * np.sum((ratios - ratios.mean()) ** 2))
    found = jackknife(left_out_means(above) / left_out_means(below))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_single_precision_stays():
    values = jnp.asarray([1.0, 2.0, 4.0], jnp.float32)
    square, left_out = unbiased_square(values * values.sum(), values**2)
    assert square.dtype == left_out.dtype == jackknife(values).dtype == jnp.float32
