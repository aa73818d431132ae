"""What `analysis/linking/bias.py` makes of the biases of several worlds, by hand."""

import numpy as np
import pytest

from analysis.linking import bias

#: Two worlds of one mention and of two, three labels; a kind whose halves differ, and an exact one.
GRADIENTS = [np.array([[3.0, 4.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])]
HALVES = [
    (np.array([[1.0, 0.0, 2.0]]), np.array([[2.0, 5.0, 1.0]])),
    (np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0]])),
]


def scalars(loss: float) -> dict[str, float]:
    return dict.fromkeys(bias.SCALARS, loss)


def test_squares_are_products_of_the_halves() -> None:
    """And means weigh each mention alike: 4, then 3 and 1, where |g|^2 is 25, then 1 and 4."""
    worlds = [
        bias.Found(bias.Biases(gradient, {"drawn": halves}), {"drawn": scalars(loss)})
        for gradient, halves, loss in zip(GRADIENTS, HALVES, (6.0, 9.0), strict=True)
    ]
    assert [world.biases.squares("drawn").tolist() for world in worlds] == [[4.0], [3.0, 1.0]]
    (row,) = bias._score_space(worlds)
    assert row["kind"] == "drawn" and row["loss"] == pytest.approx((6 + 2 * 9) / 3)
    assert row["bias_norm"] ** 2 == pytest.approx((4 + 3 + 1) / 3)
    assert row["relative_bias"] ** 2 == pytest.approx((4 + 3 + 1) / (25 + 1 + 4))


def test_over_parameters_it_is_the_mean_gradients() -> None:
    """Sums of two worlds over their three mentions; (2, 1) . (4, 3) / 9 is no half's own square."""
    worlds = [
        bias.Biases(np.array([6.0, 0.0]), {"drawn": (np.array([2.0, 0.0]), np.array([1.0, 3.0]))}),
        bias.Biases(np.array([3.0, 3.0]), {"drawn": (np.array([0.0, 1.0]), np.array([3.0, 0.0]))}),
    ]
    found = bias._parameters(worlds, 3)["drawn"]
    assert found["parameter_bias"] ** 2 == pytest.approx((2 * 4 + 1 * 3) / 9)
    assert found["parameter_gradient"] ** 2 == pytest.approx((9**2 + 3**2) / 9)
    assert found["parameter_relative_bias"] ** 2 == pytest.approx(11 / 90)
    contrastive = np.array([9.0 - (2 + 4) / 2, 3.0 - (1 + 3) / 2])
    cosine = contrastive @ [9.0, 3.0] / np.linalg.norm(contrastive) / np.sqrt(90)
    assert found["parameter_cosine"] == pytest.approx(cosine)
