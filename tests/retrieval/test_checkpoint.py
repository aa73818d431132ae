"""`nce_bias.retrieval.checkpoint`: what comes back, what is refused, and what a kill leaves."""

import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import zipfile
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias.retrieval import checkpoint

ABOUT = {"seed": 1, "score": "dual", "rate": 0.25}


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
    path = tmp_path / "made" / "state.npz"
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
    assert [path.name for path in file.parent.iterdir()] == ["state.npz"]


def test_bits_come_back(tmp_path: pathlib.Path) -> None:
    odd = np.array([np.nan, -0.0, np.inf, np.nextafter(0.1, 1), 5e-324])
    for array in (odd, odd.astype(np.float32)):
        checkpoint.save(tmp_path / "a.npz", [array], {})
        (found,) = checkpoint.load(tmp_path / "a.npz", [jnp.zeros_like(array)], {})
        assert np.asarray(found).tobytes() == np.asarray(array).tobytes()


def test_a_later_one_takes_the_place(file: pathlib.Path) -> None:
    checkpoint.save(file, thing(2.0), ABOUT)
    assert np.array_equal(checkpoint.load(file, thing(), ABOUT).weight, thing(2.0).weight)


def test_a_file_is_put_in_place_and_not_written_over(file: pathlib.Path) -> None:
    """Whoever has the old one open reads the old one to its end."""
    before = file.read_bytes()
    with file.open("rb") as reader:
        checkpoint.save(file, thing(2.0), ABOUT)
        assert reader.read() == before != file.read_bytes()


def test_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none.npz", thing(), ABOUT)


# --- refusals


def test_another_configuration_is_refused(file: pathlib.Path) -> None:
    assert refusal(file, about=ABOUT | {"seed": 2}) == (
        f"checkpoint: got {file} of seed = 1; expected seed = 2. "
        "Name another folder, or remove the file to begin again."
    )
    other = {"seed": 1, "score": "som", "rate": 0.25, "size": 8}
    assert refusal(file, about=other) == (
        f"checkpoint: got {file} of score = 'dual', size = None; expected score = 'som', size = 8. "
        "Name another folder, or remove the file to begin again."
    )


def test_other_arrays_are_refused(file: pathlib.Path) -> None:
    remedy = "It is of another version of the program: remove the file to begin again."
    saved = thing()
    for like, found, wanted in (
        (
            eqx.tree_at(lambda t: t.weight, saved, jnp.zeros((3, 2), jnp.float32)),
            ".weight float32[2, 3]",
            "float32[3, 2]",
        ),
        (
            eqx.tree_at(lambda t: t.steps, saved, np.zeros(3, np.float32)),
            ".steps float64[3]",
            "float32[3]",
        ),
        (
            eqx.tree_at(lambda t: t.inner, saved, {"mask": np.zeros(2, bool), "rate": 1.0}),
            ".inner['done'] int64[]",
            "absent",
        ),
        (
            eqx.tree_at(lambda t: t.inner, saved, saved.inner | {"more": np.zeros(2, bool)}),
            ".inner['more'] absent",
            "bool[2]",
        ),
    ):
        assert refusal(file, like) == (
            f"checkpoint: got {file} with state{found}; expected {wanted}. {remedy}"
        )


def test_a_cut_file_is_refused(file: pathlib.Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole), 23):
        file.write_bytes(whole[:length])
        message = refusal(file)
        assert message.startswith(f"checkpoint: got {file}, which is damaged (")
        assert message.endswith(
            "); expected a file that a run wrote. Remove it: the run begins again."
        )
    file.write_bytes(whole[: len(whole) // 2])
    assert refusal(file) == (
        f"checkpoint: got {file}, which is damaged (File is not a zip file); "
        "expected a file that a run wrote. Remove it: the run begins again."
    )


def test_an_altered_file_is_refused_or_has_the_same_arrays(file: pathlib.Path) -> None:
    """One byte after another: no other error, and never other numbers."""
    whole, saved = file.read_bytes(), thing()
    flips = [(place, 0xFF) for place in range(0, len(whole), 3)]
    for header in re.finditer(b"PK\x01\x02", whole):  # version, flags and method of each member
        flips += [(header.start() + k, 1 << bit) for k in range(6, 12) for bit in range(8)]
    refused = 0
    for place, bits in flips:
        altered = bytearray(whole)
        altered[place] ^= bits
        file.write_bytes(altered)
        try:
            found = checkpoint.load(file, thing(2.0), ABOUT)
        except ValueError as error:
            assert str(error).startswith("checkpoint: got ")
            refused += 1
        else:
            for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(saved), strict=True):
                assert not isinstance(two, np.ndarray | jax.Array) or np.array_equal(one, two)
    assert refused > len(flips) / 4


def savez(out: Any, arrays: dict[str, Any]) -> None:
    np.savez(out, **arrays)  # objects by pickling


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (self.path,)


def test_nothing_is_unpickled(file: pathlib.Path) -> None:
    sprung = file.with_name("sprung")
    with np.load(file) as arrays:
        inside = dict(arrays)
    trap = np.array([Trap(sprung)], dtype=object)
    for name in ("state.weight", "state.inner['done']", checkpoint.ABOUT, "more"):
        with file.open("wb") as out:
            savez(out, inside | {name: trap})
        assert refusal(file) == (
            f"checkpoint: got {file}, which is damaged (Object arrays cannot be loaded when "
            "allow_pickle=False); expected a file that a run wrote. "
            "Remove it: the run begins again."
        )
    file.write_bytes(pickle.dumps(Trap(sprung)))
    assert refusal(file).startswith(f"checkpoint: got {file}, which is damaged (")
    assert not sprung.exists()
    pickle.loads(file.read_bytes())  # the trap works
    assert sprung.exists()


def test_files_of_others_are_refused(file: pathlib.Path) -> None:
    """A zip of something else, an array alone, a configuration that is none."""

    def other_zip() -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("letter.txt", "Dear reader")

    def array() -> None:
        with file.open("wb") as out:
            np.save(out, np.zeros(3))

    def not_json() -> None:
        with file.open("wb") as out:
            savez(out, {checkpoint.ABOUT: np.array("[1]")})

    for make in (other_zip, array, not_json):
        make()
        assert refusal(file).startswith(f"checkpoint: got {file}, which is damaged (")


def test_objects_are_not_saved(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError):
        checkpoint.save(tmp_path / "a.npz", [np.array([{}], dtype=object)], {})
    assert not [*tmp_path.iterdir()]


# --- writing that ends early


def half(out: Any, *_: Any, **__: Any) -> None:
    """In place of `np.savez`: an interrupt in the middle of writing."""
    out.write(b"PK half of a file")
    out.flush()
    raise KeyboardInterrupt


def test_an_interrupt_while_writing_leaves_the_old_one(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(file, thing(2.0), ABOUT)
    assert [path.name for path in file.parent.iterdir()] == ["state.npz"]
    assert np.array_equal(checkpoint.load(file, thing(), ABOUT).weight, thing().weight)


KILLED = """
import os, signal, sys
import numpy as np
from nce_bias.retrieval import checkpoint
savez = np.savez
def dying(out, **arrays):
    if sys.argv[2] == "before the rename":
        savez(out, **arrays)
    else:
        out.write(b"PK half of a file")
    out.flush()
    os.kill(os.getpid(), signal.SIGKILL)
np.savez = dying
checkpoint.save(sys.argv[1], [np.ones(3)], {"seed": 1})
"""


@pytest.mark.parametrize("when", ["in the middle", "before the rename"])
def test_a_kill_while_writing_leaves_the_old_one(when: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.npz"
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
