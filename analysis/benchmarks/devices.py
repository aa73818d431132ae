"""The question: what do more devices bring where labels are split over them.

One input with one observed gold and popularity negatives, float64, on devices that are threads of
one process (`--xla_force_host_platform_device_count`): they share the machine's cores, so that more
devices than cores can bring nothing, and what they cost is seen. Strong scaling keeps V, weak
scaling V on each device. Calls run in turn in one process; a ratio is to one device at the same V.
"""

import json
import os
import subprocess
import sys

import pandas as pd

DEVICES = (1, 2, 4, 8)
#: V, of strong scaling and of each device of weak scaling.
STRONG, WEAK = 2**21, 2**18
COLUMNS = {
    "scaling": "scaling",
    "devices": "devices",
    "labels": "V",
    "wall": "seconds",
    "ratio": "× one device at that V",
    "cpu": "processor seconds × those of one device",
}
COUNTED = f"--xla_force_host_platform_device_count={max(DEVICES)}"


def run() -> pd.DataFrame:
    """In a process of its own: devices are counted when JAX starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {COUNTED}"
    done = subprocess.run(
        [sys.executable, "-m", "analysis.benchmarks.devices"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_FLAGS": flags},
    )
    return pd.DataFrame(json.loads(done.stdout))


def measured(
    strong: int = STRONG,
    weak: int = WEAK,
    numbers: tuple[int, ...] = DEVICES,
    count: int | None = None,
) -> list[dict]:
    """The rows, where there are so many devices."""
    import jax

    import nce_bias as nb
    from analysis.benchmarks.atoms import problem_of
    from analysis.benchmarks.timing import FEWER_ROUNDS, median, ratio, rounds

    sampler, rows = nb.iid(nb.popularity(), 64), []

    def on(problem: nb.Problem, devices: int):
        """`exact` on so many devices, the problem being there before."""
        if devices == 1:
            return lambda: nb.exact(problem, sampler, engine="atoms", compiled=True).bias
        from nce_bias.engine.on_devices import split_over

        split = split_over(problem, jax.devices()[:devices])
        return lambda: nb.exact(split, sampler).bias

    sizes = {("strong", devices): strong for devices in numbers}
    sizes |= {("weak", devices): devices * weak for devices in numbers}
    for (scaling, devices), labels in sizes.items():
        problem = problem_of(labels)
        calls = {"one": on(problem, 1), "many": on(problem, devices)}
        timed = rounds(calls, count or FEWER_ROUNDS)
        rows.append(
            {
                "scaling": scaling,
                "devices": devices,
                "labels": labels,
                "wall": median(timed, "many"),
                "ratio": ratio(timed, "many", "one"),
                "cpu": ratio(timed, "many", "one", "cpu"),
            }
        )
    return rows


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    print(json.dumps(measured()))
