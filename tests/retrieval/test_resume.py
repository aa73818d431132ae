"""A run of `nb.retrieval.train_retriever` that was stopped and goes on is the one that was not."""

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
from nce_bias.train import loop
from tests.retrieval import tiny_linking as tiny
from tests.retrieval.tiny_linking import CHECKPOINTS, interrupt, train


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
def whole(corpus: nb.retrieval.Corpus) -> nb.train.Fit:
    with pytest.MonkeyPatch.context() as patch:
        tiny.small_blocks(patch.setattr)
        return train(corpus)


def identical(one: nb.train.Fit, two: nb.train.Fit) -> bool:
    """In every bit: models, losses and what was kept."""
    assert one.status == two.status
    leaves = [jax.tree.leaves(run) for run in (one, two)]
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(*leaves, strict=True)
    )


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_run_itself(corpus: nb.retrieval.Corpus, whole: nb.train.Fit, tmp_path: Any) -> None:
    """A folder changes nothing; a run that is done is read."""
    assert whole.losses.shape == (8,) and whole.steps.tolist() == [*CHECKPOINTS]
    assert whole.status == "ok"
    assert identical(train(corpus, tmp_path / "a" / "b"), whole)
    assert names(tmp_path / "a" / "b") == ["checkpoint.eqx"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "mine_negatives", 1)
        interrupt(patch, "update", 1)
        assert identical(train(corpus, tmp_path / "a" / "b"), whole)


@pytest.mark.parametrize(
    ("name", "call", "done"),
    [
        ("mine_negatives", 1, 0),
        ("update", 1, 0),
        ("update", 4, 3),  # between two checkpoints, after a model that is kept
        ("mine_negatives", 3, 4),  # between two epochs
        ("_batch", 8, 7),
    ],
)
def test_an_interrupted_run_goes_on(
    name: str,
    call: int,
    done: int,
    corpus: nb.retrieval.Corpus,
    whole: nb.train.Fit,
    tmp_path: Any,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, name, call)
        run = train(corpus, tmp_path)
    assert run.status == f"interrupted at step {done} of 8: the same call goes on from there"
    assert np.array_equal(run.losses, whole.losses[:done])
    assert run.steps.tolist() == [step for step in CHECKPOINTS if step <= done]
    assert identical(train(corpus, tmp_path), whole)


SLOW = """
import sys, time
from nce_bias.train import loop
from tests.retrieval import tiny_linking
class Waiting(loop.Bar):
    def advance(self, steps=1, note=None):
        super().advance(steps)
        if self._done == int(sys.argv[3]):
            print("step", self._done, flush=True)
            time.sleep(600)
loop.Bar = Waiting
tiny_linking.small_blocks(setattr)
tiny_linking.train(tiny_linking.corpus(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(
    corpus: nb.retrieval.Corpus,
    whole: nb.train.Fit,
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
    assert names(folder) == ["checkpoint.eqx"]
    seen = []
    update = loop.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", lambda *given: (seen.append(1), update(*given))[1])
        assert identical(train(corpus, folder), whole)
    assert len(seen) == 4
