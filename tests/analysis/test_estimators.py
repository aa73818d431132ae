"""`analysis.estimators`: norms and ratios without noise's share, by hand and on average."""

import numpy as np
import pytest

from analysis import estimators


def test_unbiased_norm_by_hand():
    """a = 1, 2, 4: the six products of different ones sum to 28."""
    found = estimators.unbiased_norm([[1.0], [2.0], [4.0]])
    square = 28 / 6
    left_out = np.array([8.0, 4.0, 2.0])  # the product of the two others
    error = np.sqrt(2 / 3 * np.sum((left_out - left_out.mean()) ** 2))
    assert found["norm"] == pytest.approx(np.sqrt(square))
    assert found["high"] == pytest.approx(np.sqrt(square + 2 * error))
    assert found["low"] == np.sqrt(max(square - 2 * error, 0))
    assert estimators.unbiased_norm([[1.0], [-1.0]] * 3)["norm"] < 0


def test_unbiased_norm_has_no_noise_in_it_and_its_limits_hold():
    rng = np.random.default_rng(0)
    truth, samples = 0.3, []
    for _ in range(400):
        means = rng.normal(size=(24, 50))
        means[:, 0] += truth
        samples.append((estimators.unbiased_norm(means), np.linalg.norm(means.mean(axis=0))))
    squares = np.array([np.sign(x["norm"]) * x["norm"] ** 2 for x, _ in samples])
    error = squares.std() / np.sqrt(len(squares))
    assert abs(squares.mean() - truth**2) < 4 * error
    naive = np.mean([plain**2 for _, plain in samples])
    assert naive > truth**2 + 100 * error  # too large by 50/24, the noise
    covered = np.mean([x["low"] <= truth <= x["high"] for x, _ in samples])
    assert 0.9 < covered  # two standard errors; the limit at 0 makes it more than 95 %


def test_relative_bias_per_example_by_hand():
    bias = np.zeros((24, 3))
    exact = np.zeros((24, 3))
    bias[:, 0], exact[:, 1] = 3.0, 6.0
    found = estimators.relative_in_score_space(bias, exact, 24)
    assert found == {"relative_score_bias": 0.5, "relative_score_bias_se": 0.0}
    bias[0, 0] = 27.0  # one example counts by its square
    found = estimators.relative_in_score_space(bias, exact, 24)
    assert found["relative_score_bias"] == pytest.approx(np.sqrt((23 * 9 + 729) / (24 * 36)))
    left_out = np.sqrt([23 * 9 / (23 * 36), *[(22 * 9 + 729) / (23 * 36)] * 23])
    error = np.sqrt(23 / 24 * np.sum((left_out - left_out.mean()) ** 2))
    assert found["relative_score_bias_se"] == pytest.approx(error)


def test_ratios_of_noisy_means_are_free_of_noise():
    """b = (0.6, 0, ...), g = (1, 1, 0, ...): norm ratio and cosine on average, limits hold."""
    rng = np.random.default_rng(0)
    b, g = np.zeros(200), np.zeros(200)
    b[0], g[:2] = 0.6, 1.0
    wanted = (0.6 / np.sqrt(2), (g - b) @ g / np.linalg.norm(g - b) / np.sqrt(2))
    plain, found = [], []
    for _ in range(100):
        few, many = (x + 0.3 * rng.normal(size=(24, 200)) for x in (b, g))
        found.append(estimators.versus(few, many))
        plain.append(estimators.plain_relative(few, many))
    for name, value in zip(("relative_norm", "cosine"), wanted, strict=True):
        values = np.array([x[name] for x in found])
        errors = np.array([x[f"{name}_se"] for x in found])
        spread = values.std() / 10
        assert abs(values.mean() - value) < 5 * spread
        assert np.mean(np.abs(values - value) < 2 * errors) > 0.85
        assert np.median(errors) < 2 * values.std()
    assert np.mean(plain) > wanted[0] + 0.1


def test_the_root_of_a_ratio_by_hand():
    above, below = np.array([4.0, -1.0, 1.0]), np.array([1.0, 2.0, 1.0])
    value, error = estimators.root_ratio(above, below)
    left_out = np.sqrt([0.0, 5 / 2, 3 / 3])
    assert value == pytest.approx(1)
    assert error == pytest.approx(np.sqrt(2 / 3 * np.sum((left_out - left_out.mean()) ** 2)))
    negative, _ = estimators.root_ratio(-above, below)
    assert negative == pytest.approx(-1)  # the sign says that it cannot be told from 0


def test_a_gradient_in_one_row():
    gradient = {"a": np.arange(6.0).reshape(2, 3), "b": None, "c": np.array([[7.0], [8.0]])}
    assert estimators.flat(gradient).tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert estimators.flat(gradient, leading=1).tolist() == [[0, 1, 2, 7], [3, 4, 5, 8]]
