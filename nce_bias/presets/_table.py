"""All conventions in one table, and what each is on one problem."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nce_bias._checks import check_kind, refuse
from nce_bias.engine.by_input import average, scalars
from nce_bias.presets._by_name import CONVENTIONS, FAMILIES
from nce_bias.presets._convention import Convention, Preset
from nce_bias.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

#: An m that no default is near: it, its half and a little less than it are shown as such.
SHOWN = 840
#: The numbers of a computed row, as `Moments` calls them.
NUMBERS = ("bias_norm", "relative_bias", "cosine", "variance", "error")
#: Labels up to which everything is computed.
FEW_LABELS = 64
NOTHING = dict.fromkeys(("expected_loss", *NUMBERS), math.nan)
LEFT_OUT = NOTHING | {"answer": "left out: it takes minutes. Pass costly=True for it."}


def example() -> Problem:
    """A problem of four labels with every side that a convention reads.

    Two labels are right for the one input. Each call makes it anew.

    >>> example()
    Problem(4 labels, 1 input, entropy 0.611 nats, cross entropy 0.914 nats, float64)
    >>> preset("rf_softmax", m=2).exact(example()).status
    'ok'
    """
    scores = [1.0, 0.6, 0.1, -1.0]
    return Problem(
        scores,
        population=[0.7, 0.3, 0.0, 0.0],
        popularity=[0.4, 0.2, 0.3, 0.1],
        sides={
            "positives": [1, 1, 0, 0],
            "stale": [0.6, 0.7, 0.2, -0.5],
            "queued": [0.8, 0.9, -0.2, -0.7],
            "teacher": [0.9, 0.8, 0.6, 0.3],
            "generator": [0.2, 0.9, 0.7, -0.3],
            "kernel": [math.exp(s) * f for s, f in zip(scores, (0.9, 1.2, 1.1, 0.8), strict=True)],
            "quantised": [0.9, 0.4, 0.2, -0.8],
            "tree": [math.log(q) for q in (0.4, 0.3, 0.1, 0.2)],
            "pagerank": [0.3, 0.4, 0.2, 0.1],
            "shortlist": [1, 1, 1, 0],
            "seen_in_slot": [1, 1, 0, 1],
            "mined": [1, 2, 0, 2],
            "neighbours": [1, 1, 1, 0],
            "hardness": [0.2, 0.5, -0.1, 0.3],
        },
    )


def table(
    problem: Problem | None = None,
    m: int | None = None,
    *,
    family: str | None = None,
    costly: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """All conventions; with m also what each is on a problem, computed.

    Parameters
    ----------
    problem : Problem, optional
        What to compute on; default `example` if there is an m.
    m : int, optional
        The number of negatives. Without it nothing is computed.
    family : str, optional
        One of `FAMILIES` alone.
    costly : bool
        Compute also what takes minutes: draws by tries, where there are more than a few labels.
        Otherwise their ``answer`` says that they were left out.
    **options
        Of `exact`: ``tolerance``, ``split``, ...

    Returns
    -------
    pandas.DataFrame
        ``name``, ``family``, ``year``, ``sampler``, ``loss``, ``source``, ``status`` ("read", or
        "as we read it"), ``differs`` (what public code does otherwise), ``same_as``, ``sides``.
        With m besides: ``expected_loss``, ``bias_norm``, ``relative_bias``, ``cosine``,
        ``variance``, ``error`` and ``answer``, which is "ok", or what is wrong: NaN stand in a row
        that the problem has not the sides for, or that its m is too small for.

    Raises
    ------
    ValueError
        A problem without m; an unknown family.

    Notes
    -----
    Conventions that are the same pair are computed once. Distinct draws take the longest by far:
    ``tolerance=1e-6`` does for a comparison, and is several times as fast there.

    On `example` options are those of `Convention.on_example`. Losses that are no candidate softmax
    have a scale of their own: compare their cosine.

    Examples
    --------
    >>> found = table(m=2, family="theory").set_index("name")
    >>> bool(found.loc["horvitz_thompson", "bias_norm"] < found.loc["ranking_nce", "bias_norm"])
    True
    """
    import pandas as pd

    rows = chosen(family)
    frame = pd.DataFrame([words_of(row) for row in rows])
    if m is None:
        if problem is not None:
            raise refuse("m", "got None with a problem", "how many negatives", "Pass m=64.")
        return frame
    done: list[tuple[Preset, dict[str, Any]]] = []
    few = problem is None or problem.labels <= FEW_LABELS
    numbers = []
    for row in rows:
        made = _made(row, problem, m)
        known = [found for one, found in done if made is not None and one.alike(made)]
        if known:
            numbers.append(known[0])
            continue
        skipped = not few and not costly and made is not None and made.sampler.costly
        numbers.append(LEFT_OUT if skipped else computed(row, problem, m, **options))
        if made is not None:
            done.append((made, numbers[-1]))
    return pd.concat([frame, pd.DataFrame(numbers)], axis=1)


def chosen(family: str | None) -> list[Convention]:
    """The conventions of a family, all for None."""
    if family is not None and family not in FAMILIES:
        raise refuse("family", f"got {family!r}", " or ".join(FAMILIES), "Leave it out for all.")
    return [row for row in CONVENTIONS if family in (None, row.family)]


def words_of(row: Convention) -> dict[str, Any]:
    """What is said of a convention, its sampler with m for the number of negatives."""
    made = row(SHOWN)
    return {
        "name": row.name,
        "family": row.family,
        "year": row.year,
        "sampler": re.sub(r"\b(m=)?(\d+)\b", _by_m, repr(made.sampler)),
        "loss": made.loss.name,
        "source": row.source,
        "status": row.status,
        "differs": row.differs,
        "same_as": row.like,
        "sides": ", ".join(row.sides),
    }


def computed(row: Convention, problem: Problem | None, m: int, **options: Any) -> dict[str, Any]:
    """The numbers of one convention with m negatives on a problem, `example` for None."""
    if problem is not None:
        check_kind("problem", problem, Problem, "nb.presets.table(problem, m=64)")
    given, own = (example(), row.on_example) if problem is None else (problem, {})
    try:
        found = row(m, **own).exact(given, **options)
    except (ValueError, NotImplementedError) as error:
        return NOTHING | {"answer": f"failed: {' '.join(str(error).split())}"}
    weights = np.asarray(given.weights)
    of_rows = scalars(average(found.by_input, weights)) | {"error": found.error}
    numbers = {name: float(of_rows[name]) for name in NUMBERS}
    return {"expected_loss": float(found.loss), **numbers, "answer": found.status}


def _made(row: Convention, problem: Problem | None, m: int) -> Preset | None:
    """What a convention is with that m; None where there is no such thing."""
    try:
        return row(m, **(row.on_example if problem is None else {}))
    except ValueError:
        return None


def _by_m(found: re.Match[str]) -> str:
    """A number in terms of m, where it is one; what it is the value of is m then."""
    number = int(found[2])
    less = SHOWN - number
    if number == SHOWN // 2:
        return "m / 2"
    if number > SHOWN and number % SHOWN <= 1:
        return f"{number // SHOWN} m" + (" + 1" if number % SHOWN else "")
    if 0 <= less < 100:
        return f"m - {less}" if less else "m"
    return found[0]
