"""Errors that name the argument, what was given, what was expected and what to do.

Values are checked only where they are concrete. Inside a user's own `jax.jit`, `jax.vmap` or
`jax.grad` the shapes are still checked, the values cannot be, and a NaN travels to the result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
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
