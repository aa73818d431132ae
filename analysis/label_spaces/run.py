"""The question: does the bias of the negatives decide what a model trained with them learns.

Next letter (27 labels, exact population) and next word (1000 labels, observed words). A model is
trained by the contrastive loss with each kind of negatives; at steps of its run and of a run by
cross entropy: exact bias and variance, cosine, and cross entropy on held-out text.
"""

import dataclasses
import itertools
import pathlib
from functools import partial
from typing import Any

import numpy as np

from analysis import tables
from analysis.estimators import named
from analysis.label_spaces import model as spaces
from analysis.label_spaces.measure import TOLERANCE, Letters, Words
from analysis.label_spaces.model import LOSSES, SEED, Space, Trainer
from analysis.next_word.model import BLOCKS
from analysis.problems import KINDS

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 55, "quick": 25}

CROSS_ENTROPY = "cross_entropy"


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """Words, candidates, steps kept, and examples for the bias and for the exact gradient."""

    labels: int
    candidates: dict[str, int]
    checkpoints: dict[str, tuple[int, ...]]
    examples: int
    gradient_examples: int
    seed: int = SEED
    context: int = spaces.CONTEXT
    batch: int = spaces.BATCH
    blocks: int = BLOCKS
    tolerance: float = TOLERANCE


FULL = Design(
    1000,
    {"letters": 8, "words": 64},
    {"letters": (1, 10, 100, 1000), "words": (1, 10, 100, 300)},
    96,
    6144,
)
QUICK = Design(
    100,
    {"letters": 8, "words": 16},
    {"letters": (1, 10), "words": (1, 10)},
    48,
    240,
    quick=True,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run, measured."""

    place: dict[str, str]
    bias: list[dict[str, Any]]
    losses: dict[int, np.ndarray]
    gradients: dict[int, dict[str, float]]


def measured(trainer: Trainer, measure: Letters | Words, kind: str, losses: list[str]) -> Run:
    """Train with one kind of negatives and the one loss of `losses`, and take the bias of that.

    On a run by cross entropy: of all kinds and losses, with words at the last step alone.
    """
    of_all = kind == CROSS_ENTROPY
    place = {"space": trainer.space.name, "trained_with": kind}
    found = Run(place if of_all else place | {"trained_loss": losses[0]}, [], {}, {})
    for step, model in trainer.run(kind, losses[0]).items():
        gradient = measure.gradient(model)
        found.losses[step] = measure.losses(model)
        found.gradients[step] = named("gradient", measure.gradient_norm(gradient))
        if of_all and isinstance(measure, Words) and step < max(trainer.checkpoints):
            continue
        for negatives, loss in itertools.product(KINDS if of_all else (kind,), losses):
            row = {"loss_name": loss, "step": step, "negatives": negatives}
            found.bias.append(place | row | measure.bias(model, negatives, loss, gradient))
    return found


def training_rows(run: Run, reference: Run, space: Space) -> list[dict[str, Any]]:
    """Held-out cross entropy and how much it is above that of the run by cross entropy."""
    found = []
    for step, losses in run.losses.items():
        more = losses - reference.losses[step]
        count = len(more)
        found.append(
            {"trained_loss": CROSS_ENTROPY}
            | run.place
            | {
                "step": step,
                "held_out_loss": float(losses.mean()),
                "excess": float(more.mean()),
                "excess_se": float(more.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0,
                **run.gradients[step],
                "unigram_loss": space.unigram_loss,
                "floor": space.floor,
            }
        )
    return found


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv``, ``training.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given = [
        spaces.next_words(design.labels, design.candidates["words"]),
        spaces.letters(design.candidates["letters"]),
    ]
    tasks = []
    for space in given:
        steps = design.checkpoints[space.name]
        trainer = Trainer(space, max(steps), steps)
        measure: Letters | Words = (
            Letters(space)
            if space.name == "letters"
            else Words(space, design.examples, design.gradient_examples)
        )
        # the two losses side by side: they are what compiles
        pairs = itertools.product(KINDS, LOSSES)
        tasks += [partial(measured, trainer, measure, kind, [loss]) for kind, loss in pairs]
        tasks.append(partial(measured, trainer, measure, CROSS_ENTROPY, list(LOSSES)))
    runs = tables.parallel(tasks, "label_spaces")
    references = {r.place["space"]: r for r in runs if r.place["trained_with"] == CROSS_ENTROPY}
    by_name = {space.name: space for space in given}
    training = [
        row
        for r in runs
        for row in training_rows(r, references[r.place["space"]], by_name[r.place["space"]])
    ]
    tables.write(
        out,
        {"bias": [row for r in runs for row in r.bias], "training": training},
        design,
        source={space.name: space.source for space in given},
        licence=given[0].licence,
    )
