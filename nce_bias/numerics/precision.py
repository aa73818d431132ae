"""JAX's switch between float32 and float64, for the thread that asks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import jax


def precision(x64: bool) -> AbstractContextManager[Any]:
    """A context with that setting of ``jax_enable_x64``; threads do not take it from each other.

    Its place in JAX changed after jax 0.6.
    """
    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    return home.enable_x64(x64)
