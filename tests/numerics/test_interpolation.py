"""Atoms: sums over labels and values at labels by local interpolation, within the bound."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nce_bias.integrals.atoms import DERIVATIVE, M
from nce_bias.numerics.interpolation import (
    BLOCK,
    CHOICES,
    FINE,
    LEBESGUE,
    Cells,
    Lattice,
    cells_of,
    grid_for,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("points", CHOICES)
@pytest.mark.parametrize("module", [np, jnp])
def test_polynomials_below_the_degree_are_exact(points, module):
    lattice = Lattice(64, 0.25, points)
    x = module.asarray(RNG.uniform(-9.0, -3.0, 50))
    cells = Cells.of(x, module.asarray(-12.0), lattice)
    c = module.asarray(RNG.normal(size=50))
    for degree in (0, 1, points - 1):
        value = ((x + 6) / 3) ** degree
        on_grid = ((cells.grid + 6) / 3) ** degree
        assert np.allclose(cells.read(on_grid), value, rtol=0, atol=1e-11)
        assert float(cells.spread(c) @ on_grid) == pytest.approx(float(c @ value), abs=1e-11)
    # one degree more and it is no longer exact: the claim above can fail
    value, on_grid = (x + 6) ** points, (cells.grid + 6) ** points
    assert np.max(np.abs(np.asarray(cells.read(on_grid) - value))) > 1e-9


@pytest.mark.parametrize("points", CHOICES)
@pytest.mark.parametrize("tolerance", [1e-4, 1e-8, 1e-12])
def test_the_bound_holds_and_is_no_fantasy(points, tolerance):
    """For 1 - exp(-e^u), which the integrals sum; relative to itself, M = 8."""
    spacing = grid_for(1.0, tolerance, 1.0, 1, 1.0).spacing  # for the cheapest choice ...
    lattice = Lattice(2048, spacing, points)
    x: Any = RNG.uniform(-20.0, 3.0, 4000)
    low: Any = np.float64(-25.0 if spacing > 0.02 else x.min() - 1)
    cells = Cells.of(x, low, lattice)
    inside = x < cells.grid[-1] - lattice.points * spacing
    truth = -np.expm1(-np.exp(x))
    on_grid: Any = -np.expm1(-np.exp(cells.grid))
    error = np.abs(cells.read(on_grid) - truth) / truth
    worst = error[inside].max()
    assert worst <= M * lattice.error + 1e-13
    assert lattice.error < 1e6 * worst + 1e-12


def derivative(polynomial, times):
    """(z d/dz)^times of polynomial(z) e^-z over e^-z, in whole numbers."""
    for _ in range(times):
        grown = [0] * (len(polynomial) + 1)
        for power, coefficient in enumerate(polynomial):
            grown[power] += power * coefficient
            grown[power + 1] -= coefficient
        polynomial = grown
    return polynomial


@pytest.mark.parametrize("points", CHOICES)
def test_derivatives_are_what_the_bound_takes_them_for(points):
    """Of 1 - e^-z and z e^-z by log z: at most DERIVATIVE p! (2 / pi)^p min(1, z)."""
    z = np.exp(np.linspace(-30, 6, 20_001)).astype(np.longdouble)
    scale = np.minimum(1, z) * math.factorial(points) * (2 / math.pi) ** points
    largest = []
    for polynomial in ([1], [0, 1]):  # 1 - e^-z has the derivatives of e^-z but for the sign
        powers = enumerate(derivative(polynomial, points))
        value = np.exp(-z) * sum(np.longdouble(c) * z**power for power, c in powers)
        largest.append(float(np.max(np.abs(value) / scale)))
    assert max(largest) <= DERIVATIVE
    assert max(largest) > 0.7 * DERIVATIVE  # and it is no fantasy


def test_the_cheaper_grid_is_taken():
    few = grid_for(50.0, 1e-13, 0.28, 10**3, 100.0)
    many = grid_for(50.0, 1e-13, 0.28, 10**7, 100.0)
    assert few.fine is None
    assert many.fine is not None
    assert many.fine.points < few.points
    assert many.size * many.spacing > many.fine.size * many.fine.spacing >= 50.0
    for lattice in (few, many):
        assert 1e-14 < lattice.error <= 1e-13  # the spacing is rounded to divide the step
        assert 0.28 / lattice.spacing == pytest.approx(round(0.28 / lattice.spacing), rel=1e-12)


def test_the_lebesgue_constant_is_what_the_bound_takes_it_for():
    """sum_j |l_j| along the cell between the middle points, from what each point alone gives."""
    lattice = Lattice(FINE, 1.0, FINE)
    x: Any = np.linspace(FINE // 2 - 1, FINE // 2, 1001)
    low: Any = np.float64(0.0)
    units: Any = np.eye(FINE)
    each_alone = np.stack([Cells.of(x, low, lattice).read(unit) for unit in units])
    assert np.max(np.sum(np.abs(each_alone), axis=0)) == pytest.approx(LEBESGUE, rel=1e-12)


@pytest.mark.parametrize("module", [np, jnp])
def test_two_steps_hold_the_bound_of_both(module):
    lattice = grid_for(20.0, 1e-9, 0.28, 10**7, 100.0)
    assert lattice.fine is not None
    x = module.asarray(RNG.uniform(-10.0, 3.0, 2 * BLOCK + 1))  # more than a block of them
    cells = cells_of(x, module.asarray(-12.0), lattice)
    truth = -np.expm1(-np.exp(np.asarray(x)))
    on_grid = -module.expm1(-module.exp(cells.grid))
    worst = np.max(np.abs(np.asarray(cells.read(on_grid)) - truth) / truth)
    assert 1e-3 * lattice.error < worst <= M * lattice.error  # the bound is no fantasy
    c = RNG.uniform(size=len(x))
    pair = module.stack([on_grid, 2 * on_grid])
    both = cells.read_rows(pair, lambda f, c: c * f[0] + f[1], module.asarray(c))
    assert np.max(np.abs(both - (c + 2) * truth) / truth) <= 3 * M * lattice.error
    once, thrice = cells.spread_rows(lambda c: [c, 3 * c], module.asarray(c))
    assert abs(float(once @ on_grid) - c @ truth) <= M * lattice.error * (c @ truth)
    assert np.allclose(thrice, 3 * once, rtol=1e-12)
    # with an eighth of the fine points the bound is not kept
    inside = lattice.size - lattice.points
    parts = lattice.fine.size // inside // 8
    wide = Lattice(parts * inside, lattice.spacing / parts, FINE)
    coarser = lattice._replace(fine=wide)
    off = np.asarray(cells_of(x, module.asarray(-12.0), coarser).read(on_grid)) - truth
    assert np.max(np.abs(off) / truth) > M * lattice.error


def test_what_lies_beyond_an_end_is_put_there():
    lattice = Lattice(64, 0.1, 6)
    ends: Any = np.array([-100.0, 100.0])
    low: Any = np.float64(0.0)
    cells = Cells.of(ends, low, lattice)
    first, last = cells.read(cells.grid)
    assert 0 <= first < 1 < 5 < last < 6.4
