"""The engine with atoms against the direct one: within the sum of their errors, and much less.

A wrong gold's own term, hit policy, coincidence or correction moves a moment by far more than the
tolerances here: `test_exact` shows that of the direct engine by enumeration.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.engine.plan import Wish, plan_for
from nce_bias.numerics import interpolation
from nce_bias.numerics.quadrature import TOLERANCE

SCALARS = ("loss", "variance", "variance_negatives", "variance_gold", "coverage")
LOSSES = (
    nb.infonce,
    nb.sampled_softmax,
    nb.sampled_softmax_both,
    nb.ranking_nce,
    nb.self_normalized,
)


def both(problem, sampler, loss, **options):
    return [
        nb.exact(problem, sampler, loss, engine=engine, **options) for engine in ("direct", "atoms")
    ]


def check(direct, atoms, label, loose=1.0):
    assert "atoms" in atoms.method
    assert "atoms" not in direct.method
    bound = float(direct.error + atoms.error)
    off = np.max(np.abs(np.asarray(direct.gradient - atoms.gradient)))
    assert off <= bound, (label, off, bound)
    assert off < 1e-11 * loose, (label, off)
    for name in SCALARS:
        expected, found = float(getattr(direct, name)), float(getattr(atoms, name))
        if np.isfinite(expected):
            assert found == pytest.approx(expected, rel=1e-10 * loose, abs=1e-11 * loose), (
                label,
                name,
            )
    if np.isfinite(float(direct.effective_sample_size)):
        assert float(atoms.effective_sample_size) == pytest.approx(
            float(direct.effective_sample_size), rel=1e-10 * loose
        )


@pytest.mark.parametrize("hits", ["exclude", "mask", "keep"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_every_loss_and_policy(loss, hits):
    if loss is nb.self_normalized and hits == "mask":
        hits = "exclude"  # with masked hits Z may be empty, which is refused
    rng = np.random.default_rng(3)
    scores = 2.5 * rng.normal(size=(2, 30))
    problem = nb.Problem.from_golds(scores, [[4, 9], [0, 11]], rng.dirichlet(np.full(30, 0.5)))
    for proposal in (nb.popularity(), nb.mixture(nb.uniform(), nb.model(), 0.3)):
        for m in (1, 7, 4000):
            sampler = nb.iid(proposal, m, hits)
            direct, atoms = both(problem, sampler, loss, compiled=False)
            check(direct, atoms, (proposal, m))


def scattered(rng):
    """Scores over 1 to 60 nats, some with ties, some with one label that dominates."""
    labels = int(rng.integers(3, 60))
    scores = rng.uniform(0.3, 20.0) * rng.standard_t(rng.choice([3, 30]), size=labels)
    scores *= min(1.0, 60 / (np.ptp(scores) + 1e-9))
    if rng.random() < 0.3:
        scores = np.round(scores)
    if rng.random() < 0.3:
        scores[rng.integers(labels)] += rng.uniform(5, 40)
    return scores


def random_problem(seed):
    """Scores over 1 to 60 nats, ties, -inf, one label that dominates, Zipf popularity."""
    rng = np.random.default_rng(seed)
    scores = scattered(rng)
    labels = len(scores)
    golds = rng.choice(labels, size=rng.integers(1, 3), replace=False)
    if rng.random() < 0.3:
        masked = rng.random(labels) < 0.3
        masked[golds] = False
        masked[np.setdiff1d(np.arange(labels), golds)[0]] = False  # one wrong label is left
        scores[masked] = -np.inf
    zipf = 1 / (1 + rng.permutation(labels)) ** rng.uniform(0.3, 2)
    problem = nb.Problem.from_golds(scores[None], golds[None], zipf / zipf.sum())
    proposals = [nb.uniform(), nb.popularity(), nb.log_uniform()]
    proposals += [nb.model(temperature) for temperature in (0.05, 1.0, 20.0)]
    proposal = proposals[rng.integers(len(proposals))]
    hits = ("exclude", "mask", "keep")[rng.integers(3)]
    sampler = nb.iid(proposal, int(rng.choice([1, 2, 5, 64, 10_000])), hits)
    return problem, sampler, (nb.infonce, nb.sampled_softmax)[rng.integers(2)]


@pytest.mark.filterwarnings("ignore::nce_bias.UnusualInput")  # masked labels are drawn, and meant
@pytest.mark.parametrize(
    "block", [0, 1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 10))]
)
def test_errors_are_honest_on_random_problems(block):
    """Fifty problems a block, atoms forced: the true error is within the one that is stated.

    From the third block on with a coarse grid, whose own error is then what there is.
    """
    done = 0
    for seed in range(50 * block, 50 * (block + 1)):
        problem, sampler, loss = random_problem(seed)
        try:
            direct = nb.exact(problem, sampler, loss, engine="direct", compiled=False)
            options: dict = {"tolerance": 1e-7} if block >= 2 else {}
            atoms = nb.exact(problem, sampler, loss, engine="atoms", compiled=False, **options)
        except ValueError as refused:  # a proposal with nothing left beside a gold, by name
            assert "gold" in str(refused) or "spread" in str(refused) or "atoms" in str(refused)
            continue
        # a variance is a difference of moments, each of which has the stated error a few times
        check(direct, atoms, seed, loose=1e6 if block >= 2 else 1.0)
        done += 1
    assert done > 40


def test_a_tolerance_makes_the_grid_coarser_and_the_error_says_so():
    rng = np.random.default_rng(5)
    problem = nb.Problem.from_golds(3 * rng.normal(size=(1, 400)), [7])
    sampler = nb.iid(nb.model(), 16)
    truth = nb.exact(problem, sampler, engine="direct")
    sizes = []
    for tolerance in (2e-14, 1e-9, 1e-4):
        found = nb.exact(problem, sampler, engine="atoms", tolerance=tolerance)
        off = np.max(np.abs(np.asarray(found.gradient - truth.gradient)))
        assert off <= float(found.error)
        assert float(found.error) < 100 * tolerance + 1e-11
        sizes.append(int(found.method.split(" nodes, ")[1].split()[0]))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]


def test_compiled_and_plain_are_one():
    rng = np.random.default_rng(6)
    problem = nb.Problem.from_golds(3 * rng.normal(size=(3, 50)), [7, 8, 9])
    for hits in ("exclude", "keep"):
        sampler = nb.iid(nb.popularity(), 16, hits)
        plain, compiled = (
            nb.exact(problem, sampler, engine="atoms", compiled=compiled)
            for compiled in (False, True)
        )
        assert np.allclose(plain.gradient, compiled.gradient, rtol=0, atol=1e-13)
        assert np.allclose(plain.by_input.variance, compiled.by_input.variance, atol=1e-13)


@pytest.mark.parametrize("compiled", [False, True])
def test_two_steps_give_what_the_direct_rule_gives(compiled, monkeypatch):
    """What a million labels take, forced on few: one and two golds, each hit policy."""
    monkeypatch.setattr(interpolation, "CHOICES", ())  # no grid in one step is left to choose
    rng = np.random.default_rng(7)
    scores, popularity = 3 * rng.normal(size=(1, 50)), rng.dirichlet(np.full(50, 0.5))
    for golds, hits in (([7], "exclude"), ([[7, 9]], "keep"), ([[7, 9]], "mask")):
        problem = nb.Problem.from_golds(scores, golds, popularity)
        sampler = nb.iid(nb.popularity(), 6, hits)
        direct, atoms = both(problem, sampler, nb.infonce, compiled=compiled)
        check(direct, atoms, hits)
    plan = plan_for(problem, sampler, nb.infonce, Wish(TOLERANCE, engine="atoms"))
    assert plan.rule.atoms is not None
    assert plan.rule.atoms.fine is not None


def test_single_precision_says_what_it_lost():
    rng = np.random.default_rng(8)
    scores = 3 * rng.normal(size=(1, 200))
    truth = nb.exact(nb.Problem.from_golds(scores, [3]), nb.iid(nb.uniform(), 8))
    problem = nb.Problem.from_golds(scores, [3])
    single = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == np.float64 else x, problem)
    found = nb.exact(single, nb.iid(nb.uniform(), 8), engine="atoms", compiled=False)
    assert found.gradient.dtype == jnp.float32
    off = np.max(np.abs(np.asarray(found.gradient, float) - np.asarray(truth.gradient)))
    assert off < float(found.error) < 1e-3


def test_many_labels_take_atoms_by_themselves():
    rng = np.random.default_rng(9)
    problem = nb.Problem.from_golds(3 * rng.normal(size=(1, 20_000)), [11])
    found = nb.exact(problem, nb.iid(nb.model(), 16))
    assert "atoms" in found.method
    assert found.status == "ok"
    assert float(np.sum(found.selection)) == pytest.approx(1, abs=1e-10)
    few = nb.Problem.from_golds([[1.0, 0.0, -1.0]], [0])
    assert "atoms" not in nb.exact(few, nb.iid(nb.model(), 2)).method


@pytest.mark.parametrize(
    ("sampler", "loss", "golds"),
    [
        (nb.poisson(nb.uniform(), 2), nb.infonce, [0]),
        (nb.iid(nb.uniform(), 2), nb.binary_nce, [0]),
        (nb.iid(nb.uniform(), 2, "mask"), nb.sampled_softmax, [list(range(17))]),
    ],
)
def test_atoms_are_refused_where_there_are_none(sampler, loss, golds):
    problem = nb.Problem.from_golds(np.zeros((1, 20)), golds)
    with pytest.raises(ValueError, match="engine: got 'atoms'"):
        nb.exact(problem, sampler, loss, engine="atoms")


def test_an_unknown_engine_is_refused():
    problem = nb.Problem([1.0, 0.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="engine: got 'fast'; expected 'auto' or 'direct'"):
        nb.exact(problem, nb.iid(nb.uniform(), 1), engine="fast")


@pytest.mark.parametrize("loss", [nb.infonce, nb.sampled_softmax], ids=lambda loss: loss.name)
def test_single_precision_has_variances_of_golds_far_apart(loss):
    """One gold ranked well and one badly: at the one's nodes the other's z^2 is above 3e38."""
    scores = 3 * np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    scores[:, 0] = 10, -30
    with jax.enable_x64(False):
        single = nb.Problem.from_golds(scores, [0, 0])
        found = nb.exact(single, nb.iid(nb.uniform(), 100), loss)
    truth = nb.exact(nb.Problem.from_golds(scores, [0, 0]), nb.iid(nb.uniform(), 100), loss)
    assert found.variance.dtype == np.float32 and found.status == "ok"
    for name in ("variance", "effective_sample_size"):
        value = float(getattr(truth, name))
        assert float(getattr(found, name)) == pytest.approx(value, rel=1e-4), name
