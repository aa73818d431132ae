"""Products without each factor, and their derivatives, against polynomials multiplied out."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nce_bias.numerics.polynomials import (
    BLOCK,
    pull_back_product,
    push_forward_product,
    without_each_product,
)


def multiplied_out(a, k, b, g: int, degree: int) -> float:
    """The coefficient of delta zeta^degree without factor g, the label of the marker in turn."""
    total = 0.0
    for marked in range(len(a)):
        others = [[k[y], a[y]] for y in range(len(a)) if y not in (g, marked)]
        product = functools.reduce(np.polymul, others, np.ones(1))[::-1]
        total += b[marked] * product[degree] if marked != g and degree < len(product) else 0.0
    return total


def factors(labels: int) -> Any:
    return list(np.random.default_rng(labels).uniform(0.1, 1.0, (4, labels, 1)))


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize(("labels", "degree"), [(5, 2), (4, 3), (BLOCK + 3, 3)])
def test_without_each_is_the_product_of_the_others(xp, labels, degree):
    a, k, b, _ = factors(labels)
    found = np.asarray(without_each_product(xp.asarray(a), xp.asarray(k), xp.asarray(b), degree))
    wanted = [multiplied_out(a[:, 0], k[:, 0], b[:, 0], g, degree) for g in range(labels)]
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-13, atol=0)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize(("labels", "degree"), [(5, 2), (5, 0), (2 * BLOCK + 3, 3)])
def test_a_direction_is_the_difference_of_two_products(xp, labels, degree):
    """A product is a polynomial in the step: central differences, extrapolated once, are exact."""
    a, k, b, along = factors(labels)
    parts = (a, k, b, along)
    a, k, b, along = np.stack([np.concatenate([p, p[::-1]], axis=1) for p in parts])

    def difference(step):
        up, down = (
            without_each_product(a, (1 + s * along) * k, (1 + s * along) * b, degree)
            for s in (step, -step)
        )
        return (up - down) / (2 * step)

    a, k, b, along = (xp.asarray(part) for part in (a, k, b, along))
    found = np.asarray(push_forward_product(a, k, b, along, degree))
    wanted = (4 * difference(0.005) - difference(0.01)) / 3
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize("labels", [5, 2 * BLOCK + 3])
def test_both_derivatives_are_transposes_of_each_other(labels):
    a, k, b, along = factors(labels)
    cotangent: Any = np.linspace(1, 2, labels)[:, None]
    _, by_k, by_b = pull_back_product(a, k, b, cotangent, 2)
    pushed = push_forward_product(a, k, b, along, 2)
    np.testing.assert_allclose(
        np.sum(cotangent * pushed), np.sum(along * (k * by_k + b * by_b)), rtol=1e-13
    )
