"""The table of cases: every proposal, sampler and loss of the registries, each with its definition.

A case says what the library is asked (`nb` objects) and what the brute-force oracle is asked (a
tuple of `tests.oracles.drawing`, a name). `tests/core/test_cases.py` tests the table: a name
added to a registry without a case fails there.

Compilation is what a test costs, so everything here has one shape (3 inputs, 5 labels), and the
proposals share a compilation through `OneOf`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import nce_bias as nb
from nce_bias.losses import CandidateSoftmax
from tests.oracles import enumeration


@contextlib.contextmanager
def single_precision():
    """Within, JAX's default float is float32, as it is until a user asks for float64."""
    jax.config.update("jax_enable_x64", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", True)


HITS = ("exclude", "mask", "keep")
LABELS, INPUTS = 5, 3

#: Irregular on purpose: no symmetry or tie under which a wrong formula could agree. The third
#: input has a label that is never the gold, and the popularity is not that of the population.
SCORES = np.array(
    [[1.3, -0.4, 0.2, -2.1, 0.9], [-0.7, 1.9, -1.2, 0.5, 0.1], [0.3, 0.8, 2.4, -0.6, -1.5]]
)
POPULATION = np.array(
    [[0.35, 0.05, 0.3, 0.1, 0.2], [0.1, 0.45, 0.15, 0.05, 0.25], [0.25, 0.2, 0.0, 0.5, 0.05]]
)
WEIGHTS = np.array([0.5, 0.2, 0.3])
POPULARITY = np.array([0.12, 0.4, 0.08, 0.25, 0.15])
FIXED_Q = np.array([0.3, 0.05, 0.2, 0.35, 0.1])

Q = Callable[[np.ndarray, np.ndarray], np.ndarray]


def problem() -> nb.Problem:
    return nb.Problem(SCORES, POPULATION, popularity=POPULARITY, weights=WEIGHTS)


def _defined(name: str, **options: Any) -> Q:
    return lambda scores, popularity: enumeration.proposals(name, scores, popularity, **options)


def harder_and_rarer(scores, popularity):
    """A user's own proposal, unnormalised."""
    return 0.5 * scores - 0.7 * jnp.log(popularity) + 3.0


def _harder_and_rarer(scores, popularity):
    mass = np.exp(0.5 * scores) / popularity**0.7
    return mass / mass.sum()


@dataclass(frozen=True)
class ProposalCase:
    registered: str  # name in nb.PROPOSALS, "" for a user's own
    proposal: Any
    q: Q

    def __str__(self) -> str:
        return getattr(self.proposal, "__name__", repr(self.proposal))


_MIXED = {"a": ("model", {}), "b": ("popularity", {}), "share": 0.3}
PROPOSALS = [
    ProposalCase("uniform", nb.uniform(), _defined("uniform")),
    ProposalCase("popularity", nb.popularity(), _defined("popularity")),
    ProposalCase("popularity", nb.popularity(0.5), _defined("popularity", power=0.5)),
    ProposalCase("log_uniform", nb.log_uniform(), _defined("log_uniform")),
    ProposalCase("model", nb.model(), _defined("model")),
    ProposalCase("model", nb.model(2.5), _defined("model", temperature=2.5)),
    ProposalCase(
        "mixture", nb.mixture(nb.model(), nb.popularity(), share=0.3), _defined("mixture", **_MIXED)
    ),
    ProposalCase(
        "from_probabilities",
        nb.from_probabilities(FIXED_Q),
        _defined("from_probabilities", q=FIXED_Q),
    ),
    ProposalCase("", harder_and_rarer, _harder_and_rarer),
]


class OneOf(eqx.Module):
    """The table's proposals as one, picked by a traced number: they share one compilation."""

    index: Any

    def __call__(self, scores, popularity):
        every = [jax.nn.log_softmax(case.proposal(scores, popularity)) for case in PROPOSALS]
        return jnp.stack(every)[self.index]


@dataclass(frozen=True)
class SamplerCase:
    name: str
    registered: tuple[str, ...]  # names in nb.SAMPLERS
    make: Callable[[Any, int], Any]  # (proposal, m) -> sampler of m negatives
    spec: Callable[[np.ndarray, int], tuple]  # (q, m) -> the oracle's sampler
    corrects: bool = True  # has one q for losses to correct with
    exact: bool = True  # nb.exact has a method
    least: int = 1  # smallest m it makes sense for
    uses_q: bool = True
    fills: bool = True  # never leaves the gold without a negative


def _iid(hits: str) -> SamplerCase:
    return SamplerCase(
        f"iid-{hits}",
        ("iid",),
        lambda proposal, m: nb.iid(proposal, m, hits=hits),
        lambda q, m: ("iid", q, m, hits),
        fills=hits != "mask",
    )


IID = [_iid(hits) for hits in HITS]
WITHOUT_REPLACEMENT = SamplerCase(
    "without_replacement",
    ("without_replacement",),
    nb.without_replacement,
    lambda q, m: ("without_replacement", q, m),
)
POISSON = SamplerCase(
    "poisson", ("poisson",), nb.poisson, lambda q, m: ("poisson", q, m), fills=False
)
TOP = SamplerCase(
    "top", ("top",), lambda _, m: nb.top(m), lambda _, m: ("top", m), corrects=False, uses_q=False
)
SUMS = [
    SamplerCase(
        "top+iid-exclude",
        ("top", "iid"),
        lambda proposal, m: nb.top(1) + nb.iid(proposal, m - 1),
        lambda q, m: ("concat", [("top", 1), ("iid", q, m - 1, "exclude")]),
        corrects=False,
        least=2,
    ),
    SamplerCase(
        "iid-keep+iid-mask",
        ("iid", "iid"),
        lambda proposal, m: nb.iid(proposal, m - 1, "keep") + nb.iid(nb.uniform(), 1, "mask"),
        lambda q, m: (
            "concat",
            [("iid", q, m - 1, "keep"), ("iid", np.full(len(q), 1 / len(q)), 1, "mask")],
        ),
        corrects=False,
        least=2,
    ),
    SamplerCase(
        "top+without_replacement",
        ("top", "without_replacement"),
        lambda proposal, m: nb.top(1) + nb.without_replacement(proposal, m - 1),
        lambda q, m: ("concat", [("top", 1), ("without_replacement", q, m - 1)]),
        corrects=False,
        least=2,
    ),
]
SAMPLERS = [*IID, WITHOUT_REPLACEMENT, POISSON, TOP, *SUMS]

#: The numbers of negatives that each loss is crossed with. Every m <= 4 occurs with every sampler;
#: the loss whose correction depends on m has two of them, the two in which log m cancels have one.
NEGATIVES = {
    "infonce": (1, 4),
    "sampled_softmax": (2, 3),
    "sampled_softmax_both": (3,),
    "ranking_nce": (2,),
    "self_normalized": (3,),
    "binary_nce": (2,),
    "negative_sampling": (3,),
}
#: Two integrals deep, an exact result costs more to compile and run: one m for each loss.
NEGATIVES_WITHOUT_REPLACEMENT = {
    "infonce": (2,),
    "sampled_softmax": (3,),
    "sampled_softmax_both": (4,),
    "ranking_nce": (1,),
    "self_normalized": (2,),
    "binary_nce": (2,),
    "negative_sampling": (3,),
}
#: With m = V - 1 every chance would be 1 and the set that of `top`.
NEGATIVES_POISSON = {"infonce": (1, 3), "ranking_nce": (2,)}


def _negatives(sampler: SamplerCase, loss: str) -> tuple[int, ...]:
    if sampler is WITHOUT_REPLACEMENT:
        return NEGATIVES_WITHOUT_REPLACEMENT[loss]
    if sampler is POISSON:
        return NEGATIVES_POISSON.get(loss, (3,))
    return NEGATIVES[loss] if sampler.least == 1 else (3,)


@dataclass(frozen=True)
class Case:
    sampler: SamplerCase
    loss: str
    m: int

    def __str__(self) -> str:
        return f"{self.sampler.name}-{self.loss}-{self.m}"

    def truth(self, row: int, q: Q) -> enumeration.Enumerated:
        """By enumeration, for one input of the table's problem."""
        spec = self.sampler.spec(q(SCORES[row], POPULARITY), self.m)
        return enumeration.enumerate_moments(SCORES[row], POPULATION[row], spec, self.loss)


#: Losses whose rows of `selection` sum to 1.
NORMALIZED = [name for name, loss in nb.LOSSES.items() if isinstance(loss, CandidateSoftmax)]

CASES = [
    Case(sampler, loss, m)
    for sampler in SAMPLERS
    for loss in nb.LOSSES
    for m in _negatives(sampler, loss)
    if sampler.corrects or loss in enumeration.UNCORRECTED
    if sampler.fills or loss != "self_normalized"
]


@dataclass(frozen=True)
class Truth:
    """What a result over several inputs is compared with; see `average`."""

    loss: float
    cross_entropy: float
    selection: np.ndarray
    gradient: np.ndarray
    bias: np.ndarray
    bias_norm: float
    cosine: float
    variance: float
    variance_negatives: float
    variance_gold: float
    coverage: float
    effective_sample_size: float
    smallest_norm: float  # of the two gradients between which the cosine is taken


def average(rows: list[enumeration.Enumerated], weights=WEIGHTS) -> Truth:
    """One input's enumerated moments each, averaged over inputs as the definitions say."""
    weights = np.asarray(weights, np.float64)
    gradient, bias, selection = (
        np.stack([getattr(row, name) for row in rows]) for name in ("gradient", "bias", "selection")
    )
    exact = gradient + bias

    def inner(a, b):
        return float(weights @ np.sum(a * b, axis=1))

    sizes = np.sqrt([inner(gradient, gradient), inner(exact, exact)])
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = inner(gradient, exact) / np.prod(sizes)
    return Truth(
        loss=float(weights @ [row.loss for row in rows]),
        cross_entropy=float(weights @ [row.cross_entropy for row in rows]),
        selection=selection,
        gradient=gradient,
        bias=bias,
        bias_norm=float(np.sqrt(inner(bias, bias))),
        cosine=float(cosine),
        **{
            name: float(weights @ [getattr(row, name) for row in rows])
            for name in ("variance", "variance_negatives", "variance_gold", "coverage")
        },
        effective_sample_size=1 / float(weights @ [row.concentration for row in rows]),
        smallest_norm=float(sizes.min()),
    )


def truth(case: Case, proposal: ProposalCase) -> Truth:
    return average([case.truth(row, proposal.q) for row in range(INPUTS)])


def assert_equals_truth(found: Any, expected: Truth, *, label: object = "", floor: float = 0.0):
    """Every field within what the result's own `error` allows, and the error small.

    `error` bounds the absolute error of each entry of `selection`, which `gradient` and `bias`
    share up to one rounding of p and of pop (`floor` + 2e-16). The loss is an integral by the same
    rule with the same *relative* error. A norm moves by at most sqrt(entries) times its entries, a
    cosine by twice that over the shorter of its two vectors. Second moments come from
    1/Z^2 = int t e^{-tZ} dt, for which the bound of the rule is |Gamma(2 + iw)| / |Gamma(1 + iw)| =
    |1 + iw| = 2 pi / step = 23 times as large (and the effective sample size is one over such a
    moment); the split of the variance may have been left out. Coverage is a sum of 5 chances.
    """
    error = float(found.error) + 2e-16 + floor
    length = np.sqrt(expected.bias.shape[-1])
    allowed = {
        "selection": error,
        "gradient": error,
        "bias": error,
        "loss": error * max(1.0, abs(expected.loss)),
        "cross_entropy": 1e-15 * max(1.0, abs(expected.cross_entropy)) + floor,
        "bias_norm": error * length,
        "bias_norm_squared": error * length * (2 * expected.bias_norm + error * length),
        "bias_norm_plugin": error * length,
        "cosine": 2 * error * length / expected.smallest_norm + 1e-15,
    }
    parts = ("variance_negatives", "variance_gold")
    left_out = all(np.isnan(getattr(found, name)) for name in parts)
    allowed |= {name: 30 * error for name in ("variance", *(() if left_out else parts))}
    allowed["coverage"] = error
    if not np.isnan(expected.effective_sample_size):
        allowed["effective_sample_size"] = 30 * error * expected.effective_sample_size**2
    for name, tolerance in allowed.items():
        value = np.asarray(getattr(found, name), np.float64)
        wanted = (
            expected.bias_norm**2
            if name == "bias_norm_squared"
            else getattr(expected, "bias_norm" if name == "bias_norm_plugin" else name)
        )
        missed = np.abs(value - np.reshape(wanted, value.shape)).max()
        assert missed <= tolerance, f"{label}: {name} off by {missed:.2e} > {tolerance:.2e}"


def exact(problem: Any, sampler: Any, loss: Any = nb.infonce) -> Any:
    """`nb.exact` under one jit, with every number of a sampler traced.

    For relations between results, where it does not matter that values are traced: all m, all
    temperatures and all of `OneOf` share a compilation. Not so for an integral inside an integral,
    which is quicker with nodes made to measure.
    """
    if "without_replacement" in repr(sampler):
        return nb.exact(problem, sampler, loss, split=False)

    def traced(leaf):
        return jnp.asarray(leaf, float) if isinstance(leaf, int | float) else leaf

    return _exact(problem, jax.tree.map(traced, sampler), loss)


_exact = eqx.filter_jit(nb.exact)


def proposal(name: str) -> OneOf:
    """One of the table's proposals by its repr."""
    return OneOf(jnp.asarray([str(case) for case in PROPOSALS].index(name)))


def assert_same(first: Any, second: Any):
    """Two exact results agree within the sum of their errors (the loss: relatively)."""
    error = float(first.error) + float(second.error)
    assert error < 1e-12
    missed = np.abs(np.asarray(first.selection) - np.asarray(second.selection)).max()
    assert missed <= error, f"selections differ by {missed:.2e} > {error:.2e}"
    np.testing.assert_allclose(first.loss, second.loss, rtol=error)
