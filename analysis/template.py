"""The question that ``python -m analysis new NAME`` begins with: small, real, and it runs."""

import keyword
import pathlib

README = """# {title}

![](../../figures/{name}.png)

`make results`, or `python -m analysis run {name}` to see it in `build/`.

## Question

How does the bias of uniform negatives, and of the model's own, fall with their number?

## Prediction, before it was run

Both fall; uniform ones begin with more.

## Answer

To be written from the tables, number by number; a test holds what is said here.
"""

INIT = '''"""Bias of two kinds of negatives against their number."""
'''

RUN = '''"""The question: how does the bias of two kinds of negatives fall with their number."""

import dataclasses
import pathlib

import numpy as np

import nce_bias as nb
from analysis import problems, tables
from nce_bias._progress import track

#: About how long a run takes on two cores, in seconds.
SECONDS = {{"full": 10, "quick": 5}}

KINDS = ("uniform", "model")


@dataclasses.dataclass(frozen=True)
class Design(tables.Design):
    """A half-trained model, and the numbers of negatives."""

    labels: int = 50
    inputs: int = 4
    seed: int = 0
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


FULL, QUICK = Design(), Design(quick=True, sizes=(1, 8))


def problem(design: Design = FULL) -> nb.Problem:
    """Logits N(0, 1), and a model that has learnt half of them."""
    rng = np.random.default_rng(design.seed)
    return problems.half_trained(rng.normal(size=(design.inputs, design.labels)), rng)


def run(out: pathlib.Path, *, quick: bool = False) -> None:
    """Write ``bias.csv`` and ``meta.json`` to `out`."""
    design = QUICK if quick else FULL
    given, rows = problem(design), []
    for m in track(design.sizes, "{name}"):
        for kind in KINDS:
            found = nb.exact(given, nb.iid(problems.proposal(kind), m), split=False)
            rows.append({{"negatives": kind, "m": m}} | tables.scalars(found))
    tables.write(out, {{"bias": rows}}, design)
'''

FIGURE = '''"""Bias against the number of negatives."""

import pathlib

import pandas as pd

from nce_bias import plot

FINDING = "What the picture shows, in one sentence"


def draw(results: pathlib.Path, out: pathlib.Path) -> list[pathlib.Path]:
    """Draw ``{name}.png`` from ``bias.csv``."""
    fig, ax = plot.figure(width=5.2, height=3.4)
    drawn = plot.bias_against_m(
        pd.read_csv(results / "bias.csv"), markers=True, title=FINDING, ax=ax
    )
    plot.direct_labels(drawn.lines)
    return [plot.save(fig, out / "{name}.png")]
'''

FILES = {"__init__.py": INIT, "README.md": README, "run.py": RUN, "figure.py": FIGURE}


def write(questions: pathlib.Path, name: str) -> pathlib.Path:
    """The folder of a new question; a ValueError if its name is none or taken."""
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ValueError(
            f"new: got {name!r}; expected a name that Python can import, in small letters, such as "
            "bias_by_temperature."
        )
    folder = questions / name
    if folder.exists() or (questions / f"{name}.py").exists():
        raise ValueError(f"new: {folder} exists already. Take another name, or remove it first.")
    folder.mkdir()
    title = name.replace("_", " ").capitalize()
    for file, text in FILES.items():
        filled = text if file == "__init__.py" else text.format(name=name, title=title)
        (folder / file).write_text(filled, encoding="utf-8")
    return folder
