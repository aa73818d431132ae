"""The tables of the runs that are done, beside words alone and the best frozen heads.

``python -m analysis.linking.trained.tables`` makes them of the ranks in `results/`: each run has a
folder there with its ranks, losses and seconds. Nothing is trained.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

import nce_bias as nb
from analysis import tables
from analysis.frames import where
from analysis.linking import tables as linking
from analysis.linking.trained import baselines, measured, setup
from analysis.linking.trained.changed import changed
from analysis.linking.trained.kinds import AND, own
from analysis.linking.trained.setup import Cell

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results"
FROZEN = HERE.parent / "results" / "ranks.npz"
#: What is kept of a run, where it is there: candidates are large, and stay in the work folder.
KEPT = ("about.json", "ranks.npz", "moments.csv", "pooled.csv")
#: What a trained encoder is compared with: words, and the best of `analysis.linking`.
BESIDES = (("bm25", "title ten times"), ("som", "mixed-50"))
Key = tuple[str, str]  # a score and a kind of negatives
Ranks = dict[Key, np.ndarray]


def keep(folder: pathlib.Path, out: pathlib.Path = RESULTS) -> None:
    """Copy what is kept of a finished run to the results."""
    (out / folder.name).mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / folder.name / name)


def kept(out: pathlib.Path = RESULTS) -> list[Cell]:
    """Runs of the design whose files are there."""
    names = {cell.folder: cell for cell in setup.FULL.cells}
    return [cell for name, cell in names.items() if (out / name / "about.json").is_file()]


def ranks(split: str, out: pathlib.Path = RESULTS) -> Ranks:
    """Of each score and kind of negatives `[seeds, n]`; what they are compared with comes first.

    Of trained runs it is the first seed: others were run of few, and stand in `seeds`.
    """
    with np.load(FROZEN, allow_pickle=False) as file:
        found = {
            (f"{score}, frozen" if score != "bm25" else score, kind): file[
                f"{split} {score} {kind}"
            ]
            for score, kind in BESIDES
        }
    with np.load(out / "baselines.npz", allow_pickle=False) as file:
        for name in (baselines.SENSE, baselines.PLAIN):
            score = "minilm" if name == baselines.PLAIN else "title"
            found[score, name] = file[f"{split} {name}"][None]
    first = [cell for cell in kept(out) if cell.seed == 0]
    by_kind: dict[tuple[str, str], list[np.ndarray]] = {}
    for cell in first:
        with np.load(out / cell.folder / "ranks.npz", allow_pickle=False) as file:
            by_kind.setdefault((cell.score, cell.negatives), []).append(file[split])
    for cell, name in itertools.product(first, setup.STAGES):
        if (out / f"{name}_{cell.folder}").is_dir():
            with np.load(out / f"{name}_{cell.folder}" / "ranks.npz", allow_pickle=False) as file:
                both = by_kind.setdefault((f"{cell.score} + {name}", cell.negatives), [])
                both.append(file[f"{split} {setup.JOINED}"])
    for folder, names in sums(out).items():
        with np.load(folder / "ranks.npz", allow_pickle=False) as file:
            for name, (key, _) in names.items():
                by_kind.setdefault(key, []).append(file[f"{split} {name}"])
    return found | {kind: np.stack(some) for kind, some in by_kind.items()}


def sums(out: pathlib.Path = RESULTS) -> dict[pathlib.Path, dict[str, tuple[Key, list[Key]]]]:
    """Of each folder of sums the name of each one: its key, and those of its encoders alone."""
    found = {}
    for path in sorted(out.glob("sum_*/about.json")):
        about = json.loads(path.read_text())
        encoders = [(run["score"], run["negatives"]) for run in about["runs"]]
        scores, kinds = zip(*encoders, strict=True)
        negatives = kinds[0] if len(set(kinds)) == 1 else "/".join(kinds)
        found[path.parent] = {
            name: ((AND.join([*scores, name]), negatives), encoders) for name in about["weights"]
        }
    return found


def differences(
    kinds: Ranks, worlds: list[str], more: Sequence[tuple[Key, Key]] = ()
) -> list[dict[str, Any]]:
    """Trained runs against what they are compared with, each other of one score, DUAL, and more."""
    rows = []
    trained = [kind for kind in kinds if kind[0] in setup.SCORES]
    bases = [("bm25", "title ten times"), ("som, frozen", "mixed-50")]
    pairs = list(itertools.product(trained, bases))
    for a, b in itertools.permutations(trained, 2):
        if (a[0] == b[0] and easier(b[1], a[1])) or (a[1] == b[1] and b[0] == "dual"):
            pairs.append((a, b))
    for a, b in [*pairs, *more]:
        table = nb.retrieval.compare(kinds[a], kinds[b], worlds, at=setup.AT)
        about = dict(
            zip(("score", "negatives", "minus_score", "minus_negatives"), a + b, strict=True)
        )
        rows += [about | row for row in table.to_dict("records")]
    return rows


def easier(kind: str, than: str) -> bool:
    """Whether a run's negatives are judged by these: an easier kind, or the passes before its last.

    What a first pass is judged by are first passes.
    """
    order = list(setup.NEGATIVES)
    before = than.rpartition("+")[0]
    return kind == before or ("+" not in kind and order.index(own(than)) > order.index(kind))


def seeds(worlds: list[str], out: pathlib.Path = RESULTS) -> list[dict[str, Any]]:
    """Hard negatives against random ones on the test worlds, seed by seed; mentions are paired.

    `hard` and `random` are the values of each, `value` is their difference.
    """
    there, rows = kept(out), []
    for cell in there:
        base = cell._replace(negatives="random")
        if cell.negatives != "hard" or base not in there:
            continue
        pair = []
        for one in (cell, base):
            with np.load(out / one.folder / "ranks.npz", allow_pickle=False) as file:
                pair.append(file["test"])
        table = nb.retrieval.compare(pair[0], pair[1], worlds, at=setup.AT)
        for name, found in zip((cell.negatives, base.negatives), pair, strict=True):
            table[name] = nb.retrieval.evaluate(found, worlds, at=setup.AT)["value"]
        about = {"score": cell.score, "seed": cell.seed}
        rows += [about | row for row in where(table, average="micro").to_dict("records")]
    return rows


def two_stages(worlds: dict[str, list[str]], out: pathlib.Path = RESULTS) -> list[dict[str, Any]]:
    """Accuracy of each order of the candidates, over all mentions and over those retrieved.

    `value` is the accuracy; `difference` is to the retriever's own order, mentions paired.
    """
    rows = []
    places = itertools.product(kept(out), setup.STAGES, setup.HELD_OUT)
    for cell, stage, split in places:
        second, first = out / f"{stage}_{cell.folder}", out / cell.folder
        if not second.is_dir():
            continue
        with np.load(second / "ranks.npz", allow_pickle=False) as file:
            orders = {name: file[f"{split} {name}"] for name in (setup.JOINT, setup.JOINED)}
            retrieved = file[f"{split} retrieved"]
        with np.load(first / "ranks.npz", allow_pickle=False) as file:
            orders = {"retriever": file[split]} | orders
        for kind, some in {"unnormalised": slice(None), "normalised": retrieved}.items():
            of = np.array(worlds[split])[some]
            for order, found in orders.items():
                table = nb.retrieval.evaluate(found[some], of, at=[1])
                more = nb.retrieval.compare(found[some], orders["retriever"][some], of, at=[1])
                names = ("value", "low", "high", "standard_error")
                table[[f"difference_{name}" for name in names]] = more[list(names)]
                about = {"stage": stage, "split": split, "accuracy": kind, "order": order}
                table = where(table, metric="recall@1").drop(columns="metric")
                rows += [cell._asdict() | about | row for row in table.to_dict("records")]
    return rows


def write(data: Any, out: pathlib.Path = RESULTS, source: pathlib.Path = RESULTS) -> None:
    """All tables, from the ranks in `source`."""
    worlds = {split: [m.world for m in data.mentions[split]] for split in setup.HELD_OUT}
    found = {split: ranks(split, source) for split in setup.HELD_OUT}
    seconds = []
    for cell in kept(source):
        about = json.loads((source / cell.folder / "about.json").read_text())
        times = {name.replace(" ", "_"): value for name, value in about["seconds"].items()}
        seconds.append(cell._asdict() | times | {"peak_gib": about["peak_gib"]})
    scatter = measured.scatter(kept(source), source)
    tables.write(
        out,
        {
            "recall": linking.recall(found, worlds),
            "differences": differences(
                found["test"],
                worlds["test"],
                _with_encoders(source),
            ),
            "categories": linking.categories(found["test"], data),
            "seeds": seeds(worlds["test"], source),
            "two_stages": two_stages(worlds, source),
            "moments": measured.collected(source, "moments"),
            "pooled": measured.collected(source, "pooled"),
            "scatter": scatter,
            "correlation": measured.correlation(scatter),
            "examples": changed(found["test"], data, "dual"),
            "seconds": seconds,
        },
        setup.FULL,
        runs=[cell.label for cell in kept(source)],
        source=data.source,
        licence=data.licence,
    )


def _with_encoders(out: pathlib.Path) -> list[tuple[Key, Key]]:
    """Each sum beside each of its encoders, where that is kept."""
    there = {(cell.score, cell.negatives) for cell in kept(out)}
    pairs = [
        (key, encoder)
        for names in sums(out).values()
        for key, encoders in names.values()
        for encoder in encoders
        if encoder in there
    ]
    return list(dict.fromkeys(pairs))


def keep_all(work: pathlib.Path, out: pathlib.Path = RESULTS) -> None:
    """What is kept of every finished run in a folder."""
    for folder in sorted(work.iterdir()):
        if (folder / "about.json").is_file() or (folder / "moments.csv").is_file():
            keep(folder, out)


def main(
    work: Annotated[
        pathlib.Path | None, typer.Option(help="A folder of runs whose files are to be kept.")
    ] = None,
) -> None:
    """Keep the finished runs of a work folder, and make the tables."""
    if work:
        keep_all(work)
    write(nb.data.entity_linking())


if __name__ == "__main__":
    typer.run(main)
