"""Digests of objects by what determines their numbers: equal digests promise equal numbers.

Of an array that is its type, shape and values; of a function its bytecode, constants, defaults,
closed-over values and the globals it reads, theirs in turn; of an object its class and what it
would pickle. What an installed package defines goes by name and version, a module of a user's own
by its source. An object may say itself what it is, by an attribute ``fingerprint``, a string.

What is seen by none of this: files and environment variables that a function reads, and values that
a program puts into another module while it runs. What can be read by none of this is refused.
Bytecode and versions change with Python's: then digests differ though numbers may not. A package of
one's own that is installed anew under its old version is taken for the old one.

>>> one, two = (lambda s, p, t=t: s / t for t in (1.0, 2.0))
>>> digest(one) == digest(two)
False
"""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nce_bias._checks import is_traced
from nce_bias._sweep.packages import imported, version_of

ATOMS = {type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented)}
#: Attributes of a class that say nothing of what it computes, or say it a second time.
ASIDE = frozenset(
    "__dict__ __weakref__ __doc__ __module__ __annotations__ __annotate__ __abstractmethods__ "
    "_abc_impl __abstractvars__ __abstractclassvars__ __dataclass_params__ __dataclass_fields__ "
    "__match_args__ __firstlineno__ __static_attributes__ __annotate_func__ __annotations_cache__ "
    "__parameters__ __orig_bases__".split()
)


class Unidentified(TypeError):
    """Raised for what cannot be told from another that computes something else."""


def digest(thing: Any) -> str:
    """32 hexadecimal digits; raises `Unidentified`, which names the part that it is for."""
    walk = Walk()
    walk.take(thing)
    return walk.hash.hexdigest()[:32]


class Walk:
    """One pass over an object; what it meets goes into the hash, each with its kind and length."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.above: list[Any] = []  # what the present object is a part of
        self.code: list[Any] = []  # functions, classes, modules: each once, then by number

    def put(self, kind: str, *texts: str | bytes) -> None:
        """A kind and texts, so that no two sequences of calls hash the same bytes."""
        for text in (kind, str(len(texts)), *texts):
            content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
            self.hash.update(len(content).to_bytes(8, "little") + content)

    def all(self, kind: str, things: Iterable[Any]) -> None:
        """Several things in order."""
        things = list(things)
        self.put(kind, str(len(things)))
        for thing in things:
            self.take(thing)

    def take(self, thing: Any) -> None:
        """Anything."""
        if type(thing) in ATOMS:
            self.put(
                "atom", type(thing).__name__, thing if isinstance(thing, bytes) else repr(thing)
            )
        elif above := [depth for depth, other in enumerate(self.above) if other is thing]:
            self.put("above", str(above[0]))
        else:
            self.above.append(thing)
            self._take(thing)
            self.above.pop()

    def _take(self, thing: Any) -> None:
        said = None if isinstance(thing, type) else getattr(thing, "fingerprint", None)
        if isinstance(said, str):
            self.put("says", type(thing).__module__, type(thing).__qualname__, said)
        elif isinstance(thing, jax.Array | np.generic) or type(thing) is np.ndarray:
            self._array(thing)
        elif type(thing) in CONTAINERS:
            CONTAINERS[type(thing)](self, thing)
        elif name := imported(thing):
            self.put("imported", name)
        elif isinstance(thing, type | types.FunctionType | types.ModuleType):
            self._once(thing)
        elif kind := next((kind for kind in PARTS if isinstance(thing, kind)), None):
            self.all(kind.__name__, PARTS[kind](thing))
        else:
            self._pickled(thing)

    def _array(self, array: Any) -> None:
        if is_traced(array):
            raise Unidentified("a value that JAX is tracing")
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            self.put("key", str(jax.random.key_impl(array)))
            array = jax.random.key_data(array)
        values = np.asarray(array)
        if values.dtype.hasobject:
            self.put("objects", str(values.dtype), str(values.shape))
            self.take(values.tolist())
        else:
            weak = str(getattr(array, "weak_type", False))
            self.put("array", values.dtype.str, str(values.dtype), str(values.shape), weak)
            self.hash.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def _once(self, thing: Any) -> None:
        """A function, a class or a module, which may lead back to itself."""
        for number, other in enumerate(self.code):
            if other is thing:
                self.put("again", str(number))
                return
        self.code.append(thing)
        if isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        else:
            self._module(thing)

    def _function(self, function: types.FunctionType) -> None:
        home = str(function.__globals__.get("__name__"))
        code, installed = function.__code__, version_of(home)
        self._code(code)
        if installed:  # its version says what its globals are
            self.put("function of", installed, home, code.co_qualname)
        else:
            self._globals(function, sorted(set(names_in(code))))
        self.all("closure", [contents(cell) for cell in function.__closure__ or ()])
        self.all("defaults", [function.__defaults__, function.__kwdefaults__])
        self.all("attributes", [vars(function)])

    def _code(self, code: types.CodeType) -> None:
        flags = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self.put("code", sys.implementation.cache_tag or "", code.co_code, str(flags))
        self.put("handlers", getattr(code, "co_exceptiontable", b""))
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.put("names", *(" ".join(some) for some in names))
        self.put("constants", str(len(code.co_consts)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.take(constant)

    def _globals(self, function: types.FunctionType, names: list[str]) -> None:
        known = function.__globals__
        for name in names:
            self.put("global", name, "ours" if name in known else "")
            if name in known:
                self.take(known[name])
            elif not hasattr(builtins, name):
                self.put("unknown")

    def _class(self, kind: type) -> None:
        self.put("class", kind.__module__, kind.__qualname__)
        self.all("bases", kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            # what `dataclass` writes follows from the fields, which an object shows
            code = getattr(value, "__code__", None)
            if name not in ASIDE and "__create_fn__" not in getattr(code, "co_qualname", ""):
                self.put("member", name)
                self.take(value)

    def _module(self, module: types.ModuleType) -> None:
        """A module of a user's own: its source, and that of such modules as it names things of."""
        try:
            source = Path(module.__file__ or "").read_bytes()
        except (AttributeError, OSError) as error:
            raise Unidentified(f"the module {module.__name__}, which has no source") from error
        self.put("module", module.__name__, source)
        homes = {
            value.__name__
            if isinstance(value, types.ModuleType)
            else getattr(value, "__module__", None)
            for value in list(vars(module).values())
        }
        own = [home for home in homes if isinstance(home, str) and not version_of(home)]
        self.all("modules", [sys.modules[home] for home in sorted(own) if home in sys.modules])

    def _pickled(self, thing: Any) -> None:
        try:
            found = thing.__reduce_ex__(2)
        except Exception as error:
            raise Unidentified(f"{thing!r} ({type(error).__name__}: {error})") from error
        if isinstance(found, str):
            raise Unidentified(f"{thing!r}, which pickles as the name {found}")
        parts = [list(part) if hasattr(part, "__next__") else part for part in found]
        self.all("pickled", parts)

    def _unordered(self, things: Iterable[Any]) -> None:
        self.put(type(things).__name__, *sorted(digest(thing) for thing in things))

    def _mapping(self, mapping: dict[Any, Any]) -> None:
        self.all("mapping", [part for item in mapping.items() for part in item])


CONTAINERS: dict[type, Callable[[Walk, Any], None]] = {
    tuple: lambda walk, thing: walk.all("tuple", thing),
    list: lambda walk, thing: walk.all("list", thing),
    dict: Walk._mapping,
    types.MappingProxyType: Walk._mapping,
    set: Walk._unordered,
    frozenset: Walk._unordered,
}

#: Kinds that are their parts.
PARTS: dict[type, Callable[[Any], list[Any]]] = {
    types.MethodType: lambda method: [method.__func__, method.__self__],
    types.BuiltinMethodType: lambda method: [method.__qualname__, method.__self__],
    types.MemberDescriptorType: lambda member: [member.__name__],
    types.GetSetDescriptorType: lambda member: [member.__name__],
    staticmethod: lambda method: [method.__func__],
    classmethod: lambda method: [method.__func__],
    property: lambda member: [member.fget],
    type(functools.cache(len)): lambda function: [function.__wrapped__],
    type(jax.jit(len)): lambda function: [function.__wrapped__],
}


def contents(cell: types.CellType) -> Any:
    """What a closure holds; a name that has no value yet is ``...``, which no one writes there."""
    try:
        return cell.cell_contents
    except ValueError:
        return ...


def names_in(code: types.CodeType) -> Iterable[str]:
    """The globals that a function reads, those of functions inside it among them."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)
