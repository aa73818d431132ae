"""The explorer's widget: controls in the browser, numbers from the kernel."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import time
from typing import Any

from nce_bias._checks import refuse
from nce_bias._explore.answer import Answer, answer
from nce_bias._explore.state import SAMPLERS, State
from nce_bias.losses import LOSSES
from nce_bias.plot import SCORE_COLOURS, SECOND, VERDICT_COLOURS
from nce_bias.problem import Problem
from nce_bias.text.extra import needed

HERE = pathlib.Path(__file__).parent
COMMAND = "pip install 'nce-bias[explore]'"
#: The largest m that the slider reaches.
MOST_NEGATIVES = 1024
#: p, gamma and their difference are no kinds of negatives, and take none of their colours.
COLOURS = {
    "model": SECOND,
    "selection": SCORE_COLOURS["multi8"],
    "bias": SCORE_COLOURS["som"],
    "problem": VERDICT_COLOURS["refuted"],
}


def explore(problem: Problem, **controls: Any) -> Any:
    """Look at a problem with sliders, in JupyterLab or any front end of Jupyter widgets.

    m, temperature, share, power, sampler, loss and input are controls; p, gamma and the bias of
    the most probable labels, bias norm, cosine, variance, coverage and loss follow at once, and the
    call that gives them can be copied. All of it is `nb.exact` of one input.

    Parameters
    ----------
    problem : Problem
        Sides are not read. The first answer of a sampler and a loss is compiled, which takes
        seconds; after that a change takes about a tenth of one at 1,000 labels, and the view
        says where it takes longer.
    **controls
        Where the controls begin: the fields of `State`, such as ``m=16, sampler="iid"``.

    Returns
    -------
    widget
        Shown by being the last line of a cell. ``.state`` and ``.answer`` are what is seen, as
        objects; ``.seconds`` is how long the last change took.

    Raises
    ------
    MissingExtra
        (an ImportError) Without anywidget; the message is the command that installs it.
    ValueError
        For a control that there is not, or whose value is out of range.

    Examples
    --------
    >>> import numpy as np, nce_bias as nb
    >>> widget = explore(nb.Problem([2.0, 1.0, 0.0], [0.5, 0.3, 0.2]), m=2)
    >>> widget.controls = {**widget.controls, "share": 1.0}
    >>> widget.answer.code
    'nb.exact(problem.take([0]), nb.iid(nb.model(temperature=1.0), m=2), nb.infonce)'
    """
    known = [field.name for field in dataclasses.fields(State)]
    for name in controls:
        if name not in known:
            raise refuse(
                "controls", f"got {name!r}", ", ".join(known), "Pass where a control begins."
            )
    return _widget()(problem, State(**controls))


@functools.cache
def _widget() -> Any:
    anywidget = needed("anywidget", "nb.explore", COMMAND)
    traitlets = needed("traitlets", "nb.explore", COMMAND)

    class Explorer(anywidget.AnyWidget):
        """See `explore`."""

        _esm = HERE / "explorer.js"
        _css = HERE / "explorer.css"
        controls = traitlets.Dict().tag(sync=True)
        ranges = traitlets.Dict().tag(sync=True)
        shown = traitlets.Dict().tag(sync=True)
        colours = traitlets.Dict().tag(sync=True)

        def __init__(self, problem: Problem, state: State) -> None:
            self.problem, self.seconds = problem.dense(), 0.0
            self.state, self.answer = state, answer(self.problem, state)
            super().__init__(
                controls=dataclasses.asdict(state),
                ranges=_ranges(self.problem),
                shown=_shown(self.answer),
                colours=COLOURS,
            )

        @traitlets.observe("controls")
        def _changed(self, change: Any) -> None:
            began = time.perf_counter()
            try:
                self.state = State(**change["new"])
                self.answer = answer(self.problem, self.state)
                shown = _shown(self.answer)
            except (ValueError, TypeError) as error:  # shown where the user looks
                shown = {**self.shown, "problem": str(error)}
            self.seconds = time.perf_counter() - began
            self.shown = shown | {"seconds": self.seconds}

        def __repr__(self) -> str:
            return f"explore({self.problem!r}) at {self.answer.code}"

    return Explorer


def _ranges(problem: Problem) -> dict[str, Any]:
    most = max(1, min(MOST_NEGATIVES, problem.labels - 2))
    steps = sorted({round(2 ** (k / 2)) for k in range(int(2 * math.log2(most)) + 1)} | {most})
    return {
        "m": steps,
        "sampler": list(SAMPLERS),
        "loss": list(LOSSES),
        "inputs": problem.score_rows.shape[0],
    }


def _shown(found: Answer) -> dict[str, Any]:
    return {
        "numbers": found.numbers,
        "labels": found.labels.tolist(),
        "model": found.model.tolist(),
        "selection": found.selection.tolist(),
        "bias": found.bias.tolist(),
        "code": found.code,
        "note": found.note,
        "problem": "",
    }
