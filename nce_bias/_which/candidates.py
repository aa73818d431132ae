"""The conventions that are asked about."""

from __future__ import annotations

from typing import Any

from nce_bias._checks import refuse
from nce_bias.presets import PRESETS, Convention, Preset, preset
from nce_bias.problem import Problem


def asked(presets: Any, problem: Problem, m: int) -> dict[str, Preset]:
    """Names -> presets with m negatives; by default all that the problem can be asked about."""
    if presets is None:
        all_of_m = {name: made for name in PRESETS if (made := _made(name, m)) is not None}
        return {name: one for name, one in all_of_m.items() if _fits(one, problem)}
    if isinstance(presets, str | Preset | Convention):
        presets = [presets]
    named = presets if isinstance(presets, dict) else {_name(one): one for one in presets}
    return {name: _preset(one, m) for name, one in named.items()}


def _made(name: str, m: int) -> Preset | None:
    """None where the convention has no such m."""
    try:
        return preset(name, m)
    except ValueError:
        return None


def _fits(one: Preset, problem: Problem) -> bool:
    """Whether the problem has its sides and enough labels, and its law is had in seconds."""
    try:
        one.check(problem)
        one.sampler.check(problem)
        one.loss.check(problem, one.sampler)
    except (ValueError, NotImplementedError):
        return False
    return one.sampler.portable and not one.sampler.costly


def _name(one: Any) -> str:
    return one if isinstance(one, str) else getattr(one, "name", repr(one))


def _preset(one: Any, m: int) -> Preset:
    if isinstance(one, Preset):
        return one
    if isinstance(one, Convention):
        return one(m)
    if isinstance(one, str):
        return preset(one, m)
    if isinstance(one, tuple) and len(one) == 2:
        sampler, loss = one
        return Preset(
            name=f"{sampler!r}, {loss.name}",
            sampler=sampler,
            loss=loss,
            words="your own",
            source="",
            popular=False,
        )
    raise refuse(
        "presets",
        f"got {one!r}",
        "names, nb.preset(...), or pairs (sampler, loss)",
        "nb.presets.table() lists the names.",
    )
