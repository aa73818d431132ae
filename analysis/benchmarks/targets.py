"""What was aimed at, and whether it was reached: the first table of the page."""

from collections.abc import Mapping

import pandas as pd

from analysis.benchmarks import accuracy, first_answer, imports, paper_figure
from analysis.frames import Table

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
    answers = results["first_answer"].set_index("step")["wall"]
    for step, most in first_answer.TARGETS.items():
        rows.append(_at_most(f"the first `exact` answers: {step}", answers[step], most, "s"))
    return pd.DataFrame(rows)


def _at_most(what: str, value: float, most: float, unit: str = "") -> dict[str, str]:
    return {
        "target": f"{what} at most {most:g} {unit}".rstrip(),
        "measured": f"{value:.3g} {unit}".rstrip(),
        "reached": "yes" if value <= most else f"no, {value / most:.3g} times that",
    }
