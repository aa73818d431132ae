"""One text for two array modules: NumPy answers at once, JAX what is large, traced or derived.

A formula written over `namespace` of its arguments runs on NumPy arrays without compiling anything,
with any leading axes (the nodes of a quadrature), and on JAX arrays as before. What the two modules
spell differently is here. Both give the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jax import Array
else:
    #: For annotations: an array of either module; a reduction of NumPy's gives a scalar of its own.
    Array = jax.Array | np.ndarray | np.generic

_NUMPY = (np.ndarray, np.generic, int, float)


def namespace(*values: Any) -> Any:
    """`numpy` if all values are its arrays or numbers of Python, else `jax.numpy`."""
    return np if all(isinstance(value, _NUMPY) for value in values) else jnp


def is_numpy(*values: Any) -> bool:
    """Whether all are arrays of NumPy or numbers of Python."""
    return namespace(*values) is np


def to_numpy(tree: Any) -> Any:
    """A pytree with its JAX arrays as NumPy's, without a copy on a CPU."""
    return jax.tree.map(lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, tree)


def to_jax(tree: Any) -> Any:
    """A pytree with NumPy's arrays and scalars as JAX arrays."""
    kinds = (np.ndarray, np.generic)
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, kinds) else x, tree)


def logsumexp(values: Any) -> Any:
    """Over the last axis; -inf where all are."""
    if not is_numpy(values):
        return jax.nn.logsumexp(values, axis=-1)
    top = np.max(values, axis=-1, keepdims=True)
    safe = np.where(np.isfinite(top), top, values.dtype.type(0))
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(values - safe), axis=-1)) + safe[..., 0]


def log_softmax(values: Any) -> Any:
    """Over the last axis."""
    if not is_numpy(values):
        return jax.nn.log_softmax(values, axis=-1)
    shifted = values - np.max(values, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def softmax(values: Any) -> Any:
    """Over the last axis."""
    return np.exp(log_softmax(values)) if is_numpy(values) else jax.nn.softmax(values, axis=-1)


def sigmoid(values: Any) -> Any:
    """1 / (1 + e^-x)."""
    if not is_numpy(values):
        return jax.nn.sigmoid(values)
    small = np.exp(-np.abs(values))  # at most 1: nothing overflows
    return np.where(values < 0, small, values.dtype.type(1)) / (1 + small)


def softplus(values: Any) -> Any:
    """log(1 + e^x)."""
    if is_numpy(values):
        return np.logaddexp(values, values.dtype.type(0))
    return jax.nn.softplus(values)


def top_k(values: Any, k: int) -> tuple[Any, Any]:
    """The k largest of one axis, ties by index, and where they are."""
    if not is_numpy(values):
        largest, where = jax.lax.top_k(values, k)
        return largest, where
    where = np.argsort(-values, kind="stable")[:k]
    return values[where], where


def mask(places: Any, length: int) -> Any:
    """True at `places`."""
    if is_numpy(places):
        marks = np.zeros(length, bool)
        marks[places] = True
        return marks
    return jnp.zeros(length, bool).at[places].set(True)


def one_hot(place: Any, like: Any) -> Any:
    """1 at one place of an axis."""
    if is_numpy(like):
        unit = np.zeros_like(like)
        unit[place] = 1
        return unit
    return jnp.zeros_like(like).at[place].set(1.0)


def put(values: Any, places: Any, meant: Any, new: Any) -> Any:
    """`values` with `new` in the places that are meant."""
    if is_numpy(values, new):
        values = values.copy()
        values[places[meant]] = new[meant]
        return values
    return jnp.asarray(values).at[jnp.where(meant, places, len(values))].set(new, mode="drop")


def each(function: Callable[..., Any], values: Any, batch_size: int | None = None) -> Any:
    """The function at each entry of the leading axis, results stacked."""
    leaves = jax.tree.leaves(values)
    if not is_numpy(*leaves):
        return jax.lax.map(function, values, batch_size=batch_size)
    count = len(leaves[0])
    results = [function(jax.tree.map(lambda x, i=i: x[i], values)) for i in range(count)]
    return jax.tree.map(lambda *parts: np.stack(parts), *results)


def scan(step: Callable[..., Any], carry: Any, values: Any, *, reverse: bool = False) -> Any:
    """`jax.lax.scan`: the last carry, and what every step gave, stacked."""
    leaves, tree = jax.tree.flatten(values)
    if not is_numpy(*leaves):
        return jax.lax.scan(step, carry, values, reverse=reverse)
    count, results = len(leaves[0]), []
    for i in range(count)[:: -1 if reverse else 1]:
        carry, result = step(carry, tree.unflatten([leaf[i] for leaf in leaves]))
        results.append(result)
    if reverse:
        results.reverse()
    return carry, jax.tree.map(lambda *parts: np.stack(parts), *results)


def sum_of_nodes(function: Callable[..., Any], nodes: int, chunk: int, like: Any) -> Any:
    """The sum of a pytree-valued function over node numbers 0, 1, ... (JAX: to a whole chunk).

    NumPy hands it a chunk of numbers at a time, JAX one number under `vmap`; `like` sets the dtype.
    """
    xp = namespace(like)
    if xp is np:
        numbers = np.arange(nodes, dtype=like.dtype)
        blocks = [function(numbers[at : at + chunk]) for at in range(0, nodes, chunk)]
        return jax.tree.map(lambda *parts: sum(np.sum(part, axis=0) for part in parts), *blocks)

    def add(total, first):
        terms = jax.vmap(function)(first + jnp.arange(chunk, dtype=like.dtype))
        return jax.tree.map(lambda a, b: a + jnp.sum(b, axis=0), total, terms), None

    shapes = jax.eval_shape(function, like)
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    starts = jnp.arange(0, nodes, chunk, dtype=like.dtype)
    return jax.lax.scan(jax.checkpoint(add), start, starts)[0]


def at_nodes(function: Callable[..., Any], nodes: int, chunk: int, like: Any) -> Any:
    """The function at every node number, stacked along the leading axis."""
    xp = namespace(like)
    numbers = xp.arange(nodes, dtype=like.dtype)
    if xp is not np:
        return jax.lax.map(function, numbers, batch_size=chunk)
    blocks = [function(numbers[at : at + chunk]) for at in range(0, nodes, chunk)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)
