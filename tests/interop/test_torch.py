"""PyTorch: scores out, the bias of its own parameters back."""

import re

import jax
import numpy as np
import pytest
import torch

import nce_bias as nb
from tests.interop import small

SAMPLER = nb.iid(nb.popularity(), small.M)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def network(dtype):
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 3, bias=False), torch.nn.Tanh(), torch.nn.Linear(3, 4, bias=False)
    ).to(dtype)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(small.W))
        net[2].weight.copy_(torch.tensor(small.U))
    return net


def scores_of(net):
    return net(torch.tensor(small.INPUTS, dtype=net[0].weight.dtype))


def gradients(net):
    return [parameter.grad.double().numpy() for parameter in net.parameters()]


def pulled_back(dtype, sign=1.0, weigh=True):
    """The way of the page."""
    net = network(dtype)
    scores = scores_of(net)
    golds = torch.tensor(small.GOLDS)
    problem = nb.Problem.from_golds(scores, golds, small.POPULARITY, small.WEIGHTS)
    moments = nb.exact(problem, SAMPLER)
    rows = (problem.weights[:, None] if weigh else 1 / 3) * moments.bias
    scores.backward(torch.as_tensor(sign * rows, dtype=scores.dtype))
    return gradients(net)


def the_long_way():
    net = network(torch.float64)
    scores = scores_of(net)
    sets, chances = small.candidate_sets()
    rows = torch.arange(len(sets))[:, None, None]
    candidates = scores[rows, torch.tensor(sets)]
    losses = torch.logsumexp(candidates, -1) - candidates[..., 0]
    contrastive = (torch.tensor(chances) * losses).sum()
    each = torch.nn.functional.cross_entropy(scores, torch.tensor(small.GOLDS), reduction="none")
    ((torch.tensor(small.WEIGHTS) * each).sum() - contrastive).backward()
    return gradients(net)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_is_the_difference_of_two_gradients_of_torch(dtype):
    for found, expected in zip(pulled_back(DTYPES[dtype]), the_long_way(), strict=True):
        np.testing.assert_allclose(found, expected, **small.tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_is_the_gradient_bias_of_the_same_model_in_jax(dtype):
    """With float64 off for float32, as a program has it that has never heard of the switch."""
    with jax.enable_x64(dtype == "float64"):
        parts = [jax.numpy.asarray(part, dtype) for part in (small.W, small.U)]
        model = nb.ScoreModel(lambda p, x: p[1] @ jax.numpy.tanh(p[0] @ x), parts)
        inputs = jax.numpy.asarray(small.INPUTS, dtype)
        options = {"popularity": small.POPULARITY, "weights": small.WEIGHTS, "variance": False}
        expected = nb.gradient_bias(model, inputs, None, SAMPLER, golds=small.GOLDS, **options).bias
        found = pulled_back(DTYPES[dtype])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.asarray(other), **small.tolerance(dtype))


@pytest.mark.parametrize("wrong", [{"sign": -1.0}, {"weigh": False}])
def test_the_other_sign_and_the_other_weights_are_noticed(wrong):
    found, expected = pulled_back(torch.float64, **wrong)[0], the_long_way()[0]
    assert np.abs(found - expected).max() > 1e-3


def test_bfloat16_is_read_as_the_numbers_it_holds():
    scores = scores_of(network(torch.bfloat16))
    assert scores.requires_grad and scores.dtype == torch.bfloat16
    problem = nb.Problem.from_golds(scores, torch.tensor(small.GOLDS))
    np.testing.assert_array_equal(problem.scores, scores.detach().double().numpy())
    assert scores.requires_grad and scores.grad_fn is not None


def test_a_bfloat16_model_gets_its_bias_in_bfloat16():
    """Products of a few numbers of 8 bits each, of order 0.1: a few 2^-8 of them are lost."""
    for found, expected in zip(pulled_back(torch.bfloat16), the_long_way(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=8 * 2**-8 * np.abs(expected).max())
        assert np.abs(found - expected).max() > 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["plain", "transposed", "requires grad"])
def test_layouts_and_types_of_tensors(dtype, layout):
    scores = torch.tensor(small.INPUTS @ small.W.T @ small.U.T).to(dtype)
    given = {
        "plain": scores,
        "transposed": scores.t().contiguous().t(),
        "requires grad": scores.clone().requires_grad_(),
    }[layout]
    read = nb.Problem.from_golds(given, torch.tensor(small.GOLDS)).scores
    np.testing.assert_array_equal(read, scores.double().numpy())


def test_a_tensor_elsewhere_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=re.escape("scores: got Tensor on meta")) as caught:
        nb.Problem.from_golds(torch.empty(3, 4, device="meta"), small.GOLDS)
    assert str(caught.value).endswith("pass scores.detach().float().cpu().numpy().")
    with pytest.raises(ValueError, match="golds: got Tensor of type float32"):
        nb.Problem.from_golds(torch.zeros(3, 4), torch.zeros(3))


def test_a_strided_view_in_bfloat16_is_read():
    whole = torch.randn(4, 6, dtype=torch.bfloat16)
    for view in (whole[::2], whole[:, 1::2], whole.T):
        read = np.asarray(nb.Problem(view, np.full(view.shape, 1 / view.shape[1])).scores)
        assert np.array_equal(read, view.double().numpy())


def test_a_sparse_tensor_is_refused_with_a_remedy_that_works():
    sparse = torch.eye(3).to_sparse()
    with pytest.raises(ValueError, match=r"pass scores\.to_dense\(\)\.detach\(\)") as caught:
        nb.Problem.from_golds(sparse, [0, 1, 2])
    remedy = str(caught.value).rsplit("pass ", 1)[1].rstrip(".")
    assert nb.Problem.from_golds(eval(remedy, {"scores": sparse}), [0, 1, 2]).labels == 3
