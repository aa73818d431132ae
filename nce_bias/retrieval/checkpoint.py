"""A run on disk: every array of a pytree, and the configuration it belongs to.

One ``.npz`` file, read without unpickling, put in place by one rename: a kill at any moment leaves
the checkpoint before or the one after.
"""

from __future__ import annotations

import json
import os
import pathlib
import zipfile
import zlib
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import refuse

T = TypeVar("T")
ABOUT = "configuration"
#: What reading a damaged file raises; altered flags of a zip file have errors of their own.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, OSError)


def save(path: str | os.PathLike[str], state: Any, configuration: dict[str, Any]) -> None:
    """Write the array leaves of `state` and what made them.

    Parameters
    ----------
    path
        File; its folder is made.
    state
        A pytree; leaves that are not arrays are not kept.
    configuration
        What `json` can write.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _leaves(state)}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise refuse(
                "checkpoint", f"got {name} of Python objects", "arrays of numbers", "Convert them."
            )
    arrays[ABOUT] = np.array(json.dumps(configuration, sort_keys=True))
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # NumPy 2.0 would store allow_pickle as an array
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], like: T, configuration: dict[str, Any]) -> T:
    """Read what `save` wrote into a pytree of the same structure.

    Parameters
    ----------
    path
        File.
    like
        A pytree with the arrays' shapes and types; its other leaves are kept.
    configuration
        Has to be the one that was saved.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged, or of another configuration (the entries that differ are named) or
        of other arrays.

    Examples
    --------
    >>> import tempfile, jax.numpy as jnp
    >>> from nce_bias.retrieval import checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint.save(f"{folder}/a.npz", {"w": jnp.arange(3)}, {"seed": 1})
    ...     checkpoint.load(f"{folder}/a.npz", {"w": jnp.zeros(3, int)}, {"seed": 2})
    Traceback (most recent call last):
        ...
    ValueError: checkpoint: got ...a.npz of seed = 1; expected seed = 2. ...
    """
    try:
        # opened here: what is no zip file would be left open by np.load
        with open(path, "rb") as stream, _arrays(stream) as file:
            found = {name: file[name] for name in file.files}
            about = json.loads(str(found.pop(ABOUT)))
            if not isinstance(about, dict):
                raise ValueError("its configuration is not a mapping")
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise refuse(
            "checkpoint",
            f"got {path}, which is damaged ({error})",
            "a file that a run wrote",
            "Remove it: the run begins again.",
        ) from error
    wanted = json.loads(json.dumps(configuration))
    if about != wanted:
        names = sorted(k for k in {*about, *wanted} if about.get(k) != wanted.get(k))
        raise refuse(
            "checkpoint",
            f"got {path} of " + ", ".join(f"{name} = {about.get(name)!r}" for name in names),
            ", ".join(f"{name} = {wanted.get(name)!r}" for name in names),
            "Name another folder, or remove the file to begin again.",
        )
    leaves = dict(_leaves(like))
    for name in sorted({*leaves, *found}):
        shapes = [_shape(source.get(name)) for source in (found, leaves)]
        if shapes[0] != shapes[1]:
            raise refuse(
                "checkpoint",
                f"got {path} with {name} {shapes[0]}",
                shapes[1],
                "It is of another version of the program: remove the file to begin again.",
            )
    return jax.tree_util.tree_map_with_path(
        lambda place, leaf: _as(found[_name(place)], leaf) if _is_array(leaf) else leaf, like
    )


def _arrays(stream: Any) -> Any:
    found = np.load(stream, allow_pickle=False)
    if isinstance(found, np.ndarray):
        raise ValueError("it is one array")
    return found


def _as(array: np.ndarray, leaf: Any) -> Any:
    return jnp.asarray(array) if isinstance(leaf, jax.Array) else array


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _leaves(state: Any) -> list[tuple[str, Any]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return [(_name(place), leaf) for place, leaf in flat if _is_array(leaf)]


def _name(place: Any) -> str:
    return "state" + jax.tree_util.keystr(place)


def _shape(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"
