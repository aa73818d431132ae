r"""Scores added up: what words, titles and counts know beside a trained encoder.

    s(x, y) = w . f(x, y) = Σ_j w_j f_j(x, y),      p_w(y | x) ∝ exp(s(x, y))

over all entities y of the mention's world. The weights, that of the encoder too, are those under
which the golds of the validation mentions are likeliest,

    L(w) = mean_x [ log Σ_y exp(w . f(x, y)) - w . f(x, gold) ],
    ∇L(w) = mean_x [ E_{p_w} f(x, y) - f(x, gold) ],

which is convex in w: where BFGS finds the slope 0, nothing is lower. There is such a place unless
some weights put every gold above all other entities; it is the only one unless a combination of
scores is the same for all entities of each mention. Test worlds are ranked with these weights; no
test gold is looked at before.

Of each mention and entity are added:

* the score of a trained encoder, and of another one where two are named;
* **words**: BM25, title ten times, and whether the title is the mention's text, small letters and
  without a plural;
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
from nce_bias.retrieval.worlds import worlds_of

#: Parts beside the encoders', by the name of their sum.
WORDS = ("bm25", "title")
SUMS = {"words": WORDS, "words, counts": (*WORDS, "counts")}

SLOPE = 1e-3  # of the mean loss, in units of a score's spread
Fits = dict[str, dict[str, float]]


class Parts(NamedTuple):
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
    """1 where the title of an entity is the text of the mention, as `title` has both, else 0."""
    names = np.array([title(entity.title) for entity in data.entities])
    texts = np.array([title(mention.text) for mention in data.mentions[split]])
    for first, end, rows in worlds_of(data.candidates(split)):
        yield Scored(rows, first, (names[first:end] == texts[rows, None]).astype(np.float32))


def counts(data: nb.data.EntityLinking, split: str) -> Iterator[Scored]:
    """Log of how often each entity is used, whatever the mention."""
    known = np.log(data.smoothed_counts()).astype(np.float32)
    for first, end, rows in worlds_of(data.candidates(split)):
        yield Scored(rows, first, np.broadcast_to(known[first:end], (len(rows), end - first)))


def worlds(
    data: nb.data.EntityLinking, split: str, sources: Iterable[Iterable[Scored]]
) -> list[Parts]:
    """Scores of k sources, gathered world by world; each has its mentions in any order."""
    labels, each = data.labels(split), worlds_of(data.candidates(split))
    filled = [runs.gathered(source, each) for source in sources]
    return [
        Parts(rows, labels[rows] - first, np.stack([one[first] for one in filled]))
        for first, _, rows in each
    ]


def added(weights: Float[np.ndarray, " k"], world: Parts) -> Float[np.ndarray, "n V"]:
    """w . f of every mention and entity, in double precision."""
    scores = np.zeros(world.parts.shape[1:])
    for weight, part in zip(weights, world.parts, strict=True):
        scores += weight * part
    return scores


def loss(
    weights: Float[np.ndarray, " k"], some: list[Parts]
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


def likeliest(some: list[Parts]) -> Float[np.ndarray, " k"]:
    """The weights under which the golds of these worlds are likeliest.

    Raises
    ------
    ValueError
        For a score that is the same everywhere, and where no weights are the likeliest.
    """
    parts = range(len(some[0].parts))
    # in units of its spread each score has a weight of one size
    spread = np.array([np.mean([world.parts[k].std() for world in some]) for k in parts])
    if not (spread > 0).all():
        same = ", ".join(str(k) for k in parts if not spread[k] > 0)
        raise ValueError(f"scores {same} are the same everywhere, expected some that differ")

    def scaled(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(weights / spread, some)
        return value, gradient / spread

    found = scipy.optimize.minimize(scaled, np.ones(len(spread)), jac=True, method="BFGS")
    # BFGS stops at slopes of 1e-5, or a little above where rounding lets it find nothing lower;
    # a loss of about 0 is that of golds above all others, which falls for ever
    if np.abs(found.jac).max() > SLOPE or found.fun < SLOPE:
        raise ValueError(
            f"golds have no likeliest weights: {found.message} Loss {found.fun:.3g}, slope "
            f"{np.abs(found.jac).max():.3g}; more mentions, or fewer scores, would."
        )
    return found.x / spread


def ranks(weights: Float[np.ndarray, " k"], some: list[Parts]) -> Int[np.ndarray, " n"]:
    """Rank of each mention's gold by the sum, ties against it."""
    found = np.zeros(sum(len(world.rows) for world in some), int)
    for world in some:
        part = Scored(np.arange(len(world.rows)), 0, added(weights, world))
        found[world.rows] = gold_ranks(part, world.golds)
    return found


def chosen(some: list[Parts], names: Sequence[str], sums: Mapping[str, Sequence[str]]) -> Fits:
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
    """Weights of each sum, from the validation worlds, and ranks of both splits with them."""
    encoders = [cell.label for cell in cells]
    names = [*encoders, *WORDS, "counts"]
    models = [runs.trained(corpus, setup.FULL, cell, work).model for cell in cells]

    def scored(split: str) -> list[Parts]:
        sources: list[Iterable[Scored]] = [
            runs.kept_scores(model, corpus, split, runs.folder_of(work, cell)).parts
            for cell, model in zip(cells, models, strict=True)
        ]
        bm25 = Bm25(titles=TITLES["title ten times"]).scores(data, split)
        return worlds(data, split, [*sources, bm25, titles(data, split), counts(data, split)])

    validation = scored("val")
    sums = {name: (*encoders, *parts) for name, parts in SUMS.items()}
    fits = chosen(validation, names, sums)

    def ranked(split: str, some: list[Parts]) -> dict[str, np.ndarray]:
        found = {}
        for name, weights in fits.items():
            each = np.array([weights.get(part, 0.0) for part in names])
            found[f"{split} {name}"] = ranks(each, some).astype(np.int32)
        return found

    return fits, ranked("val", validation) | ranked("test", scored("test"))


def main(
    work: Annotated[pathlib.Path, typer.Option(help="A folder of finished runs.")],
    only: Annotated[list[str], typer.Option(help='A run, such as "dual hard 0"; may be repeated.')],
) -> None:
    """Add words and counts to the scores of one encoder, or of several."""
    say = Console(stderr=True).print
    try:
        cells = setup.cells_of(only)
    except ValueError as error:
        say(str(error))
        raise typer.Exit(2) from None
    for cell in cells:
        for one in (*cell.earlier, cell):
            if not runs.is_done(work, one):
                say(f'{one.label} is not done: full --work {work} --only "{one.label}" trains it.')
                raise typer.Exit(2)
    data = nb.data.entity_linking()
    corpus = nb.retrieval.corpus(data, nb.text.minilm(max_tokens=setup.TOKENS), learn=True)
    fits, found = measure(corpus, data, cells, work)
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
