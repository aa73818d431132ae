"""The arguments of a sweep: what was given, by name, or a refusal before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

import equinox as eqx

from nce_bias._checks import check_count, check_kind, refuse
from nce_bias._split_input import check_whole
from nce_bias.losses import LOSSES, Loss, check_loss
from nce_bias.presets import Convention, Preset
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: What a cell takes its negatives from.
Ready = Sampler | Preset
#: The same, or a function that makes one of a given m.
Negatives = Ready | Callable[[int], Ready]

ONE = "a sampler, a preset, or a function of m that returns one"
LIKE = "lambda m: nb.iid(nb.model(), m)"


def named_problems(given: Any) -> dict[str, Problem]:
    """Name -> problem, of one, a mapping or a sequence."""
    named = given if isinstance(given, Mapping) else dict(enumerate(_several(given)))
    for problem in named.values():
        check_kind("problems", problem, Problem, "{'name': nb.Problem(scores, population)}")
        check_whole(problem, "nb.sweep")
    return {str(name): problem for name, problem in named.items()}


def named_negatives(given: Any, ms: Any) -> list[tuple[str, int | float, Ready | Exception]]:
    """Name, m and what is drawn, with functions called for each of `ms`; or why they raised."""
    named = given if isinstance(given, Mapping) else _by_words(_several(given))
    functions = [name for name, made in named.items() if not isinstance(made, Ready)]
    for name in functions:
        if isinstance(named[name], eqx.Module) or not callable(named[name]):
            made = f"samplers={{{name!r}: {LIKE}}}"
            raise refuse("samplers", f"{name!r} is {named[name]!r}", ONE, f"Pass {made}.")
    sizes = [] if ms is None else [check_count("ms", m) for m in _several(ms)]
    if bool(functions) != bool(sizes):
        raise refuse(
            "ms",
            f"got {ms!r}, and of the samplers {len(functions)} are functions of m",
            "numbers of negatives where there are functions to call with them, and only there",
            f"Pass ms=[1, 4, 16] with functions such as {LIKE}, or neither.",
        )
    found: list[tuple[str, int | float, Ready | Exception]] = []
    for name, made in named.items():
        if name in functions:
            found += [(name, m, _called(name, made, m)) for m in sizes]
        else:
            m = float((made.sampler if isinstance(made, Preset) else made).m)
            found.append((name, int(m) if m.is_integer() else m, made))
    return found


def listed_losses(given: Any) -> list[Loss]:
    """Losses, of one, a sequence, or their names."""
    names: dict[Any, Any] = {**LOSSES}
    losses = [names.get(one, one) if isinstance(one, str) else one for one in _several(given)]
    for loss in losses:
        check_loss(loss)
    return losses


def check_method(method: Any, key: Any, draws: Any) -> None:
    """Monte Carlo needs a key and draws, exact takes neither."""
    if method not in ("exact", "monte_carlo"):
        raise refuse("method", f"got {method!r}", "'exact' or 'monte_carlo'", "Pick one.")
    if {key is not None, draws is not None} != {method == "monte_carlo"}:
        raise refuse(
            "key, draws",
            f"got key={key!r} and draws={draws!r} with method={method!r}",
            "both with method='monte_carlo', neither with method='exact'",
            "For Monte Carlo pass method='monte_carlo', key=jax.random.key(0), draws=10_000.",
        )


def check_executor(given: Any) -> None:
    """One of `concurrent.futures`, or a number of processes."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return
    if given is not None and not isinstance(given, Executor):
        raise refuse(
            "executor",
            f"got {given!r}",
            "a number of processes, a concurrent.futures.Executor, or None for here",
            "Pass executor=4, or client.get_executor() of a Dask client.",
        )


def _several(given: Any) -> list[Any]:
    if isinstance(given, Iterable) and not isinstance(given, str):
        return list(given)
    return [given]


def _by_words(given: list[Any]) -> dict[str, Any]:
    """Presets by their names, samplers by their repr; other functions have none."""
    named = [
        (one.name if isinstance(one, Preset | Convention) else repr(one), one) for one in given
    ]
    names = [name for name, _ in named]
    nameless = [one for one in given if not isinstance(one, Ready | Convention)]
    if nameless or len(set(names)) < len(names):
        raise refuse(
            "samplers",
            f"got {', '.join(names)}",
            f"distinct samplers or presets; {ONE} under a name",
            f"Pass samplers={{'name': {LIKE}}}.",
        )
    return dict(named)


def _called(name: str, function: Callable[[int], Any], m: int) -> Ready | Exception:
    try:
        made = function(m)
    except Exception as error:  # this m alone is at fault, perhaps: the cell reports it
        return error
    if not isinstance(made, Ready):
        given = f"{name!r} called with m={m} returned {made!r}"
        raise refuse("samplers", given, "a sampler or a preset", f"Return one: {LIKE}.")
    return made
