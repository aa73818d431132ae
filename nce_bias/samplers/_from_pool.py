"""Samplers made of a pool that another draws, and of a number for each label.

`best_of` orders the pool by the number, `resampled` draws from it by weight, `queue` takes it for
the score of an old copy. What holds of the pool holds of them, unless they say otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from nce_bias._checks import is_traced, refuse
from nce_bias.numerics.arrays import Array
from nce_bias.problem import Problem
from nce_bias.proposals import describe, reads_scores
from nce_bias.samplers._per_label import all_numbers, numbers
from nce_bias.samplers.base import Sampler


class Message(NamedTuple):
    """How a number that is no good is refused; `given` names its {value}, {label}, {input}."""

    argument: str
    given: str
    expected: str
    remedy: str


class FromPool(Sampler):
    """A pool, and the function of a label that decides what is taken of it, or what it weighs."""

    message: ClassVar[Message]

    pool: eqx.AbstractVar[Sampler]
    by: eqx.AbstractVar[Callable[..., Any]]

    def numbers(self, scores: Float[Array, " V"], popularity: Float[Array, " V"]) -> Array:
        """That of each label, `[V]`; not differentiated."""
        return numbers(self.message.argument, self.by, scores, popularity)

    @abstractmethod
    def wrong(self, rows: np.ndarray) -> np.ndarray:
        """Which numbers are no good."""

    def check(self, problem: Problem) -> None:
        self.pool.check(problem)
        if is_traced(problem, self):
            return
        rows, inputs = all_numbers(self.message.argument, self.by, problem)
        wrong = self.wrong(rows)
        if wrong.any():
            case, label = (int(i) for i in np.argwhere(wrong)[0])
            place = {"value": rows[case, label], "label": label, "input": int(inputs[case])}
            raise refuse(
                f"{self.message.argument} {describe(self.by)}",
                self.message.given.format(**place),
                self.message.expected,
                self.message.remedy,
            )

    @property
    def costly(self) -> bool:
        return self.pool.costly

    @property
    def may_be_empty(self) -> bool:
        return self.pool.may_be_empty

    @property
    def portable(self) -> bool:
        return self.pool.portable

    @property
    def reads_scores(self) -> bool:
        return self.pool.reads_scores or reads_scores(self.by)
