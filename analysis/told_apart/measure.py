r"""How often `nb.which` names the right convention, and no other.

On `nb.presets.example()`, four labels with every side that a convention reads, m = 2: every
convention that is not the same as another draws 20,000 sets and the gradients of the first few,
`RUNS` times, and `nb.which` is asked about all of them. One call holds all pairs: whether a
convention fits does not depend on which others are asked about. Of a pair (A, B) a run is right
where A fits sets of A and B does not. Pairs count whose expected gradients differ by more than 2 %
of A's, up to the best factor, which `nb.which` leaves free too:

    min_c |g_A - c g_B| / |g_A| = sqrt(1 - cos^2(g_A, g_B)) > 0.02.

Besides, code that is none of them (`foreign`): laws or losses a little off, of which none may fit.

``python -m analysis.told_apart.measure`` goes through all, a quarter of a minute each, a minute
where many conventions have the same law, and keeps what is finished in ``build/told_apart``; names
as arguments measure these alone. All that is there goes to `results`, with the names that were
asked about: conventions that are newer than a run are no part of what it says.
"""

import itertools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import nce_bias as nb
from nce_bias._reads import bind
from nce_bias._which import laws
from nce_bias.losses import Corrected
from nce_bias.presets import Preset

HERE = pathlib.Path(__file__).resolve().parent
RESULTS, KEPT = HERE / "results", HERE.parents[1] / "build" / "told_apart"
RUNS, SETS, GRADIENTS, M, APART = 100, 20_000, 4, 2, 0.02
NONE = "none of them"


def conventions() -> dict[str, Preset]:
    """One of each that `nb.which` asks about by default.

    Left out: what is the same as another, what has no such m, laws that take seconds each.
    """
    found = {}
    for name, row in nb.presets.PRESETS.items():
        if row.same_as and row.same_m in (None, M):
            continue
        try:
            made = row(M, **row.on_example)
        except ValueError:
            continue
        if made.sampler.portable and not made.sampler.costly:
            found[name] = made
    return found


def gradients(presets: dict[str, Preset]) -> dict[str, np.ndarray]:
    """Expected gradients, of those that have an exact one."""
    given, found = nb.presets.example(), {}
    for name, preset in presets.items():
        try:
            found[name] = np.asarray(preset.exact(given, split=False).gradient)
        except (ValueError, NotImplementedError):
            continue
    return found


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """What the best factor leaves of one gradient, relative to it."""
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.sqrt(max(0.0, 1 - cosine**2)))


def recorder(sampler: Any, loss: Any) -> Callable[[int], tuple[np.ndarray, ...]]:
    """Draws sets with the gradients of the first few by a convention's own law and loss."""
    given = nb.presets.example()
    scores, popularity = given.score_rows[0], given.popularity
    population = jnp.asarray(given.population_rows[0])
    seen = jax.tree.map(lambda leaf: leaf[0], given.seen_rows)

    def drawn(key):
        of_gold, of_negatives = jax.random.split(key)
        gold = jax.random.choice(of_gold, len(scores), p=population)
        own = bind(sampler, seen, gold).law(scores, popularity)
        labels, present, law = own.draw_by_lot(of_negatives, gold)
        return gold, labels, present, law

    def with_gradient(key):
        gold, labels, present, law = drawn(key)
        corrected: Corrected = loss.corrected(scores, law, sampler.m)
        own, others = jax.grad(loss.value, (0, 1))(
            corrected.gold[gold],
            corrected.negatives_of(gold)[labels],
            present,
            **corrected.read(gold, labels),
        )
        return jnp.concatenate([own[None], jnp.where(present, others, 0.0)])

    @eqx.filter_jit
    def record(key):
        keys = jax.random.split(key, SETS)
        golds, labels, present, _ = jax.vmap(drawn)(keys)
        return golds, jnp.where(present, labels, -1), jax.vmap(with_gradient)(keys[:GRADIENTS])

    def recorded(seed: int) -> tuple[np.ndarray, ...]:
        golds, labels, few = (np.asarray(part) for part in record(jax.random.key(seed)))
        known = np.full((SETS, few.shape[1]), np.nan)
        known[:GRADIENTS] = few
        return labels, golds, known

    return recorded


def foreign() -> dict[str, tuple[Any, Any]]:
    """Pairs that are no named convention: laws and losses of code that is a little off."""
    popular = nb.popularity()
    return {
        "popularity^0.9, hits kept": (nb.iid(nb.popularity(power=0.9), M, "keep"), nb.infonce),
        "popularity^0.75, hits kept, softmax": (
            nb.iid(nb.popularity(power=0.75), M, "keep"),
            nb.infonce,
        ),
        "popularity, one uniform in twenty": (
            nb.iid(nb.mixture(popular, nb.uniform(), 0.95), M, "keep"),
            nb.infonce,
        ),
        "a model at temperature 1.2": (
            nb.iid(nb.from_probabilities(_softmax(np.array([1.0, 0.6, 0.1, -1.0]) / 1.2)), M),
            nb.infonce,
        ),
        "log q off the negatives alone, hits kept": (
            nb.iid(popular, M, "keep"),
            nb.sampled_softmax,
        ),
        "distinct popular, no correction": (nb.without_replacement(popular, M), nb.infonce),
        "uniform, hits kept, softmax": (nb.iid(nb.uniform(), M, "keep"), nb.infonce),
        "in-batch, hinge of margin 0.8": (nb.iid(popular, M, "keep"), nb.hinge(0.8)),
    }


def _softmax(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def remembering(ask: Callable[..., laws.Expected]) -> Callable[..., laws.Expected]:
    """What a sampler expects is the same in every run: asked once."""
    known: dict[tuple, laws.Expected] = {}

    def asked(sampler: Any, problem: nb.Problem, at: tuple[int, int], sets: int) -> laws.Expected:
        key = (id(sampler), at)
        if key not in known:
            known[key] = ask(sampler, problem, at, sets)
        return known[key]._replace(sets=sets)

    return asked


def measure(name: str, runs: int = RUNS) -> pd.DataFrame:
    """A row for each convention asked about: in how many runs it fitted sets of `name`."""
    presets, others = conventions(), foreign()
    pair = others[name] if name in others else (presets[name].sampler, presets[name].loss)
    recorded, given = recorder(*pair), nb.presets.example()
    fitted, none = dict.fromkeys(presets, 0), 0
    with mock.patch.object(laws, "_expected", remembering(laws._expected)):
        for run in range(runs):
            labels, golds, known = recorded(run)
            found = nb.which(given, labels, golds, known, presets=presets)
            none += not found.fits
            for fits in found.fits:
                fitted[fits] += 1
    rows = [{"sets_of": name, "asked": asked, "fits": n} for asked, n in fitted.items()]
    return pd.DataFrame([*rows, {"sets_of": name, "asked": NONE, "fits": none}])


def finished() -> pd.DataFrame:
    """What is measured so far, of conventions that fitted at least once."""
    found = pd.concat([pd.read_csv(path) for path in sorted(KEPT.glob("*.csv"))])
    return pd.DataFrame(found[(found["fits"] > 0) | (found["asked"] == NONE)])


def asked() -> list[str]:
    """Conventions that were asked about in every run; a later one was in none."""
    kept = [set(pd.read_csv(path)["asked"]) for path in KEPT.glob("*.csv")]
    return [name for name in conventions() if all(name in names for names in kept)]


def close() -> pd.DataFrame:
    """Pairs whose expected gradients are within 2 % of each other, up to a factor."""
    known = gradients(conventions())
    pairs = itertools.combinations(known, 2)
    rows = [(one, other, apart(known[one], known[other])) for one, other in pairs]
    found = pd.DataFrame(rows, columns=["one", "other", "apart"])
    return pd.DataFrame(found[found["apart"] <= APART])


def right(fits: pd.DataFrame, near: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Of each pair (sets_of, asked) that counts, at least how many runs were right.

    A run is wrong where A does not fit or B does; these may be the same runs, so that fits of A
    less fits of B is a lower bound.
    """
    cells = zip(fits["sets_of"], fits["asked"], fits["fits"], strict=True)
    counted = {(one, other): int(count) for one, other, count in cells}
    together = {frozenset(pair) for pair in near[["one", "other"]].itertuples(index=False)}
    rows = [
        (one, other, counted.get((one, one), 0) - counted.get((one, other), 0))
        for one in names
        if one in set(fits["sets_of"])
        for other in names
        if one != other and frozenset((one, other)) not in together
    ]
    return pd.DataFrame(rows, columns=["sets_of", "asked", "right"])


def main(names: list[str]) -> None:
    """Measure what is not there yet, a table for each name; then all of it in two."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in names or [*conventions(), *foreign()]:
        path = KEPT / f"{name}.csv"
        if not path.exists():
            began = time.monotonic()
            measure(name).to_csv(path, index=False)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    fits, near = finished(), close()
    fits.to_csv(RESULTS / "fits.csv", index=False)
    near.to_csv(RESULTS / "close.csv", index=False)
    names = asked()
    pd.DataFrame({"name": names}).to_csv(RESULTS / "asked.csv", index=False)
    pairs = right(fits, near, names)
    print(f"{len(pairs)} pairs, {(pairs['right'] >= 95).sum()} of them right in 95 of {RUNS} runs")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(sys.argv[1:])
