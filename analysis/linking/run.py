"""The question: what do hard negatives do to recall, and does their gradient bias explain it.

`python -m analysis.linking.full` trains every retriever and writes the tables that the page and the
figures show. `run`, which `make figures` calls, is the same in small: hashed words in place of
MiniLM, five training worlds, one seed; its tables go to a folder of their own.
"""

from __future__ import annotations

import pathlib
import shutil
import tempfile

import nce_bias as nb
from analysis.linking import runs, tables
from analysis.linking.setup import MAIN, Design
from nce_bias.retrieval import TrainingConfig

#: About how long a run takes on two cores, in seconds.
SECONDS = {"full": 45, "quick": 30}

WORLDS = {
    "train": ("verb.cognition", "verb.creation", "verb.motion", "verb.possession", "verb.stative"),
    "val": ("noun.act",),
    "test": ("noun.artifact",),
}
SIZE = 64  # of a hashed word
STORED = pathlib.Path(__file__).parent / "results"
DRAWN = ("recall.csv", "moments.csv", "scatter.csv", "correlation.csv")
REDUCED = Design({"dual": MAIN}, 1, TrainingConfig(epochs=2, mentions=1024), measured=6, draws=16)
QUICK = Design(
    {"dual": ("random", "hard")},
    1,
    TrainingConfig(epochs=2, mentions=128),
    measured=4,
    draws=8,
    quick=True,
)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write the tables of the reduced form to ``reduced``, and those of all runs as stored.

    The pictures are of all runs, which take an hour (`analysis.linking.full`); with `quick` of the
    reduced form.
    """
    data = part(nb.data.entity_linking(), WORLDS)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        corpus = nb.retrieval.corpus(data, nb.text.hashed(SIZE), folder=place / "states")
        design = QUICK if quick else REDUCED
        for cell in design.cells:  # each with the bar of its training
            runs.run(corpus, design, cell, place / "runs")
        tables.write(corpus, data, design, place / "runs", out / "reduced")
    if not quick:
        for table in DRAWN:
            if (STORED / table).is_file():
                shutil.copyfile(STORED / table, out / table)


def part(data: nb.data.EntityLinking, worlds: dict[str, tuple[str, ...]]) -> nb.data.EntityLinking:
    """Some worlds of a data set."""
    entities, spans, moved = [], {}, {}
    for world in sorted(world for some in worlds.values() for world in some):
        span = data.spans[world]
        moved[world] = len(entities) - span.start
        spans[world] = slice(len(entities), len(entities) + span.stop - span.start)
        entities += data.entities[span]
    mentions = {
        split: tuple(
            mention._replace(label=mention.label + moved[mention.world])
            for mention in data.mentions[split]
            if mention.world in some
        )
        for split, some in worlds.items()
    }
    return nb.data.EntityLinking(tuple(entities), mentions, spans, data.source, data.licence)
