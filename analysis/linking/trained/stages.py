"""The second stage of a run: a re-ranker trained on its candidates; small files, kept on disk.

Both orders are kept of one pass over the pairs: by the pair's score alone, which is JOINT as
published, and with the retriever's score in it.
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


def is_done(work: pathlib.Path, cell: Cell, name: str) -> bool:
    """Whether nothing of a second stage is left to do."""
    return (work / f"{name}_{cell.folder}" / "about.json").is_file()


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


def with_retriever(candidates: Ranked, pairs: np.ndarray, share: float) -> np.ndarray:
    """Scores of pairs and a share of the retriever's; -inf where there is no candidate."""
    return pairs + share * np.where(candidates.labels >= 0, candidates.scores, 0.0)


def weight(mentions: Any, candidates: Ranked, pairs: np.ndarray) -> float:
    """The share of `WEIGHTS` by which most of the mentions are linked, of equal ones the least."""
    linked = []
    for share in setup.WEIGHTS:
        found = reordered(mentions, candidates, with_retriever(candidates, pairs, share))
        linked.append(np.mean(found.ranks == 1))
    return setup.WEIGHTS[int(np.argmax(linked))]


def run(
    corpus: nb.retrieval.Corpus,
    design: Design,
    cell: Cell,
    work: pathlib.Path,
    say: runs.Say,
    name: str,
) -> None:
    """Retrieve, train, re-rank both held-out splits."""
    stage, folder = setup.STAGES[name], work / f"{name}_{cell.folder}"
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
        nb.retrieval.reranker(corpus, retriever, joined=stage.joined, seed=cell.seed),
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
    say(f"  {folder.name}: trained in {seconds['training']:.0f} s")
    of_retriever = np.load(runs.folder_of(work, cell) / "candidates.npz")
    pairs = {}
    for split in setup.HELD_OUT:
        began = took()
        kept = Ranked(*(of_retriever[f"{split} {part}"] for part in Ranked._fields))
        kept = Ranked(kept.ranks, kept.labels[:, : stage.depth], kept.scores[:, : stage.depth])
        pairs[split] = kept, pair_scores(trained.model, corpus[split], kept)
        seconds[f"re-ranking {split}"] = took() - began
    prior = float(trained.model.prior) if stage.joined else weight(corpus["val"], *pairs["val"])
    for split, (kept, alone) in pairs.items():
        for order, share in ((setup.JOINT, 0.0), (setup.JOINED, prior)):
            found = reordered(corpus[split], kept, with_retriever(kept, alone, share))
            ranks[f"{split} {order}"] = found.ranks.astype(np.int32)
        ranks[f"{split} retrieved"] = (kept.labels == corpus[split].labels[:, None]).any(axis=1)
        hits = np.mean(ranks[f"{split} {setup.JOINED}"] == 1)
        say(f"  {folder.name}: {split} @1 {100 * hits:.1f}, a = {prior:.2f}")
    with replacing(folder / "ranks.npz") as file:
        losses = trained.losses.astype(np.float32)
        np.savez_compressed(file, allow_pickle=False, losses=losses, **ranks)
    about = {
        **cell._asdict(),
        "depth": stage.depth,
        "mentions": len(mentions),
        "plan": dataclasses.asdict(stage.plan) | {"seed": cell.seed},
        "prior": prior,
        "steps": len(trained.losses),
        "seconds": seconds,
    }
    with replacing(folder / "about.json") as file:
        file.write(json.dumps(about, indent=1).encode())
