"""`nce_bias.train`: the loop, against hand arithmetic and a plain NumPy Adam."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nce_bias import train
from nce_bias.train import loop


def squared(w: Any, x: Any) -> Any:
    """Loss (w − x)²/2: gradient w − x, so SGD with rate r keeps a share 1 − r of the distance."""
    return jnp.sum((w - x) ** 2) / 2


def run(steps: int, **options: Any) -> train.Fit:
    batches = options.pop("batches", itertools.repeat(jnp.array(0.0)))
    optimizer = options.pop("optimizer", optax.sgd(0.5))
    return train.fit(squared, jnp.array(8.0), batches, optimizer, steps=steps, **options)


# --- what is kept, and when


def test_checkpoints_are_after_the_update_and_losses_before_it() -> None:
    fit = run(3, checkpoints=[0, 1, 3])
    assert fit.steps.tolist() == [0, 1, 3]
    assert fit.checkpoints.tolist() == [8.0, 4.0, 1.0]  # powers of two: exact
    assert fit.losses.tolist() == [8.0**2 / 2, 4.0**2 / 2, 2.0**2 / 2]
    assert float(fit.params) == 1.0
    assert fit.status == "ok"


def test_each_step_takes_the_next_batch() -> None:
    batches = [jnp.array(0.0), jnp.array(4.0), jnp.array(0.0)]
    fit = run(3, batches=batches, checkpoints=range(4))
    assert fit.checkpoints.tolist() == [8.0, 4.0, 4.0, 2.0]


def test_at_gives_one_unstacked_checkpoint() -> None:
    fit = run(3, checkpoints=[1, 3])
    assert float(fit.at(3)) == 1.0
    with pytest.raises(ValueError) as caught:
        fit.at(2)
    assert str(caught.value) == (
        "no checkpoint at step 2: this run kept steps [1, 3]; "
        "name the step in fit(..., checkpoints=...)"
    )


def test_no_steps_and_no_checkpoints() -> None:
    fit = run(0)
    assert float(fit.params) == 8.0
    assert fit.losses.shape == (0,) and fit.checkpoints.shape == (0,) and fit.status == "ok"
    assert run(0, checkpoints=[0]).checkpoints.tolist() == [8.0]


def test_repr_says_how_far_it_came() -> None:
    assert repr(run(2, checkpoints=[2])) == (
        "Fit(2 steps, 1 checkpoints, last loss 8.0000, status='ok')"
    )


class Scaled(eqx.Module):
    weight: Any
    shift: Any
    order: Any
    activation: Any
    power: int


def test_only_floating_arrays_are_trained_and_dtypes_stay() -> None:
    """float32 and float64 leaves side by side, with float64 batches that would promote both."""
    params = Scaled(
        jnp.ones(2, jnp.float32), jnp.zeros(2, jnp.float64), jnp.array([1, 0]), jnp.tanh, 2
    )

    def loss(p: Scaled, x: Any) -> Any:
        return jnp.mean((p.activation(p.weight * x[p.order]) + p.shift - 1.0) ** p.power)

    fit = train.fit(
        loss,
        params,
        itertools.repeat(np.array([0.3, 2.0])),
        optax.adam(0.1),
        steps=4,
        checkpoints=[2, 4],
    )
    last = fit.at(4)
    assert (last.weight.dtype, last.shift.dtype) == (jnp.float32, jnp.float64)
    assert last.order.tolist() == [1, 0] and last.activation is jnp.tanh and last.power == 2
    assert fit.checkpoints.order.shape == (2, 2)  # every array leaf has the leading axis
    assert (np.asarray(last.weight) != 1).all() and (np.asarray(last.shift) != 0).all()
    for kept, final in zip(jax.tree.leaves(last), jax.tree.leaves(fit.params), strict=True):
        assert kept is final or np.array_equal(kept, final)


def test_a_step_is_compiled_once_for_all_runs_that_share_loss_and_optimizer() -> None:
    traces = []

    def loss(w: Any, x: Any) -> Any:
        traces.append(1)
        return jnp.sum((w - x) ** 2)

    optimizer = optax.adam(0.1)
    for start in (0.0, 1.0, 2.0):
        train.fit(loss, jnp.array(start), itertools.repeat(3.0), optimizer, steps=5)
    assert len(traces) == 1


# --- Adam is the one of the published experiments


def numpy_adam(w: float, gradients: list[float], *, eps_inside: bool, corrected: bool) -> float:
    """Kingma & Ba (2015), algorithm 1, rate 1e-3; and two variants that are not torch's."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat = m / (1 - 0.9**t) if corrected else m
        v_hat = v / (1 - 0.999**t) if corrected else v
        root = np.sqrt(v_hat + 1e-8) if eps_inside else np.sqrt(v_hat) + 1e-8
        w -= 1e-3 * m_hat / root
    return w


def test_optax_adam_is_the_published_adam() -> None:
    """Gradients of 1e-8, the size of epsilon, so that its place matters."""
    gradients = [1e-8, -3e-8, 2e-8]
    fit = train.fit(
        lambda w, g: w * g, jnp.array(1.0), [jnp.array(g) for g in gradients], optax.adam(1e-3),
        steps=3,
    )  # fmt: skip
    moved = float(fit.params) - 1
    expected = numpy_adam(1.0, gradients, eps_inside=False, corrected=True) - 1
    assert moved == pytest.approx(expected, rel=1e-8)  # 1 − w has 2e-16 / 5e-4 of rounding
    for wrong in ({"eps_inside": True, "corrected": True}, {"eps_inside": False, "corrected": 0}):
        other = numpy_adam(1.0, gradients, **wrong) - 1  # pyright: ignore[reportArgumentType]
        assert abs(moved - other) > 0.1 * abs(moved)


# --- runs that end early keep what was done


def interrupted_after(count: int) -> Any:
    yield from itertools.repeat(jnp.array(0.0), count)
    raise KeyboardInterrupt


def test_an_interrupt_keeps_what_was_done() -> None:
    fit = run(10, batches=interrupted_after(3), checkpoints=[1, 3, 9])
    assert fit.status == "interrupted at step 3 of 10: everything up to there is kept"
    assert fit.losses.tolist() == [32.0, 8.0, 2.0]
    assert fit.steps.tolist() == [1, 3]
    assert fit.checkpoints.tolist() == [4.0, 1.0]
    assert float(fit.params) == 1.0


def test_an_interrupt_within_a_step_counts_the_steps_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interrupt comes when step 3 is computed but not yet counted: it never happened."""
    update, calls = loop.update, []

    def interrupting(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(loop, "update", interrupting)
    fit = run(10, checkpoints=range(11))
    assert fit.status == "interrupted at step 2 of 10: everything up to there is kept"
    assert fit.steps.tolist() == [0, 1, 2] and fit.losses.size == 2


def test_an_interrupt_between_a_step_and_its_keeping_loses_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupting(self: Any, done: int, loss: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Bar, "advance", interrupting)
    fit = run(10, checkpoints=[1])
    assert fit.checkpoints.tolist() == [4.0] and fit.losses.size == 1


def test_batches_that_run_out_are_reported() -> None:
    fit = run(5, batches=[jnp.array(0.0)] * 2, checkpoints=[2, 5])
    assert fit.status == (
        "batches ran out after 2 of 5 steps: give an endless iterable, or ask for fewer steps"
    )
    assert fit.checkpoints.tolist() == [2.0]


def test_a_batch_may_be_none() -> None:
    fit = train.fit(lambda w, _: w**2 / 2, jnp.array(8.0), [None, None], optax.sgd(0.5), steps=2)
    assert float(fit.params) == 2.0 and fit.status == "ok"


def test_a_loss_that_is_not_finite_reaches_the_user_with_its_step() -> None:
    fit = run(4, batches=[jnp.array(x) for x in (0.0, 0.0, np.nan, 0.0)])
    assert fit.status == (
        "loss is nan at step 3: do not use parameters after step 2 or later; "
        "lower the learning rate or check scores and targets"
    )
    assert np.isfinite(fit.losses).tolist() == [True, True, False, False]  # nothing repaired
    assert np.isnan(float(fit.params))


def test_a_gradient_that_is_nan_at_the_last_step_is_reported_too() -> None:
    fit = train.fit(lambda w, _: jnp.sqrt(w**2), jnp.array(0.0), [None], optax.sgd(1.0), steps=1)
    assert fit.losses.tolist() == [0.0]
    assert fit.status == (
        "parameters are NaN after step 1: lower the learning rate or check scores and targets"
    )


def test_parameters_at_minus_infinity_are_legal() -> None:
    """A label that is switched off for good: its score is −inf, its probability 0."""

    def loss(w: Any, y: Any) -> Any:
        return train.cross_entropy(w[None], y)

    fit = train.fit(loss, jnp.array([0.0, 1.0, -np.inf]), [jnp.array([0])], optax.sgd(1.0), steps=1)
    assert fit.status == "ok"
    assert float(fit.params[2]) == -np.inf and np.isfinite(np.asarray(fit.params[:2])).all()


# --- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps is -1, expected 0 or more"),
        (
            {"steps": 3, "checkpoints": [4, 0, -1]},
            "checkpoints [-1, 4] lie outside 0..3; 0 is the initial model, `steps` the last update",
        ),
    ],
)
def test_bad_steps(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        run(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize("params", [1.0, jnp.array([1, 2]), {}])
def test_nothing_to_train(params: Any) -> None:
    with pytest.raises(ValueError) as caught:
        train.fit(squared, params, [jnp.array(0.0)], optax.sgd(0.5), steps=1)
    assert str(caught.value) == (
        "params has no floating-point array to train; pass jax arrays as the leaves "
        "(Python numbers and integer arrays are taken as constants)"
    )


# --- progress


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_on_a_terminal_alone(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 0.0)
    monkeypatch.setattr(loop, "REFRESH", 0.0)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    if terminal:  # rich's own switch
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("TTY_INTERACTIVE", "1")
    run(3)
    shown = capsys.readouterr()
    assert ("training, loss" in shown.err) is terminal
    assert shown.out == ""


def test_a_short_run_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    run(3)
    assert capsys.readouterr().err == ""


# --- cross entropy


def test_cross_entropy_by_hand() -> None:
    """Odds 1 : 3 : 0 and 3 : 1 : 4, targets of probability 1/4 and 4/8; one score is −inf."""
    scores = jnp.log(jnp.array([[1.0, 3.0, 0.0], [3.0, 1.0, 4.0]]))
    loss = train.cross_entropy(scores, jnp.array([0, 2]))
    assert float(loss) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-14)


def test_cross_entropy_of_a_label_that_does_not_exist_is_nan() -> None:
    assert np.isnan(float(train.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 3]))))
