"""What a proposal reads, said by the names of its parameters, and how it is given it.

A proposal is a function that returns log q(y). Its parameters without defaults may be any of

    scores       [V], of this input                popularity   [V], pop(y)
    gold         the observed label, an integer    input        the number of the input
    and the names of the problem's `sides`, [V] of this input each,

in any order. Two parameters none of which has such a name are (scores, popularity), if the problem
has no sides. A proposal that reads the gold makes a law for each gold, integrated alone.

An engine calls `bind` for each input, or for each gold of it, before it asks a sampler for a law:
it puts what is read in the place of the function, wherever in the sampler that stands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from nce_bias._checks import refuse

#: Parameters that every problem has something for.
KNOWN = ("scores", "popularity", "gold", "input")
T = TypeVar("T")


class Seen(eqx.Module):
    """What an input has for proposals besides scores and popularity; `sides` `[V]` by name."""

    input: Any
    sides: dict[str, Any]


class Declared(eqx.Module):
    """A function that is called with what it was said to read, in that order; see `proposal`."""

    function: Callable[..., Any]
    reads: tuple[str, ...] = eqx.field(static=True)

    @property
    def portable(self) -> bool:
        """Whether the function takes NumPy arrays."""
        return getattr(self.function, "portable", False)

    @property
    def reads_scores(self) -> bool:
        """Whether q depends on the scores."""
        return "scores" in self.reads

    def __call__(self, *read: Any) -> Any:
        return self.function(*read)

    def __repr__(self) -> str:
        return name_of(self.function)


class Bound(eqx.Module):
    """A proposal with all that it reads of one input but scores and popularity."""

    function: Callable[..., Any]
    reads: tuple[str, ...] = eqx.field(static=True)
    seen: Seen
    gold: Any

    @property
    def portable(self) -> bool:
        """Whether the function takes NumPy arrays."""
        return getattr(self.function, "portable", False)

    @property
    def reads_scores(self) -> bool:
        """Whether q depends on the scores."""
        return "scores" in self.reads

    def __call__(self, scores, popularity):
        if self.gold is None and "gold" in self.reads:
            raise refuse(
                f"proposal {self!r}",
                "reads the gold, and none is known here",
                "a proposal that does not",
                "Use it with nb.exact, nb.monte_carlo, nb.gradient_bias or nb.check_sampler.",
            )
        given = {"gold": self.gold, "input": self.seen.input, **self.seen.sides}
        if not self.portable:
            given = {name: jnp.asarray(given[name]) for name in self.reads if name in given}
        given |= {"scores": scores, "popularity": popularity}
        if isinstance(self.function, Declared):
            return self.function(*(given[name] for name in self.reads))
        return self.function(**{name: given[name] for name in self.reads})

    def __repr__(self) -> str:
        return name_of(self.function)


def proposal(function: Callable[..., Any], reads: Iterable[str]) -> Declared:
    """A proposal that says by hand what it reads, for functions whose names say something else.

    Parameters
    ----------
    function : callable
        Called with what it reads, in the order of `reads`; returns log q `[V]`, unnormalised.
    reads : names
        Of "scores", "popularity", "gold", "input" and the problem's sides.

    Examples
    --------
    >>> nearest = proposal(lambda s, g: -abs(s - s[g]), reads=("scores", "gold"))
    >>> exact(Problem([1.0, 0.5, -1.0], [1.0, 0.0, 0.0]), iid(nearest, 2)).status
    'ok'
    """
    names = (reads,) if isinstance(reads, str) else tuple(reads)
    if not callable(function) or not names:
        raise refuse(
            "proposal",
            f"got {function!r} that reads {names}",
            "a function and the names of what it reads",
            "For example nb.proposal(f, reads=('scores', 'gold')).",
        )
    return Declared(function, names)


def names_read(node: Any, sides: Collection[str]) -> tuple[str, ...] | None:
    """What a proposal reads by name; None where it is called with (scores, popularity).

    Raises ValueError for a name that the problem has nothing for.
    """
    names = node.reads if isinstance(node, Declared) else required(node)
    if names is None or names == KNOWN[:2]:
        return None
    unknown = [name for name in names if name not in (*KNOWN, *sides)]
    if len(unknown) == len(names) == 2 and not sides and not isinstance(node, Declared):
        return None
    if unknown:
        has = ", ".join(sides) if sides else "none"
        raise refuse(
            f"proposal {name_of(node)}",
            f"reads {', '.join(map(repr, names))}, and {unknown[0]!r} is neither of "
            f"{', '.join(KNOWN)} nor a side of the problem (which has {has})",
            "names that the problem has something for",
            f"Give it as nb.Problem(..., sides={{{unknown[0]!r}: array}}), or say what is read by "
            "nb.proposal(f, reads=('scores', 'popularity')).",
        )
    return names


def bind(sampler: T, seen: Seen, gold: Any = None) -> T:
    """The sampler with every proposal that reads by name given what it reads."""

    def given(node: Any) -> Any:
        if not _reads_by_name(node, seen.sides):
            return node
        reads = names_read(node, seen.sides)
        assert reads is not None
        return Bound(node, reads, seen, gold)

    return jax.tree.map(given, sampler, is_leaf=lambda node: _reads_by_name(node, seen.sides))


def all_read(sampler: Any, sides: Collection[str]) -> set[str]:
    """The names that any proposal of a sampler reads."""
    nodes = jax.tree.leaves(sampler, is_leaf=lambda node: _reads_by_name(node, sides))
    by_name = (names_read(node, sides) for node in nodes if _reads_by_name(node, sides))
    return {name for names in by_name if names is not None for name in names}


def reads_gold(sampler: Any, sides: Collection[str]) -> bool:
    """Whether the law depends on the gold by more than leaving it out."""
    return "gold" in all_read(sampler, sides)


def _reads_by_name(node: Any, sides: Collection[str]) -> bool:
    if not callable(node) or isinstance(node, type | Bound):
        return False
    return names_read(node, sides) is not None


def required(function: Any) -> tuple[str, ...] | None:
    """Parameters without defaults; None where there is no telling, or any number."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD)


def name_of(function: Any) -> str:
    """What a function is called in a message."""
    if isinstance(function, eqx.Module):
        return repr(function)
    return getattr(function, "__name__", type(function).__name__)
