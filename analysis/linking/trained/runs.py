"""One run: trained, ranked on both held-out splits; small files, kept on disk.

A cell whose files are there is not run again; one that was cut short goes on from its checkpoint,
and does again what came behind it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import nce_bias as nb
from analysis.linking.trained import setup, tables
from analysis.linking.trained.setup import Cell, Design
from nce_bias._files import replacing
from nce_bias.retrieval.ranking import ranked
from nce_bias.retrieval.training import digest
from nce_bias.retrieval.worlds import World, worlds_of

#: Seconds on two quiet cores: a step without and with mined entities, a mining, ranking.
STEP = {"in-batch": 1.8}
MINED_STEP, MINING, RANKING = 4.5, 180, 240
SOM_MINING = 420  # all pairs of tokens of a world

Say = Callable[[str], None]


def folder_of(work: pathlib.Path, cell: Cell) -> pathlib.Path:
    """Where a cell keeps its files."""
    return work / cell.folder


def is_done(work: pathlib.Path, cell: Cell) -> bool:
    """Whether nothing of the cell is left to do."""
    return (folder_of(work, cell) / "about.json").is_file()


def missing(work: pathlib.Path, cell: Cell) -> list[Cell]:
    """Passes before a cell's that are not at hand: without their models it cannot begin."""
    return [one for one in cell.earlier if not is_done(work, one)]


def with_earlier(work: pathlib.Path, cells: Sequence[Cell]) -> list[Cell]:
    """These cells, and before each what has to be trained for it; each once."""
    return list(dict.fromkeys(one for cell in cells for one in (*missing(work, cell), cell)))


def steps_of(corpus: nb.retrieval.Corpus, design: Design) -> int:
    """Steps of one run."""
    held = len(corpus["train"])
    return design.plan.epochs * (min(design.plan.mentions or held, held) // design.plan.batch)


def expected(corpus: nb.retrieval.Corpus, design: Design, cells: Sequence[Cell]) -> float:
    """Seconds, about."""
    steps = steps_of(corpus, design)
    total = 0.0
    for cell in cells:
        total += steps * STEP.get(cell.own, MINED_STEP) + RANKING
        if cell.own in ("mixed", "hard"):
            mining = SOM_MINING if cell.score == "som" else MINING
            total += mining * -(-steps // design.plan.mine_every)
    return total


def run_all(
    corpus: nb.retrieval.Corpus,
    design: Design,
    cells: Sequence[Cell],
    work: pathlib.Path,
    say: Say,
) -> None:
    """Every cell that is not done, here or among the results."""
    kept = tables.kept() if design == setup.FULL else []
    left = [cell for cell in cells if not (is_done(work, cell) or cell in kept)]
    minutes = expected(corpus, design, with_earlier(work, left)) / 60
    say(
        f"{len(cells)} runs, {len(cells) - len(left)} of them done; about "
        f"{minutes:.0f} min to go on two cores. Ctrl-C loses nothing."
    )
    for place, cell in enumerate(left, start=1):
        began = time.monotonic()
        run(corpus, design, cell, work, say)
        rest = expected(corpus, design, with_earlier(work, left[place:])) / 60
        took = f"{time.monotonic() - began:.0f} s; about {rest:.0f} min left"
        say(f"[{place}/{len(left)}] {cell.label}: {took}")


def checkpoints(corpus: nb.retrieval.Corpus, design: Design) -> list[int]:
    """Steps whose models a run keeps: those that mine, and the last."""
    steps = steps_of(corpus, design)
    return [*range(design.plan.mine_every, steps, design.plan.mine_every), steps]


def trained(
    corpus: nb.retrieval.Corpus, design: Design, cell: Cell, work: pathlib.Path
) -> nb.train.Fit:
    """The run of a cell: from its checkpoint, as far as there is one.

    A second pass begins with the first one's model, which is trained if its checkpoint is gone.
    """
    start = None if cell.before is None else trained(corpus, design, cell.before, work).model
    found = nb.retrieval.train_encoder(
        corpus,
        setup.scores()[cell.score],
        setup.NEGATIVES[cell.own],
        config=design.plan_of(cell),
        start=start,
        checkpoints=checkpoints(corpus, design),
        folder=folder_of(work, cell),
        every=25,
    )
    if found.status.startswith("interrupted"):
        raise KeyboardInterrupt(found.status)
    if found.status != "ok":
        raise RuntimeError(f"{cell.label}: {found.status}")
    return found


def run(
    corpus: nb.retrieval.Corpus, design: Design, cell: Cell, work: pathlib.Path, say: Say
) -> None:
    """Train, rank, keep candidates."""
    folder = folder_of(work, cell)
    began = time.monotonic()
    found = trained(corpus, design, cell, work)
    seconds = {"training": time.monotonic() - began}
    say(f"  {cell.label}: trained in {seconds['training']:.0f} s, {len(found.losses)} steps")
    ranks: dict[str, Any] = {}
    candidates: dict[str, Any] = {}
    for split in setup.HELD_OUT:
        kept = kept_scores(found.model, corpus, split, folder)
        best = ranked(kept.parts, corpus[split], setup.CANDIDATES)
        ranks[split] = best.ranks.astype(np.int32)
        candidates |= {f"{split} {name}": part for name, part in best._asdict().items()}
        seconds[f"ranking {split}"] = kept.seconds
        hits = ", ".join(f"@{k} {100 * np.mean(ranks[split] <= k):.1f}" for k in setup.AT)
        say(f"  {cell.label}: {split} {hits}, ranked in {seconds[f'ranking {split}']:.0f} s")
    _save(folder / "candidates.npz", candidates)
    _save(folder / "ranks.npz", ranks | {"losses": found.losses.astype(np.float32)})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the process so far
    about = {
        **cell._asdict(),
        "steps": len(found.losses),
        "seconds": seconds,
        "peak_gib": peak,
        "plan": dataclasses.asdict(design.plan_of(cell)),
        "recall": {
            split: {str(k): float(np.mean(ranks[split] <= k)) for k in setup.AT}
            for split in setup.HELD_OUT
        },
    }
    with replacing(folder / "about.json") as file:
        file.write(json.dumps(about, indent=1).encode())


class Kept(NamedTuple):
    """Scores of a run: one part of each world, and how long they took."""

    parts: list[nb.retrieval.Scored]
    seconds: float


def kept_scores(
    model: nb.retrieval.EncoderRetriever,
    corpus: nb.retrieval.Corpus,
    split: str,
    folder: pathlib.Path,
) -> Kept:
    """Scores against all entities of each world, computed once and kept in a run's folder.

    They are those of this model: of another one's nothing is taken.
    """
    path, name = folder / f"scores_{split}.npz", digest(model)
    mentions = corpus[split]
    worlds = worlds_of(mentions.spans)
    if not path.is_file() or _model_of(path) != name:
        began = time.monotonic()
        found = gathered(nb.retrieval.world_scores(model, mentions, progress=True), worlds)
        arrays = {str(first): scores for first, scores in found.items()}
        took = time.monotonic() - began
        _save(path, arrays | {"model": np.array(name), "seconds": np.array(took)})
    with np.load(path, allow_pickle=False) as file:
        parts = [nb.retrieval.Scored(one.rows, one.first, file[str(one.first)]) for one in worlds]
        return Kept(parts, float(file["seconds"]))


def _model_of(path: pathlib.Path) -> str:
    with np.load(path, allow_pickle=False) as file:
        return str(file["model"])


def gathered(
    parts: Iterable[nb.retrieval.Scored], worlds: Sequence[World]
) -> dict[int, Float[np.ndarray, "n V"]]:
    """Scores of the mentions of each world, by its first entity, in the mentions' order.

    Parts come in any order.

    Raises
    ------
    ValueError
        For a mention without scores.
    """
    rows = {world.first: world.rows for world in worlds}
    found = {
        world.first: np.full((len(world.rows), world.end - world.first), np.nan, np.float32)
        for world in worlds
    }
    for part in parts:
        found[part.first][np.searchsorted(rows[part.first], part.rows)] = part.scores
    missing = sum(int(np.isnan(scores).any(axis=1).sum()) for scores in found.values())
    if missing:
        raise ValueError(f"scores: {missing} mentions have none, expected some of every one")
    return found


def _save(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
