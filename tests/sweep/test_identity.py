"""Digests: what computes something else has another, what is made anew alike has the same one."""

import dataclasses
import enum
import functools
import os
import pathlib
import subprocess
import sys
import threading
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nce_bias as nb
from nce_bias._sweep import packages
from nce_bias._sweep.identity import Unidentified, digest
from tests.sweep import read_by_test

ROOT = pathlib.Path(__file__).resolve().parents[2]

# --- functions of which two are made of one text, by a number


def closure(t):
    return lambda s, p: s / t


def default(t):
    return lambda s, p, t=t: s / t


def keyword(t):
    return lambda s, p, *, t=t: s / t


def attribute(t):
    def proposal(s, p):
        return s / proposal.t  # type: ignore[attr-defined]

    proposal.t = t  # type: ignore[attr-defined]
    return proposal


def nested(t):
    def inner(s):
        return s / t

    return lambda s, p: inner(s)


def array(t):
    return closure(jnp.array([t, 1.0]))


def container(t):
    return closure({"a": [(t,)]})


def bound(t):
    return Scaled(t).scale


def partial(t):
    return functools.partial(scaled, t)


def jitted(t):
    return jax.jit(closure(t))


def mapped(t):
    return jax.vmap(closure(t), in_axes=(0, None))


def cached(t):
    return functools.cache(closure(t))


def wrapped(t):
    return Wrapper(sharpened, t)


def module(t):
    return Linear(jnp.array(t))


def by_name(t):
    return nb.proposal(closure(t), ("scores", "popularity"))


def mixed(t):
    return nb.mixture(nb.uniform(), closure(t))


def slotted(t):
    return Slotted(t)


def scaled(t, s, p):
    return s / t


def sharpened(s, p):
    return 2 * s


class Scaled:
    def __init__(self, t):
        self.t = t

    def scale(self, s, p):
        return s / self.t


class Wrapper:
    """A decorator with a state of its own beside the function."""

    def __init__(self, function, t):
        functools.update_wrapper(self, function)
        self.t = t

    def __call__(self, s, p):
        return self.__wrapped__(s, p) / self.t  # type: ignore[attr-defined]


class Slotted:
    __slots__ = ("t",)

    def __init__(self, t):
        self.t = t

    def __call__(self, s, p):
        return s / self.t


class Linear(eqx.Module):
    t: Any

    def __call__(self, s, p):
        return s / self.t


MAKERS = [
    *(closure, default, keyword, attribute, nested, array, container, bound, partial, jitted),
    *(mapped, cached, wrapped, module, by_name, mixed, slotted),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_one_text_and_two_numbers(make):
    first, again, other = make(2.0), make(2.0), make(3.0)
    assert digest(first) == digest(again) != digest(other)
    assert digest(nb.iid(first, 2)) == digest(nb.iid(again, 2)) != digest(nb.iid(other, 2))


# --- texts that differ


def proposals_of(text: str) -> Any:
    made: dict[str, Any] = {"__name__": "a_users_program", "jnp": jnp, "np": np, "eqx": eqx}
    exec(text, made)
    return made["f"]


TEXTS = {
    "constant": ("f = lambda s, p: s / 2.0", "f = lambda s, p: s / 3.0"),
    "sign of 0": ("f = lambda s, p: s * 0.0", "f = lambda s, p: s * -0.0"),
    "type": ("f = lambda s, p: s / 2", "f = lambda s, p: s / 2.0"),
    "operation": ("f = lambda s, p: s + p", "f = lambda s, p: s - p"),
    "argument": ("f = lambda s, p: s", "f = lambda s, p: p"),
    "attribute": ("f = lambda s, p: jnp.cos(s)", "f = lambda s, p: jnp.sin(s)"),
    "nested": ("f = lambda s, p: (lambda: s + 1)()", "f = lambda s, p: (lambda: s + 2)()"),
    "set": ("f = lambda s, p: s if 1 in {1, 2} else p", "f = lambda s, p: s if 1 in {1, 3} else p"),
    "global": ("t = 2\nf = lambda s, p: s / t", "t = 3\nf = lambda s, p: s / t"),
    "helper": (
        "def g(s): return h(s)\ndef h(s): return 2 * s\nf = lambda s, p: g(s)",
        "def g(s): return h(s)\ndef h(s): return 3 * s\nf = lambda s, p: g(s)",
    ),
    "in a nested one": (
        "t = 2\nf = lambda s, p: [(lambda: s / t)() for _ in 'a'][0]",
        "t = 3\nf = lambda s, p: [(lambda: s / t)() for _ in 'a'][0]",
    ),
    "recursive": (
        "def f(s, p, n=3): return s if n == 0 else f(s + 1, p, n - 1)",
        "def f(s, p, n=3): return s if n == 0 else f(s + 2, p, n - 1)",
    ),
    "each other": (
        "def g(s, n): return f(s, n - 1)\ndef f(s, n): return s if n < 1 else g(s, n)",
        "def g(s, n): return f(s, n - 2)\ndef f(s, n): return s if n < 1 else g(s, n)",
    ),
    "method": (
        "class C:\n    def __call__(self, s, p): return 2 * s\nf = C()",
        "class C:\n    def __call__(self, s, p): return 3 * s\nf = C()",
    ),
    "inherited": (
        "class B:\n    t = 2\nclass C(B):\n    def __call__(self, s): return self.t * s\nf = C()",
        "class B:\n    t = 3\nclass C(B):\n    def __call__(self, s): return self.t * s\nf = C()",
    ),
    "property": (
        "class C:\n    @property\n    def t(self): return 2\nf = C()",
        "class C:\n    @property\n    def t(self): return 3\nf = C()",
    ),
    "static": (
        "class C:\n    @staticmethod\n    def t(): return 2\nf = C()",
        "class C:\n    @staticmethod\n    def t(): return 3\nf = C()",
    ),
    "equinox": (
        "class C(eqx.Module):\n    t: float\n    def __call__(self, s): return s / self.t\nf=C(2)",
        "class C(eqx.Module):\n    t: float\n    def __call__(self, s): return s * self.t\nf=C(2)",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_two_texts(name):
    first, other = TEXTS[name]
    assert first.count("\n") == other.count("\n")
    assert digest(proposals_of(first)) == digest(proposals_of(first))
    assert digest(proposals_of(first)) != digest(proposals_of(other))


def test_where_a_function_stands_and_what_it_has_done_says_nothing():
    text = "def f(s, p): return s + p"
    plain, moved = proposals_of(text), proposals_of(f"\n\n# a remark\n{text}")
    before = digest(plain)
    for _ in range(100):  # bytecode is rewritten where it runs often
        plain(1.0, 2.0)
    assert digest(plain) == before == digest(moved)


def test_a_name_that_comes_to_have_a_value():
    f = proposals_of("f = lambda s, p: s / later")
    before = digest(f)
    f.__globals__["later"] = 2.0
    assert digest(f) != before


def test_a_module_of_ones_own_goes_by_its_source(tmp_path):
    def f(s, p):
        return read_by_test.FACTOR * s

    found = set()
    for factor in (2.0, 3.0, 2.0):
        path = tmp_path / "read.py"
        path.write_text(f"FACTOR = {factor}")
        other = types.ModuleType("read")
        other.__file__ = str(path)
        found.add(digest(closure(other)))
    assert len(found) == 2
    assert digest(f) not in found
    with pytest.raises(Unidentified, match="the module nowhere, which has no source"):
        digest(closure(types.ModuleType("nowhere")))


# --- values


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


DIFFERENT = [
    *(None, True, 1, 1.0, "1", b"1", 1j, (1,), [1], {1}, frozenset({1}), {1: 1}, Colour.RED),
    *(0.0, -0.0, float("nan"), float("inf"), np.float64(1), np.float32(1), np.int64(1)),
    *(np.array([1.0]), np.array([[1.0]]), np.array([1.0], ">f8"), np.array([1], np.int64)),
    *(np.array([0.0]), np.array([-0.0]), np.zeros((0, 2)), np.zeros((2, 0)), jnp.array([2.0])),
    *(np.array([None, 1], object), np.array([None, 2], object), np.ma.array([1.0], mask=[True])),
    *(np.ma.array([1.0], mask=[False]), jnp.ones(1, jnp.bfloat16), jax.random.key(0)),
    *(jax.random.key(1), jax.random.key(0, impl="rbg"), Pair(1, 2), Pair(2, 1), [[1], 2], [1, [2]]),
    *(("ab", "c"), ("a", "bc"), {"a": 1, "b": 2}, {"b": 2, "a": 1}, range(3), slice(3), int, float),
    *(np.random.default_rng(0), np.random.default_rng(1), np, jnp, jnp.exp, np.exp, jax.nn.relu),
    *(nb.uniform(), nb.model(), nb.model(2.0), nb.popularity(), nb.popularity(0.75), nb.infonce),
    *(nb.preset("word2vec", m=3), nb.preset("word2vec", m=4), nb.top(1), nb.top(1) + nb.top(2)),
    *(nb.debiased(), nb.from_probabilities([0.5, 0.5]), nb.from_probabilities([0.25, 0.75])),
    *(nb.Problem([1.0, 0.0], [0.5, 0.5]), nb.Problem([1.0, 0.0], [0.5, 0.5], [0.25, 0.75])),
    *(nb.Problem.from_golds([1.0, 0.0], 0), nb.Problem([1.0, 0.0], [1.0, 0.0])),
    nb.Problem([1.0, 0.0], [0.5, 0.5], sides={"teacher": [1.0, 0.0]}),
    *(nb.Problem.from_embeddings([[1.0]], [[1.0], [0.0]], [0], temperature=t) for t in (1.0, 2.0)),
]


def test_values_that_differ():
    digests = [digest(value) for value in DIFFERENT]
    again = [digest(value) for value in DIFFERENT]
    assert digests == again
    alike = [
        (DIFFERENT[i], DIFFERENT[j])
        for i in range(len(digests))
        for j in range(i)
        if digests[i] == digests[j]
    ]
    assert alike == []


def test_values_made_anew_are_the_same():
    a: Any = []
    a.append(a)  # a part of itself
    b: Any = []
    b.append(b)
    strided = np.arange(6.0).reshape(2, 3).T
    pairs = [
        (a, b),
        (strided, np.ascontiguousarray(strided)),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (nb.Problem([1.0, 0.0], [0.5, 0.5]), nb.Problem(np.array([1, 0]), jnp.array([0.5, 0.5]))),
        ([sharpened, sharpened], [sharpened, sharpened]),
    ]
    for one, other in pairs:
        assert digest(one) == digest(other)


def test_who_says_what_it_is():
    class Table:
        def __init__(self, fingerprint):
            self.lock, self.fingerprint = threading.Lock(), fingerprint

    assert digest(Table("a")) == digest(Table("a")) != digest(Table("b"))


@pytest.mark.parametrize(
    "thing",
    [threading.Lock(), (x for x in "a"), closure(threading.Lock()), Pair(1, open(os.devnull))],
    ids=["lock", "generator", "closed over", "file"],
)
def test_what_cannot_be_told_is_refused(thing):
    with pytest.raises(Unidentified, match="cannot pickle"):
        digest(thing)


def test_a_traced_value_is_refused():
    def traced(value):
        with pytest.raises(Unidentified, match="a value that JAX is tracing"):
            digest(value)
        return value

    jax.jit(traced)(1.0)


# --- other processes


def test_another_process_says_the_same():
    """With other addresses, and other orders of sets; one process that imports this module."""
    program = (
        "import jax; jax.config.update('jax_enable_x64', True); "
        "from tests.sweep import test_identity as t; "
        "print(*(t.digest(make(2.0)) for make in t.MAKERS), t.digest(t.proposals_of(t.SETS)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [digest(make(2.0)) for make in MAKERS] + [digest(proposals_of(SETS))]
    assert done.stdout.split() == here


SETS = "names = {'a', 'b', 'c'}\nf = lambda s, p: s if 'a' in names and 'b' in {'d', 'e'} else p"


# --- packages


def test_whose_a_module_is():
    assert packages.version_of("nce_bias.losses.base") == "nce_bias"
    assert packages.version_of("jax.numpy") == f"jax {jax.__version__}"
    assert packages.version_of("os.path") == f"python {sys.version.split()[0]}"
    assert packages.version_of("tests.sweep.small") is None
    assert packages.version_of("__main__") is None  # pytest here, and installed


def test_a_module_of_ones_own_under_a_name_of_pythons(monkeypatch, tmp_path):
    shadow = types.ModuleType("shelve")
    shadow.__file__ = str(tmp_path / "shelve.py")
    monkeypatch.setitem(sys.modules, "shelve", shadow)
    packages.version_of.cache_clear()
    assert packages.version_of("shelve") is None
    monkeypatch.undo()
    packages.version_of.cache_clear()
    assert packages.version_of("shelve") == packages.version_of("os")


def test_a_function_written_into_an_installed_module(monkeypatch):
    """As doctests are, and what a debugger or `exec` in its namespace defines."""
    made = []
    for text in ("f = lambda s, p: s + 1", "f = lambda s, p: s + 2"):
        space: dict[str, Any] = {"__name__": "jax.numpy"}
        exec(text, space)
        made.append(digest(space["f"]))
    assert made[0] != made[1]


def test_an_installed_function_goes_by_its_version(monkeypatch):
    before = digest(closure(np.linalg.norm))
    monkeypatch.setattr(np, "__version__", "0.0.1")
    packages.version_of.cache_clear()
    assert digest(closure(np.linalg.norm)) != before
    monkeypatch.undo()
    packages.version_of.cache_clear()
    assert digest(closure(np.linalg.norm)) == before
