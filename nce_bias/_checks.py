"""Errors that name the argument, what was given, what was expected and what to do.

Values are checked only where they are concrete. Inside a user's own `jax.jit`, `jax.vmap` or
`jax.grad` the shapes are still checked, the values cannot be, and a NaN travels to the result.
"""

from __future__ import annotations

import math
import reprlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
from jax.core import Tracer

#: Entries up to which an error shows an array whole.
FEW = 8
#: What an error shows of anything else: of a long list its beginning.
BRIEF = reprlib.Repr()
BRIEF.maxstring = BRIEF.maxlong = BRIEF.maxother = 300


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
            f"got {shown(value)}, of type {type(value).__name__}",
            _a(kind.__name__.lower()),
            f"For example {example}.",
        )


def shown(value: Any) -> str:
    """A value as an error says it, on one line: scores by shape and type, not entry by entry.

    >>> shown(jax.numpy.zeros((64, 20000), "float32"))
    'an array (64, 20000) of float32'
    >>> shown([0.5] * 1000)
    '[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]'
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and math.prod(shape) > FEW:
        return f"an array {tuple(shape)} of {dtype}"
    return BRIEF.repr(value)


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
            argument,
            f"got {shown(value)}",
            f"a whole number >= {least}",
            f"Pass {argument}={least}.",
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
