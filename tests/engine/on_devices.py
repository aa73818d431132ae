"""What `test_devices` runs in processes of its own: devices are counted when JAX starts.

``python -m tests.engine.on_devices COMMAND ARGUMENTS`` prints one JSON object in its last line.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import nce_bias as nb

jax.config.update("jax_enable_x64", True)

FIELDS = ("selection", "gradient", "bias")
SCALARS = (
    "loss",
    "cross_entropy",
    "bias_norm",
    "cosine",
    "variance",
    "variance_negatives",
    "variance_gold",
    "coverage",
    "effective_sample_size",
)


def scores_of(inputs: int, labels: int) -> np.ndarray:
    return 3 * np.random.default_rng(0).normal(size=(inputs, labels))


def popularity_of(labels: int) -> np.ndarray:
    zipf = 1 / (10 + np.arange(labels))
    return zipf / zipf.sum()


def problem_of(labels: int, golds: Any) -> nb.Problem:
    return nb.Problem.from_golds(scores_of(len(golds), labels), golds, popularity_of(labels))


def asked(labels: int) -> dict[str, tuple]:
    """Cases that between them have every policy, corrections on either side, both kinds of grid.

    Golds lie on the first and last device, on one device together, and on the two next to a cut.
    """
    last, cut = labels - 1, labels // 8
    few = problem_of(labels, [[0, 5, last], [cut - 1, cut, cut + 1]])
    one = problem_of(labels, [last])
    mixed = nb.mixture(nb.popularity(0.75), nb.model(2.0), 0.3)
    return {
        "few, mask": (few, nb.iid(mixed, 64, "mask"), nb.ranking_nce),
        "few, exclude": (few, nb.iid(nb.popularity(), 7), nb.sampled_softmax_both),
        "one, exclude": (one, nb.iid(nb.model(), 20), nb.infonce),
        "one, keep": (one, nb.iid(nb.log_uniform("index"), 16, "keep"), nb.self_normalized),
    }


def off(found: nb.Moments, truth: nb.Moments, index: Any = ...) -> float:
    """The largest difference: of fields over their largest entry, of scalars over their own size.

    Parts of a variance over the variance: that of one gold is 0.
    """
    worst = 0.0
    for name in FIELDS:
        here, there = np.asarray(getattr(found, name)), np.asarray(getattr(truth, name))
        worst = max(worst, np.max(np.abs(here - there[index])) / np.max(np.abs(there)))
    for name in SCALARS:
        here, there = float(getattr(found, name)), float(getattr(truth, name))
        size = float(truth.variance) if name.startswith("variance") else there
        worst = max(worst, abs(here - there) / abs(size))
    return float(worst)


def numbers(labels: str, *names: str) -> dict[str, Any]:
    """Split over all devices, by `devices=` and by sharded arrays, against one and the direct rule.

    `direct` is what the fields differ over both stated errors.
    """
    found = {}
    devices = Mesh(np.array(jax.devices()), ("any name",))
    cases = asked(int(labels))
    for name in names or cases:
        problem, sampler, loss = cases[name]
        one = nb.exact(problem, sampler, loss, engine="atoms", compiled=True)
        many = nb.exact(problem, sampler, loss, devices=jax.devices())
        axes = PartitionSpec(None, "any name"), PartitionSpec("any name")
        scores, popularity = (
            jax.device_put(array, NamedSharding(devices, spec))
            for array, spec in zip((problem.scores, problem.popularity), axes, strict=True)
        )
        given = nb.Problem.from_golds(scores, problem.targets.labels, popularity)
        sharded = nb.exact(given, sampler, loss)
        direct = nb.exact(problem, sampler, loss, engine="direct")
        stated = float(direct.error + many.error)
        found[name] = {
            "one": off(many, one),
            "sharded": off(sharded, one),
            "direct": float(np.max(np.abs(many.gradient - direct.gradient))) / stated,
            "method": many.method,
            "held": [shard.data.shape[-1] for shard in many.bias.addressable_shards],
        }
    return found


def inputs() -> dict[str, Any]:
    """Sixteen inputs on all devices, two each, by every way there is to take them.

    Weights differ, and so do rows of sides and of q, which go by the number of the input.
    """
    rng = np.random.default_rng(0)
    scores, weights = 2 * rng.normal(size=(16, 96)), rng.dirichlet(np.ones(16))
    sides = {"own": rng.normal(size=(16, 96)), "all": rng.normal(size=96)}
    full = nb.Problem(scores, rng.dirichlet(np.ones(96), 16), weights=weights, sides=sides)
    golds = rng.integers(0, 96, 16)
    few = nb.Problem.from_golds(scores, golds, popularity_of(96), weights)
    rows = nb.from_probabilities(rng.dirichlet(np.ones(96), 16))
    many = nb.Problem.from_golds(np.tile(scores, 100), golds, popularity_of(9600), weights)
    cases = {
        "sides": (full, nb.iid(lambda own, all: own + all, 5), nb.infonce),
        "rows": (few, nb.iid(rows, 5), nb.ranking_nce),
        "distinct": (few, nb.without_replacement(nb.model(), 3), nb.sampled_softmax),
        "closed form": (few, nb.poisson(nb.model(), 3), nb.bpr),
        "atoms": (many, nb.iid(nb.model(), 5), nb.infonce),
    }
    found = {}
    for name, case in cases.items():
        apart = nb.exact(*case, devices=jax.devices())
        held = [list(shard.data.shape) for shard in apart.bias.addressable_shards]
        one = off(apart, nb.exact(*case, compiled=True))
        found[name] = {"one": one, "method": apart.method, "held": held}
    return found


def exchanged(labels: str, golds: str) -> dict[str, Any]:
    """Computes once; what was compiled for it lies where XLA_FLAGS says."""
    problem = problem_of(int(labels), [list(range(1, 1 + int(golds)))])
    found = nb.exact(problem, nb.iid(nb.model(), 64), nb.ranking_nce, devices=jax.devices())
    return {"method": found.method}


def process(number: str, port: str, labels: str) -> dict[str, Any]:
    """One of two processes; each reads its own half of the labels alone."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(number))
    mesh = Mesh(np.array(jax.devices()), ("labels",))
    half = slice(int(number) * int(labels) // 2, (int(number) + 1) * int(labels) // 2)
    golds = [[3, int(labels) - 1], [7, 8]]

    def of_own(array: np.ndarray, *spec: Any) -> jax.Array:
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.make_array_from_process_local_data(sharding, array[..., half])

    scores = of_own(scores_of(2, int(labels)), None, "labels")
    popularity = of_own(popularity_of(int(labels)), "labels")
    problem = nb.Problem.from_golds(scores, golds, popularity)
    sampler = nb.iid(nb.mixture(nb.popularity(), nb.model(), 0.3), 64, "keep")
    many = nb.exact(problem, sampler, nb.ranking_nce)
    whole = problem_of(int(labels), golds)
    one = nb.exact(whole, sampler, nb.ranking_nce, engine="atoms", compiled=True)
    again = nb.exact(whole, sampler, nb.ranking_nce, devices=jax.devices())
    worst = 0.0
    for field in FIELDS:
        truth = np.asarray(getattr(one, field))
        for shard in (
            *getattr(many, field).addressable_shards,
            *getattr(again, field).addressable_shards,
        ):
            part = np.abs(np.asarray(shard.data) - truth[shard.index])
            worst = max(worst, float(np.max(part) / np.max(np.abs(truth))))
    for name in SCALARS:
        here, there = float(getattr(many, name)), float(getattr(one, name))
        worst = max(worst, abs(here - there) / abs(there))
    inputs = problem_of(96, [[3], [95], [7], [8]])
    alone = nb.exact(inputs, sampler, nb.ranking_nce, compiled=True)
    apart = nb.exact(inputs, sampler, nb.ranking_nce, devices=jax.devices())
    for name in SCALARS:
        here, there = float(getattr(apart, name)), float(getattr(alone, name))
        worst = max(worst, abs(here - there) / (abs(there) or 1.0))
    shown = "devices" in repr(many) and f"{labels} labels" in repr(problem)
    return {"worst": worst, "devices": jax.device_count(), "shown": shown, "status": many.status}


def refused() -> dict[str, str]:
    """What each of these says."""
    problem, many = problem_of(24, [3]), jax.devices()
    split = jax.device_put(
        problem.scores, NamedSharding(Mesh(np.array(many), ("v",)), PartitionSpec(None, "v"))
    )
    by_input = jax.device_put(
        scores_of(8, 24), NamedSharding(Mesh(np.array(many), ("x",)), PartitionSpec("x"))
    )
    twice = jax.device_put(
        problem.scores,
        NamedSharding(Mesh(np.array(many).reshape(4, 2), ("v", "x")), PartitionSpec(None, "v")),
    )
    given = nb.Problem.from_golds(split, [3])
    model, uniform = nb.model(), nb.uniform()
    point = nb.Problem.from_golds(np.where(np.arange(24) == 3, 0.0, -np.inf)[None], [3])
    calls = {
        "divide": lambda: nb.exact(problem_of(20, [3]), nb.iid(model, 4), devices=many),
        "twice": lambda: nb.exact(problem, nb.iid(model, 4), devices=[many[0], many[0]]),
        "rows": lambda: nb.exact(
            nb.Problem(problem.scores, problem.population), nb.iid(model, 4), devices=many
        ),
        "sharded rows": lambda: nb.Problem(split, problem.population),
        "sides": lambda: nb.Problem.from_golds(split, [3], sides={"side": np.zeros(24)}),
        "inputs": lambda: nb.Problem.from_golds(by_input, np.arange(8)),
        "copies": lambda: nb.Problem.from_golds(twice, [3]),
        "nan": lambda: nb.Problem.from_golds(split.at[0, 17].set(np.nan), [3]),
        "empty": lambda: nb.Problem.from_golds(split - np.inf, [3]),
        "popularity": lambda: nb.Problem.from_golds(split, [3], split[0]),
        "length": lambda: nb.Problem.from_golds(split, [3], np.full(8, 1 / 8)),
        "distinct": lambda: nb.exact(given, nb.without_replacement(uniform, 2)),
        "ranks": lambda: nb.exact(given, nb.iid(nb.log_uniform(), 2)),
        "own": lambda: nb.exact(given, nb.iid(lambda scores, popularity: scores, 2)),
        "loss": lambda: nb.exact(given, nb.iid(model, 2), nb.bpr),
        "direct": lambda: nb.exact(given, nb.iid(model, 2), engine="direct"),
        "numpy": lambda: nb.exact(given, nb.iid(model, 2), compiled=False),
        "golds": lambda: nb.exact(
            problem_of(24, [list(range(17))]), nb.iid(model, 2), devices=many
        ),
        "point": lambda: nb.exact(point, nb.iid(model, 2), devices=many),
        "unseen": lambda: nb.exact(
            nb.Problem.from_golds(split, [3], np.eye(24)[4]),
            nb.iid(nb.popularity(), 2),
            nb.ranking_nce,
        ),
        "empty set": lambda: nb.exact(given, nb.iid(model, 2, "mask"), nb.self_normalized),
        "gaps": lambda: nb.exact(
            nb.Problem.from_golds(300 * scores_of(1, 24), [3]), nb.iid(uniform, 2), devices=many
        ),
        "sampled": lambda: nb.monte_carlo(given, nb.iid(model, 2), key=0, draws=8),
    }
    said = {}
    for name, call in calls.items():
        try:
            call()
            said[name] = "nothing"
        except ValueError as error:
            said[name] = str(error)
    return said


if __name__ == "__main__":
    command = {f.__name__: f for f in (numbers, inputs, exchanged, process, refused)}[sys.argv[1]]
    print(json.dumps(command(*sys.argv[2:])))
