"""What was aimed at, and whether it was reached: the first table of the page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.benchmarks import accuracy, first_answer, imports, paper_figure
from analysis.frames import Table, where

#: Of a sweep in one process.
CELLS_A_SECOND = 50
COLUMNS = {"target": "target", "measured": "measured", "reached": "reached"}


def summary(results: Mapping[str, Table]) -> pd.DataFrame:
    """One row for each target that these benchmarks measure.

    Parameters
    ----------
    results
        Name of the benchmark -> its table, `accuracy`, `paper_figure`, `imports` and `first_answer`
        among them.
    """
    exactness = results["accuracy"]
    figure = results["paper_figure"].set_index("call")
    imported = results["imports"].set_index("program").loc["import nce_bias"]
    rows = [
        _at_most(
            f"`error` of `exact`, V = 1000, m up to {exactness['m'].max()}",
            float(exactness["error"].max()),
            accuracy.TARGETS["error"],
        ),
        _at_most(
            "\\|Σγ − 1\\| there", float(exactness["sum_off"].max()), accuracy.TARGETS["sum_off"]
        ),
    ]
    for call in paper_figure.AIMED_AT:
        wall, cpu = figure.loc[call, ["wall", "cpu"]]
        row = _at_most(f"the paper's figure: {call}", wall, paper_figure.TARGET, "s")
        rows.append(row | {"measured": f"{row['measured']} ({cpu:.3g} s of processor time)"})
    rows += [
        _at_most("`import nce_bias`", imported["ratio_wall"], imports.TARGET, "× `import jax`"),
        {
            "target": "`import nce_bias` imports none of " + ", ".join(imports.HEAVY),
            "measured": imported["heavy"],
            "reached": "yes" if imported["heavy"] == "none" else "no",
        },
    ]
    rows += many_labels(results["atoms"], results["memory"])
    rows.append(_at_least("a sweep of small cells in memory", results["sweeps"]))
    answers = results["first_answer"].set_index("step")["wall"]
    for step, most in first_answer.TARGETS.items():
        rows.append(_at_most(f"the first `exact` answers: {step}", answers[step], most, "s"))
    return pd.DataFrame(rows)


def many_labels(atoms: Table, memory: Table) -> list[dict[str, str]]:
    """What many labels were to cost, in softmaxes, seconds and memory."""

    def of(column: str, *cell: Any) -> float:
        keys = ("golds", "draws", "negatives", "labels", "m")
        return float(where(atoms, **dict(zip(keys, cell, strict=True)))[column].iloc[0])

    one, crowd = ("one", "independent", "model"), ("all", "independent", "model")
    rows = [
        _at_most(f"{what}, V = 1,000,000", of("ratio", *cell, 10**6, 4), most, "softmaxes")
        for what, cell, most in (
            ("one gold, model negatives", one, 20),
            ("all golds, model negatives", crowd, 40),
            ("all golds, popularity negatives", (*crowd[:2], "popularity"), 150),
        )
    ]
    distinct = of("atoms", "one", "distinct", "model", 10**6, 64) / 1e3
    at_hundred = of("atoms", *one, 10**5, 4)
    many, more = (of("atoms", *cell, 10**6, 65_536) for cell in (one, crowd))
    four = {cell[0]: of("atoms", *cell, 10**6, 4) for cell in (one, crowd)}
    longer = {cell[0]: of("atoms", *cell, 4 * 10**6, 4) for cell in (one, crowd)}
    peak = float(memory[memory["labels"] == 4 * 10**6]["peak"].max())
    return [
        *rows,
        _at_most("one gold, V = 100,000", at_hundred, 15, "ms"),
        _at_most("64 distinct negatives, V = 1,000,000", distinct, 20, "s"),
        _at_most("one gold, m = 65,536", many / four["one"], 1.2, "× m = 4"),
        _at_most("all golds, m = 65,536", more / four["all"], 1.2, "× m = 4"),
        _at_most("one gold, V = 4,000,000", longer["one"] / four["one"], 4.4, "× V = 1,000,000"),
        _at_most("all golds, V = 4,000,000", longer["all"] / four["all"], 4.4, "× V = 1,000,000"),
        _at_most("largest memory, V = 4,000,000", peak, 2, "GiB"),
    ]


def _at_least(what: str, sweeps: Table) -> dict[str, str]:
    """Cells a second."""
    rate = float(sweeps.set_index("cells").loc["in memory", "rate"])
    return {
        "target": f"{what} at least {CELLS_A_SECOND} a second",
        "measured": f"{rate:.3g}",
        "reached": "yes" if rate >= CELLS_A_SECOND else f"no, {rate / CELLS_A_SECOND:.2g} of that",
    }


def _at_most(what: str, value: float, most: float, unit: str = "") -> dict[str, str]:
    return {
        "target": f"{what} at most {most:g} {unit}".rstrip(),
        "measured": f"{value:.3g} {unit}".rstrip(),
        "reached": "yes" if value <= most else f"no, {value / most:.3g} times that",
    }
