"""One line of an audit: a convention with its moments, and their errors over inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nce_bias._checks import refuse
from nce_bias.engine.by_input import average, scalars, standard_errors
from nce_bias.engine.in_blocks import together
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss, check_loss
from nce_bias.presets import COMMON, PRESETS, Convention, Preset, preset
from nce_bias.samplers import Sampler

#: The numbers of a row, in the order tables show them.
NUMBERS = (
    "bias_norm",
    "relative_bias",
    "cosine",
    "variance",
    "coverage",
    "loss",
    "effective_sample_size",
)


@dataclass
class Row:
    """A convention, and what is known of it so far.

    Attributes
    ----------
    names : list of str
        Its name, and those of conventions that are the same here.
    preset : Preset or None
        None where it could not be made for this m; `status` says why.
    m : int
        Number of negatives.
    correction_fits : bool
        Whether what the loss takes off is made for such draws.
    numbers, errors : dict
        By the names of `NUMBERS` and ``cross_entropy``; standard errors are over inputs, those of
        a Monte Carlo estimate with its own noise in them.
    inputs : int
        How many it was computed for.
    method, status : str
        As in `Moments`.
    """

    names: list[str]
    preset: Preset | None
    m: int
    correction_fits: bool = True
    status: str = "not run"
    method: str = ""
    inputs: int = 0
    numbers: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    parts: list[Moments] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]

    @property
    def exact(self) -> bool:
        """Whether no sampling was needed."""
        return self.method.startswith("exact")

    def add(self, part: Moments, weights: np.ndarray) -> None:
        """The moments of a further block; `weights` are those of all inputs there are so far."""
        self.parts.append(part)
        whole = together(self.parts, weights)
        found = scalars_of(whole, weights)
        self.numbers = {name: found[name] for name in (*NUMBERS, "cross_entropy")}
        self.numbers["error"] = float(whole.error)
        spread = standard_errors(whole.by_input, weights / weights.sum())
        self.errors = {name: spread[name] for name in (*NUMBERS, "cross_entropy")}
        self.method, self.status, self.inputs = whole.method, whole.status, len(weights)

    def fail(self, error: Exception) -> None:
        """What could not be done, in its own words."""
        self.status = f"failed: {' '.join(str(error).split())}"

    def record(self) -> dict[str, Any]:
        """The columns of the table."""
        values = {name: self.numbers.get(name, math.nan) for name in NUMBERS}
        spread = {f"{name}_se": self.errors.get(name, math.nan) for name in NUMBERS}
        head = {"convention": self.name, "also": ", ".join(self.names[1:]), "m": self.m}
        made = self.preset
        words = {
            "sampler": "" if made is None else repr(made.sampler),
            "loss_name": "" if made is None else made.loss.name,
        }
        last = {"inputs": self.inputs, "method": self.method, "status": self.status}
        return head | values | spread | words | last


def scalars_of(moments: Moments, weights: np.ndarray) -> dict[str, float]:
    """All scalars of `nce_bias.engine.by_input`, as floats."""
    with np.errstate(all="ignore"):
        found = scalars(average(moments.by_input, weights / weights.sum()))
    return {name: float(value) for name, value in found.items()}


def asked(presets: Any, ms: list[int]) -> list[Row]:
    """A row for each convention and m; conventions that are alike share one.

    Raises ValueError for what is no convention.
    """
    rows: list[Row] = []
    for name, make in _named(presets).items():
        for m in [None] if isinstance(make, Preset) else ms:
            row = _row(name, make, m)
            same = next((one for one in rows if _alike(one, row)), None)
            if same is None:
                rows.append(row)
            else:
                same.names += [n for n in row.names if n not in same.names]
    return rows


def _alike(one: Row, other: Row) -> bool:
    return one.preset is not None and other.preset is not None and one.preset.alike(other.preset)


def _named(presets: Any) -> dict[str, Any]:
    if presets is None:
        return {name: PRESETS[name] for name in COMMON}
    if isinstance(presets, dict):
        return {name: _own(name, given) for name, given in presets.items()}
    several = [presets] if isinstance(presets, str | Preset | Convention) else list(presets)
    named: dict[str, Any] = {}
    for one in several:
        if isinstance(one, str):
            preset(one, 1)  # an unknown name is refused with the nearest known ones
            named[one] = PRESETS[one]
        elif isinstance(one, Preset | Convention):
            named[one.name] = one
        else:
            raise _no_convention(one)
    return named


def _own(name: str, given: Any) -> Any:
    """A set-up of the user's own: a pair, or whatever else names a convention."""
    if isinstance(given, Preset | Convention):
        return given
    if isinstance(given, str):
        return _named([given])[given]
    if callable(given) and not isinstance(given, Sampler):
        return lambda m: _own(name, given(m))
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Sampler):
        sampler, loss = given
        check_loss(loss)
        return own(name, sampler, loss)
    raise _no_convention(given)


def own(name: str, sampler: Sampler, loss: Loss) -> Preset:
    """A user's sampler and loss as a `Preset`."""
    return Preset(name, sampler, loss, f"{sampler!r} with {loss.name}", "your own", popular=False)


def _no_convention(given: Any) -> ValueError:
    return refuse(
        "presets",
        f"got {given!r}",
        "names of nb.presets.PRESETS, presets, or a mapping of names to (sampler, loss) or to "
        "functions of m that return it",
        "For example presets={'mine': lambda m: (nb.iid(nb.uniform(), m), nb.infonce)}.",
    )


def _row(name: str, make: Any, m: int | None) -> Row:
    if m is None:
        return Row([name], make, int(float(make.sampler.m)))
    try:
        return Row([name], make(m), m)
    except ValueError as error:  # this m alone is at fault
        row = Row([name], None, m)
        row.fail(error)
        return row
