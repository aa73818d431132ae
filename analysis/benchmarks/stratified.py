"""The question: what do stratified draws save, at the same number of candidate sets.

One input with a whole pop(y|x), float64. The gain is the ratio of variances, independent over
stratified, of the estimates of the loss and of the squared bias, times the ratio of their seconds:
how many times as long independent draws take for the same standard error.
"""

import itertools

import pandas as pd

import nce_bias as nb
from analysis.benchmarks.timing import FEWER_ROUNDS, median, rounds
from analysis.problems import zipf

LABELS = 1000
DRAWS = 10_000
NEGATIVES = (4, 64)
PROPOSALS = {"uniform": nb.uniform(), "model": nb.model()}
COLUMNS = {
    "negatives": "negatives",
    "m": "m",
    "draws": "sets",
    "independent": "independent, s",
    "stratified": "stratified, s",
    "loss": "gain, loss",
    "bias_norm_squared": "gain, squared bias",
    "coverage": "gain, coverage",
}


def run(
    *, labels: int = LABELS, draws: int = DRAWS, ms: tuple[int, ...] = NEGATIVES, count=FEWER_ROUNDS
) -> pd.DataFrame:
    """A row for each kind of negatives and number of them."""
    kinds = itertools.product(PROPOSALS, ms)
    return pd.DataFrame([_row(labels, draws, kind, m, count) for kind, m in kinds])


def _row(labels: int, draws: int, kind: str, m: int, count: int) -> dict:
    problem, sampler = zipf(labels), nb.iid(PROPOSALS[kind], m)

    def sampled(stratified: bool) -> nb.Moments:
        return nb.monte_carlo(problem, sampler, key=0, draws=draws, stratified=stratified)

    ways = {"independent": False, "stratified": True}
    timed = rounds({way: lambda on=on: sampled(on).bias for way, on in ways.items()}, count)
    seconds = {way: median(timed, way) for way in ways}
    plain, better = (sampled(on).standard_errors for on in ways.values())
    slower = seconds["independent"] / seconds["stratified"]
    gains = {
        name: float(plain[name] / better[name]) ** 2 * slower
        for name in ("loss", "bias_norm_squared", "coverage")
    }
    sets = int(sampled(True).method.partition(" stratified")[0].split()[-1])
    return {"negatives": kind, "m": m, "draws": sets} | seconds | gains
