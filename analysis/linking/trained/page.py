"""The tables of README.md, as text: ``python -m analysis.linking.trained.page`` puts them there."""

from __future__ import annotations

import itertools
import pathlib
import re
from typing import Any

import pandas as pd

from analysis.frames import Table, where
from analysis.linking.tables import BIASES
from analysis.linking.trained import setup
from analysis.linking.trained.changed import AFTER, BEFORE
from analysis.linking.trained.kinds import AND, encoders_of

HERE = pathlib.Path(__file__).parent
PAGE, RESULTS = HERE / "README.md", HERE / "results"
METRICS = ("recall@1", "recall@8", "recall@64", "mrr")
SCORES = {"dual": "DUAL", "som": "SOM", "multi8": "MULTI-8", "poly8": "POLY-8"}
NAMES = SCORES | {"bm25": "BM25", "som, frozen": "SOM, frozen"}
MEASURED = ("random", "mixed-50", "hard", "model, independent")
STAGES = {"joint": "JOINT", "joint-all": "JOINT of all mentions", "residual": "residual JOINT"}
NAMES |= {
    f"{score} + {stage}": f"{NAMES[score]} + {STAGES[stage]}"
    for score in setup.SCORES
    for stage in setup.STAGES
}
NAMES |= {"minilm": "MiniLM", "title": "title,"}
#: The run with the easiest negatives, which stands against words and frozen heads for all.
LEAST = ("dual", "in-batch")
#: How mention and title overlap, and what the head of a column calls it.
LOW = "LOW_OVERLAP"
CATEGORIES = {
    LOW: "LOW",
    "HIGH_OVERLAP": "HIGH",
    "MULTIPLE_CATEGORIES": "MULTIPLE",
    "AMBIGUOUS_SUBSTRING": "SUBSTRING",
}


def named(score: str, negatives: str) -> str:
    """A run in words: "DUAL hard", or of a sum "DUAL hard & words"."""
    if AND not in score:
        return f"{NAMES[score]} {negatives}"
    each = [f"{NAMES[a]} {b}" for a, b in encoders_of(score, negatives)]
    return AND.join([*each, score.rsplit(AND, 1)[1]])


ORDERS = {
    "retriever": "retriever alone",
    setup.JOINT: "pairs alone",
    setup.JOINED: "pairs and retriever",
}


def recall(results: pathlib.Path = RESULTS) -> str:
    """Test worlds, micro, with intervals."""
    found = where(pd.read_csv(results / "recall.csv"), split="test", average="micro")
    return _table(found, ("score", "negatives"), signed=False)


def differences(results: pathlib.Path = RESULTS) -> str:
    """Runs against each other; against words and frozen heads the least of them, `LEAST`."""
    found = where(pd.read_csv(results / "differences.csv"), average="micro")
    beside = ~found["minus_score"].isin(setup.SCORES)
    least = (found["score"] == LEAST[0]) & (found["negatives"] == LEAST[1])
    names = ("score", "negatives", "minus_score", "minus_negatives")
    return _table(found[~beside | least], names, signed=True)


def categories(results: pathlib.Path = RESULTS) -> str:
    """Recall by how mention and title overlap: where words do not help at all depths, then @1."""
    found = pd.read_csv(results / "categories.csv")
    shown = [(LOW, name) for name in METRICS if name in found.columns]
    shown += [(name, METRICS[0]) for name in CATEGORIES if name != LOW]
    sizes = dict(zip(found["category"], found["mentions"], strict=True))
    heads = [f"{CATEGORIES[of]} ({sizes[of]}) {name.removeprefix('recall')}" for of, name in shown]
    lines = [_row(["run", *heads]), _row(["---"] * (1 + len(heads)))]
    for score, negatives in dict.fromkeys(zip(found["score"], found["negatives"], strict=True)):
        by = where(found, score=score, negatives=negatives).set_index("category")
        cells = [f"{100 * by[name][of]:.1f}" for of, name in shown]
        lines.append(_row([named(score, negatives), *cells]))
    return "\n".join(lines)


def seeds(results: pathlib.Path = RESULTS) -> str:
    """Hard − random of each score and seed, in points."""
    found = pd.read_csv(results / "seeds.csv")
    lines = [_row(["score", "seed", *METRICS]), _row(["---"] * (2 + len(METRICS)))]
    for score, seed in dict.fromkeys(zip(found["score"], found["seed"], strict=True)):
        rows = where(found, score=score, seed=seed)
        by = [where(rows, metric=metric).iloc[0] for metric in METRICS]
        cells = [_interval(row, signed=True) for row in by]
        lines.append(_row([SCORES[score], str(seed), *cells]))
    return "\n".join(lines)


def two_stages(results: pathlib.Path = RESULTS) -> str:
    """Accuracy of each order of the candidates, test worlds, micro."""
    found = pd.read_csv(results / "two_stages.csv")
    found = where(found, split="test", average="micro")
    lines = [_row(["run", "order", "unnormalised", "normalised", "− retriever"])]
    lines.append(_row(["---"] * 5))
    for which, rows in found.groupby(["score", "negatives", "stage", "order"], sort=False):
        score, kind, stage, order = (str(name) for name in which)
        over, among = (
            where(rows, accuracy=name).iloc[0] for name in ("unnormalised", "normalised")
        )
        more = "" if order == "retriever" else _interval(over, "difference_", signed=True)
        values = [_interval(over), _interval(among), more]
        lines.append(_row([f"{NAMES[score]} {kind}, {STAGES[stage]}", ORDERS[order], *values]))
    return "\n".join(lines)


def bias(results: pathlib.Path = RESULTS) -> str:
    """Relative bias and cosine in score space of kinds of negatives, by how a model was trained."""
    return _measured(results, "moments", "relative_bias", "cosine", MEASURED)


def parameters(results: pathlib.Path = RESULTS) -> str:
    """The same over the parameters of the last layer and of the heads."""
    names = "parameter_relative_bias", "parameter_cosine"
    return _measured(results, "moments", *names, MEASURED)


def pooled(results: pathlib.Path = RESULTS) -> str:
    """The same in score space of the candidates that a batch shares."""
    return _measured(results, "pooled", "relative_bias", "cosine", tuple(setup.NEGATIVES))


def _measured(
    results: pathlib.Path, name: str, column: str, cosine: str, kinds: tuple[str, ...]
) -> str:
    found = pd.read_csv(results / f"{name}.csv")
    records: list[dict[str, Any]] = found.dropna(subset=[column]).to_dict("records")
    last = {row["run"]: row["step"] for row in records}
    lines = [_row(["model", *kinds]), _row(["---"] * (1 + len(kinds)))]
    for (run, step), rows in itertools.groupby(records, lambda row: (row["run"], row["step"])):
        some = {row["kind"]: f"{row[column]:.2f} ({row[cosine]:.2f})" for row in rows}
        name = model_named(run)
        name += "" if step == last[run] else f", {step} steps"
        lines.append(_row([name, *(some[kind] for kind in kinds)]))
    return "\n".join(lines)


def model_named(folder: str) -> str:
    """What was measured, in words: "DUAL, trained with hard, seed 1", "SOM, untrained"."""
    first, *rest = folder.split("_")
    if first == "untrained":
        return f"{SCORES[rest[0]]}, untrained"
    negatives, seed = rest
    return f"{SCORES[first]}, trained with {negatives}" + ("" if seed == "0" else f", seed {seed}")


def correlation(results: pathlib.Path = RESULTS) -> str:
    """Rank correlation of a run's own bias with its recall@1."""
    found = where(pd.read_csv(results / "correlation.csv"), metric="recall@1")
    lines = [_row(["runs", "number", "score space", "parameters"]), _row(["---"] * 4)]
    for runs, rows in found.groupby("runs", sort=False):
        cells, counts = [], []
        for name in BIASES:
            row = where(rows, bias=name).iloc[0]
            cells.append(f"{row['spearman']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]")
            counts.append(str(row["count"]))
        lines.append(_row([str(runs), " and ".join(dict.fromkeys(counts)), *cells]))
    return "\n".join(lines)


def examples(results: pathlib.Path = RESULTS) -> str:
    """Mentions that one kind of negatives gets right and the other wrong."""
    found = pd.read_csv(results / "examples.csv", keep_default_na=False)
    lines = [_row(["mention", "entity", BEFORE, AFTER]), _row(["---"] * 4)]
    rows: list[dict[str, Any]] = found.to_dict("records")
    for row in rows:
        mention = f"{row['left']} **{row['text']}** {row['after']}".strip()
        entity = f"{row['title']}: {row['definition']}"
        cells = [str(row[BEFORE]), str(row[AFTER])]
        lines.append(_row([*(text.replace("|", "/") for text in (mention, entity)), *cells]))
    return "\n".join(lines)


def _interval(row: Any, prefix: str = "", *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    value, low, high = (f"{100 * row[prefix + k]:{sign}.1f}" for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def written(text: str) -> str:
    """The page with all tables as the results have them."""
    for name, made in {
        "recall": recall,
        "differences": differences,
        "categories": categories,
        "seeds": seeds,
        "stages": two_stages,
        "bias": bias,
        "parameters": parameters,
        "pooled": pooled,
        "correlation": correlation,
        "examples": examples,
    }.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        text = re.sub(pattern, lambda m, made=made: f"{m[1]}{made()}\n{m[2]}", text, flags=re.S)
    return text


def _table(found: Table, names: tuple[str, ...], *, signed: bool) -> str:
    lines = [_row(["run", *METRICS]), _row(["---"] * (1 + len(METRICS)))]
    for which, rows in found.groupby(list(names), sort=False):
        pairs = [named(a, b) for a, b in zip(which[::2], which[1::2], strict=True)]
        cells = []
        for metric in METRICS:
            row = where(rows, metric=metric).iloc[0]
            cells.append(_interval(row, signed=signed))
        lines.append(_row([" − ".join(pairs), *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
