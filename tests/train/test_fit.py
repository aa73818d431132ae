"""`nce_bias.train`: the loop, against hand arithmetic and a plain NumPy Adam."""

import inspect
import itertools
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nce_bias import train
from nce_bias.train import loop, record


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
        "step: got 2; expected one of the steps that this run kept, [1, 3]. "
        "Name the step in checkpoints=... of the call that trains."
    )
    with pytest.warns(DeprecationWarning, match=r"run\.kept\[step\] is run\.at\(step\) now"):
        assert {step: float(w) for step, w in fit.kept.items()} == {1: 4.0, 3: 1.0}
    assert fit.model is fit.params


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
    keep, calls = record.Record.keep, []

    def interrupting(self: Any, state: Any) -> None:
        calls.append(1)
        if len(calls) == 2:  # the first is of the initial model
            raise KeyboardInterrupt
        keep(self, state)

    monkeypatch.setattr(record.Record, "keep", interrupting)
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
        ({"steps": -1}, "steps: got -1; expected a whole number >= 0. Pass steps=0."),
        (
            {"steps": 3, "checkpoints": [4, 0, -1]},
            "checkpoints: got steps [-1, 4]; expected steps from 0 to 3. "
            "0 is the initial model, the last number the last update.",
        ),
        (
            {"steps": 3, "every": 0},
            "every: got 0; expected a whole number >= 1. Pass every=1.",
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
        "params: got no floating-point array to train; expected jax arrays as the leaves that are "
        "trained. Python numbers and integer arrays are constants: pass jnp.asarray(value, float)."
    )


# --- batches that depend on the model, and runs that go on


class Towards(eqx.Module):
    """Batches that are half of what the parameter was when the last even step was taken."""

    target: Any

    def __call__(self, step: int, params: Any) -> tuple[Any, Any]:
        target = params / 2 if step % 2 == 0 else self.target
        return target, Towards(target)


def test_batches_may_follow_from_the_parameters() -> None:
    """8 goes halfway to 4 twice: 6, 5; then towards 2.5: 3.75, 3.125."""
    fit = run(4, batches=Towards(jnp.array(0.0)), checkpoints=range(5))
    assert fit.checkpoints.tolist() == [8.0, 6.0, 5.0, 3.75, 3.125]


BATCHES = [jnp.array(x) for x in (0.0, 4.0, 0.5, 3.0, -1.0, 2.0, 7.0)]


@pytest.mark.parametrize("dependent", [False, True], ids=["iterable", "function"])
def test_a_run_goes_on_from_its_folder(
    dependent: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed (nothing is written when it ends) or interrupted at each step in turn."""
    update, left = loop.update, [0]

    def ending(*arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise error
        return update(*arguments)

    def trained(folder: Any, steps: int = 0) -> train.Fit:
        left[0] = steps
        batches: Any = Towards(jnp.array(0.0)) if dependent else BATCHES
        adam = optax.adam(0.1)
        return run(
            7, batches=batches, optimizer=adam, folder=folder, every=2, checkpoints=[0, 3, 4, 7]
        )

    whole = trained(None)
    monkeypatch.setattr(loop, "update", ending)
    for error in (KeyboardInterrupt(), RuntimeError("killed")):
        for steps in range(1, 8):
            folder = tmp_path / f"{type(error).__name__} {steps}"
            if isinstance(error, RuntimeError):
                with pytest.raises(RuntimeError):
                    trained(folder, steps)
            else:
                assert trained(folder, steps).status == (
                    f"interrupted at step {steps - 1} of 7: the same call goes on from there"
                )
            after = trained(folder)
            for one, two in zip(jax.tree.leaves(after), jax.tree.leaves(whole), strict=True):
                assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    again = trained(folder, 1)  # done: not even begun
    assert again.status == "ok" and np.array_equal(again.losses, whole.losses)


def test_an_interrupt_at_any_line_loses_nothing(tmp_path: Any) -> None:
    """Ctrl-C between any two lines of `fit`, from its first batch to its end."""
    code = inspect.unwrap(loop.fit).__code__

    def interrupted(folder: Any, line: int = -1) -> tuple[train.Fit | None, int]:
        """Interrupted at a line after the first batch was made; and how many of them it came to."""
        seen = 0

        def local(frame: Any, event: str, _: Any) -> Any:
            nonlocal seen
            if event == "line" and "batch" in frame.f_locals:
                seen += 1
                if seen == line:
                    raise KeyboardInterrupt
            return local

        sys.settrace(lambda frame, *_: local if frame.f_code is code else None)
        try:
            fit = run(3, folder=folder, every=2, batches=BATCHES, checkpoints=[0, 1, 2, 3])
            return fit, seen
        except KeyboardInterrupt:
            return None, seen
        finally:
            sys.settrace(None)

    expected, lines = interrupted(None)
    assert expected is not None and lines > 20
    for line in range(1, lines + 1):
        interrupted(tmp_path / str(line), line)
        found, _ = interrupted(tmp_path / str(line))
        assert found is not None and found.status == "ok"
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(two).tobytes(), line


def test_an_interrupt_does_not_hide_a_loss_that_is_not_finite() -> None:
    def batches() -> Any:
        yield jnp.array(np.nan)
        raise KeyboardInterrupt

    status = run(4, batches=batches()).status
    assert status.startswith(
        "interrupted at step 1 of 4: everything up to there is kept; loss is nan"
    )


def test_a_folder_of_another_run_is_refused(tmp_path: Any) -> None:
    """As is a damaged one, which is not written over: that is for the user to say."""

    def refusal(steps: int, rate: float, *checkpoints: int) -> str:
        with pytest.raises(ValueError) as caught:
            run(steps, folder=tmp_path, configuration={"rate": rate}, checkpoints=checkpoints)
        return str(caught.value)

    run(2, folder=tmp_path, configuration={"rate": 0.5})
    assert "of rate = 0.5, steps = 2; expected rate = 1.0, steps = 3" in refusal(3, 1.0)
    assert "of checkpoints = []; expected checkpoints = [1]" in refusal(2, 0.5, 1)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    before = path.read_bytes()
    assert "cut, altered or of another program" in refusal(2, 0.5)
    assert path.read_bytes() == before


# --- progress


def test_the_bar_is_told_each_step_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    class Noted(loop.Bar):
        def advance(self, steps: int = 1, note: Any = None) -> None:
            super().advance(steps, note)
            told.append((self._done, self._total, self._enabled, note and note()))

    monkeypatch.setattr(loop, "Bar", Noted)
    run(2, progress=False)
    first, second = "loss 32.0000", "loss 8.0000"
    assert told == [(0, 2, False, None), (1, 2, False, first), (2, 2, False, second)]


# --- cross entropy


def test_cross_entropy_by_hand() -> None:
    """Odds 1 : 3 : 0 and 3 : 1 : 4, targets of probability 1/4 and 4/8; one score is −inf."""
    scores = jnp.log(jnp.array([[1.0, 3.0, 0.0], [3.0, 1.0, 4.0]]))
    loss = train.cross_entropy(scores, jnp.array([0, 2]))
    assert float(loss) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-14)


def test_cross_entropy_of_a_label_that_does_not_exist_is_nan() -> None:
    assert np.isnan(float(train.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 3]))))
