"""The conventions that are asked about."""

from __future__ import annotations

from typing import Any

from nce_bias._checks import refuse
from nce_bias.presets import PRESETS, Convention, Preset, preset
from nce_bias.problem import Problem


def asked(presets: Any, problem: Problem, m: int) -> dict[str, Preset]:
    """Names -> presets with m negatives; by default all whose sides the problem has."""
    if presets is None:
        found = {}
        for name in PRESETS:
            try:
                found[name] = preset(name, m)
                found[name].check(problem)
                found[name].sampler.check(problem)
                found[name].loss.check(problem, found[name].sampler)
            except (ValueError, NotImplementedError):  # a side it lacks, an m that it cannot have
                found.pop(name, None)
        return found
    if isinstance(presets, str | Preset | Convention):
        presets = [presets]
    named = presets if isinstance(presets, dict) else {_name(one): one for one in presets}
    return {name: _preset(one, m) for name, one in named.items()}


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
