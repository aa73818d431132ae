"""The arguments of a sweep: what was given, by name, or a refusal before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx

from nce_bias._checks import check_count, refuse
from nce_bias.losses import LOSSES, Loss
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

METHODS = ("exact", "monte_carlo")
#: A sampler, or a function that makes one of a given m.
Negatives = Sampler | Callable[[int], Sampler]


def named_problems(given: Any) -> dict[str, Problem]:
    """Name -> problem, of one, a mapping or a sequence."""
    if isinstance(given, Problem):
        given = [given]
    if isinstance(given, Iterable) and not isinstance(given, Mapping | str):
        given = {str(place): problem for place, problem in enumerate(given)}
    what = "a Problem, a mapping of names to Problems or a sequence of Problems"
    remedy = "Pass problems={'name': nb.Problem(scores, population)}."
    if not isinstance(given, Mapping):
        raise refuse("problems", f"got {type(given).__name__}", what, remedy)
    for name, problem in given.items():
        if not isinstance(problem, Problem):
            raise refuse("problems", f"{name!r} is {_words(problem)}", what, remedy)
    return _not_empty("problems", given, what, remedy)


def named_samplers(given: Any, ms: Any) -> list[tuple[str, int | float, Sampler | Exception]]:
    """Name, m and sampler, with functions called for each of `ms`; or why they raised."""
    if isinstance(given, Sampler) or callable(given):
        given = [given]
    what = "samplers, or named functions of m such as {'iid': lambda m: nb.iid(nb.model(), m)}"
    remedy = "Pass samplers={'name': ...}."
    if isinstance(given, Iterable) and not isinstance(given, Mapping | str):
        given = _by_words(list(given), what, remedy)
    if not isinstance(given, Mapping):
        raise refuse("samplers", f"got {type(given).__name__}", what, remedy)
    given = _not_empty("samplers", given, what, remedy)
    functions = [name for name, made in given.items() if not isinstance(made, Sampler)]
    for name in functions:
        if isinstance(given[name], eqx.Module):
            raise refuse(
                "samplers",
                f"{name!r} is the proposal {given[name]!r}",
                "a sampler, or a function of m that returns one",
                f"Pass samplers={{{name!r}: lambda m: nb.iid(nb.model(), m)}}.",
            )
        if not callable(given[name]):
            raise refuse("samplers", f"{name!r} is {_words(given[name])}", what, remedy)
    sizes = _sizes(ms, functions)
    every: list[tuple[str, int | float, Sampler | Exception]] = []
    for name, made in given.items():
        if isinstance(made, Sampler):
            every.append((name, _number(made.m), made))
        else:
            every += [(name, m, _called(name, made, m)) for m in sizes]
    return every


def named_losses(given: Any) -> list[Any]:
    """Losses, of one, a sequence, or their names."""
    if isinstance(given, str | eqx.Module) or not isinstance(given, Iterable):
        given = [given]
    what = f"a loss such as nb.infonce, or a name: {', '.join(LOSSES)}"
    remedy = "Pass losses=(nb.infonce,) or losses=['infonce']."
    found = []
    for loss in given:
        if isinstance(loss, str):
            if loss not in LOSSES:
                raise refuse("losses", f"got {loss!r}", what, remedy)
            loss = LOSSES[loss]
        if not isinstance(loss, Loss):
            raise refuse("losses", f"got {_words(loss)}", what, remedy)
        found.append(loss)
    return list(_not_empty("losses", found, what, remedy))


def check_method(method: Any, key: Any, draws: Any) -> None:
    """Monte Carlo needs a key and draws, exact takes neither."""
    if method not in METHODS:
        raise refuse("method", f"got {method!r}", " or ".join(map(repr, METHODS)), "Pick one.")
    if method == "exact" and (key is not None or draws is not None):
        raise refuse(
            "key, draws",
            "given with method='exact'",
            "neither: exact draws nothing",
            "Pass method='monte_carlo', or leave them out.",
        )
    if method == "monte_carlo":
        if key is None or draws is None:
            raise refuse(
                "key, draws",
                f"{'key' if key is None else 'draws'} is missing",
                "both with method='monte_carlo'",
                "Pass key=jax.random.key(0), draws=10_000.",
            )
        check_count("draws", draws, least=2)


def _by_words(given: list[Any], what: str, remedy: str) -> dict[str, Any]:
    """Samplers called by their repr; a function has none, and two of one repr need names too."""
    found: dict[str, Any] = {}
    for sampler in given:
        name = repr(sampler)
        if not isinstance(sampler, Sampler):
            nameless = "a function without a name" if callable(sampler) else _words(sampler)
            raise refuse("samplers", f"got {nameless}", what, remedy)
        if name in found:
            raise refuse("samplers", f"two are called {name}", "a name for each", remedy)
        found[name] = sampler
    return found


def _sizes(ms: Any, functions: list[str]) -> list[int]:
    if ms is None and functions:
        raise refuse(
            "ms",
            f"left out, and samplers[{functions[0]!r}] is a function of m",
            "the numbers of negatives to call it with",
            "Pass ms=[1, 4, 16], or a sampler instead of the function.",
        )
    if ms is None:
        return []
    if not functions:
        raise refuse(
            "ms",
            f"got {ms!r}, and no sampler is a function of m",
            "functions such as lambda m: nb.iid(nb.model(), m)",
            "Leave out ms, or pass functions instead of samplers.",
        )
    sizes = [check_count("ms", m) for m in (ms if isinstance(ms, Iterable) else [ms])]
    if len(set(sizes)) != len(sizes) or not sizes:
        raise refuse("ms", f"got {sizes}", "distinct numbers, at least one", "Pass ms=[1, 4, 16].")
    return sizes


def _called(name: str, function: Callable[[int], Any], m: int) -> Sampler | Exception:
    try:
        made = function(m)
    except Exception as error:  # this m alone is at fault, perhaps: the cell reports it
        return error
    if not isinstance(made, Sampler):
        raise refuse(
            "samplers",
            f"{name!r} called with m={m} returned {_words(made)}",
            "a sampler",
            "Return one: lambda m: nb.iid(nb.model(), m).",
        )
    return made


def _not_empty(argument: str, given: Any, what: str, remedy: str) -> Any:
    if not given:
        raise refuse(argument, "got none", what, remedy)
    return given


def _words(thing: Any) -> str:
    return repr(thing) if isinstance(thing, str) else f"something of type {type(thing).__name__}"


def _number(m: Any) -> int | float:
    return int(m) if float(m).is_integer() else float(m)
