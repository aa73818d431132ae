"""Flax NNX and Equinox: modules as models, against the frameworks' own gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import nce_bias as nb
from tests.interop import small

SAMPLER = nb.iid(nb.popularity(), small.M)
DTYPES = ["float32", "float64"]


def difference(scores):
    """Cross entropy less expected InfoNCE, as a function of scores."""
    sets, chances = small.candidate_sets()
    candidates = scores[jnp.arange(len(sets))[:, None, None], sets]
    contrastive = (chances * (jax.nn.logsumexp(candidates, -1) - candidates[..., 0])).sum()
    own = jax.nn.log_softmax(scores)[jnp.arange(len(sets)), small.GOLDS]
    return -(small.WEIGHTS * own).sum() - contrastive


def bias_of(model, inputs):
    options = {"popularity": small.POPULARITY, "weights": small.WEIGHTS, "variance": False}
    return nb.gradient_bias(model, inputs, None, SAMPLER, golds=small.GOLDS, **options).bias


def by_hand(scores):
    problem = nb.Problem.from_golds(scores, small.GOLDS, small.POPULARITY, small.WEIGHTS)
    return problem.weights[:, None] * nb.exact(problem, SAMPLER).bias


def assert_same(found, expected, dtype):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, **small.tolerance(dtype))


def flax_network(dtype):
    rngs = nnx.Rngs(0)
    options = {"use_bias": False, "rngs": rngs, "param_dtype": jnp.dtype(dtype)}
    drop = nnx.Dropout(0.5, rngs=rngs)
    net = nnx.Sequential(nnx.Linear(2, 3, **options), nnx.tanh, drop, nnx.Linear(3, 4, **options))
    net.layers[0].kernel[...] = jnp.asarray(small.W.T, dtype)
    net.layers[3].kernel[...] = jnp.asarray(small.U.T, dtype)
    net.eval()
    return net


@pytest.mark.parametrize("dtype", DTYPES)
def test_flax(dtype):
    with jax.enable_x64(dtype == "float64"):
        net, inputs = flax_network(dtype), jnp.asarray(small.INPUTS, dtype)
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        model = nb.ScoreModel(lambda params, x: nnx.merge(graph, params, rest)(x), params)
        expected = nnx.grad(lambda net: difference(net(inputs)))(net)
        assert_same(bias_of(model, inputs), expected, dtype)
        scores, back = jax.vjp(lambda params: nnx.merge(graph, params, rest)(inputs), params)
        assert_same(back(by_hand(scores).astype(dtype))[0], expected, dtype)


def equinox_network(dtype):
    shape = {"in_size": 2, "width_size": 3, "out_size": 4, "depth": 1}
    options = {"activation": jnp.tanh, "use_bias": False, "use_final_bias": False}
    net = eqx.nn.MLP(**shape, **options, dtype=jnp.dtype(dtype), key=jax.random.key(0))
    weights = [jnp.asarray(small.W, dtype), jnp.asarray(small.U, dtype)]
    return eqx.tree_at(lambda net: [layer.weight for layer in net.layers], net, weights)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equinox(dtype):
    with jax.enable_x64(dtype == "float64"):
        net, inputs = equinox_network(dtype), jnp.asarray(small.INPUTS, dtype)
        model = nb.ScoreModel(lambda net, x: net(x), net)
        expected = eqx.filter_grad(lambda net: difference(jax.vmap(net)(inputs)))(net)
        assert_same(bias_of(model, inputs), expected, dtype)
        rows = by_hand(model.scores(inputs))
        assert_same(nb.pull_back(model, inputs, rows), expected, dtype)
        trained, fixed = eqx.partition(net, eqx.is_inexact_array)
        scores, back = jax.vjp(lambda part: jax.vmap(eqx.combine(part, fixed))(inputs), trained)
        assert_same(back(rows.astype(scores.dtype))[0], expected, dtype)
