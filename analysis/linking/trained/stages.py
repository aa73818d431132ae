"""The second stage of a run: a re-ranker trained on its candidates; small files, kept on disk.

Both orders are kept of one pass over the pairs: by the pair's score alone, which is JOINT as
published, and with the retriever's share in it, which is what is trained.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any

import numpy as np

import nce_bias as nb
from analysis.linking.trained import runs, setup
from analysis.linking.trained.setup import Cell, Design, Stage
from nce_bias._files import replacing
from nce_bias.retrieval import Ranked
from nce_bias.retrieval.reranker import pair_scores, reordered


def folder_of(work: pathlib.Path, cell: Cell) -> pathlib.Path:
    """Where the second stage of a cell keeps its files."""
    return work / f"joint_{cell.folder}"


def is_done(work: pathlib.Path, cell: Cell) -> bool:
    """Whether nothing of it is left to do."""
    return (folder_of(work, cell) / "about.json").is_file()


def mentions_of(corpus: nb.retrieval.Corpus, cell: Cell, stage: Stage) -> nb.retrieval.Mentions:
    """Training mentions of the second stage."""
    order = np.random.default_rng([cell.seed, 1]).permutation(len(corpus["train"]))
    return corpus["train"][np.sort(order[: stage.mentions])]


def _retrieved(path: pathlib.Path, model: Any, mentions: Any, depth: int) -> Ranked:
    """Candidates of the training mentions, found once and kept."""
    if not path.is_file():
        found = nb.retrieval.rank_candidates(model, mentions, depth)
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **found._asdict())
    with np.load(path, allow_pickle=False) as file:
        return Ranked(*(file[name] for name in Ranked._fields))


def run(
    corpus: nb.retrieval.Corpus,
    design: Design,
    cell: Cell,
    work: pathlib.Path,
    say: runs.Say,
    stage: Stage = setup.STAGE,
) -> None:
    """Retrieve, train, re-rank both held-out splits."""
    folder = folder_of(work, cell)
    folder.mkdir(parents=True, exist_ok=True)
    retriever = runs.trained(corpus, design, cell, work).model
    seconds, ranks, took = {}, {}, time.monotonic
    began = took()
    mentions = mentions_of(corpus, cell, stage)
    found = _retrieved(folder / "train.npz", retriever, mentions, stage.depth)
    seconds["retrieving"] = took() - began
    share = np.mean((found.labels == mentions.labels[:, None]).any(axis=1))
    say(f"  {folder.name}: {100 * share:.1f} % of golds in {seconds['retrieving']:.0f} s")
    began = took()
    trained = nb.retrieval.train_reranker(
        nb.retrieval.reranker(corpus, retriever, seed=cell.seed),
        mentions,
        found,
        config=dataclasses.replace(stage.plan, seed=cell.seed),
        folder=folder,
        every=25,
    )
    if trained.status.startswith("interrupted"):
        raise KeyboardInterrupt(trained.status)
    if trained.status != "ok":
        raise RuntimeError(f"{folder.name}: {trained.status}")
    seconds["training"] = took() - began
    prior = float(trained.model.prior)
    say(f"  {folder.name}: trained in {seconds['training']:.0f} s, a = {prior:.2f}")
    of_retriever = np.load(runs.folder_of(work, cell) / "candidates.npz")
    for split in setup.HELD_OUT:
        began = took()
        kept = Ranked(*(of_retriever[f"{split} {name}"] for name in Ranked._fields))
        kept = Ranked(kept.ranks, kept.labels[:, : stage.depth], kept.scores[:, : stage.depth])
        alone = pair_scores(trained.model, corpus[split], kept)
        joined = alone + prior * np.where(kept.labels >= 0, kept.scores, 0)
        for name, scores in ((setup.JOINT, alone), (setup.JOINED, joined)):
            ranks[f"{split} {name}"] = reordered(corpus[split], kept, scores).ranks.astype(np.int32)
        ranks[f"{split} retrieved"] = (kept.labels == corpus[split].labels[:, None]).any(axis=1)
        seconds[f"re-ranking {split}"] = took() - began
        hits = np.mean(ranks[f"{split} {setup.JOINED}"] == 1)
        say(f"  {folder.name}: {split} @1 {100 * hits:.1f}")
    with replacing(folder / "ranks.npz") as file:
        losses = trained.losses.astype(np.float32)
        np.savez_compressed(file, allow_pickle=False, losses=losses, **ranks)
    about = {
        **cell._asdict(),
        "depth": stage.depth,
        "mentions": stage.mentions,
        "plan": dataclasses.asdict(stage.plan) | {"seed": cell.seed},
        "prior": prior,
        "steps": len(trained.losses),
        "seconds": seconds,
    }
    with replacing(folder / "about.json") as file:
        file.write(json.dumps(about, indent=1).encode())
