"""The numbers of each input, a problem of some inputs, and scores made block by block."""

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias import problem as problem_module
from nce_bias.engine import in_blocks
from nce_bias.engine.by_input import average, scalars
from nce_bias.inner_products import InnerProducts

INPUTS, LABELS = 7, 9


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(2)
    return rng.normal(size=(INPUTS, 4)).astype(np.float32), rng.normal(size=(LABELS, 4))


@pytest.fixture(scope="module")
def problem(sides):
    rng = np.random.default_rng(3)
    weights = rng.dirichlet(np.full(INPUTS, 5.0))
    golds = rng.integers(0, LABELS, INPUTS)
    queries, labels = sides
    return nb.Problem.from_embeddings(queries, labels, golds, temperature=0.5, weights=weights)


@pytest.mark.parametrize("loss", [nb.infonce, nb.binary_nce], ids=lambda loss: loss.name)
def test_each_input_has_what_it_has_alone(problem, loss):
    sampler = nb.iid(nb.popularity(), 3, "keep")
    whole = nb.exact(problem, sampler, loss)
    frame = whole.by_input.to_frame()
    for x in range(INPUTS):
        alone = nb.exact(problem.take([x]), sampler, loss)
        for name in ("loss", "bias_norm", "cosine", "variance", "variance_gold", "coverage"):
            expected = float(getattr(alone, name))
            assert float(frame[name].to_numpy()[x]) == pytest.approx(
                expected, rel=1e-10, abs=1e-12
            ), (x, name)
    means = scalars(average(whole.by_input, problem.weights))
    for name in ("loss", "bias_norm", "cosine", "variance", "coverage"):
        assert float(means[name]) == pytest.approx(float(getattr(whole, name)), rel=1e-12)


def test_sampled_squares_of_each_input_are_unbiased(problem):
    """Over many keys the mean square is the exact one; the plain square is not, by its noise."""
    small, sampler = problem.take([0, 1]), nb.iid(nb.uniform(), 2)
    truth = nb.exact(small, sampler)
    found, plain = [], []
    for seed in range(150):
        one = nb.monte_carlo(small, sampler, key=seed, draws=16)
        found.append(np.asarray(one.by_input.bias_square))
        plain.append(np.sum(np.asarray(one.bias) ** 2, axis=-1))
    spread = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    exact = np.asarray(truth.by_input.bias_square)
    assert np.all(np.abs(np.mean(found, axis=0) - exact) < 4 * spread)
    assert (np.mean(plain, axis=0) - exact)[0] > 4 * spread[0]


def test_some_inputs_of_a_problem(problem):
    rng = np.random.default_rng(4)
    rows, row = rng.normal(size=(INPUTS, LABELS)), rng.normal(size=LABELS)
    population = rng.dirichlet(np.ones(LABELS), INPUTS)
    whole = nb.Problem(rows, population, weights=problem.weights, sides={"a": rows, "b": row})
    part, weights = whole.take([5, 2]), np.asarray(whole.weights)
    assert np.array_equal(part.scores, rows[[5, 2]])
    assert np.allclose(part.population, population[[5, 2]], atol=1e-15)
    assert np.allclose(part.weights, weights[[5, 2]] / weights[[5, 2]].sum())
    assert np.array_equal(part.popularity, whole.popularity)  # of all labels, as before
    assert np.array_equal(part.sides["a"], rows[[5, 2]])
    assert np.array_equal(part.sides["b"], row)
    golds = problem.take([6])
    assert np.array_equal(golds.population, np.asarray(problem.population)[[6]])


def test_two_sides_are_the_scores_they_make(problem, sides):
    queries, labels = sides
    dense = problem.dense()
    assert isinstance(problem.kept, InnerProducts)
    assert not isinstance(dense.kept, InnerProducts)
    expected = queries.astype(float) @ labels.T / 0.5
    for one in (problem, dense):
        assert np.allclose(one.scores, expected, rtol=1e-14)
        assert one.shape == (INPUTS, LABELS)
    assert float(problem.cross_entropy) == pytest.approx(float(dense.cross_entropy), rel=1e-13)
    assert "inner products of width 4" in repr(problem)


def test_blocks_give_what_the_whole_gives(problem, monkeypatch):
    sampler = nb.iid(nb.model(), 3)
    whole = nb.exact(problem, sampler)
    monkeypatch.setattr(problem_module, "BLOCK", 3 * LABELS)  # 3, 3 and 1 inputs
    entropies = np.asarray(problem.cross_entropies)
    assert np.allclose(entropies, problem.dense().cross_entropies, rtol=1e-13)
    monkeypatch.setattr(in_blocks, "MOST_KEPT", 10)
    sizes, rows = [], InnerProducts.rows
    monkeypatch.setattr(
        InnerProducts, "rows", lambda self, at: sizes.append(np.size(at)) or rows(self, at)
    )
    blocks = nb.exact(problem, sampler)
    assert set(sizes) == {3}
    for name in ("loss", "bias_norm", "cosine", "variance", "variance_gold", "coverage"):
        assert float(getattr(blocks, name)) == pytest.approx(float(getattr(whole, name)), rel=1e-12)
    for one, other in zip(
        jax.tree.leaves(whole.by_input), jax.tree.leaves(blocks.by_input), strict=True
    ):
        assert np.allclose(one, other, rtol=1e-10, atol=1e-14)
    assert "selection, gradient, bias: not kept, see by_input" in repr(blocks)
    with pytest.raises(ValueError, match=r"bias: it was not kept .*problem\.take\(inputs\)"):
        _ = blocks.bias


@pytest.mark.parametrize(("side", "name"), [(0, "queries"), (1, "labels")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sides_that_are_no_numbers_are_refused(sides, side, name, value):
    given = [np.array(one, float) for one in sides]
    given[side][2, 1] = value
    with pytest.raises(ValueError, match=f"{name}: got (nan|inf) in row 2, column 1"):
        nb.Problem.from_embeddings(given[0], given[1], np.zeros(INPUTS, int))
