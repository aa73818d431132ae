"""What one fresh process takes: its imports, then a first exact answer and later ones.

``python -m analysis.benchmarks.fresh`` prints one JSON object, step -> seconds `[plain, compiled]`;
imports have no compiled way. Each step is asked twice, as it comes and with ``compiled=True``, and
differs from those before in one thing, which is what changes in a notebook all the time.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

LABELS = 200


def seconds() -> Iterator[tuple[str, list[float]]]:
    """The steps in order."""
    began = time.perf_counter()
    import jax

    yield "import jax", [time.perf_counter() - began]
    import nce_bias as nb

    yield "import nce_bias", [time.perf_counter() - began]
    jax.config.update("jax_enable_x64", True)
    from analysis.problems import zipf

    few, more = zipf(LABELS), zipf(LABELS + 1)
    distinct = nb.without_replacement
    steps: dict[str, Any] = {
        "first, V = 200, m = 16, uniform": (few, nb.iid(nb.uniform(), 16), nb.infonce),
        "then V = 201": (more, nb.iid(nb.uniform(), 16), nb.infonce),
        "then m = 64": (more, nb.iid(nb.uniform(), 64), nb.infonce),
        "then model negatives": (more, nb.iid(nb.model(), 64), nb.infonce),
        "then another loss": (more, nb.iid(nb.model(), 64), nb.sampled_softmax),
        "without replacement, m = 4": (more, distinct(nb.uniform(), 4), nb.infonce),
        "then m = 5": (more, distinct(nb.uniform(), 5), nb.infonce),
    }
    for name, asked in steps.items():
        taken = []
        for way in (None, True):
            began = time.perf_counter()
            jax.block_until_ready(nb.exact(*asked, compiled=way).bias)
            taken.append(time.perf_counter() - began)
        yield name, taken


if __name__ == "__main__":
    print(json.dumps(dict(seconds())))
