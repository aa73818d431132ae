"""What is trained: scores, negatives, seeds, sizes; every constant of the set-up is here."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

import nce_bias as nb
from analysis import tables
from analysis.linking.trained.kinds import own
from nce_bias.retrieval import EncoderConfig, RerankerConfig
from nce_bias.samplers import Sampler

#: The two orders of a second stage: by the pair's score alone, and with the retriever's in it.
JOINT, JOINED = "joint", "joint + retriever"
MINED = 2  # labels mined for each mention: 64 golds and 128 mined entities are a batch's pool
CANDIDATES = 64  # kept of each mention, for the re-ranker
AT = (1, 8, 64)
HELD_OUT = ("val", "test")
TOKENS = 64  # of a text that are read; 62 of 75,919 entities have more

#: What is mined for each mention; uniform negatives are of all training entities.
NEGATIVES: dict[str, Sampler | None] = {
    "in-batch": None,
    "random": nb.without_replacement(nb.uniform(), MINED),
    "mixed": nb.top(1) + nb.without_replacement(nb.uniform(), MINED - 1),
    "hard": nb.top(MINED),
}
PASS = 1000  # between the seeds of a run's passes
CODES, VECTORS = 8, 8  # of POLY and MULTI
SCORES = ("dual", "som", "multi8", "poly8")
#: Width of columns, by a map that is trained: a world's scores by all pairs of tokens are dear.
WIDTHS = {"som": 128}
#: Codes so small that POLY begins near the mean of the tokens, whose length is the scale: 20.
SMALL, WIDTH = 0.05, 384


@functools.cache
def scores() -> dict[str, nb.scores.Score]:
    """Each of `SCORES`; made when they are asked for, as codes are computed."""
    codes = SMALL * jax.random.normal(jax.random.key(7), (CODES, WIDTH), jnp.float32)
    all_ = nb.scores.Dual(), nb.scores.Som(), nb.scores.Multi(VECTORS), nb.scores.Poly(codes)
    return dict(zip(SCORES, all_, strict=True))


class Cell(NamedTuple):
    """One training run; the negatives of a second pass are those of each, "hard+hard"."""

    score: str
    negatives: str
    seed: int

    @property
    def own(self) -> str:
        """The kind of its negatives, in the last pass."""
        return own(self.negatives)

    @property
    def before(self) -> Cell | None:
        """The run whose model it goes on from, if it is no first pass."""
        earlier, plus, _ = self.negatives.rpartition("+")
        return self._replace(negatives=earlier) if plus else None

    @property
    def earlier(self) -> list[Cell]:
        """The passes before it, from the first on."""
        return [*self.before.earlier, self.before] if self.before else []

    @property
    def label(self) -> str:
        """For tables and `--only`."""
        return f"{self.score} {self.negatives} {self.seed}"

    @property
    def folder(self) -> str:
        """Name of the folder of its files; a second stage's begins with the name of that."""
        return self.label.replace(" ", "_")


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """Which runs there are, and how long each is.

    Attributes
    ----------
    scores, negatives : names
    seeds : int
    plan : EncoderConfig
        Its seed is that of the cell.
    more : cells
        Runs beside these: of a second pass, of another seed.
    """

    scores: tuple[str, ...]
    negatives: tuple[str, ...]
    seeds: int
    plan: EncoderConfig
    more: tuple[Cell, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a set of runs that is cut short is a smaller set."""
        grid = itertools.product(range(self.seeds), self.scores, self.negatives)
        return [*(Cell(score, kind, seed) for seed, score, kind in grid), *self.more]

    def plan_of(self, cell: Cell) -> EncoderConfig:
        """The plan of one run; its passes have seeds of their own, those of every run."""
        seed = cell.seed + PASS * cell.negatives.count("+")
        return dataclasses.replace(self.plan, seed=seed, dim=WIDTHS.get(cell.score))


@dataclasses.dataclass(frozen=True)
class Stage:
    """The second stage: what reads pairs, on what a trained retriever found.

    Attributes
    ----------
    joined : bool
        Whether the retriever's score is part of what is trained. Otherwise its weight is the best
        of `WEIGHTS` on the validation worlds, once the pairs' score is trained.
    depth : int
        Candidates of each mention, in training and when it is re-ranked.
    mentions : int, optional
        Training mentions whose candidates are retrieved, the first of a random order; default:
        all.
    plan : RerankerConfig
        Its seed is that of the cell.
    """

    joined: bool
    depth: int = 16
    mentions: int | None = 5120
    plan: RerankerConfig = dataclasses.field(default_factory=RerankerConfig)


#: By name: what reads pairs alone, of all mentions too, as many pairs a step; and what learns what
#: its retriever leaves open.
STAGES = {
    "joint": Stage(joined=False, plan=RerankerConfig(learning_rate=1e-4)),
    "joint-all": Stage(
        joined=False,
        mentions=None,
        plan=RerankerConfig(batch=32, negatives=3, learning_rate=1e-4),
    ),
    "residual": Stage(joined=True),
}
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
MORE = (
    Cell("poly8", "hard+hard", 0),
    Cell("multi8", "mixed+mixed", 0),
    Cell("dual", "random", 1),
    Cell("dual", "hard", 1),
)
FULL = Design(SCORES, tuple(NEGATIVES), seeds=1, plan=EncoderConfig(), more=MORE)


def cells_of(labels: Sequence[str]) -> list[Cell]:
    """The runs of these names, each once, in the order of the design.

    Raises
    ------
    ValueError
        For a name of no run.
    """
    by_label = {cell.label: cell for cell in FULL.cells}
    for label in labels:
        if label not in by_label:
            raise ValueError(f"no run {label!r}; there are: {', '.join(by_label)}")
    return [cell for label, cell in by_label.items() if label in labels]


def check_stages(names: Iterable[str]) -> None:
    """Refuse a name of no second stage with `ValueError`."""
    for name in names:
        if name not in STAGES:
            raise ValueError(f"no second stage {name!r}; there are: {', '.join(STAGES)}")
