"""What the explorer's controls stand at, as negatives, a loss, and the code that says the same."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from nce_bias._checks import refuse
from nce_bias.losses import LOSSES, ExactLoss
from nce_bias.proposals import Proposal, mixture, model, popularity
from nce_bias.samplers import Sampler, iid, top, without_replacement

SAMPLERS = ("iid", "without_replacement", "top")


@dataclasses.dataclass(frozen=True)
class State:
    """Where the controls stand.

    q = share · model^(1/temperature) + (1 - share) · popularity^power.

    Attributes
    ----------
    m : int
        Negatives.
    temperature : float
        Of the model in q.
    share : float
        Of draws that are the model's; 0 and 1 leave the other part out.
    power : float
        Of the popularity; 0 is uniform.
    sampler : {"iid", "without_replacement", "top"}
        `top` reads no q.
    loss : str
        A name of `nb.LOSSES`.
    x : int
        Which input is looked at.
    """

    m: int = 4
    temperature: float = 1.0
    share: float = 0.0
    power: float = 0.0
    sampler: str = "iid"
    loss: str = "infonce"
    x: int = 0

    def __post_init__(self) -> None:
        _check("m", self.m, isinstance(self.m, int) and self.m >= 1, "a whole number of 1 or more")
        _check("temperature", self.temperature, 0 < self.temperature < math.inf, "above 0")
        _check("share", self.share, 0 <= self.share <= 1, "from 0 to 1")
        _check("power", self.power, math.isfinite(self.power), "a finite number")
        _check("sampler", self.sampler, self.sampler in SAMPLERS, " or ".join(map(repr, SAMPLERS)))
        _check("loss", self.loss, self.loss in LOSSES, "a name in nb.LOSSES")
        _check("x", self.x, isinstance(self.x, int) and self.x >= 0, "the number of an input")

    def negatives(self) -> Sampler:
        """As a sampler."""
        if self.sampler == "top":
            return top(self.m)
        draw = iid if self.sampler == "iid" else without_replacement
        return draw(self._proposal(), self.m)

    def contrastive_loss(self) -> ExactLoss:
        """As a loss."""
        return LOSSES[self.loss]

    def code(self, problem: str = "problem") -> str:
        """The call whose result is shown, to be copied.

        Examples
        --------
        >>> State(m=16, share=0.5, temperature=2.0).code()
        'nb.exact(problem.take([0]), nb.iid(nb.mixture(nb.model(temperature=2.0), nb.uniform(), \
share=0.5), m=16), nb.infonce)'
        """
        negatives = f"nb.top({self.m})"
        if self.sampler != "top":
            negatives = f"nb.{self.sampler}({self._proposal_code()}, m={self.m})"
        return f"nb.exact({problem}.take([{self.x}]), {negatives}, nb.{self.loss})"

    def _proposal(self) -> Proposal:
        """Always a mixture, so that moving a slider compiles nothing."""
        hard, easy = model(temperature=self.temperature), popularity(power=self.power)
        return mixture(hard, easy, share=self.share)

    def _proposal_code(self) -> str:
        hard = f"nb.model(temperature={self.temperature})"
        easy = "nb.uniform()" if self.power == 0 else f"nb.popularity(power={self.power})"
        if self.share in (0, 1):
            return hard if self.share else easy
        return f"nb.mixture({hard}, {easy}, share={self.share})"


def _check(name: str, given: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise refuse(name, f"got {given!r}", expected, "Set the control to such a value.")
