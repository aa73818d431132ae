"""What every test runs under: float64, checked shapes, the same hypothesis examples each time."""

import ast
import collections
import ctypes
import functools
import gc
import os
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jaxtyping._import_hook
import pytest
from hypothesis import settings

# Before anything imports pyplot: tests draw into memory, whatever display the machine has.
os.environ.setdefault("MPLBACKEND", "Agg")

# Nearly all the time of a test is compilation, and every core has a worker of its own. Read when
# the first computation starts the backend, here and in what a test starts.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_multi_thread_eigen=false",
)

# The library never switches float64 on; its oracles are accurate to 1e-10 and better, so tests do.
jax.config.update("jax_enable_x64", True)


#: In one test a function's shapes are checked at its first calls, not at the ten thousandth.
CHECKED_CALLS = 8
_calls: collections.Counter[types.CodeType] = collections.Counter()


def pytest_runtest_setup() -> None:
    """Every test checks anew."""
    _calls.clear()


def at_first(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``check``, a decorator, for the first calls in each test, and the plain function afterwards.

    Checked calls were a fifth of the time of all tests. Functions made inside another one at each
    of its calls are one function here: their code is the same, and is what is counted.
    """

    def decorate(function: Any) -> Any:
        code, checked = function.__code__, None

        def checked_at_first(*args: Any, **kwargs: Any) -> Any:
            nonlocal checked
            if _calls[code] >= CHECKED_CALLS:
                return function(*args, **kwargs)
            _calls[code] += 1
            checked = checked or check(function)
            return checked(*args, **kwargs)

        # Not a line of the user's, as far as warnings and tracebacks are concerned.
        checked_at_first.__code__ = checked_at_first.__code__.replace(co_filename="<checked>")
        return functools.wraps(function)(checked_at_first)

    return decorate


class AnnotatedFunctions(jaxtyping._import_hook.JaxtypingTransformer):
    """Checks functions that have an annotation, at first, and leaves the others alone."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        extra = (node.args.vararg, node.args.kwarg)
        if not (node.returns or any(a and a.annotation for a in (*arguments, *extra))):
            return self.generic_visit(node)
        node = super().visit_FunctionDef(node)
        check = node.decorator_list.pop()
        at_first = ast.parse("jaxtyping._import_hook.at_first", mode="eval").body
        decorator = ast.Call(func=at_first, args=[check], keywords=[])
        node.decorator_list.append(ast.copy_location(decorator, check))
        return node


setattr(jaxtyping._import_hook, "at_first", at_first)  # noqa: B010 (it is no attribute of theirs)
# Before the first import of nce_bias: from here on a wrong shape or dtype in any annotated
# signature of the library raises.
jaxtyping._import_hook.JaxtypingTransformer = AnnotatedFunctions
jaxtyping.install_import_hook("nce_bias", "beartype.beartype")

# Tracing makes many objects and few cycles.
gc.set_threshold(200_000, 20, 20)

# The same examples on every machine and no deadline: compilation makes a first call slow.
settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("deterministic")

# What was compiled by the last run of the suite need not be compiled again.
from nce_bias.cli.process import keep_compilations  # noqa: E402 (the hook has to be there first)

keep_compilations()


#: Bytes of memory at which a worker forgets what it has compiled: two of them stay under 4 GiB.
MUCH = 1.2 * 2**30


def _resident() -> int:
    """Bytes of memory of this process; without bound where the system does not tell."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return sys.maxsize
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True, scope="module")
def _forget_compilations():
    """Programs stay for the next module, which often needs them, until they take much memory."""
    yield
    if _resident() < MUCH:
        return
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps what is freed
        libc.malloc_trim(0)
