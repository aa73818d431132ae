"""A run on disk: one line of JSON that says whose it is, then the arrays of a pytree.

The arrays are those of `equinox.tree_serialise_leaves`, which are read without unpickling. The file
is put in place whole: a kill at any moment leaves the checkpoint before or the one after.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import equinox as eqx

from nce_bias._checks import refuse
from nce_bias._files import replacing

T = TypeVar("T")


def save(path: str | os.PathLike[str], state: Any, configuration: Mapping[str, Any]) -> None:
    """Write the array leaves of `state` and the configuration of the run, which `json` can write.

    Leaves that are not arrays are not kept.
    """
    body = io.BytesIO()
    eqx.tree_serialise_leaves(body, eqx.filter(state, eqx.is_array))
    about = json.dumps(configuration, sort_keys=True)
    head = json.dumps([about, _digest(about, body.getvalue())])
    with replacing(path) as file:
        file.write(head.encode() + b"\n" + body.getvalue())


def load(path: str | os.PathLike[str], like: T, configuration: Mapping[str, Any]) -> T:
    """Read what `save` wrote into a pytree of the same structure, shapes and dtypes.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is damaged or not a checkpoint, of another configuration (the entries that
        differ are named), or of other arrays.
    """
    head, _, body = pathlib.Path(path).read_bytes().partition(b"\n")
    try:
        about, digest = json.loads(head)
        if digest != _digest(about, body):
            raise ValueError
    except (ValueError, TypeError, AttributeError) as error:
        given = f"got {path}, which is cut, altered or of another program"
        remedy = "Remove it: the run begins again."
        raise refuse("checkpoint", given, "a file that a run wrote", remedy) from error
    found, wanted = json.loads(about), json.loads(json.dumps(configuration))
    if found != wanted:
        names = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
        raise refuse(
            "checkpoint",
            f"got {path} of " + ", ".join(f"{name} = {found.get(name)!r}" for name in names),
            ", ".join(f"{name} = {wanted.get(name)!r}" for name in names),
            "Name another folder, or remove the file to begin again.",
        )
    arrays, constants = eqx.partition(like, eqx.is_array)
    stream = io.BytesIO(body)
    try:
        read = eqx.tree_deserialise_leaves(stream, arrays)
        if stream.read(1):
            raise ValueError("it holds more arrays")
    except (RuntimeError, ValueError, EOFError) as error:
        given = f"got {path} of other arrays ({error})"
        remedy = "It is of another version of the program: remove the file to begin again."
        raise refuse("checkpoint", given, "those of this run", remedy) from error
    return eqx.combine(read, constants)


def _digest(about: str, body: bytes) -> str:
    return hashlib.sha256(about.encode() + b"\n" + body).hexdigest()
