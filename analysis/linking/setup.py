"""What is trained and what is measured: scores, negatives, seeds, sizes.

Everything here was fixed on the validation worlds.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

import nce_bias as nb
from analysis import tables
from nce_bias.retrieval import TrainingConfig
from nce_bias.samplers import Sampler

M = 63  # negatives; with the gold K = 64 candidates
WIDTH = 64
CODES, VECTORS = 8, 8  # of POLY and MULTI
SHARES = (0, 25, 50, 75, 100)  # per cent of the negatives that are the hardest of the world
AT = (1, 8, 64)
MEASURED = 16  # mentions of each test world whose gradients are looked at


def hard_count(share: int) -> int:
    """How many of M negatives are hard."""
    return (M * share + 50) // 100


def _mixed(share: int, easy) -> Sampler:
    hard = hard_count(share)
    if hard in (0, M):
        return nb.top(M) if hard else easy(M)
    return nb.top(hard) + easy(M - hard)


def name(share: int) -> str:
    """Of a share of hard negatives."""
    return {0: "random", 100: "hard"}.get(share, f"mixed-{share}")


#: What is trained with: distinct negatives, uniform ones from all training entities.
TRAINED = {
    name(s): _mixed(s, lambda m: nb.without_replacement(nb.uniform(), m)) for s in SHARES
} | {"model": nb.without_replacement(nb.model(), M)}

#: What is measured exactly. Uniform negatives are independent here: of 10^4 labels 63 draws
#: coincide so rarely that the difference is below a hundredth (`distinct` in the results).
EXACT = {name(s): _mixed(s, lambda m: nb.iid(nb.uniform(), m)) for s in SHARES} | {
    "model, independent": nb.iid(nb.model(), M)
}

#: What is measured by sampling, with standard errors: distinct negatives of the model.
SAMPLED = {"model": nb.without_replacement(nb.model(), M)}
DRAWS = 64  # candidate sets of each mention, twice


def scores() -> dict[str, nb.scores.Score]:
    """By name. The codes of POLY are trained from small random ones."""
    codes = jax.random.normal(jax.random.key(7), (CODES, WIDTH), jnp.float32)
    return {
        "dual": nb.scores.Dual(),
        "multi8": nb.scores.Multi(VECTORS),
        "som": nb.scores.Som(),
        "poly8": nb.scores.Poly(codes),
    }


class Cell(NamedTuple):
    """One training run."""

    score: str
    negatives: str
    seed: int

    @property
    def label(self) -> str:
        """For files and tables."""
        return f"{self.score} {self.negatives} {self.seed}"


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """Which runs there are, and how long each is.

    Attributes
    ----------
    negatives : mapping of score to names of negatives
    seeds : int
    plan : TrainingConfig
        Its seed is that of the cell.
    once : names of scores
        Trained with seed 0 alone.
    measured : int
        Mentions of each test world whose gradients are looked at.
    draws : int
        Candidate sets of each of them where there is no exact method.
    """

    negatives: dict[str, tuple[str, ...]]
    seeds: int
    plan: TrainingConfig
    once: tuple[str, ...] = ()
    measured: int = MEASURED
    draws: int = DRAWS

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a set of runs that is cut short is a smaller set."""
        kinds = [(score, kind) for score, found in self.negatives.items() for kind in found]
        cells = [Cell(*kind, seed) for seed, kind in itertools.product(range(self.seeds), kinds)]
        return [cell for cell in cells if cell.seed == 0 or cell.score not in self.once]

    def checkpoints(self, cell: Cell) -> list[int]:
        """Steps whose models are measured: along seed 0, the last of every run.

        The untrained model is that of all negatives, and measured once.
        """
        each = self.plan.mentions // self.plan.batch
        last = each * self.plan.epochs
        if cell.seed:
            return [last]
        begin = [0] if cell.negatives == self.negatives[cell.score][0] else []
        return [*begin, *sorted({each, min(2 * each, last), last})]


PLAN = TrainingConfig(epochs=4, batch=32, mentions=1536, learning_rate=2e-3, dim=WIDTH)
MAIN = ("random", "mixed-50", "hard")
FULL = Design(
    {"dual": tuple(TRAINED), "som": (*MAIN, "model"), "multi8": MAIN, "poly8": MAIN},
    seeds=3,
    plan=PLAN,
    once=("poly8",),
)
