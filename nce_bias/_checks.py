"""Errors that name the argument, what was given, what was expected and what to do.

Values are checked only where they are concrete. Inside a user's own `jax.jit`, `jax.vmap` or
`jax.grad` the shapes are still checked, the values cannot be, and a NaN travels to the result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class NoExactMethod(NotImplementedError):
    """Raised where a combination has no exact engine; the message names `monte_carlo`."""


def is_traced(*values: Any) -> bool:
    """Whether any leaf of `values` is an abstract value of a JAX transformation."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def concretely(*values: Any) -> AbstractContextManager[None]:
    """Where checks and sizes are computed: at once, also while a user's own jit is being traced.

    Values that a jitted function closes over are concrete, but what is computed from them there is
    not, unless asked for. Traced `values` are left alone.
    """
    return nullcontext() if is_traced(*values) else jax.ensure_compile_time_eval()


def check_kind(argument: str, value: Any, kind: type, example: str) -> None:
    """Refuse an object of the wrong kind, and show the right one."""
    if not isinstance(value, kind):
        raise refuse(
            argument,
            f"got {value!r}, which is {_a(type(value).__name__)}",
            _a(kind.__name__.lower()),
            f"For example {example}.",
        )


def _a(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def refuse(argument: str, given: str, expected: str, remedy: str) -> ValueError:
    """One sentence each: what was given, what was expected, what to do."""
    return ValueError(f"{argument}: {given}; expected {expected}. {remedy}")


def floating(argument: str, value: Any) -> jax.Array:
    """`value` as a floating JAX array (integers and booleans become the default float)."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise refuse(
            argument,
            f"got {type(value).__name__}, which is not an array of numbers",
            "anything jnp.asarray takes (NumPy, JAX, nested lists of equal lengths)",
            "Convert it to a rectangular array of floats first.",
        ) from error
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise refuse(argument, f"got dtype {array.dtype}", "real numbers", "Take the real part.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    return array


def check_distribution(argument: str, rows: jax.Array) -> None:
    """Rows are probabilities: finite, not negative, each summing to 1 within rounding.

    The tolerance is sqrt(eps) of the dtype: it admits a float sum over many labels and refuses
    anything that a forgotten normalisation would leave.
    """
    if is_traced(rows):
        return
    values = np.asarray(rows)
    flat = values.reshape(-1, values.shape[-1])
    for index, row in enumerate(flat):
        where = f"row {index}" if values.ndim > 1 else "it"
        if not np.all(np.isfinite(row)):
            label = int(np.flatnonzero(~np.isfinite(row))[0])
            raise refuse(
                argument,
                f"{where} has {row[label]} at label {label}",
                "finite probabilities",
                "Remove or repair the offending row.",
            )
        if row.min() < 0:
            label = int(row.argmin())
            raise refuse(
                argument,
                f"{where} has the negative entry {row[label]:g} at label {label}",
                "probabilities >= 0",
                "Pass probabilities, not log-probabilities or scores.",
            )
        total = float(row.sum(dtype=np.float64))
        if abs(total - 1) > np.sqrt(np.finfo(row.dtype).eps):
            raise refuse(
                argument,
                f"{where} sums to {total:.9g}",
                "a sum of 1",
                f"Normalise it: {argument} / {argument}.sum(-1, keepdims=True).",
            )


def check_count(argument: str, value: Any, *, least: int = 1) -> int:
    """A whole number that is at least `least`."""
    try:
        count = int(value)
        whole = count == value
    except (TypeError, ValueError, OverflowError):
        count, whole = 0, False
    if not whole or count < least or isinstance(value, bool):
        raise refuse(
            argument, f"got {value!r}", f"a whole number >= {least}", f"Pass {argument}={least}."
        )
    return count


def check_distinct(sampler: str, m: int, labels: int) -> None:
    """Distinct negatives: there are only V - 1 wrong labels."""
    if m > labels - 1:
        raise refuse(
            "m",
            f"{sampler} asks for {m} distinct wrong labels of {labels} labels",
            f"m <= V - 1 = {labels - 1}",
            "Lower m, or draw with replacement by nb.iid.",
        )
