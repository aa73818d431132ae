"""How much memory an answer may take, and how many scores are looked at at a time for it."""

from __future__ import annotations

import os
from typing import Any

from nce_bias._checks import refuse
from nce_bias.problem import Problem

#: Bytes a score of one input takes while its labels are spread and read back; measured, with some
#: to spare, in float64 (`analysis/benchmarks/memory.py`).
BYTES = 250
#: Arrays `[X, V]` of a result: selection, gradient, bias.
FIELDS = 3
#: The part of what is free that is taken where nothing is said.
PART = 0.25


def budget(memory: float | int | None) -> float:
    """Bytes: what was said, or a quarter of what is free; inf where the system does not tell."""
    if memory is not None:
        if not (isinstance(memory, int | float) and memory > 0):
            raise refuse("memory", f"got {memory!r}", "bytes, a number > 0", "For example 2**30.")
        return float(memory)
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return PART * pages * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return float("inf")


def fields_fit(problem: Problem, memory: float | int | None) -> bool:
    """Whether a result may hold its arrays of all inputs and labels."""
    kept: Any = problem.kept
    return FIELDS * kept.size * kept.dtype.itemsize <= budget(memory)


def scores_at_once(labels: int, memory: float | int | None) -> int:
    """Scores of a block of inputs, at least those of one."""
    most = budget(memory)
    if memory is not None and BYTES * labels > most:
        raise refuse(
            "memory",
            f"got {memory:.3g} bytes",
            f"at least some {BYTES * labels:.3g}, which the {labels} labels of one input take",
            "Raise it, or leave it out for a quarter of what is free.",
        )
    return int(max(labels, min(most, 1e18) // BYTES))
