r"""What an audit computes: each convention on a sample of inputs, block by block.

**Inputs.** All, or that many drawn evenly without replacement; their weights pop(x) are kept. Every
number is a mean over inputs, or a function of means, with the jackknife's standard error over them
(`nce_bias.engine.by_input`).

**Exact or sampled.** A row is exact where the integral is quick enough, judged beforehand by how
many numbers it sums (and by `Sampler.costly`); else by Monte Carlo with a few candidate sets an
input. Its squares are unbiased however few they are (`nce_bias.engine._monte_carlo`), so the spread
over inputs holds the noise of the draws as well.

**Order.** Two rows are computed at a time and taken in their order. Inputs are the outer loop: an
audit that is interrupted has all conventions on the inputs that were done. Blocks are of one size,
the last filled up, so that one compilation serves all.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

from nce_bias._audit.rows import Row
from nce_bias._checks import NoExactMethod
from nce_bias._progress import Bar
from nce_bias._reads import bind
from nce_bias.engine.in_blocks import first_inputs
from nce_bias.engine.moments import Moments
from nce_bias.engine.plan import terms
from nce_bias.numerics.precision import precision
from nce_bias.presets import Preset
from nce_bias.problem import Problem

#: Relative error allowed to quadratures: nothing beside a standard error over inputs.
TOLERANCE = 1e-6
#: Scores of one block of inputs.
BLOCK = 2**19
#: Terms of all inputs' integrals up to which a row is exact: about a minute of one processor.
MOST_TERMS = 2**31


@dataclass(frozen=True)
class Sampling:
    """How inputs are drawn, and candidate sets where a row is sampled."""

    inputs: int
    draws: int
    key: Any
    method: str = "auto"


def chosen_inputs(problem: Problem, sampling: Sampling) -> np.ndarray:
    """The numbers of the inputs that are looked at, in order where they are all."""
    count = len(problem.weights)
    if sampling.inputs >= count:
        return np.arange(count)
    seeds = np.asarray(jax.random.key_data(sampling.key)).ravel()
    return np.random.default_rng(seeds.tolist()).permutation(count)[: sampling.inputs]


def blocks_of(inputs: np.ndarray, labels: int) -> list[np.ndarray]:
    """The inputs in blocks of nearly one size, of at most `BLOCK` scores each."""
    count = max(1, -(-len(inputs) * labels // BLOCK))
    return np.array_split(inputs, min(count, len(inputs)))


def run(problem: Problem, rows: list[Row], sampling: Sampling, *, progress: bool) -> bool:
    """Fill the rows; False where Ctrl-C ended it early, with what there is."""
    inputs = chosen_inputs(problem, sampling)
    blocks = blocks_of(inputs, problem.labels)
    weights = np.asarray(problem.weights)[inputs]
    whole = len(inputs), len(blocks) == 1
    done = 0
    methods: dict[int, Callable[..., Moments]] = {}
    try:
        steps = len(blocks) * len(rows)
        with Bar(steps, "audit", enabled=progress) as bar, two_at_a_time() as in_turn:
            for index, block in enumerate(blocks):
                taken = problem.take(_filled(block, len(blocks[0])))
                done += len(block)

                def part(place: int, taken=taken, index=index) -> Moments | Exception:
                    try:
                        if place not in methods:
                            methods[place] = _method(rows[place], taken, whole, sampling)
                        return methods[place](taken, index)
                    except (ValueError, NotImplementedError) as error:
                        return error

                for row, found in zip(rows, in_turn(part, range(len(rows))), strict=True):
                    _add(row, found, len(block), weights[:done])
                    bar.advance(note=lambda row=row: f"{row.name}, m = {row.m}")
    except KeyboardInterrupt:
        return False
    return True


@contextlib.contextmanager
def two_at_a_time() -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` in two threads, in which JAX has this thread's precision.

    XLA compiles, and computes much, on one processor: two rows at once take little more than one.
    """
    x64 = jax.config.read("jax_enable_x64")

    def here(function: Callable[[int], Any], place: int) -> Any:
        with precision(x64):
            return function(place)

    # what Equinox does to the warnings' settings in one thread, another may undo too early
    with warnings.catch_warnings(), ThreadPoolExecutor(2, "audit") as pool:
        try:
            yield lambda function, places: pool.map(partial(here, function), places)
        finally:
            pool.shutdown(cancel_futures=True)


def _filled(block: np.ndarray, size: int) -> np.ndarray:
    return np.pad(block, (0, size - len(block)), mode="edge")


def _add(row: Row, found: Moments | Exception, inputs: int, weights: np.ndarray) -> None:
    if row.status.startswith("failed"):
        return
    if isinstance(found, Exception):
        row.fail(found)
    else:
        row.add(first_inputs(found, inputs), weights)


def _method(
    row: Row, taken: Problem, whole: tuple[int, bool], sampling: Sampling
) -> Callable[..., Moments]:
    """How a row is computed: a function of a block's problem and its number.

    `whole`: how many inputs there are, and whether they are one block, which XLA need not compile.
    """
    preset, (inputs, alone) = row.preset, whole
    assert preset is not None or row.status.startswith("failed")

    def exactly(problem: Problem, _: int) -> Moments:
        assert preset is not None
        return preset.exact(problem, tolerance=TOLERANCE, compiled=None if alone else True)

    def sampled(problem: Problem, index: int) -> Moments:
        assert preset is not None
        key = jax.random.fold_in(sampling.key, index)
        return preset.monte_carlo(problem, key=key, draws=sampling.draws)

    if preset is None or sampling.method == "exact":
        return exactly
    if sampling.method == "monte_carlo":
        return sampled
    try:
        preset.check(taken)
        row.correction_fits = correction_fits(preset, taken)
        if preset.sampler.costly:
            return sampled
        cost = terms(taken.take([0]), preset.sampler, preset.loss, TOLERANCE)
    except NoExactMethod:
        return sampled
    except ValueError as error:
        row.fail(error)
        return exactly
    return exactly if cost * inputs <= MOST_TERMS else sampled


def correction_fits(preset: Preset, problem: Problem) -> bool:
    """False where log(m q) is taken off draws that are not independent ones from one q."""
    if not getattr(preset.loss, "corrects", False):
        return True
    inclusion = getattr(preset.loss, "inclusion", False)

    def fits(first: Problem) -> bool:
        seen = jax.tree.map(lambda leaf: leaf[0], first.seen_rows)
        law = bind(preset.sampler, seen, 0).law(first.score_rows[0], first.popularity)
        law = law.draw_by_lot(jax.random.key(0), jax.numpy.asarray(0))[2]
        corrects_itself = law.log_chances(first.labels, inclusion) is not None
        return law.independent or inclusion or corrects_itself

    return bool(eqx.filter_eval_shape(fits, problem.take([0])))  # which asks no number
