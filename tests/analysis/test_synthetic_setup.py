"""The synthetic experiment: is it the published one?  Population, model, training curve."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.synthetic import model as synthetic
from nce_bias.train import loop

POINTS = Path(synthetic.__file__).parent / "points" / "zhang_stratos_2021_figure1.csv"
SEEDS = range(8)


@functools.cache
def curves() -> np.ndarray:
    """Cross entropy before training and after each of 30 steps, [8 seeds, 31]."""
    return np.array([[untrained(s), *synthetic.trajectory(s).cross_entropy] for s in SEEDS])


def untrained(seed: int) -> float:
    scores = np.asarray(start(seed)(), np.float64)
    return float(np.log(np.exp(scores).sum()) - synthetic.population() @ scores)


def start(seed: int) -> synthetic.Model:
    return synthetic.Model(jax.random.split(jax.random.key(seed))[0])


def published() -> np.ndarray:
    return np.genfromtxt(POINTS, delimiter=",", names=True)["cross_entropy"]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square distance of two curves, nats."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


# --- population


def entropy_of(uniform: np.ndarray) -> float:
    odds = np.exp((uniform - uniform.max()) / 0.001)
    p = odds / odds.sum()
    return float(-(p[p > 0] @ np.log(p[p > 0])))


def test_the_population_is_the_published_one() -> None:
    """0.8020 is the published entropy; the four uniforms are torch's after manual_seed(42)."""
    assert synthetic.entropy() == pytest.approx(0.8020, abs=5e-5)  # all printed digits
    log_p = synthetic.log_population()
    uniform = 1e-3 * (log_p - log_p[0]) + 0.88226926  # undoes the softmax, up to its constant
    assert uniform[:4] == pytest.approx([0.8823, 0.9150, 0.3829, 0.9593], abs=5e-5)


def test_other_ways_to_make_uniform_numbers_give_another_entropy() -> None:
    words = np.random.RandomState(42).randint(0, 2**32, size=1000, dtype=np.uint32)
    assert entropy_of((words & 0xFFFFFF) * 2.0**-24) == pytest.approx(synthetic.entropy(), rel=1e-9)
    others = [
        (words >> 8) * 2.0**-24,  # the high bits
        words * 2.0**-32,  # all bits
        np.random.RandomState(42).random_sample(1000),  # NumPy's own, two words a number
        np.random.default_rng(42).random(1000),  # not MT19937
    ]
    assert all(abs(entropy_of(uniform) - 0.8020) > 0.01 for uniform in others)


def test_the_population_is_normalised_where_it_underflows() -> None:
    p, log_p = synthetic.population(), synthetic.log_population()
    assert p.shape == (1000,) and p.sum() == pytest.approx(1, abs=1e-14)
    assert p.min() == 0 and np.isfinite(log_p).all() and log_p.min() < -900
    with pytest.raises(ValueError, match="read-only"):
        log_p[0] = 0.0


# --- model


def test_the_model_has_the_published_size_and_start() -> None:
    parameters = start(0)
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == 391_600
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters)} == {jnp.dtype("float32")}
    bound = 1 / np.sqrt(300)
    for leaf in jax.tree.leaves((parameters.hidden, parameters.output)):
        values = np.asarray(leaf, np.float64).ravel()
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.97 * bound  # 300 draws miss the top 3 % once in 9,000
        # variance of U(−b, b) is b²/3; its estimate has a relative deviation of √(0.8/n)
        assert values.var() == pytest.approx(bound**2 / 3, rel=5 * np.sqrt(0.8 / values.size))
    embedding = np.asarray(parameters.embedding, np.float64)
    assert embedding.mean() == pytest.approx(0, abs=5 / np.sqrt(300))
    assert embedding.var() == pytest.approx(1, rel=5 * np.sqrt(2 / 300))


def test_scores_are_two_linear_layers_with_a_relu_between() -> None:
    m = start(1)
    e, w1, b1, w2, b2 = (
        np.asarray(leaf, np.float64)
        for leaf in (m.embedding, m.hidden.weight, m.hidden.bias, m.output.weight, m.output.bias)
    )
    expected = w2 @ np.maximum(w1 @ e + b1, 0) + b2
    # float32: sums of 300 terms of size 0.1, so errors of about √300 · 0.1 · 6e-8 = 1e-7
    assert np.asarray(synthetic.score_fn(m)) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(synthetic.score_fn(m, "anything"), synthetic.score_fn(m))


def test_batches_are_drawn_from_the_population() -> None:
    batches = synthetic.label_batches(jax.random.key(0))
    drawn = [next(batches) for _ in range(100)]
    assert {batch.shape for batch in drawn} == {(128,)}
    p, n = synthetic.population(), 128 * 100
    counts = np.bincount(np.concatenate(drawn), minlength=1000)
    frequent = p > 1e-3
    deviation = np.sqrt(n * p * (1 - p))
    assert frequent.sum() == 5
    assert (np.abs(counts - n * p)[frequent] < 5 * deviation[frequent]).all()
    assert not np.array_equal(drawn[0], drawn[1])


# --- trajectory


def test_a_trajectory_reads_scores_and_loss_from_its_own_parameters() -> None:
    run = synthetic.trajectory(3, steps=4)
    assert run.scores.shape == (4, 1000) and run.scores.dtype == jnp.float64
    for step in (1, 4):
        scores = np.asarray(synthetic.score_fn(run.at(step)))
        assert np.array_equal(scores, run.scores[step - 1])
        loss = np.log(np.exp(scores).sum()) - synthetic.population() @ scores
        assert float(run.cross_entropy[step - 1]) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("step", [0, 5, -1])
def test_a_trajectory_knows_its_steps(step: int) -> None:
    run = synthetic.trajectory(3, steps=4)
    with pytest.raises(ValueError) as caught:
        run.at(step)
    assert str(caught.value) == f"step is {step}, expected 1 to 4"


def test_the_seed_decides_everything() -> None:
    first, again, other = (synthetic.trajectory(seed, steps=3).scores for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.1)


def test_the_first_step_moves_every_reached_parameter_by_the_learning_rate() -> None:
    """Adam's first step is −rate · sign(gradient); the output biases always have one."""
    run = synthetic.trajectory(0, steps=1)
    before = np.asarray(start(0).output.bias, np.float64)
    moved = np.abs(np.asarray(run.at(1).output.bias) - before)
    # float32 rounding of biases up to 0.06: 4e-9, and epsilon against gradients of 1e-3: 1e-8
    assert moved == pytest.approx(np.full(1000, 1e-3), rel=1e-4)


def test_an_interrupt_is_passed_on_and_trouble_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    update, calls = loop.update, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return update(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", interrupted)
        with pytest.raises(KeyboardInterrupt, match="interrupted at step 1 of 3"):
            synthetic.trajectory(0, steps=3)
    monkeypatch.setattr(synthetic, "_draw", lambda key, step, log_p: jnp.full(128, 1000))
    with pytest.raises(RuntimeError, match=r"^synthetic run with seed 0: loss is nan at step 1"):
        synthetic.trajectory(0, steps=3)


# --- is the curve theirs?


@pytest.mark.slow
def test_the_published_curve_is_like_one_more_seed() -> None:
    """Its distance to our mean is within the range of a left-out seed's distance to the rest."""
    ours = curves()[:, 1:]
    rest = [(ours.sum(axis=0) - one) / (len(ours) - 1) for one in ours]
    own = [distance(one, others) for one, others in zip(ours, rest, strict=True)]
    assert distance(published(), ours.mean(axis=0)) < max(own)
    assert np.all(ours > synthetic.entropy())
    assert ours[:, -1] == pytest.approx(published()[-1], abs=0.1)  # 0.82: almost the entropy


def test_the_published_loss_is_measured_after_the_step() -> None:
    """Read before the step, or after the next one, the published curve fits several times worse."""
    mean = curves().mean(axis=0)
    after = distance(published(), mean[1:])
    before = distance(published(), mean[:-1])
    later = distance(published()[:-1], mean[2:])
    assert before > 3 * after and later > 3 * after
    # the first point alone: 6.095 lies among our losses after one step, far below all untrained
    first, second = curves()[:, 0], curves()[:, 1]
    assert second.min() < published()[0] < second.max()
    assert published()[0] < first.min() - 3 * first.std()
