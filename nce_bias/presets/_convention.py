"""What a named convention is: a row of words about it, and a function of m that makes the pair."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import numpy as np

from nce_bias._checks import check_count, is_traced, refuse
from nce_bias.engine._both_directions import BothDirections, both_directions
from nce_bias.engine._exact import exact
from nce_bias.engine._monte_carlo import monte_carlo
from nce_bias.engine.moments import Moments
from nce_bias.losses import Loss
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

#: What `Convention.status` says: the text or code was read for it, or it is told from knowledge of
#: the paper and wants a look at the paper before it is quoted.
READ, AS_WE_READ_IT = "read", "as we read it"

#: How rows of in-batch negatives differ from what they stand for.
IN_BATCH = (
    "The golds of a batch depend on each other, and one batch serves all its examples: here draws "
    "are independent."
)


@dataclass(frozen=True)
class Preset:
    """A named pair of a sampler and a loss.

    Attributes
    ----------
    name : str
        Its key in `PRESETS`.
    sampler, loss
        What it means: `exact(problem, preset.sampler, preset.loss)`.
    words : str
        The convention in a sentence.
    source : str
        Paper, or project and function.
    popular : bool
        Whether negatives are drawn from pop(y), so that a problem needs one.
    sides : mapping of str to str, or None
        What its proposals read of the problem's sides, and what it means; other sides are no
        concern of it. None: whatever the sampler reads.
    """

    name: str
    sampler: Sampler
    loss: Loss
    words: str
    source: str
    popular: bool
    sides: Mapping[str, str] | None = None

    def alike(self, other: Preset) -> bool:
        """Whether both are one pair: samplers by value (a repr may hide arrays), losses by name."""
        same = self.loss.name == other.loss.name
        return same and bool(eqx.tree_equal(self.sampler, other.sampler))

    def check(self, problem: Problem) -> None:
        """Raise ValueError where a side is missing, or pop(y) is pop(y|x) of the only input."""
        for side, meaning in (self.sides or {}).items():
            if side not in problem.sides:
                has = ", ".join(problem.sides) or "none"
                raise refuse(
                    "problem",
                    f"{self.name} reads the side {side!r} ({meaning}), and this problem has {has}",
                    "an array [V], or [X, V] with a row for each input, of that name",
                    f"Pass sides={{{side!r}: array}} to nb.Problem.",
                )
        if not self.popular or is_traced(problem):
            return
        rows = np.asarray(problem.population_rows)
        if len(rows) == 1 and np.array_equal(rows[0], np.asarray(problem.popularity)):
            raise refuse(
                "problem",
                f"{self.name} draws from the popularity, and this problem has one input whose "
                "pop(y|x) stands for it",
                "a popularity pop(y) of its own, or several inputs to average",
                "Pass popularity=..., the shares of the labels over all inputs, to nb.Problem.",
            )

    def exact(self, problem: Problem, **options: Any) -> Moments:
        """`exact` of the pair, after `check`."""
        return exact(self._asked_of(problem), self.sampler, self.loss, **options)

    def monte_carlo(self, problem: Problem, **options: Any) -> Moments:
        """`monte_carlo` of the pair, after `check`."""
        return monte_carlo(self._asked_of(problem), self.sampler, self.loss, **options)

    def both_directions(self, problem: Problem, *, share: float = 0.5) -> BothDirections:
        """`both_directions` of the pair: of CLIP's matrix the rows and the columns.

        Columns draw inputs by the same rule, from the transposed problem: pop(x|y), pop(x).

        Raises
        ------
        ValueError
            Sides that are read: they are those of labels for inputs, and a column wants those of
            inputs for labels; what `both_directions` refuses.
        """
        if self.sides:
            raise refuse(
                "preset",
                f"{self.name} reads the side {next(iter(self.sides))!r}, a number for each label",
                "a preset without sides",
                "A column needs the numbers of each input: build the two samplers yourself and "
                "call nb.both_directions(problem, sampler, loss, back=of_columns).",
            )
        given = self._asked_of(problem)
        return both_directions(given, self.sampler, self.loss, share=share)

    def _asked_of(self, problem: Problem) -> Problem:
        """The problem with no other sides than those that are read."""
        self.check(problem)
        if self.sides is None or problem.sides.keys() == self.sides.keys():
            return problem
        own = {name: problem.sides[name] for name in self.sides}
        return eqx.tree_at(lambda p: p.sides, problem, own)

    def __repr__(self) -> str:
        return f"{self.name}: {self.sampler!r}, {self.loss.name}"


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One row of the table: called with m it gives the `Preset`.

    Attributes
    ----------
    name, words, source, popular
        Those of its presets.
    family : str
        Where it is used, one of `FAMILIES`.
    year : int
        When the source appeared.
    of : callable
        ``m -> (sampler, loss)``; what it takes besides are the options of `preset`, with the
        source's values as defaults.
    status : str
        "read" where paper or code was read, "as we read it" elsewhere.
    differs : str
        Where public code, or the source itself, does otherwise; empty where nothing is known to.
    sides : mapping of str to str
        What it reads besides, of `Problem(..., sides={name: array})`, and what that means.
    same_as : str
        The convention whose expected gradient it has, whatever the problem; empty where it is like
        no other, or is what others are said to be like. `same_m`: only with that m.
    on_example : mapping
        Options for `example`, whose four labels are fewer than some defaults are made for.
    """

    name: str
    family: str
    year: int
    of: Callable[..., tuple[Sampler, Loss]]
    words: str
    source: str
    status: str = AS_WE_READ_IT
    differs: str = ""
    popular: bool = False
    sides: Mapping[str, str] = field(default_factory=dict)
    same_as: str = ""
    same_m: int | None = None
    on_example: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, m: int, **options: Any) -> Preset:
        """The preset with m negatives; see `preset`."""
        known = self.options
        for option in options:
            if option not in known:
                raise refuse(
                    "options",
                    f"{self.name} has no {option}",
                    " or ".join(known) or "none",
                    "Build sampler and loss yourself for another: nb.exact(problem, sampler, "
                    "loss).",
                )
        sampler, loss = self.of(check_count("m", m), **options)
        return Preset(self.name, sampler, loss, self.words, self.source, self.popular, self.sides)

    @property
    def options(self) -> dict[str, Any]:
        """What it leaves open, with the defaults."""
        parameters = list(inspect.signature(self.of).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    @property
    def like(self) -> str:
        """`same_as` in words, with the m for which it holds."""
        return self.same_as + (f" (m = {self.same_m})" if self.same_m else "")

    def card(self) -> str:
        """All that is known of it, as text for a terminal."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        reads = "; ".join(f"{name}: {meaning}" for name, meaning in self.sides.items())
        lines = {
            "what": f"{self.words}.",
            "source": self.source,
            "status": self.status,
            "differs": self.differs,
            "same as": self.like,
            "sides": reads,
            "options": options,
        }
        head = f"{self.name} ({self.family.replace('_', ' ')}, {self.year})"
        body = [
            textwrap.fill(f"{key:<9}{text}", 96, initial_indent="  ", subsequent_indent=" " * 11)
            for key, text in lines.items()
            if text
        ]
        return "\n".join([head, *body])


def rest(m: int, part: int, what: str) -> int:
    """m - part, both at least 1: what is left of m negatives for a second kind."""
    check_count(what, part)
    if not m > part:
        raise refuse(
            "m",
            f"got {m}, with {what}={part} of them",
            f"more than {part}, so that some are left for the other kind",
            f"Raise m, or pass a smaller {what}.",
        )
    return m - part


def halves(m: int) -> tuple[int, int]:
    """m in two halves, the first the larger."""
    if m < 2:
        raise refuse(
            "m", f"got {m}, of two kinds", "2 or more, half of each kind", "Pass m=2 or more."
        )
    return m - m // 2, m // 2


def batch_of(m: int, each: int) -> int:
    """Rows of a batch in which m negatives are what the other rows bring, `each` from one."""
    if m % each:
        raise refuse(
            "m",
            f"got {m}, and every other row of a batch brings {each}",
            f"a multiple of {each}",
            f"Pass m={m + each - m % each}, of {m // each + 2} rows.",
        )
    return m // each + 1
