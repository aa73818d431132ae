"""What every test runs under: float64, checked shapes, the same hypothesis examples each time."""

import ast
import ctypes
import gc
import os
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


class AnnotatedFunctions(jaxtyping._import_hook.JaxtypingTransformer):
    """Checks every function that has an annotation, and leaves the others alone.

    A checked function inside another is made anew at every call, which takes a millisecond: a third
    of the time of all tests, for nothing where there is nothing to check.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        extra = (node.args.vararg, node.args.kwarg)
        if node.returns or any(a and a.annotation for a in (*arguments, *extra)):
            return super().visit_FunctionDef(node)
        return self.generic_visit(node)


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


@pytest.fixture(autouse=True, scope="module")
def _forget_compilations():
    """A module's compiled programs are of no use to the next one, and take memory."""
    yield
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps what is freed
        libc.malloc_trim(0)
