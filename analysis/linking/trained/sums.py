r"""Scores added up: what words, titles and counts know beside a trained encoder.

    s(x, y) = w . f(x, y) = Σ_j w_j f_j(x, y),      p_w(y | x) ∝ exp(s(x, y))

over all entities y of the mention's world. The weights, that of the encoder too, are those under
which the golds of the validation mentions are likeliest,

    L(w) = mean_x [ log Σ_y exp(w . f(x, y)) - w . f(x, gold) ],
    ∇L(w) = mean_x [ E_{p_w} f(x, y) - f(x, gold) ],

which is convex in w: the minimum that BFGS finds is the one there is, unless a combination of
scores is the same for all entities of every world. Test worlds are ranked with these weights; no
test gold is looked at before.

Of each mention and entity are added:

* the score of a trained encoder, and of another one where two are named;
* **words**: BM25, title ten times, and whether the title is the mention's text;
* **counts**: log(1 + how often tagged text has the entity), which is known of a language's words,
  not of a new world: a zero-shot system does not have it.

Weights of a likelihood are not those of the best recall; ranks count ties against the gold.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import typer
from jaxtyping import Float, Int
from rich.console import Console

import nce_bias as nb
from analysis.linking.tables import TITLES
from analysis.linking.trained import runs, setup
from analysis.linking.trained.baselines import title
from analysis.linking.trained.setup import Cell
from nce_bias._files import replacing
from nce_bias.retrieval import Scored
from nce_bias.retrieval.bm25 import Bm25
from nce_bias.retrieval.ranking import gold_ranks

#: Parts beside the encoders', by the name of their sum.
WORDS = ("bm25", "title")
SUMS = {"words": WORDS, "words, counts": (*WORDS, "counts")}

Fits = dict[str, dict[str, float]]


class World(NamedTuple):
    """Mentions of one world, and k scores of all its V entities.

    Attributes
    ----------
    rows : int `[n]`
        Which mentions of the split.
    golds : int `[n]`
        Of the world's entities.
    parts : `[k, n, V]`
        f_1 ... f_k.
    """

    rows: Int[np.ndarray, " n"]
    golds: Int[np.ndarray, " n"]
    parts: Float[np.ndarray, "k n V"]


def titles(data: nb.data.EntityLinking, split: str) -> Iterator[Scored]:
    """1 where the title of an entity is the text of the mention, else 0."""
    names = np.array([title(entity.title) for entity in data.entities])
    mentions, spans = data.mentions[split], data.candidates(split)
    for row, (first, end) in enumerate(spans.tolist()):
        same = names[first:end] == title(mentions[row].text)
        yield Scored(np.array([row]), first, same[None].astype(np.float32))


def counts(data: nb.data.EntityLinking, split: str) -> Iterator[Scored]:
    """Log of how often each entity is used, whatever the mention."""
    known = np.log(data.smoothed_counts()).astype(np.float32)
    for row, (first, end) in enumerate(data.candidates(split).tolist()):
        yield Scored(np.array([row]), first, known[None, first:end])


def worlds(
    data: nb.data.EntityLinking, split: str, parts: Iterable[Iterable[Scored]]
) -> list[World]:
    """Scores of k sources, gathered world by world; each has its mentions in any order."""
    firsts, labels = data.candidates(split)[:, 0], data.labels(split)
    rows = {first: np.flatnonzero(firsts == first) for first in np.unique(firsts).tolist()}
    filled = [runs.gathered(part, rows) for part in parts]
    return [
        World(inside, labels[inside] - first, np.stack([part[first] for part in filled]))
        for first, inside in rows.items()
    ]


def added(weights: Float[np.ndarray, " k"], world: World) -> Float[np.ndarray, "n V"]:
    """w . f of every mention and entity, in double precision."""
    scores = np.zeros(world.parts.shape[1:])
    for weight, part in zip(weights, world.parts, strict=True):
        scores += weight * part
    return scores


def loss(
    weights: Float[np.ndarray, " k"], some: list[World]
) -> tuple[float, Float[np.ndarray, " k"]]:
    """L and its gradient."""
    value, gradient, count = 0.0, np.zeros(len(weights)), 0
    for world in some:
        each = np.arange(len(world.rows))
        scores = added(weights, world)
        normal = np.asarray(scipy.special.logsumexp(scores, axis=1))
        value += float(np.sum(normal - scores[each, world.golds]))
        chance = np.exp(scores - normal[:, None])
        for k, part in enumerate(world.parts):
            gradient[k] += np.sum(chance * part) - np.sum(part[each, world.golds], dtype=float)
        count += len(world.rows)
    return value / count, gradient / count


def likeliest(some: list[World]) -> Float[np.ndarray, " k"]:
    """The weights under which the golds of these worlds are likeliest."""
    parts = range(len(some[0].parts))
    # in units of its spread each score has a weight of one size
    spread = np.array([np.mean([world.parts[k].std() for world in some]) for k in parts])

    def scaled(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(weights / spread, some)
        return value, gradient / spread

    found = scipy.optimize.minimize(scaled, np.ones(len(spread)), jac=True, method="BFGS")
    return found.x / spread


def ranks(weights: Float[np.ndarray, " k"], some: list[World]) -> Int[np.ndarray, " n"]:
    """Rank of each mention's gold by the sum, ties against it."""
    found = np.zeros(sum(len(world.rows) for world in some), int)
    for world in some:
        part = Scored(np.arange(len(world.rows)), 0, added(weights, world))
        found[world.rows] = gold_ranks(part, world.golds)
    return found


def chosen(some: list[World], names: Sequence[str], sums: Mapping[str, Sequence[str]]) -> Fits:
    """Weights of each sum, by its name and those of its parts."""
    found = {}
    for name, parts in sums.items():
        places = [names.index(part) for part in parts]
        fitted = likeliest([world._replace(parts=world.parts[places]) for world in some])
        found[name] = dict(zip(parts, fitted.tolist(), strict=True))
    return found


def measure(
    corpus: nb.retrieval.Corpus,
    data: nb.data.EntityLinking,
    cells: Sequence[Cell],
    work: pathlib.Path,
) -> tuple[Fits, dict[str, Int[np.ndarray, " n"]]]:
    """Weights of each sum, and ranks of both splits with them."""
    encoders = [cell.label for cell in cells]
    names = [*encoders, *WORDS, "counts"]
    sums = {name: (*encoders, *parts) for name, parts in SUMS.items()}
    models = [runs.trained(corpus, setup.FULL, cell, work).model for cell in cells]
    fits: Fits = {}
    found = {}
    for split in setup.HELD_OUT:  # the validation worlds come first
        sources = [
            runs.kept_scores(
                model, corpus[split], runs.folder_of(work, cell) / f"scores_{split}.npz"
            )
            for cell, model in zip(cells, models, strict=True)
        ]
        bm25 = Bm25(titles=max(TITLES.values())).scores(data, split)
        some = worlds(data, split, [*sources, bm25, titles(data, split), counts(data, split)])
        fits = fits or chosen(some, names, sums)
        for name, weights in fits.items():
            each = np.array([weights.get(part, 0.0) for part in names])
            found[f"{split} {name}"] = ranks(each, some).astype(np.int32)
    return fits, found


def main(
    work: Annotated[pathlib.Path, typer.Option(help="A folder of finished runs.")],
    only: Annotated[list[str], typer.Option(help='A run, such as "dual hard 0"; or two.')],
) -> None:
    """Add words and counts to the scores of one encoder, or of several."""
    cells = [next(cell for cell in setup.FULL.cells if cell.label == label) for label in only]
    data = nb.data.entity_linking()
    corpus = nb.retrieval.corpus(data, nb.text.minilm(max_tokens=setup.TOKENS), learn=True)
    fits, found = measure(corpus, data, cells, work)
    say = Console(stderr=True).print
    for name, weights in fits.items():
        for split in setup.HELD_OUT:
            hits = ", ".join(
                f"@{k} {100 * np.mean(found[f'{split} {name}'] <= k):.1f}" for k in setup.AT
            )
            say(f"{name}: {split} {hits}; {weights}")
    folder = work / "_".join(["sum", *(cell.folder for cell in cells)])
    folder.mkdir(exist_ok=True)
    with replacing(folder / "ranks.npz") as file:
        np.savez_compressed(file, allow_pickle=False, **found)
    about = {"runs": [cell._asdict() for cell in cells], "weights": fits}
    with replacing(folder / "about.json") as file:
        file.write(json.dumps(about, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
