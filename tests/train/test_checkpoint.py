"""`nce_bias.train.checkpoint`: what comes back, what is refused, and what a kill leaves."""

import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.train import checkpoint

ABOUT = {"seed": 1, "score": "dual", "rate": 0.25}
REMEDY = "Name another folder, or remove the file to begin again."


class Thing(eqx.Module):
    weight: Any
    steps: Any
    inner: dict[str, Any]
    name: str


def thing(scale: float = 1.0) -> Thing:
    weight = jnp.arange(6, dtype=jnp.float32).reshape(2, 3) * scale
    inner = {"mask": np.array([True, False]), "done": np.array(int(3 * scale)), "rate": scale}
    return Thing(weight, np.arange(3) * scale, inner, f"times {scale}")


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "state.eqx"
    checkpoint.save(path, thing(), ABOUT)
    return path


def refusal(path: pathlib.Path, like: Any = None, about: Any = None) -> str:
    with pytest.raises(ValueError) as caught:
        checkpoint.load(path, thing() if like is None else like, about or ABOUT)
    return str(caught.value)


def test_what_was_saved_comes_back(file: pathlib.Path) -> None:
    """Arrays of the same kinds; everything else is what `like` has."""
    like = Thing(jnp.zeros((2, 3), jnp.float32), np.zeros(3), thing().inner | {"rate": 9}, "other")
    found, saved = checkpoint.load(file, like, ABOUT), thing()
    assert isinstance(found.weight, jax.Array) and isinstance(found.steps, np.ndarray)
    assert found.weight.dtype == np.float32 and np.array_equal(found.weight, saved.weight)
    assert found.steps.dtype == np.float64 and np.array_equal(found.steps, saved.steps)
    assert found.inner["mask"].tolist() == [True, False]
    assert found.inner["done"].shape == () and found.inner["done"] == 3
    assert (found.inner["rate"], found.name) == (9, "other")
    assert [path.name for path in file.parent.iterdir()] == ["state.eqx"]


def test_bits_come_back(tmp_path: pathlib.Path) -> None:
    odd = np.array([np.nan, -0.0, np.inf, np.nextafter(0.1, 1), 5e-324])
    for array in (odd, odd.astype(np.float32)):
        checkpoint.save(tmp_path / "a.eqx", [array], {})
        (found,) = checkpoint.load(tmp_path / "a.eqx", [np.zeros_like(array)], {})
        assert found.tobytes() == array.tobytes()


def test_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none.eqx", thing(), ABOUT)


# --- refusals


def test_another_configuration_is_refused(file: pathlib.Path) -> None:
    assert refusal(file, about=ABOUT | {"seed": 2}) == (
        f"checkpoint: got {file} of seed = 1; expected seed = 2. {REMEDY}"
    )
    other = {"seed": 1, "score": "som", "rate": 0.25, "size": 8}
    assert refusal(file, about=other) == (
        f"checkpoint: got {file} of score = 'dual', size = None; expected score = 'som', size = 8. "
        f"{REMEDY}"
    )


def test_other_arrays_are_refused(file: pathlib.Path) -> None:
    saved = thing()
    for like in (
        eqx.tree_at(lambda t: t.weight, saved, jnp.zeros((3, 2), jnp.float32)),
        eqx.tree_at(lambda t: t.steps, saved, np.zeros(3, np.float32)),
        eqx.tree_at(lambda t: t.inner, saved, {"done": np.zeros((), int), "rate": 1.0}),
        eqx.tree_at(lambda t: t.inner, saved, saved.inner | {"more": np.zeros(2, bool)}),
    ):
        message = refusal(file, like)
        assert message.startswith(f"checkpoint: got {file} of other arrays (")
        assert message.endswith(
            "); expected those of this run. "
            "It is of another version of the program: remove the file to begin again."
        )


def damaged(path: pathlib.Path) -> str:
    return (
        f"checkpoint: got {path}, which is cut, altered or of another program; "
        "expected a file that a run wrote. Remove it: the run begins again."
    )


def test_a_cut_or_altered_file_is_refused(file: pathlib.Path) -> None:
    """Wherever it ends, and whichever byte is another: never other numbers."""
    whole = file.read_bytes()
    for length in range(0, len(whole), 23):
        file.write_bytes(whole[:length])
        assert refusal(file) == damaged(file)
    for place in range(0, len(whole), 3):
        altered = bytearray(whole)
        altered[place] ^= 0xFF
        file.write_bytes(altered)
        assert refusal(file) == damaged(file)
    file.write_bytes(whole + b"more")
    assert refusal(file) == damaged(file)


@pytest.mark.parametrize("content", [b"Dear reader", b"[1]", b'[3, ""]', b'{"a": 1, "b": 2}'])
def test_files_of_others_are_refused(content: bytes, file: pathlib.Path) -> None:
    file.write_bytes(content + b"\n")
    assert refusal(file) == damaged(file)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (self.path,)


def test_nothing_is_unpickled(file: pathlib.Path) -> None:
    """Not even from a file whose digest is right."""
    sprung = file.with_name("sprung")
    pickled = pickle.dumps(Trap(sprung))
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    for body in (pickled, header + b" " * (127 - len(header)) + b"\n" + pickled):
        about = json.dumps(ABOUT, sort_keys=True)
        head = [about, checkpoint._digest(about, body)]
        file.write_bytes(json.dumps(head).encode() + b"\n" + body)
        assert refusal(file).startswith(f"checkpoint: got {file} of other arrays (")
    assert not sprung.exists()
    np.load(io.BytesIO(body), allow_pickle=True)  # the trap works
    assert sprung.exists()


# --- writing that ends early


KILLED = """
import os, signal, sys
import equinox, numpy as np
from nce_bias.train import checkpoint
if sys.argv[2] == "before the rename":
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save(sys.argv[1], [np.ones(3)], {"seed": 1})
"""


@pytest.mark.parametrize("when", ["before the rename", "before all is on the disk"])
def test_a_kill_while_writing_leaves_the_old_one(when: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.eqx"
    checkpoint.save(path, [np.zeros(3)], {"seed": 1})
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), when],
        cwd=pathlib.Path(nb.__file__).parents[1],
        capture_output=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    (found,) = checkpoint.load(path, [np.ones(3)], {"seed": 1})
    assert found.tolist() == [0, 0, 0]
    checkpoint.save(path, [np.ones(3)], {"seed": 1})  # what is left over is in nobody's way
    (found,) = checkpoint.load(path, [np.zeros(3)], {"seed": 1})
    assert found.tolist() == [1, 1, 1]
