"""The checks themselves: claims on one side, counts on the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from nce_bias.check import statistics
from nce_bias.check.claims import Claims, claims
from nce_bias.check.drawing import equal_pairs
from nce_bias.check.report import Row
from nce_bias.problem import Problem
from nce_bias.samplers import Sampler

NO_Q = "no single q"
UNKNOWN = math.nan


@dataclass
class Setting:
    """What all rows of a report share; `best` collects what each gold's best-known label is."""

    sampler: Sampler
    problem: Problem
    sets: int
    slots: int
    own_draw: bool
    best: list[tuple[float, int]] = field(default_factory=list)

    def detectable(self, level: float) -> float:
        """The largest over golds of the error that is found in the label drawn most."""
        errors = [statistics.detectable(chance, trials, level) for chance, trials in self.best]
        return max(errors, default=math.nan)

    @property
    def eps(self) -> float:
        """Rounding of the problem's numbers."""
        return float(np.finfo(self.problem.scores.dtype).eps)


def rows_of(
    setting: Setting, row: int, golds: list[int], sets: list[np.ndarray], inclusion: bool | None
) -> list[Row]:
    """All checks of one input, without the verdicts of those that have a p-value."""
    said = claims(setting.sampler, setting.problem, row, np.asarray(golds), inclusion)
    rows = [_sums(setting, said, row, golds), _support(setting, said, row)]
    for place, gold in enumerate(golds):
        labels = sets[place]
        rows.append(_frequencies(setting, said, row, place, gold, labels))
        rows += _copies(setting, said, row, place, gold, labels)
        rows.append(_gold(said, row, place, gold, labels))
    return rows


def verdicts(rows: list[Row], level: float) -> list[Row]:
    """With a verdict where there is a p-value, and no remedy where nothing is wrong."""
    judged = []
    for row in rows:
        if not math.isnan(row.p_value):
            row = replace(row, verdict="failed" if row.p_value < level else "ok")
        judged.append(replace(row, remedy="") if row.verdict == "ok" else row)
    return judged


def _sums(setting: Setting, said: Claims, row: int, golds: list[int]) -> Row:
    if said.q is None or said.left is None:
        return Row("q", row, None, UNKNOWN, UNKNOWN, "not compared", NO_Q)
    total = said.q.sum()
    others = [np.delete(said.q, gold).sum() for gold in golds]
    over = max(other / left - 1 for other, left in zip(others, said.left, strict=True))
    off = max(abs(total - 1), over)
    fine = off <= math.sqrt(setting.eps)  # False for NaN
    remedy = (
        f"q sums to {total:.6g}, and to {1 + over:.6g} of what a gold leaves. Normalise log_q by "
        "jax.nn.log_softmax: every correction by it is off."
    )
    return Row("q", row, None, float(off), UNKNOWN, "ok" if fine else "failed", remedy)


def _support(setting: Setting, said: Claims, row: int) -> Row:
    if said.q is None:
        return Row("support", row, None, UNKNOWN, UNKNOWN, "not compared", NO_Q)
    population = np.asarray(setting.problem.population_rows[row])
    model = np.exp(np.atleast_2d(np.asarray(setting.problem.log_model))[row])
    golds = np.count_nonzero(population) - (population > 0)  # other labels that may be the gold
    holes = np.flatnonzero(((population > 0) | (model > 0)) & (golds > 0) & (said.q == 0))
    verdict = "hole" if len(holes) else "ok"
    shown = ", ".join(map(str, holes[:8])) + (", ..." if len(holes) > 8 else "")
    remedy = (
        f"{len(holes)} labels that compete with a gold have q = 0: {shown}. No number of negatives "
        "makes up for them: mix in another proposal, nb.mixture(q, nb.uniform(), share=0.99)."
    )
    return Row("support", row, None, float(len(holes)), UNKNOWN, verdict, remedy)


def _frequencies(
    setting: Setting, said: Claims, row: int, place: int, gold: int, labels: np.ndarray
) -> Row:
    def skipped(why: str) -> Row:
        return Row("frequencies", row, gold, UNKNOWN, UNKNOWN, "not compared", why)

    if said.q is None or said.left is None:
        return skipped(NO_Q)
    if setting.own_draw and not said.iid:
        return skipped("the order of a draw of your own is not known")
    looked_at = labels if said.iid else labels[:, :1]
    vocabulary = setting.problem.labels
    observed = np.bincount(looked_at[looked_at >= 0], minlength=vocabulary).astype(float)
    chance = said.q / said.left[place]
    # One cell for the gold and for dropped draws: `copies` and `gold` tell them apart.
    observed[gold] = looked_at.size - (observed.sum() - observed[gold])
    chance[gold] = 0.0
    rest = 1.0 - chance.sum()
    if rest > math.sqrt(setting.eps):
        chance[gold] = rest
    elif said.left[place] == 1.0:  # nothing was taken out: a small q is known better than the rest
        chance[gold] = said.q[gold]
    statistic, p_value = statistics.frequencies(observed, chance)
    worst = _worst(observed, chance / chance.sum() * looked_at.size)
    remedy = _differs(*worst, "q", setting) + (
        " Compare the power, temperature and table behind q with those behind the draw."
    )
    return Row("frequencies", row, gold, statistic, p_value, "", remedy)


def _copies(
    setting: Setting, said: Claims, row: int, place: int, gold: int, labels: np.ndarray
) -> list[Row]:
    if said.copies is None or said.pairs is None:
        names = ("copies", "coincidences")
        return [
            Row(name, row, gold, UNKNOWN, UNKNOWN, "not compared", said.reason) for name in names
        ]
    vocabulary, sets = setting.problem.labels, setting.sets
    mean, pairs = said.copies[place], float(said.pairs[place])
    distinct = pairs == 0
    observed = np.bincount(labels[labels >= 0], minlength=vocabulary).astype(float)
    trials = sets if distinct else sets * setting.slots
    chance = mean * sets / trials
    random = chance[(chance > 0) & (chance < 1 - 1e-6)]
    if random.size:
        setting.best.append((float(random.max()), trials))
    each = statistics.copies(
        observed, mean, sets, setting.slots, distinct=distinct, eps=setting.eps
    )
    label = int(np.argmin(each))
    expected = float(mean[label]) * sets
    spread = math.sqrt(max(expected * (1 - chance[label]), setting.eps))
    remedy = _differs(label, float(observed[label]), expected, "its inclusion", setting) + (
        " The law of the draw is not the sampler's: check q, m and what becomes of hits."
    )
    least = min(1.0, float(each[label]) * vocabulary)
    equal = equal_pairs(labels, vocabulary)
    wrong = (
        "distinct labels are claimed: draw without replacement, or claim nb.iid."
        if distinct
        else "the draws of a set are not independent as claimed: if labels are drawn distinct, "
        "claim nb.without_replacement."
    )
    counted = f"{equal.sum():.0f} pairs of equal labels where {pairs * sets:.6g} are expected"
    return [
        Row("copies", row, gold, float(observed[label] - expected) / spread, least, "", remedy),
        Row(
            "coincidences",
            row,
            gold,
            float(equal.mean() - pairs),
            statistics.coincidences(equal, pairs),
            "",
            f"{counted}; {wrong}",
        ),
    ]


def _gold(said: Claims, row: int, place: int, gold: int, labels: np.ndarray) -> Row:
    times = int(np.count_nonzero(labels == gold))
    fine = bool(said.keeps[place]) or not times
    remedy = (
        f"the gold was drawn {times} times: take it out before drawing, mark it not present, or "
        "claim hits='keep'."
    )
    return Row("gold", row, gold, float(times), UNKNOWN, "ok" if fine else "failed", remedy)


def _worst(observed: np.ndarray, expected: np.ndarray) -> tuple[int, float, float]:
    """The label furthest from its expectation, in standard deviations."""
    away = np.abs(observed - expected) / np.sqrt(np.maximum(expected, 1e-12))
    label = int(np.argmax(away))
    return label, float(observed[label]), float(expected[label])


def _differs(label: int, observed: float, expected: float, what: str, setting: Setting) -> str:
    return (
        f"label {label} was drawn {observed:.0f} times in {setting.sets} sets where {what} gives "
        f"{expected:.6g}."
    )
