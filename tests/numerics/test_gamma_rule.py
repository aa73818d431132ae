"""The rule in log s: one for every sum between its ends."""

from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from nce_bias.numerics.gamma_rule import gamma_grid, gamma_nodes


@pytest.mark.parametrize("power", [1, 2, 5])
def test_the_rule_is_a_gamma_density_for_every_sum(power):
    """Its sum is 1 for S anywhere between the ends, and misses where the ends are ignored."""
    least, most = -2.0, 9.0
    nodes = gamma_nodes(most - least, power, 1e-12)
    ends: tuple[Any, Any] = np.float64(least), np.float64(most)
    grid = gamma_grid(*ends, power, nodes, 1e-12)
    index: Any = np.arange(nodes, dtype=float)
    log_s = grid.left + grid.step * index

    def total(log_sum):
        return float((grid.weight(index) * np.exp(log_s) * _density(log_s, log_sum, power)).sum())

    for log_sum in (least, 0.3, most):
        assert abs(total(log_sum) - 1) < grid.error() < 1.2e-12
    assert abs(total(least - 6.0) - 1) > 1e-3
    assert integrate.quad(lambda u: np.exp(u) * _density(u, 0.0, power), -40, 6)[0] > 0.999


def _density(log_s, log_sum, power):
    return stats.gamma.pdf(np.exp(log_s), power, scale=np.exp(-log_sum))
