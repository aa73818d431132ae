"""A run of `nb.retrieval.link` that was stopped and goes on is the run that was not stopped."""

import inspect
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import checkpoint
from nce_bias.retrieval import training as linking
from tests.retrieval import tiny_linking as tiny
from tests.retrieval.tiny_linking import KEEP, PLAN, interrupt, link


@pytest.fixture(scope="module")
def cache(tmp_path_factory: Any) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(cache: pathlib.Path) -> nb.retrieval.Corpus:
    return tiny.corpus(cache)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.small_blocks(monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(corpus: nb.retrieval.Corpus) -> nb.retrieval.Run:
    with pytest.MonkeyPatch.context() as patch:
        tiny.small_blocks(patch.setattr)
        return link(corpus)


def identical(one: nb.retrieval.Run, two: nb.retrieval.Run) -> bool:
    """In every bit: models, losses and what was kept."""
    assert (one.status, [*one.kept]) == (two.status, [*two.kept])
    leaves = [jax.tree.leaves((run.model, run.kept, run.losses)) for run in (one, two)]
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(*leaves, strict=True)
    )


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


MODELS = [f"model-{step}.npz" for step in KEEP]


def test_the_run_itself(
    corpus: nb.retrieval.Corpus, whole: nb.retrieval.Run, tmp_path: Any
) -> None:
    """A folder changes nothing; a run that is done is read."""
    assert whole.losses.shape == (8,) and [*whole.kept] == [*KEEP] and whole.status == "ok"
    assert identical(link(corpus, tmp_path / "a" / "b"), whole)
    assert names(tmp_path / "a" / "b") == ["checkpoint.npz", *MODELS]
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "mine", 1)
        interrupt(patch, "update", 1)
        assert identical(link(corpus, tmp_path / "a" / "b"), whole)


@pytest.mark.parametrize(
    ("name", "call", "done"),
    [
        ("mine", 1, 0),
        ("update", 1, 0),
        ("update", 4, 3),  # between two checkpoints, after a model that is kept
        ("mine", 3, 4),  # between two epochs
        ("_batch", 8, 7),
    ],
)
def test_an_interrupted_run_goes_on(
    name: str,
    call: int,
    done: int,
    corpus: nb.retrieval.Corpus,
    whole: nb.retrieval.Run,
    tmp_path: Any,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, name, call)
        run = link(corpus, tmp_path)
    assert run.status == (f"interrupted at step {done} of 8: the same call goes on from there")
    assert np.array_equal(run.losses, whole.losses[:done])
    assert [*run.kept] == [step for step in KEEP if step <= done]
    assert identical(link(corpus, tmp_path), whole)
    assert names(tmp_path) == ["checkpoint.npz", *MODELS]


def test_a_run_may_be_interrupted_many_times(
    corpus: nb.retrieval.Corpus, whole: nb.retrieval.Run, tmp_path: Any
) -> None:
    for done in range(8):
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, "update", 2)
            run = link(corpus, tmp_path)
        assert run.losses.shape == (min(done + 1, 8),)
    assert identical(link(corpus, tmp_path), whole)


def test_an_interrupt_at_any_line_loses_nothing(
    corpus: nb.retrieval.Corpus, tmp_path: pathlib.Path
) -> None:
    """Ctrl-C between any two lines of `link`, from its first step to its end."""
    code, plan = (
        inspect.unwrap(linking.link).__code__,
        nb.retrieval.Plan(**vars(PLAN) | {"epochs": 1}),
    )

    def run(folder: pathlib.Path | None, line: int = -1) -> tuple[nb.retrieval.Run | None, int]:
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
            return link(corpus, folder, plan=plan, keep=(0, 1, 2)), seen
        except KeyboardInterrupt:
            return None, seen
        finally:
            sys.settrace(None)

    expected, lines = run(None)
    assert expected is not None and lines > 20
    for line in range(1, lines + 1):
        run(tmp_path / str(line), line)
        found, _ = run(tmp_path / str(line))
        assert found is not None and identical(found, expected), line


def test_an_interrupt_without_a_folder(
    corpus: nb.retrieval.Corpus, whole: nb.retrieval.Run
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "update", 4)
        run = link(corpus)
    assert run.status == "interrupted at step 3 of 8: name a folder to be able to go on"
    assert [*run.kept] == [0, 2, 3] and np.array_equal(run.losses, whole.losses[:3])
    leaves = [jax.tree.leaves(model) for model in (run.model, whole.kept[3])]
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def test_an_interrupt_does_not_hide_a_loss_that_is_not_finite(corpus: nb.retrieval.Corpus) -> None:
    """Nor the other way round: as `nb.train.fit`, both are told."""
    plan = nb.retrieval.Plan(epochs=1, batch=10, learning_rate=np.inf, size=tiny.SIZE)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "update", 4)
        run = link(corpus, plan=plan, keep=())
    assert "interrupted at step 3 of 4" in run.status
    assert "loss is not finite at step 2: lower the learning rate" in run.status


# --- kills


class Killed(BaseException):
    """Ends a run at once, as a kill does: nothing more is written."""


def test_a_kill_between_two_files_loses_no_kept_model(
    corpus: nb.retrieval.Corpus, whole: nb.retrieval.Run, tmp_path: Any
) -> None:
    """Each of the files in turn is the one that was not written."""
    for victim in ("checkpoint.npz", "model-0.npz", "model-2.npz", "model-6.npz"):
        for first in (1, 2):
            folder, seen = tmp_path / f"{victim} {first}", []
            save = checkpoint.save

            def saving(
                path: Any, *others: Any, victim: Any = victim, first: Any = first,
                seen: Any = seen, save: Any = save
            ) -> None:  # fmt: skip
                seen.extend([1] * (path.name == victim))
                if len(seen) == first:
                    raise Killed
                save(path, *others)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checkpoint, "save", saving)
                with pytest.raises(Killed):
                    link(corpus, folder)
            assert identical(link(corpus, folder), whole), (victim, first)


SLOW = """
import sys, time
from nce_bias.retrieval import training as linking
from tests import tiny_linking
def waiting(bar, done, loss):
    if done == int(sys.argv[3]):
        print("step", done, flush=True)
        time.sleep(600)
linking.Bar.advance = waiting
tiny_linking.small_blocks(setattr)
tiny_linking.link(tiny_linking.corpus(sys.argv[1]), sys.argv[2])
"""


def test_a_killed_run_goes_on(
    corpus: nb.retrieval.Corpus,
    whole: nb.retrieval.Run,
    cache: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    """SIGKILL in step 5, one after the last checkpoint: that step is taken again."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(cache), str(folder), "5"],
        cwd=pathlib.Path(nb.__file__).parents[1],
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"},
    ) as run:
        assert run.stdout is not None
        line = run.stdout.readline()
        os.kill(run.pid, signal.SIGKILL)
    assert line == b"step 5\n" and run.returncode == -signal.SIGKILL
    assert names(folder) == ["checkpoint.npz", *MODELS[:3]]
    seen = []
    update = linking.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linking, "update", lambda *given: (seen.append(1), update(*given))[1])
        assert identical(link(corpus, folder), whole)
    assert len(seen) == 4
